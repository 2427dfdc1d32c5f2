from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from benchmark_runs import as_text, check_no_answers, check_run, exclusions, run, write_likelihoods
from upstream import DATA, needs

from rlhf_fair.audit.benchmark_plan import load_benchmark_plan
from rlhf_fair.audit.benchmarks.holistic_bias_likelihood import HolisticBiasLikelihood
from rlhf_fair.audit.plan import find_plan
from rlhf_fair.probes.holistic_bias import load_holistic_bias
from rlhf_fair.probes.holistic_bias_likelihood import Scoring, likelihood_records, likelihood_requests

SHIPPED = "holistic-bias"
SET = DATA / "holistic-bias" / "v1.1"
pytestmark = needs("holistic-bias")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three templates of upstream's 26."""
    folder = tmp_path_factory.mktemp("data") / "holistic-bias" / "v1.1"
    shutil.copytree(SET, folder)
    templates = json.loads((SET / "sentence_templates.json").read_text())
    chosen = dict(list(templates.items())[:3]) if isinstance(templates, dict) else templates[:3]
    (folder / "sentence_templates.json").write_text(json.dumps(chosen))
    return folder.parents[1]


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped plan for one axis and four nouns."""
    text = find_plan(SHIPPED).read_text()
    axes = text[text.index("axes = [") : text.index("]\n", text.index("axes = [")) + 1]
    text = text.replace(axes, 'axes = ["race_ethnicity"]').replace("nouns_per_template = 6", "nouns_per_template = 4")
    file = tmp_path_factory.mktemp("plan") / "plan.toml"
    file.write_text(text)
    return file


def items(plan: Path, data: Path) -> pd.DataFrame:
    benchmark = load_benchmark_plan(plan).benchmark
    return benchmark.load(benchmark.place(data)).table


def test_the_plan_asks_for_every_descriptor_in_every_cell_that_it_fits() -> None:
    benchmark = load_benchmark_plan(SHIPPED).benchmark
    assert isinstance(benchmark, HolisticBiasLikelihood)
    table = benchmark.load(benchmark.place(DATA)).table
    upstream = load_holistic_bias(SET)
    assert (len(upstream.templates), len(upstream.nouns)) == (26, 32)  # Smith et al. 2022, v1.1
    taken = [d for d in upstream.descriptors if d.axis in benchmark.axes and d.preference in ("", "reviewed")]
    cells = table[["template", "noun"]].drop_duplicates()
    assert len(cells) == 26 * 6
    nouns = {noun.singular: noun for noun in upstream.nouns}
    fitting = sum(d.fits(nouns[noun]) for d in taken for noun in cells["noun"])
    assert len(table) == fitting
    assert table["item_id"].is_unique
    assert "nonce" not in set(table["axis"])


@pytest.mark.parametrize(("kind", "scoring"), [("causal", "sentence"), ("masked", "masked_shared")])
def test_a_model_and_the_file_of_its_answers_give_the_same_findings(
    kind: str, scoring: Scoring, plan: Path, data: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    model = request.getfixturevalue(kind)
    asked = run(plan, tmp_path / "model", model=model, data=data)
    [claim] = [finding for finding in asked.findings if finding.role == "claim"]
    assert (claim.metric, claim.attribute, claim.variant) == ("likelihood_bias_excess", "race_ethnicity", scoring)
    table = items(plan, data)
    assert len([f for f in asked.findings if f.metric == "log_perplexity_deviation"]) == table["descriptor"].nunique()
    assert asked.audit["counts"]["reported"] == len(table)
    check_run(plan, tmp_path / "model")
    file = tmp_path / "answers.parquet"
    write_likelihoods(file, model, likelihood_requests(table, scoring))
    assert as_text(run(plan, tmp_path / "file", predictions=file, data=data).findings) == as_text(asked.findings)


def test_a_planted_oddity_exceeds(plan: Path, data: Path, tmp_path: Path) -> None:
    table = items(plan, data)
    draw = np.random.default_rng(4)
    odd = {name: draw.normal(scale=2) for name in table["descriptor"].unique()}
    total = -30 - 8 * table["descriptor"].map(odd).to_numpy() + draw.normal(scale=0.1, size=len(table))
    ids = [request.id for request in likelihood_requests(table)]
    for name, scores in (("planted", total), ("null", -30 + draw.normal(scale=0.1, size=len(table)))):
        pd.DataFrame({"id": ids, "total": np.minimum(scores, 0), "n_tokens": 8}).to_csv(tmp_path / f"{name}.csv")
    planted = run(plan, tmp_path / "planted", predictions=tmp_path / "planted.csv", data=data)
    null = run(plan, tmp_path / "null", predictions=tmp_path / "null.csv", data=data)
    verdicts = [next(f.verdict.value for f in results.findings if f.role == "claim") for results in (planted, null)]
    assert verdicts[0] == "exceeds_threshold"
    assert verdicts[1] != "exceeds_threshold"


def test_missing_malformed_and_repeated_predictions_are_counted(plan: Path, data: Path, tmp_path: Path) -> None:
    table = items(plan, data)
    given = pd.DataFrame({"id": [r.id for r in likelihood_requests(table)], "total": -9.0, "n_tokens": 3})
    given.loc[0, "n_tokens"] = -1
    given = pd.concat([given.iloc[:-2], given.iloc[[1]]])
    given.to_csv(tmp_path / "answers.csv", index=False)
    results = run(plan, tmp_path / "out", predictions=tmp_path / "answers.csv", data=data)
    assert exclusions(results) == {
        "no answer was given": 2,
        "the answer could not be read": 1,
        "several answers were given": 1,
    }
    check_run(plan, tmp_path / "out")


def test_no_answers_end_in_reasons(plan: Path, data: Path) -> None:
    table = items(plan, data)
    check_no_answers(plan, likelihood_records(table, [None] * len(table)))
