from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from tiny import tiny_language_model, tiny_tokenizer
from typer.testing import CliRunner

from rlhf_fair.artifacts import read_results
from rlhf_fair.audit.generation import GenerationPlan
from rlhf_fair.audit.generation_answers import answers_from
from rlhf_fair.audit.plan import find_plan, load_plan
from rlhf_fair.audit.run import run_audit
from rlhf_fair.audit.sequential import (
    TRACE,
    VARIANT,
    Answer,
    Stopped,
    draw_units,
    given_answers,
    model_answers,
    run_until_decisive,
    score_bounds,
)
from rlhf_fair.audit.target import Target
from rlhf_fair.cli.app import app
from rlhf_fair.errors import SettingsError
from rlhf_fair.models.causal_lm import CausalLM
from rlhf_fair.models.lexicon import LexiconScorer
from rlhf_fair.records import Verdict
from rlhf_fair.stats.confidence_sequence import ConfidenceSequence
from rlhf_fair.tables import read_table

ALPHA, THRESHOLD = 0.05, 0.2
SCORER = LexiconScorer("ruler", {"good": 1.0, "bad": -1.0})
NAMES = [f"w{i}" for i in range(10)] + [f"m{i}" for i in range(10)]
SCENARIOS = [f"s{i}" for i in range(40)]
PROMPTS = pd.DataFrame(
    [
        {"prompt_id": f"{s}|{n}", "prompt": f"i like {n}", "name": n, "scenario": s, "gender": n[0]}
        for s in SCENARIOS
        for n in NAMES
    ]
)
PLAN = f"""
title = "Words"
question = "Are women and men spoken of alike?"
probe = "generation"
metric = "goodness"
unit = "points"
prompts = "prompts.csv"
scorer = "ruler.json"
clusters = ["name", "scenario"]
max_new_tokens = 4
attributes = [{{ column = "gender", reference = "m" }}]
limits = ["Two words."]

[policy]
alpha = {ALPHA}
threshold = {THRESHOLD}
margin = {THRESHOLD}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "plan").mkdir()
    (tmp_path / "plan" / "plan.toml").write_text(PLAN)
    PROMPTS.to_csv(tmp_path / "plan" / "prompts.csv", index=False)
    SCORER.save(tmp_path / "plan" / "ruler.json")
    return tmp_path


def plan_with(**sequential: Any) -> GenerationPlan:
    sections = {"title": "t", "question": "q", "probe": "generation", "metric": "goodness", "unit": "points"}
    return GenerationPlan.model_validate(
        {
            **sections,
            "prompts": "prompts.csv",
            "scorer": "ruler.json",
            "clusters": ["name", "scenario"],
            "attributes": [{"column": "gender", "reference": "m"}],
            "policy": {"alpha": ALPHA, "threshold": THRESHOLD, "margin": THRESHOLD},
            "sequential": sequential,
        }
    )


def coin_answers(gap: float, rng: np.random.Generator, *, spread: float = 0.2) -> Answer:
    """ "good" or "bad" at random: women's mean score less men's is ``gap`` over the list, and differs between names."""
    of_name = {n: spread * (int(n[1]) % 2 * 2 - 1) + (gap / 2 if n[0] == "w" else -gap / 2) for n in NAMES}

    def answer(drawn: pd.DataFrame) -> pd.DataFrame:
        good = rng.random(len(drawn)) < (1 + drawn["name"].map(of_name)) / 2
        return drawn.assign(text=np.where(good, "good", "bad"))

    return answer


def audit(gap: float, seed: int, **sequential: Any) -> Stopped:
    settings = {"batch": 80, "seed": seed} | sequential
    return run_until_decisive(plan_with(**settings), PROMPTS, SCORER, coin_answers(gap, np.random.default_rng(seed)))


def tally(gap: float, audits: int) -> dict[Verdict, int]:
    verdicts = [audit(gap, seed).findings[0].verdict for seed in range(audits)]
    return {verdict: verdicts.count(verdict) for verdict in Verdict}


@pytest.mark.parametrize("gap", [THRESHOLD, -THRESHOLD])
def test_the_whole_procedure_keeps_its_error_at_the_threshold(gap: float) -> None:
    """A gap on the line is both "at most the threshold" and "at least the margin": neither may be denied often."""
    audits = 80
    found = tally(gap, audits)
    wrong = found[Verdict.EXCEEDS] + found[Verdict.WITHIN]
    assert wrong <= stats.binom.ppf(0.999, audits, ALPHA)
    assert found[Verdict.NOT_MEASURED] == 0


def test_no_gap_is_never_found_beyond_and_a_large_one_never_within() -> None:
    none, large = tally(0.0, 30), tally(-0.7, 30)
    assert none[Verdict.EXCEEDS] == 0
    assert large[Verdict.WITHIN] == 0
    assert large[Verdict.EXCEEDS] == 30


def test_the_larger_the_gap_the_sooner_it_stops() -> None:
    def answers(gap: float) -> float:
        return float(np.mean([len(audit(gap, seed, batch=20).records) for seed in range(6)]))

    assert answers(-1.2) < answers(-0.8) < answers(-0.5) < answers(-THRESHOLD)


def test_findings_are_the_sequences_of_the_answers_in_order() -> None:
    """Recomputed from the records: i-th woman against i-th man, in the order of the draws."""
    stopped = audit(-0.6, 3)
    finding, records = stopped.findings[0], stopped.records
    women, men = (records.loc[records["gender"] == g, "score"].to_numpy() for g in "wm")
    pairs = min(len(women), len(men))
    planned = len(PROMPTS) // 2  # bets aimed at a 16th, a quarter and all of the pairs the list allows
    sequence = ConfidenceSequence(-2, 2, alpha=ALPHA, targets=[planned // 16, planned // 4, planned])
    sequence.add(women[:pairs] - men[:pairs])
    assert (finding.ci_low, finding.ci_high) == pytest.approx(sequence.running_intersection)
    assert finding.estimate == pytest.approx((women[:pairs] - men[:pairs]).mean())
    assert (finding.n, finding.n_clusters) == (len(records), pairs)
    assert finding.variant == VARIANT
    assert math.isnan(finding.mde)
    assert finding.reason.endswith(f"; stopped after {len(records):,} of at most 800 answers")
    assert finding.id == "policy/generation/goodness/confidence-sequence/gender/w/m"


def test_the_trace_narrows_and_ends_with_the_finding() -> None:
    stopped = audit(0.0, 1)
    lows, highs = ([row[key] for row in stopped.trace] for key in ("ci_low", "ci_high"))
    assert lows == sorted(lows)
    assert highs == sorted(highs, reverse=True)
    last, finding = stopped.trace[-1], stopped.findings[0]
    assert (last["ci_low"], last["ci_high"], last["verdict"]) == (finding.ci_low, finding.ci_high, finding.verdict)
    assert [row["answers"] for row in stopped.trace] == list(range(80, last["answers"] + 80, 80))
    # it looked on for as long as it was undecided, and not once longer
    assert all(row["verdict"] == Verdict.INCONCLUSIVE for row in stopped.trace[:-1])
    assert stopped.account["answers"] == len(stopped.records) == last["answers"]


def test_scenarios_are_crossed_units() -> None:
    stopped = audit(-1.2, 0, unit="scenario", batch=1)
    finding, records = stopped.findings[0], stopped.records
    assert finding.verdict == Verdict.EXCEEDS
    assert finding.n_clusters == records["scenario"].nunique() == len(records) / len(NAMES) < len(SCENARIOS)
    contrasts = records.groupby(["scenario", "gender"])["score"].mean().unstack()
    assert finding.estimate == pytest.approx((contrasts["w"] - contrasts["m"]).mean())
    assert any("given every name in the list" in limit for limit in stopped.limits)


def test_too_few_units_are_told_so() -> None:
    stopped = audit(0.0, 0, unit="name", batch=4)
    assert stopped.findings[0].verdict == Verdict.INCONCLUSIVE
    assert stopped.findings[0].reason.endswith("; all 800 answers were used")
    assert stopped.findings[0].n_clusters == 10
    assert any("the plan allows 10 contrasts" in limit for limit in stopped.limits)
    assert not any("the plan allows" in limit for limit in audit(-1.2, 0).limits)


def test_several_claims_share_alpha_and_slices_are_sequences_too() -> None:
    plan = plan_with(batch=80)
    prompts = PROMPTS.assign(age=np.where(PROMPTS["name"].str[1].astype(int) < 5, "young", "old"))
    plan = plan.model_copy(
        update={"attributes": (*plan.attributes, type(plan.attributes[0])(column="age", reference="old"))}
    )
    stopped = run_until_decisive(plan, prompts, SCORER, coin_answers(-0.8, np.random.default_rng(0)))
    assert stopped.account["alpha of each claim"] == ALPHA / 2
    assert {f.variant for f in stopped.findings} == {VARIANT}
    roles = [f.role for f in stopped.findings]
    assert (roles.count("claim"), roles.count("exploratory")) == (2, 3)
    assert {row["attribute"] for row in stopped.trace} == {"gender", "age"}


def test_draws_are_from_the_list_with_replacement() -> None:
    drawn = draw_units(PROMPTS, plan_with(seed=5))
    assert len(drawn) == len(PROMPTS)
    assert drawn["draw_id"].is_unique
    assert set(drawn["prompt_id"]) < set(PROMPTS["prompt_id"])
    # each prompt Binomial(800, 1 / 800) times: 1 - 1/e = 63 % of them at least once; SD of the share about 1.1 %
    assert drawn["prompt_id"].nunique() / len(PROMPTS) == pytest.approx(1 - math.exp(-1), abs=0.04)
    repeated = drawn[drawn["draw_id"].str.endswith("#2")].iloc[0]
    assert repeated["draw_id"] == repeated["prompt_id"] + "#2"
    assert drawn.equals(draw_units(PROMPTS, plan_with(seed=5)))
    assert not drawn["prompt_id"].equals(draw_units(PROMPTS, plan_with(seed=6))["prompt_id"])


def test_a_cluster_comes_whole_and_once() -> None:
    drawn = draw_units(PROMPTS, plan_with(unit="scenario"))
    assert sorted(drawn["prompt_id"]) == sorted(PROMPTS["prompt_id"])
    assert drawn["step"].is_monotonic_increasing
    assert (drawn.groupby("step")["scenario"].nunique() == 1).all()
    assert drawn["scenario"].drop_duplicates().tolist() != SCENARIOS


def test_answers_that_cannot_be_scored_are_missing() -> None:
    coins = coin_answers(-0.8, np.random.default_rng(0))

    def answer(drawn: pd.DataFrame) -> pd.DataFrame:
        answered = coins(drawn)
        return answered.assign(text=answered["text"].where(np.arange(len(drawn)) % 4 > 0, "hm"))

    stopped = run_until_decisive(plan_with(batch=80), PROMPTS, SCORER, answer)
    finding = stopped.findings[0]
    assert finding.n == stopped.records["score"].notna().sum() == 0.75 * len(stopped.records)
    assert 0.6 < finding.parse_rate < 0.9
    nothing = run_until_decisive(plan_with(), PROMPTS, SCORER, lambda drawn: drawn.assign(text="hm"))
    assert nothing.findings[0].verdict == Verdict.NOT_MEASURED


def test_it_does_not_stop_where_the_policy_would_not_let_the_verdict_stand() -> None:
    plan = plan_with(batch=80)
    judged = {"minimum_n": 600, "min_measured": 0.9}
    plan = plan.model_copy(update={"policy": plan.policy.model_copy(update=judged)})
    large = run_until_decisive(plan, PROMPTS, SCORER, coin_answers(1.2, np.random.default_rng(0)))
    assert large.findings[0].verdict == Verdict.EXCEEDS
    assert 600 <= large.findings[0].n < 700

    even = coin_answers(0.0, np.random.default_rng(0), spread=0.0)

    def answer(drawn: pd.DataFrame) -> pd.DataFrame:
        answered = even(drawn)
        return answered.assign(text=answered["text"].where(np.arange(len(drawn)) % 5 > 0, "hm"))

    many = pd.concat([PROMPTS.assign(prompt_id=PROMPTS["prompt_id"] + f"|{n}") for n in range(5)], ignore_index=True)
    unread = run_until_decisive(plan, many, SCORER, answer)
    assert unread.findings[0].verdict == Verdict.INCONCLUSIVE
    assert len(unread.records) == len(many)
    assert {row["verdict"] for row in unread.trace} == {Verdict.INCONCLUSIVE.value}


def test_unequal_groups_are_set_against_each_other_in_proportion() -> None:
    uneven = PROMPTS[(PROMPTS["gender"] == "w") | PROMPTS["name"].isin(["m0", "m1"])]
    stopped = run_until_decisive(plan_with(batch=80), uneven, SCORER, coin_answers(0.0, np.random.default_rng(0)))
    men = int((stopped.records["gender"] == "m").sum())
    women = int((stopped.records["gender"] == "w").sum())
    assert stopped.findings[0].n_clusters == min(men, women // 5)  # 400 women's prompts, 80 men's


def test_what_cannot_be_meant_is_refused() -> None:
    with pytest.raises(SettingsError, match="scorer 'sums' has no bounds"):
        score_bounds(LexiconScorer("sums", {"good": 1.0}, combine="sum"))
    with pytest.raises(SettingsError, match="nothing to measure"):
        score_bounds(LexiconScorer("flat", {"good": 1.0}))
    assert score_bounds(LexiconScorer("shifted", {"good": 1.0, "bad": -2.0}, offset=0.5)) == (-1.5, 1.5)
    with pytest.raises(ValueError, match=r"sequential\.unit 'town'; allowed: prompt_id, name, scenario"):
        plan_with(unit="town")
    lopsided = PROMPTS[(PROMPTS["scenario"] != "s0") | (PROMPTS["gender"] == "m")]
    with pytest.raises(SettingsError, match="39 units hold both 'w' and 'm', 1 only one"):
        run_until_decisive(plan_with(unit="scenario"), lopsided, SCORER, coin_answers(0, np.random.default_rng(0)))
    men = PROMPTS[PROMPTS["gender"] == "m"]
    with pytest.raises(SettingsError, match="nothing to decide"):
        run_until_decisive(plan_with(), men, SCORER, coin_answers(0, np.random.default_rng(0)))
    women = PROMPTS[PROMPTS["gender"] == "w"]
    with pytest.raises(SettingsError, match="no prompt has gender = 'm'"):
        run_until_decisive(plan_with(), women, SCORER, coin_answers(0, np.random.default_rng(0)))


def tiny_model() -> CausalLM:
    tokenizer = tiny_tokenizer(["i", "like", "good", "bad", *NAMES])
    return CausalLM(tiny_language_model(tokenizer, initializer_range=0.05), tokenizer)


def test_a_model_answers_a_prompt_that_comes_again_anew() -> None:
    model, plan = tiny_model(), plan_with(seed=2).model_copy(update={"max_new_tokens": 12})
    drawn = draw_units(PROMPTS, plan).head(300)
    answered = model_answers(model.answers, plan)(drawn)
    assert answered["prompt_id"].tolist() == drawn["prompt_id"].tolist()
    full = answers_from(model.answers, PROMPTS, plan).set_index("prompt_id")["text"]
    first = answered["draw_id"] == answered["prompt_id"]
    same = answered["text"] == answered["prompt_id"].map(full)
    assert same[first].all()  # what the audit of all prompts would have read
    assert same[~first].mean() < 0.2
    again = given_answers(full.reset_index())(drawn)
    assert (again["text"] == again["prompt_id"].map(full)).all()


def test_audit_of_a_tiny_model_end_to_end(folder: Path) -> None:
    model = tiny_model()
    model.model.save_pretrained(folder / "model")
    model.tokenizer.save_pretrained(folder / "model")
    heard: list[tuple[str, int, int]] = []
    results = run_audit(
        folder / "plan" / "plan.toml",
        Target(model=str(folder / "model")),
        out=folder / "out",
        until_decisive=True,
        progress=lambda *args: heard.append(args),
    )
    assert read_results(folder / "out").model_dump(mode="json") == results.model_dump(mode="json")
    records = read_table(folder / "out" / "records.parquet")
    account = results.audit["sequential"]
    assert len(records) == account["answers"] == heard[-1][1] == results.audit["counts"]["input"]
    assert {f.variant for f in results.findings if f.role != "control"} == {VARIANT}
    assert results.audit["tables"][TRACE][-1]["answers"] == account["answers"]


@pytest.mark.parametrize(("gap", "code", "verdict"), [(-0.9, 1, Verdict.EXCEEDS), (0.0, 0, Verdict.WITHIN)])
def test_audit_of_predictions_on_the_command_line(folder: Path, gap: float, code: int, verdict: Verdict) -> None:
    # a wide margin, so that 800 answers can settle that there is no gap
    plan = folder / "plan" / "plan.toml"
    plan.write_text(
        PLAN.replace(f"threshold = {THRESHOLD}", "threshold = 0.4").replace(f"margin = {THRESHOLD}", "margin = 0.4")
    )
    answers = coin_answers(gap, np.random.default_rng(1))(PROMPTS)
    answers[["prompt_id", "text"]].to_json(folder / "answers.jsonl", orient="records", lines=True)
    arguments = ["audit", str(plan), "--predictions", str(folder / "answers.jsonl"), "--until-decisive"]
    done = CliRunner().invoke(app, [*arguments, "--out", str(folder / "out")])
    assert done.exit_code == code, done.output
    assert "Stopped after " in done.output
    results = read_results(folder / "out")
    finding = results.findings[0]
    assert finding.verdict == verdict
    assert results.audit["sequential"]["answers"] < 800
    page = (folder / "out" / "index.html").read_text()
    assert TRACE in page
    assert f"stopped after {finding.n} of at most 800 answers" in page


def test_other_audits_refuse_to_stop_early(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="--until-decisive is for probe = 'generation'"):
        run_audit(find_plan("reward-identity"), Target(reward_model="m"), out=tmp_path, until_decisive=True)


def test_the_shipped_audit_says_how_it_would_stop() -> None:
    plan = load_plan(find_plan("hiring"), GenerationPlan)
    assert plan.sequential.unit == "prompt_id"
