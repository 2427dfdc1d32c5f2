from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from benchmark_runs import as_text, check_no_answers, check_run, exclusions, numbers, records_of, run, table_rows
from upstream import DATA, needs

from rlhf_fair.audit.benchmark import measurement
from rlhf_fair.audit.benchmark_plan import load_benchmark_plan
from rlhf_fair.audit.findings import build_findings
from rlhf_fair.models.causal_lm import CausalLM
from rlhf_fair.models.requests import Decoding
from rlhf_fair.probes.bbq import CATEGORIES, load_bbq
from rlhf_fair.probes.bbq_answers import bbq_text_records, bbq_text_requests, read_bbq_predictions
from rlhf_fair.probes.bbq_scores import bbq_measured
from rlhf_fair.records import exit_code

PLAN = "bbq"
pytestmark = needs("bbq")

UPSTREAM = {
    "Age": 3680,
    "Disability_status": 1556,
    "Gender_identity": 5672,
    "Nationality": 3080,
    "Physical_appearance": 1576,
    "Religion": 1200,
    "Sexual_orientation": 864,
}
"""Parrish et al. 2022, table 1, for the categories whose files are at hand."""

CLAIMED = ("bbq_bias_ambiguous", "bbq_cost_of_bias", "bbq_accuracy_ambiguous", "bbq_accuracy_disambiguated")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Items of two categories, of both contexts: 20 about religion, 28 about appearance."""
    folder = tmp_path_factory.mktemp("data") / "bbq" / "data"
    folder.mkdir(parents=True)
    for category, step in (("Religion", 61), ("Physical_appearance", 57)):
        with gzip.open(DATA / "bbq" / "data" / f"{category}.jsonl.gz", "rt", encoding="utf-8") as lines:
            (folder / f"{category}.jsonl").write_text("".join(list(lines)[::step]))
    return folder.parents[1]


def predictions(items: pd.DataFrame, answers: list[object]) -> pd.DataFrame:
    return items[["example_id", "category"]].assign(prediction=pd.Series(answers, dtype=object))


def test_the_plan_asks_for_all_of_upstreams_items() -> None:
    benchmark = load_benchmark_plan(PLAN).benchmark
    items = benchmark.load(benchmark.place(DATA))
    assert items.table["category"].value_counts().to_dict() == UPSTREAM
    assert items.rejects.empty


def test_choices_of_a_model_and_the_same_choices_from_a_file(data: Path, causal: Path, tmp_path: Path) -> None:
    asked = run(PLAN, tmp_path / "model", model=causal, data=data)
    claims = [finding for finding in asked.findings if finding.role == "claim" and finding.n]
    assert {(f.metric, f.group) for f in claims} == {
        (metric, category) for metric in CLAIMED for category in ("Religion", "Physical_appearance")
    }
    assert len(claims) == 8  # and no twin without the items that have no single target
    assert asked.audit["counts"] == {"input": 48, "reported": 48, "excluded": 0, "unknown": 0}
    check_run(PLAN, tmp_path / "model")

    items = load_bbq(data / "bbq").table
    chosen = records_of(tmp_path / "model").set_index("item_id")["choice"][items["item_id"]]
    file = tmp_path / "choices.csv"
    predictions(items, [int(choice) for choice in chosen]).to_csv(file, index=False)
    read = run(PLAN, tmp_path / "file", predictions=file, data=data)

    def found(results: object) -> dict[tuple[str, ...], tuple[float, float, float, int]]:
        return {
            (metric, group, str("one target" in variant)): one
            for (metric, group, variant), one in numbers(results, "metric", "group", "variant").items()  # type: ignore[arg-type]
        }

    assert repr(found(read)) == repr(found(asked))


def test_a_category_without_items_of_one_context_keeps_its_variant(tmp_path: Path) -> None:
    folder = tmp_path / "bbq" / "data"
    folder.mkdir(parents=True)
    with gzip.open(DATA / "bbq" / "data" / "Religion.jsonl.gz", "rt", encoding="utf-8") as lines:
        chosen = [line for line in lines if '"ambig"' in line]
    (folder / "Religion.jsonl").write_text("".join(chosen[:20]))
    items = load_bbq(folder).table
    file = tmp_path / "answers.csv"
    predictions(items, ["a"] * 20).to_csv(file, index=False)
    results = run(PLAN, tmp_path / "out", predictions=file, data=tmp_path)
    one = next(f for f in results.findings if f.metric == "bbq_bias_disambiguated")
    assert (one.variant, one.verdict, one.reason) == ("free text", "not_measured", "no answer names a person")


def test_answers_in_words_of_a_model_and_from_a_file(data: Path, causal: Path, tmp_path: Path) -> None:
    asked = run("bbq/free-text", tmp_path / "model", model=causal, data=data)
    check_run("bbq/free-text", tmp_path / "model")
    items = load_bbq(data / "bbq").table
    texts = CausalLM.load(causal).answers(bbq_text_requests(items), Decoding(max_new_tokens=30, temperature=0.0))
    file = tmp_path / "answers.jsonl"
    predictions(items, list(texts)).to_json(file, orient="records", lines=True)
    read = run("bbq/free-text", tmp_path / "file", predictions=file, data=data)
    assert as_text(read.findings) == as_text(asked.findings)
    # a random model says nothing that is a choice: every claim is not measured, and says why
    assert exclusions(asked) == {"the answer could not be read": 48}
    assert {f.verdict.value for f in asked.findings} == {"not_measured"}


def test_a_model_that_always_answers_with_the_stereotype_exceeds_and_one_that_is_right_does_not(tmp_path: Path) -> None:
    folder = tmp_path / "bbq" / "data"
    folder.mkdir(parents=True)
    (folder / "Religion.jsonl.gz").write_bytes((DATA / "bbq" / "data" / "Religion.jsonl.gz").read_bytes())
    items = load_bbq(folder).table
    rows = items.to_dict("records")
    biased = [row[f"ans{next((k for k in range(3) if row[f'biased{k}']), row['unknown'])}"] for row in rows]
    right = [row[f"ans{row['label']}"] for row in rows]
    verdicts = {}
    for name, answers in (("biased", biased), ("right", right)):
        file = tmp_path / f"{name}.jsonl"
        predictions(items, [f"It was {answer}." for answer in answers]).to_json(file, orient="records", lines=True)
        results = run(PLAN, tmp_path / name, predictions=file, data=tmp_path)
        assert results.audit["counts"]["reported"] == 1200
        of_religion = [f for f in results.findings if f.role == "claim" and f.group == "Religion"]
        verdicts[name] = {f.metric: f.verdict.value for f in of_religion}
        others = {f.group: f.verdict.value for f in results.findings if f.role == "claim" and f.group != "Religion"}
        assert others == dict.fromkeys(set(CATEGORIES) - {"Religion"}, "not_measured")  # there is no file of them
    # where the context tells, the stereotype is right half of the time, in every template: no spread to judge it by
    right_by_half = {"bbq_accuracy_disambiguated": "not_measured"}
    assert verdicts["biased"] == dict.fromkeys(CLAIMED, "exceeds_threshold") | right_by_half
    assert verdicts["right"] == dict.fromkeys(CLAIMED, "within_threshold")


def test_errors_buy_no_narrower_interval_and_guesses_no_pass(tmp_path: Path) -> None:
    """All of the categories at hand; by the plan of a user who claims no others."""
    items = load_bbq(DATA / "bbq" / "data").table
    rng = np.random.default_rng(0)
    first = ~items.duplicated(["category", "context_condition"])
    label = items["label"].to_numpy()
    answers = {
        "right": label,
        "nearly": np.where(first, (label + 1) % 3, label),
        "guessed": rng.integers(0, 3, len(items)),
    }
    codes, reach = {}, {}
    for name, chosen in answers.items():
        measured = bbq_measured(read_bbq_predictions(items, predictions(items, [int(k) for k in chosen])))
        plan = load_benchmark_plan("bbq/free-text")
        findings = build_findings([measurement(plan, m) for m in measured if plan.policy.judges(m.metric)], plan.policy)
        codes[name] = exit_code(findings)
        reach[name] = {
            (f.metric, f.group): max(-f.ci_low, f.ci_high)
            for f in findings
            if f.role == "claim" and f.metric in ("bbq_bias_ambiguous", "bbq_cost_of_bias")
        }
    assert len(reach["right"]) == 14
    assert all(reach["nearly"][key] >= one - 1e-9 for key, one in reach["right"].items())
    # 50 templates, by Kish's count 30.61: t(49)^2 / (30.61 + t(49)^2) = 4.0384 / 34.65 = .1165
    assert reach["right"]["bbq_bias_ambiguous", "Gender_identity"] == pytest.approx(0.1165, abs=1e-4)
    assert codes == {"right": 0, "nearly": 0, "guessed": 1}


def test_missing_malformed_and_repeated_predictions_are_counted(data: Path, tmp_path: Path) -> None:
    items = load_bbq(data / "bbq").table
    table = predictions(items, ["no idea at all"] + ["b"] * 43 + ["I'm sorry, I cannot help with that."] + [None] * 3)
    table = pd.concat([table, table.iloc[[1]], table.iloc[[2]].assign(category="SES")])
    file = tmp_path / "answers.jsonl"
    lines = [json.dumps(row) for row in table.to_dict("records")]
    file.write_text("\n".join([*lines, '{"example_id": "3", "cat']))
    results = run(PLAN, tmp_path / "out", predictions=file, data=data)
    assert exclusions(results) == {
        "no answer was given": 3,
        "the answer could not be read": 1,
        "the model refused": 1,
        "several answers were given": 1,
    }
    assert results.audit["counts"] == {"input": 48, "reported": 42, "excluded": 6, "unknown": 0}
    assert {row["prediction"]: row["n"] for row in table_rows(results, "predictions that answer no item")} == {
        "for an item that is not at hand": 1,
        "a line that cannot be read": 1,
    }
    check_run(PLAN, tmp_path / "out")


def test_no_answers_end_in_reasons(data: Path) -> None:
    items = load_bbq(data / "bbq").table
    check_no_answers("bbq/free-text", bbq_text_records(items, [None] * len(items)))
