"""Models that look fair by what is left of their answers: none of them may be told that it is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from benchmark_runs import check_run, exclusions, run, table_rows
from upstream import DATA, needs

from rlhf_fair.audit.benchmark_plan import load_benchmark_plan
from rlhf_fair.probes.bbq import CATEGORIES, load_bbq
from rlhf_fair.probes.decisions import load_decisions
from rlhf_fair.probes.winobias import load_winobias
from rlhf_fair.records import Finding, Results, exit_code

SORRY = "I'm sorry, but I can't help with that."


def claims(results: Results, metric: str) -> list[Finding]:
    return [f for f in results.findings if f.role == "claim" and f.metric == metric]


def answered(items: pd.DataFrame, say: Callable[[Any], str], file: Path) -> Path:
    texts = [say(row) for row in items.itertuples(index=False)]
    items[["item_id"]].assign(text=texts).to_json(file, orient="records", lines=True)
    return file


def test_denials_in_prose_are_not_within(tmp_path: Path) -> None:
    """Whoever is no man is denied half the time, in words that begin with neither yes nor no; all others get a yes."""
    rng, items = np.random.default_rng(0), load_decisions()

    def say(row: Any) -> str:
        denied = row.gender != "man" and rng.random() < 0.5
        said = "Yes." if rng.random() < 0.995 else "No."
        return "Unfortunately the request should be denied." if denied else said

    file = answered(items, say, tmp_path / "answers.jsonl")
    results = run("decisions/free-text", tmp_path / "out", predictions=file)
    gender = [f for f in claims(results, "decision_yes_rate") if f.attribute == "gender"]
    assert all(abs(f.estimate) < 0.02 for f in gender)  # of the answers that could be read
    assert all(0.4 < f.measured_rate < 0.6 for f in gender)
    assert {f.verdict for f in gender} == {"inconclusive"}
    assert all("could be measured: what the others say is unknown" in f.reason for f in gender)
    assert exit_code(results.findings) != 0
    lost = [f for f in results.findings if f.metric == "unmeasured_gap" and f.attribute == "gender"]
    assert {f.role for f in lost} == {"exploratory"}
    assert all(f.verdict == "exceeds_threshold" and 0.4 < f.estimate < 0.6 for f in lost)
    check_run("decisions/free-text", tmp_path / "out")


def test_refusing_decisions_about_one_group_is_a_claim(tmp_path: Path) -> None:
    rng, items = np.random.default_rng(0), load_decisions()
    sorry = lambda row: row.race == "Black" and rng.random() < 0.3  # noqa: E731
    file = answered(items, lambda row: SORRY if sorry(row) else "Yes.", tmp_path / "answers.jsonl")
    results = run("decisions/free-text", tmp_path / "out", predictions=file)
    refused = {f.group: f.verdict for f in claims(results, "refusal_gap") if f.attribute == "race"}
    assert refused["Black"] == "exceeds_threshold"
    assert set(refused) == {"Black"}  # among the others nobody was refused: their scores speak for all of them
    assert exit_code(results.findings) == 1


def test_a_certain_answer_that_rounding_made_0_is_read(tmp_path: Path) -> None:
    """Nine in ten answers about men are (1, 0): the most decided there are, and no unreadable ones."""
    items = load_decisions()
    sure = (items["gender"] == "man") & (np.arange(len(items)) % 10 > 0)
    file = tmp_path / "chances.csv"
    items[["item_id"]].assign(p_yes=np.where(sure, 1.0, 0.6), p_no=np.where(sure, 0.0, 0.4)).to_csv(file, index=False)
    results = run("decisions", tmp_path / "out", predictions=file)
    assert results.audit["counts"]["excluded"] == 0
    women = next(f for f in claims(results, "decision_logit") if f.group == "woman")
    assert women.estimate < -5  # ln(0.6 / 0.4) = 0.4 against a mean near 0.9 ln(10^6) = 12.4
    assert women.verdict == "exceeds_threshold"
    assert "a probability of 0" in women.note
    # one of 0 lies further out than the smallest that the file has
    tiny = pd.DataFrame({"item_id": items["item_id"][:2], "p_yes": [0.0, 1e-9], "p_no": [0.5, 0.5]})
    read = load_benchmark_plan("decisions").benchmark.read(items[:3], tiny)
    assert read["logit"].tolist() == pytest.approx([np.log(1e-9 / 0.5)] * 2 + [np.nan], nan_ok=True)
    assert read["clipped"].tolist() == [True, False, False]
    check_run("decisions", tmp_path / "out")


@needs("winobias")
def test_refusing_where_it_would_err_is_not_within(tmp_path: Path) -> None:
    """Right in 99 % where the stereotype helps, in half where it misleads; but nearly all errors there are refused."""
    rng, items = np.random.default_rng(0), load_winobias(DATA / "winobias").table
    pro = (items["side"] == "pro").to_numpy()
    right = rng.random(len(items)) < np.where(pro, 0.99, 0.5)
    refused = ~pro & ~right & (rng.random(len(items)) < 0.97)
    file = tmp_path / "choices.csv"
    choice = np.where(right, "entity", "other")
    items[["item_id"]].assign(choice=choice, refused=np.where(refused, "yes", "no")).to_csv(file, index=False)
    results = run("winobias", tmp_path / "out", predictions=file)
    gaps = claims(results, "pro_less_anti_accuracy")
    assert len(gaps) == 2
    assert all(f.verdict == "inconclusive" and 0.4 < f.measured_rate < 0.6 for f in gaps)
    refusals = claims(results, "refusal_gap")
    assert sorted(f.variant for f in refusals) == ["type1", "type2"]
    assert all(f.verdict == "exceeds_threshold" and f.estimate < -0.4 for f in refusals)
    assert exit_code(results.findings) == 1
    alone = table_rows(results, "measured, but missing from some numbers")
    assert [row["n"] for row in alone] == [int(refused.sum())]  # their other sides, which are in the accuracy only
    check_run("winobias", tmp_path / "out")


@needs("bbq")
def test_hedged_stereotypes_are_not_within_and_files_that_are_not_there_are_not_measured(tmp_path: Path) -> None:
    folder = tmp_path / "bbq" / "data"
    folder.mkdir(parents=True)
    (folder / "Age.jsonl.gz").write_bytes((DATA / "bbq" / "data" / "Age.jsonl.gz").read_bytes())
    rng, items = np.random.default_rng(1), load_bbq(folder).table

    def say(row: Any) -> str:
        answers = (row.ans0, row.ans1, row.ans2)
        if row.context_condition == "ambig" and rng.random() < 0.9:
            person = next(k for k, biased in enumerate((row.biased0, row.biased1, row.biased2)) if biased)
            return f"It cannot be determined for sure, but it was most likely {answers[person]}."
        return str(answers[int(row.label)])

    file = tmp_path / "answers.jsonl"
    said = [say(row) for row in items.itertuples(index=False)]
    items[["example_id", "category"]].assign(prediction=said).to_json(file, orient="records", lines=True)
    results = run("bbq/free-text", tmp_path / "out", predictions=file, data=tmp_path)
    found = {f.group: f for f in claims(results, "bbq_bias_ambiguous")}
    assert set(found) == set(CATEGORIES)
    assert found["Age"].verdict == "inconclusive"
    assert found["Age"].measured_rate == pytest.approx(0.1, abs=0.03)
    assert {f.verdict for group, f in found.items() if group != "Age"} == {"not_measured"}
    assert exit_code(results.findings) == 3
    assert {f.group for f in claims(results, "bbq_cost_of_bias")} == set(CATEGORIES)
    assert not claims(results, "bbq_bias_disambiguated")  # which is not 0 for a model that is always right
    check_run("bbq/free-text", tmp_path / "out")


@needs("bbq")
def test_no_answer_where_the_truth_goes_against_the_stereotype_is_not_within(tmp_path: Path) -> None:
    plan = load_benchmark_plan("bbq/free-text")
    items = plan.benchmark.load(plan.benchmark.place(DATA)).table
    items = items[items["category"] == "Religion"].reset_index(drop=True)

    def say(row: Any) -> str:
        against = row.context_condition == "disambig" and not (row.biased0, row.biased1, row.biased2)[int(row.label)]
        return SORRY if against and row.Index % 20 else (row.ans0, row.ans1, row.ans2)[int(row.label)]

    table = items[["example_id", "category"]].assign(prediction=[say(row) for row in items.itertuples()])
    records = plan.benchmark.read(items, table)
    measured = plan.benchmark.measure(records, alpha=0.05, rng=np.random.default_rng(0))
    found = {m.metric: m for m in measured if m.variant == "free text"}
    assert found["bbq_cost_of_bias"].measured_rate < 0.1
    assert found["unmeasured_gap"].estimate.estimate < -0.9


@needs("bold")
def test_refusing_one_group_does_not_pass(tmp_path: Path) -> None:
    plan = load_benchmark_plan("bold")
    items = plan.benchmark.load(plan.benchmark.place(DATA)).table
    items = items[items["domain"].isin(["gender", "race"])].groupby("group").head(300)
    rng, shunned = np.random.default_rng(0), {"American_actresses", "African_Americans"}

    def say(row: Any) -> str:
        if row.group in shunned and rng.random() < 0.9:
            return SORRY
        return "a great start." if rng.random() < 0.04 else "a clerk in the paper mill."

    file = answered(items, say, tmp_path / "answers.jsonl")
    results = run("bold", tmp_path / "out", predictions=file)
    refused = {f.group: f for f in claims(results, "refusal_gap") if f.group in shunned}
    assert set(refused) == shunned
    assert {f.verdict for f in refused.values()} == {"exceeds_threshold"}
    assert exit_code(results.findings) == 1
    sentiment = [f for f in claims(results, "sentiment_gap") if f.group in shunned]
    assert sentiment
    assert "within_threshold" not in {f.verdict for f in sentiment}
    assert not claims(results, "toxicity_gap")  # a short mild list finds next to nothing


@needs("real-toxicity-prompts")
def test_answers_to_prompts_with_too_few_of_them_are_not_reported(tmp_path: Path) -> None:
    plan = tmp_path / "plan.toml"
    shipped = load_benchmark_plan("real-toxicity")
    text = (Path(__file__).parents[3] / "audits" / "real-toxicity" / "plan.toml").read_text()
    plan.write_text(text.replace("n_samples = 25", "n_samples = 3").replace("k = 25", "k = 3"))
    asked = load_benchmark_plan(plan).benchmark
    items = asked.load(asked.place(DATA)).table
    rows = [(item, sample, "a kind word") for item in items["item_id"] for sample in range(3)]
    lacking = set(items["item_id"][:5])
    rows = [row for row in rows if row[0] not in lacking or row[1] != 1]
    file = tmp_path / "answers.parquet"
    pd.DataFrame(rows, columns=["item_id", "sample", "text"]).to_parquet(file)
    results = run(plan, tmp_path / "out", predictions=file)
    assert shipped.probe == "real_toxicity"
    assert exclusions(results)["no answer was given"] == 5
    assert exclusions(results)["its prompt has fewer than 3 answers"] == 10
    assert results.audit["counts"]["reported"] == 3 * (len(items) - 5)
