"""What all audits of sampled continuations must do, on the upstream files and with the plans as they ship."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from model_server import Reply, in_words, prompt_of, says, serving
from sampled_audits import (
    DATA,
    FOLDERS,
    NO_CACHE,
    accounted,
    answered_by,
    audited,
    items_of,
    numbers,
    plan_of,
    save_model,
    skip_without,
    smaller,
)

from rlhf_fair.audit.benchmark import Answered, build_results, measure
from rlhf_fair.audit.benchmarks.base import Context
from rlhf_fair.audit.benchmarks.rulers import RULERS_TABLE
from rlhf_fair.audit.benchmarks.sampled import drawn
from rlhf_fair.audit.plan import find_plan
from rlhf_fair.audit.run import run_audit
from rlhf_fair.audit.source import open_source
from rlhf_fair.audit.target import Access, Target
from rlhf_fair.errors import SettingsError
from rlhf_fair.models.requests import Decoding
from rlhf_fair.probes.generations import generation_requests
from rlhf_fair.records import Results, Verdict, exit_code

PLANS = sorted(FOLDERS)
SMALLER = {
    "real-toxicity": {"k": 2, "checked": ["gender"]},
    "bold": {"domains": ["gender", "race"], "checked": ["gender"]},
}
REFUSAL = "I'm sorry, but I cannot help with that."


def cut(name: str, folder: Path, **settings: object) -> Path:
    """A plan that asks little: two prompts of each group, two samples."""
    skip_without(name)
    return smaller(name, folder, **({"n_samples": 2, "prompts_per_group": 2} | SMALLER.get(name, {}) | settings))


@pytest.mark.parametrize("name", PLANS)
def test_the_shipped_plan_asks_every_item_upstream_has(name: str) -> None:
    skip_without(name)
    found = plan_of(find_plan(name)).benchmark
    loaded = found.load(found.place(DATA))
    # the authors' tables, but for real-toxicity (the part at hand) and representation (ours: 40 occupations x 4)
    counts = {
        "bold": 23679,
        "regard": 60,
        "honest": 810,
        "honest/queer": 705,
        "real-toxicity": 5000,
        "representation": 160,
        "representation/bold": 10195,
    }
    assert len(loaded.table) + len(loaded.rejects) == counts[name]
    assert (find_plan(name).parent / "README.md").is_file()


@pytest.mark.parametrize("name", PLANS)
def test_a_model_and_a_file_of_its_answers_give_the_same_findings(name: str, tmp_path: Path) -> None:
    plan_file = cut(name, tmp_path / "plan", max_new_tokens=6)
    model = save_model(tmp_path / "model")
    asked = run_audit(plan_file, Target(model=str(model)), data_dir=DATA, out=tmp_path / "model-out", access=NO_CACHE)
    items, plan = items_of(plan_file), plan_of(plan_file)
    requests = generation_requests(items, 2)
    source = open_source(Target(model=str(model)), NO_CACHE, run=tmp_path)
    answers = source.answers(requests, Decoding(6, 1.0, plan.seed))
    table = pd.DataFrame([[*r.id.rsplit("#", 1), a] for r, a in zip(requests, answers, strict=True)])
    read = audited(plan_file, tmp_path / "file-out", table.set_axis(["item_id", "sample", "text"], axis=1))
    assert numbers(asked) == numbers(read)
    assert asked.audit["counts"]["input"] == 2 * len(items) + rejected(asked)
    assert accounted(asked.audit["counts"])


@pytest.mark.parametrize("name", PLANS)
def test_records_on_disk_hold_no_text_and_all_numbers(name: str, tmp_path: Path) -> None:
    plan_file = cut(name, tmp_path / "plan")
    secret = "zanzibar"
    results = answered_by(plan_file, tmp_path / "out", lambda item, sample: f"{secret} she was kind {sample}")
    records = pd.read_parquet(tmp_path / "out" / "records.parquet")
    assert not any(records[c].astype(str).str.contains(secret).any() for c in records)
    assert not {"text", "prompt", "neutral_prompt", "masked"} & set(records)
    plan = plan_of(plan_file)
    kept = [f for f in results.findings if f.role != "control"]
    again = [m for m in measure(plan, records) if m.metric in plan.policy.metrics]
    assert [(f.metric, f.group, f.variant) for f in kept] == [(m.metric, m.group, m.variant) for m in again]
    for name_ in ("estimate", "ci_low", "ci_high"):
        before, after = [getattr(f, name_) for f in kept], [getattr(m.estimate, name_) for m in again]
        assert before == pytest.approx(after, nan_ok=True)


@pytest.mark.parametrize("name", PLANS)
def test_predictions_that_cannot_be_used_are_counted_and_not_guessed(name: str, tmp_path: Path) -> None:
    plan_file = cut(name, tmp_path / "plan")
    items = items_of(plan_file)["item_id"]
    rows = [(item, sample, "she was kind") for item in items for sample in range(2)]
    missing, twice, refused = rows[0], rows[1], rows[2]
    rows = [row for row in rows if row not in (missing, refused)]
    rows += [
        (twice[0], twice[1], "another"),
        (refused[0], refused[1], REFUSAL),
        ("no such item", 0, "x"),
        (items[3], 9, "x"),
    ]
    results = audited(plan_file, tmp_path / "out", pd.DataFrame(rows, columns=["item_id", "sample", "text"]))
    reasons = {row["reason"]: row["n"] for row in results.audit["exclusions"]}
    assert reasons["no answer was given"] == 1
    assert reasons["several answers were given"] == 1
    scored = name.startswith(("honest", "real-toxicity"))  # there a refusal is an answer as any other
    assert reasons.get("the model refused", 0) == (0 if scored else 1)
    stray = results.audit["tables"]["predictions that answer no item"]
    assert stray == [
        {"prediction": "for an item that is not at hand", "n": 1},
        {"prediction": "of a sample beyond those that are asked for, or without a number", "n": 1},
    ]
    counts = results.audit["counts"]
    assert accounted(counts)
    assert counts["input"] == 2 * len(items) + rejected(results)
    assert counts["excluded"] == rejected(results) + (2 if scored else 3)


@pytest.mark.parametrize("name", PLANS)
def test_without_any_answer_nothing_is_measured_and_said_why(name: str, tmp_path: Path) -> None:
    results = answered_by(cut(name, tmp_path / "plan"), tmp_path / "out", lambda item, sample: None)
    claims = [f for f in results.findings if f.role == "claim"]
    assert claims
    assert {f.verdict for f in claims} == {Verdict.NOT_MEASURED}
    assert all(f.reason for f in claims)
    assert exit_code(results.findings) == 3
    assert results.audit["counts"]["reported"] == 0


@pytest.mark.parametrize("name", PLANS)
def test_no_record_at_all_is_not_measured_either(name: str, tmp_path: Path) -> None:
    plan_file = cut(name, tmp_path / "plan")
    answered_by(plan_file, tmp_path / "out", lambda item, sample: "kind" if sample else None)
    records = pd.read_parquet(tmp_path / "out" / "records.parquet")
    assert all(np.isnan(m.estimate.estimate) for m in measure(plan_of(plan_file), records.iloc[:0]))


def test_the_report_says_how_many_of_how_many_were_asked(tmp_path: Path) -> None:
    plan_file = cut("bold", tmp_path / "plan", domains=[])
    results = answered_by(plan_file, tmp_path / "out", lambda item, sample: "kind")
    assert results.audit["data"]["items"] == "86 of 23,679"  # two of each of 43 groups
    assert results.audit["counts"]["input"] == 2 * 86 + 5


def test_a_larger_draw_holds_the_smaller_one_and_hangs_on_the_seed() -> None:
    items = pd.DataFrame({"item_id": map(str, range(300)), "group": ["a"] * 200 + ["b"] * 97 + ["c"] * 3})
    few, more = (drawn(items, ("group",), n, np.random.default_rng(5)) for n in (4, 9))
    assert few["group"].value_counts().to_dict() == {"a": 4, "b": 4, "c": 3}
    assert set(few["item_id"]) < set(more["item_id"])
    assert few["item_id"].tolist() == sorted(few["item_id"], key=int)  # in their old order
    assert set(few["item_id"]) != set(drawn(items, ("group",), 4, np.random.default_rng(6))["item_id"])
    assert drawn(items, ("group",), 0, np.random.default_rng(5)) is items


def test_samples_and_draws_follow_the_plans_seed(tmp_path: Path) -> None:
    skip_without("bold")
    benchmark = plan_of(cut("bold", tmp_path)).benchmark
    first, again, other = (benchmark.within(Context(seed=seed)).load(DATA / "bold").table for seed in (1, 1, 2))
    assert first["item_id"].tolist() == again["item_id"].tolist() != other["item_id"].tolist()


def test_prompts_beyond_the_models_window_have_no_answer_and_are_counted(tmp_path: Path) -> None:
    plan_file = cut("bold", tmp_path / "plan", max_new_tokens=6, prompts_per_group=20)
    model = save_model(tmp_path / "model", window=44)
    results = run_audit(plan_file, Target(model=str(model)), data_dir=DATA, out=tmp_path / "out", access=NO_CACHE)
    reasons = {row["reason"]: row["n"] for row in results.audit["exclusions"]}
    assert 0 < reasons["no answer was given"] < 2 * len(items_of(plan_file))
    assert accounted(results.audit["counts"])


def test_a_ruler_that_moves_is_a_control_and_a_sentence_and_decides_nothing(tmp_path: Path) -> None:
    plan_file = cut("bold", tmp_path / "plan", checked=["gender", "religion"])
    text = plan_file.read_text().replace('kind = "vader"', 'kind = "vader"\nfile = "tilted.txt"')
    plan_file.write_text(text)
    (plan_file.parent / "tilted.txt").write_text("kind\t2.0\nmuslim\t-3.0\nexcellent\t2.7\n")
    results = answered_by(plan_file, tmp_path / "out", lambda item, sample: "kind" if sample else "late")
    controls = {(f.metric, f.group, f.variant.split(";")[0]): f for f in results.findings if f.role == "control"}
    assert all(f.id.startswith("model/scorer_bias/") for f in controls.values())
    moved = controls["sentiment_scorer_shift", "Muslim", "words"]
    assert moved.verdict is Verdict.EXCEEDS
    # VADER's s / sqrt(s^2 + 15): -3 in 15 sentences; beside an excellent doctor -0.3 in place of 2.7
    alone, beside = -3 / np.sqrt(9 + 15), -0.3 / np.sqrt(0.09 + 15) - 2.7 / np.sqrt(2.7**2 + 15)
    assert moved.estimate == pytest.approx((15 * alone + beside) / 16, abs=1e-3)
    assert {group for _, group, _ in controls} == {"Muslim"}  # nothing else moves; the table says by how little
    table = results.audit["tables"][RULERS_TABLE]
    assert "woman" in [row[table["columns"].index("group")] for row in table["rows"]]
    told = [limit for limit in results.audit["limits"] if limit.startswith("The ruler itself moves")]
    assert len(told) == 1
    assert "words for Muslim stand in place of those for Christian" in told[0]
    assert any("(toxicity by toxic-terms) was not seen to move" in limit for limit in results.audit["limits"])
    assert exit_code(results.findings) == exit_code([f for f in results.findings if f.role == "claim"])


def test_the_check_of_the_rulers_can_be_measured_again_from_disk(tmp_path: Path) -> None:
    plan_file = cut("regard", tmp_path / "plan")
    results = answered_by(plan_file, tmp_path / "out", lambda item, sample: "kind" if sample else "late")
    rulers = pd.read_parquet(tmp_path / "out" / "rulers.parquet")
    assert "text" not in rulers
    plan = plan_of(plan_file)
    found = plan.benchmark.load(plan.benchmark.place(DATA))
    answered = Answered(pd.read_parquet(tmp_path / "out" / "records.parquet"), "x", {}, Counter())
    again = build_results(plan, found, answered, rulers)
    assert numbers(again) == numbers(results)
    assert again.audit["limits"] == results.audit["limits"]


def test_plans_that_contradict_themselves_are_one_error(tmp_path: Path) -> None:
    for name, settings, said in (
        ("bold", {"temperature": 0.0}, "one answer several times"),
        ("bold", {"checked": ["shoe size"]}, "checked"),
        ("bold", {"part": "all"}, "part"),
        ("real-toxicity", {"k": 3}, "k = 3, but n_samples = 2"),
        ("representation", {"target": "x"}, "target"),
        ("honest", {"reference": "nobody"}, "no category 'nobody'"),
    ):
        with pytest.raises(SettingsError, match=said):
            answered_by(cut(name, tmp_path / name, **settings), tmp_path / "out", lambda item, sample: "kind")


def test_a_scorer_that_is_not_there_is_found_out_before_a_model_is_asked(tmp_path: Path) -> None:
    plan_file = cut("bold", tmp_path / "plan")
    plan_file.write_text(plan_file.read_text().replace('kind = "vader"', 'kind = "vader"\nfile = "none.txt"'))
    with pytest.raises(Exception, match=r"none\.txt"):
        run_audit(plan_file, Target(model="no-such-model"), data_dir=DATA, out=tmp_path / "out", access=NO_CACHE)


def rejected(results: Results) -> int:
    """Items that could not be used upstream, of which none was asked."""
    return sum(row["n"] for row in results.audit["exclusions"] if row["reason"].startswith("item rejected"))


def test_a_server_that_fails_on_some_prompts_leaves_those_unanswered(tmp_path: Path) -> None:
    plan_file = cut("regard", tmp_path / "plan")
    (tmp_path / "server.toml").write_text("attempts = 1\nfirst_wait_s = 0.01\nlongest_wait_s = 0.02\n")

    def mostly(request: dict[str, Any], path: str) -> Reply:
        if prompt_of(request).startswith("The man"):
            return says({"error": {"message": "no"}}, status=400)
        return in_words(" a kind person.", path)

    with serving(mostly) as server:
        target = Target(endpoint=server.url, endpoint_model="m")
        access = Access(cache=None, server=tmp_path / "server.toml")
        results = run_audit(plan_file, target, data_dir=DATA, out=tmp_path / "out", access=access)
    reasons = {row["reason"]: row["n"] for row in results.audit["exclusions"]}
    assert reasons == {"no answer was given": 4}  # two prompts, two samples
    assert sum(results.audit["unanswered"].values()) == 4
    assert accounted(results.audit["counts"])
    claims = {f.attribute: f for f in results.findings if f.role == "claim"}
    assert claims["gender"].verdict is Verdict.NOT_MEASURED
    assert "The man" in claims["gender"].reason
    assert claims["race"].estimate == 0


def test_a_judge_is_asked_once_and_its_ratings_go_when_the_results_are_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan_file = cut("regard", tmp_path / "plan", checked=["gender"])

    def rates(request: dict[str, Any], path: str) -> Reply:
        return in_words("4" if "kind" in prompt_of(request) else "2", path)

    with serving(rates) as server:
        judge = f'kind = "judge"\nmodel = "m"\nendpoint = "{server.url}"\nquestion = "Is it kind?"'
        plan_file.write_text(plan_file.read_text().replace('kind = "vader"', judge))
        access = Access(cache=tmp_path / "cache")

        def answered(break_off: bool) -> Results:
            if break_off:  # after all ratings, before any result
                monkeypatch.setattr("rlhf_fair.audit.benchmark.write_results", _fails)
            else:
                monkeypatch.undo()
            file = tmp_path / "answers.jsonl"
            rows = [{"item_id": i, "text": f"a kind person {k}"} for k, i in enumerate(items_of(plan_file)["item_id"])]
            pd.DataFrame(rows).to_json(file, orient="records", lines=True)
            return run_audit(plan_file, Target(predictions=file), data_dir=DATA, out=tmp_path / "out", access=access)

        with pytest.raises(OSError, match="disk"):
            answered(break_off=True)
        asked = sum(server.asked.values())
        results = answered(break_off=False)
        assert sum(server.asked.values()) == asked
    assert not list((tmp_path / "cache").rglob("*.jsonl"))
    levels = results.audit["tables"]["also measured"]
    rows = [dict(zip(levels["columns"], row, strict=True)) for row in levels["rows"]]
    assert {row["estimate"] for row in rows if row["metric"] == "mean_sentiment"} == {4.0}
    assert {row["unit"] for row in rows if row["metric"] == "mean_sentiment"} == {"rating points"}


def _fails(*arguments: object) -> None:
    raise OSError("the disk is full")


def test_results_are_plain_json(tmp_path: Path) -> None:
    results = answered_by(cut("honest", tmp_path / "plan"), tmp_path / "out", lambda item, sample: "a clerk")
    assert json.loads((tmp_path / "out" / "results.json").read_text())["audit"]["data"] == results.audit["data"]
