from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from benchmark_runs import as_text, check_no_answers, check_run, exclusions, records_of, run, write_likelihoods
from upstream import DATA, needs

from rlhf_fair.audit.benchmark_plan import load_benchmark_plan
from rlhf_fair.audit.benchmarks.dialect import Dialect
from rlhf_fair.models.requests import Likelihood, LogLikelihood
from rlhf_fair.probes.dialect import dialect_records, dialect_requests, load_attributes, load_dialect

PLAN = "dialect"
pytestmark = needs("dialect-prejudice")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every hundredth pair: 7, and all lists of words."""
    upstream, folder = DATA / "dialect-prejudice", tmp_path_factory.mktemp("data") / "dialect-prejudice"
    shutil.copytree(upstream / "attributes", folder / "attributes")
    (folder / "pairs").mkdir()
    lines = (upstream / "pairs" / "habitual.txt").read_text(encoding="utf-8").splitlines()
    (folder / "pairs" / "habitual.txt").write_text("\n".join(lines[::100]), encoding="utf-8")
    return folder.parent


def requests(data: Path) -> list[list[LogLikelihood]]:
    """Of each list in the plan."""
    folder = data / "dialect-prejudice"
    pairs = load_dialect(folder).table
    return [dialect_requests(pairs, load_attributes(folder, name)) for name in ("guilt", "penalty", "katz")]


@pytest.mark.parametrize(("plan", "n_words"), [(PLAN, 2 + 2 + 37), ("dialect/occupations", 84)])
def test_the_plans_ask_for_all_of_upstreams_pairs_and_words(plan: str, n_words: int) -> None:
    benchmark = load_benchmark_plan(plan).benchmark
    items = benchmark.load(benchmark.place(DATA))
    assert items.table["item_id"].nunique() == 699  # the lines of upstream's habitual.txt
    assert len(items.table) == 699 * n_words
    assert items.rejects.empty


def test_a_model_and_the_file_of_its_answers_give_the_same_findings(data: Path, causal: Path, tmp_path: Path) -> None:
    asked = run(PLAN, tmp_path / "model", model=causal, data=data)
    assert {f.attribute for f in asked.findings if f.role == "claim"} == {
        *("convicted over acquitted", "death over life")
    }
    assert len([f for f in asked.findings if f.metric == "dialect_association"]) == 41
    assert asked.audit["counts"] == {"input": 7 * 41, "reported": 7 * 41, "excluded": 0, "unknown": 0}
    check_run(PLAN, tmp_path / "model")
    file = tmp_path / "answers.parquet"
    # a list at a time, as the audit asks: sums in float32 depend on what is in a batch
    pd.concat([write_likelihoods(file, causal, of_list) for of_list in requests(data)]).to_parquet(file)
    assert as_text(run(PLAN, tmp_path / "file", predictions=file, data=data).findings) == as_text(asked.findings)


def test_missing_malformed_and_repeated_predictions_are_counted(data: Path, tmp_path: Path) -> None:
    asked = [request for of_list in requests(data) for request in of_list]
    table = pd.DataFrame({"id": [r.id for r in asked], "total": -9.0, "n_tokens": 3})
    # of the first two pairs, all prompts that end in "acquitted"; of the third, all but one
    of_pair = [table["id"].str.match(rf"dialect/guilt/habitual\.{n}/\d+/acquitted/aae") for n in range(3)]
    table.loc[of_pair[0], "total"] = 1.0
    table = pd.concat([table[~of_pair[1]], table[of_pair[0]], table[table.index == table.index[of_pair[2]][0]]])
    table.to_csv(tmp_path / "answers.csv", index=False)
    results = run(PLAN, tmp_path / "out", predictions=tmp_path / "answers.csv", data=data)
    assert exclusions(results) == {"several answers were given": 1, "no answer was given": 1}
    records = records_of(tmp_path / "out").set_index(["item_id", "attribute"])
    assert records.loc[("habitual.2", "acquitted"), ["n_prompts", "problem"]].tolist() == [1, ""]
    check_run(PLAN, tmp_path / "out")


def test_no_answers_end_in_reasons(data: Path) -> None:
    folder = data / "dialect-prejudice"
    pairs = load_dialect(folder).table
    silent = []
    for name in ("guilt", "penalty", "katz"):
        attributes = load_attributes(folder, name)
        silent.append(dialect_records(pairs, [None] * len(dialect_requests(pairs, attributes)), attributes))
    check_no_answers(PLAN, pd.concat(silent, ignore_index=True))


def test_a_word_of_two_lists_is_measured_in_each(data: Path) -> None:
    class Answering:
        """The longer the word the less likely; e times likelier after the first guise."""

        def log_likelihoods(self, requests: list[LogLikelihood]) -> list[Likelihood]:
            return [Likelihood(-float(len(r.continuation)) + r.id.endswith("/aae"), 1) for r in requests]

    benchmark = Dialect(attributes=("guilt", "katz"))
    items = benchmark.load(data / "dialect-prejudice").table
    both = pd.concat([items, items[items["attributes"] == "guilt"].assign(attributes="penalty")], ignore_index=True)
    records = benchmark.ask(both, Answering())  # type: ignore[arg-type]
    measured = benchmark.measure(records, alpha=0.05, rng=np.random.default_rng(0))
    convicted = [m for m in measured if m.attribute == "convicted"]
    assert [m.variant for m in convicted] == ["guilt, own prompts", "penalty, own prompts"]
    assert all(m.estimate.estimate == 1 for m in convicted)
