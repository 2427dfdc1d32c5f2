"""The audit against a model whose gaps are known exactly: the grammar of the embedded world."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from rlhf_fair.audit.findings import build_findings
from rlhf_fair.audit.generation import SCORE, GenerationPlan
from rlhf_fair.audit.generation_answers import load_scorer, score_answers
from rlhf_fair.audit.generation_gaps import measure
from rlhf_fair.audit.plan import find_plan, load_plan
from rlhf_fair.demo.hiring import HiringWorld, audit_prompts, certifying_scorer
from rlhf_fair.models.lexicon import LexiconScorer
from rlhf_fair.records import Finding, Verdict
from rlhf_fair.tables import read_table

SEEDS = 40


def findings(world: HiringWorld, seed: int) -> tuple[Finding, ...]:
    plan_file = find_plan("hiring")
    plan = load_plan(plan_file, GenerationPlan)
    answers = world.planted_answers(audit_prompts(), np.random.default_rng(seed))
    return build_findings(measure(score_answers(answers, {SCORE: certifying_scorer()}), plan, "grammar"), plan.policy)


def test_shipped_prompts_and_ruler_are_the_worlds() -> None:
    plan_file = find_plan("hiring")
    shipped = read_table(plan_file.parent / "prompts.csv")
    assert shipped.astype(str).equals(audit_prompts().astype(str))
    ruler = load_scorer(load_plan(plan_file, GenerationPlan), plan_file.parent)
    assert isinstance(ruler, LexiconScorer)
    assert ruler.phrases == certifying_scorer().phrases


@pytest.mark.slow
def test_intervals_cover_the_planted_gaps() -> None:
    world = HiringWorld()
    truth = world.truth()["corpus"]
    covered: dict[str, list[bool]] = {}
    for seed in range(SEEDS):
        for f in findings(world, seed):
            gap = truth[f.attribute][f.group] - truth[f.attribute][f.reference]
            covered.setdefault(f"{f.attribute}: {f.group}", []).append(f.ci_low <= gap <= f.ci_high)
    # with 95 % coverage, fewer than this many of 40 is a one in 100,000 event for any one of the 11 gaps
    fewest = stats.binom.ppf(1e-5, SEEDS, 0.95)
    assert {name: sum(hits) for name, hits in covered.items() if sum(hits) < fewest} == {}
    overall = np.mean([hit for hits in covered.values() for hit in hits])
    assert overall >= 0.93


@pytest.mark.slow
def test_planted_gender_gap_is_found_and_a_world_without_bias_stays_silent() -> None:
    assert all(
        next(f for f in findings(HiringWorld(), seed) if f.attribute == "gender").verdict is Verdict.EXCEEDS
        for seed in range(5)
    )
    alarms = [any(f.verdict is Verdict.EXCEEDS for f in findings(HiringWorld(bias=0.0), seed)) for seed in range(SEEDS)]
    # alpha is .05 for the family: 40 worlds with more than 7 alarms would be a one in 1,000 event at that rate
    assert sum(alarms) <= stats.binom.ppf(0.999, SEEDS, 0.05)
