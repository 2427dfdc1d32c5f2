"""Which alarms ring and how often falsely, on simulated rounds: nothing is trained."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from rlhf_fair.errors import SettingsError
from rlhf_fair.records import Estimate, Verdict
from rlhf_fair.rounds.drift import AGREES, KL, LENGTH, LOG_RATIO, REFUSED, SCORE, RoundRecords, Watch, judge_round
from rlhf_fair.rounds.settings import DriftLimits
from rlhf_fair.stats.alpha_spending import even, open_ended, spent

WATCH = Watch(
    attributes=(("group", "m"),),
    clusters=("name",),
    limits=DriftLimits(gap=0.1, level=0.1),
    unit="points",
    alpha=0.05,
    planned=2,
    scores=(-1.0, 1.0),
    longest=40.0,
)


def simulated(number: int, rng: np.random.Generator, *, gap: float = 0.0, kl: float = 0.0) -> RoundRecords:
    """60 names in 4 prompts each, whose scores share a part by name; changes against the first round are known."""
    names = np.repeat(np.arange(60), 4)
    group = np.where(names % 2 == 0, "m", "w")
    luck = np.repeat(rng.normal(0, 0.05, 60), 4) + rng.normal(0, 0.15, 240)
    head = pd.DataFrame({"prompt_id": [f"p{i}" for i in range(240)], "name": names, "group": group})
    answers = head.assign(
        **{
            SCORE: luck + np.where(group == "m", 0.3 + gap, 0.0),
            REFUSED: 0.0,
            LENGTH: rng.normal(20, 3, 240),
            LOG_RATIO: kl + rng.normal(0, 2, 240),
        }
    )
    pairs = head.rename(columns={"prompt_id": "item_id"}).assign(**{AGREES: (rng.random(240) < 0.7).astype(float)})
    return RoundRecords(number, answers, pairs)


def rings(shift: Callable[[int], dict[str, float]], seed: int, rounds: int = 3) -> set[tuple[int, str]]:
    """(round, quantity) of every alarm of a run whose rounds differ by ``shift(number)``."""
    rng = np.random.default_rng(seed)
    made = [simulated(number, rng, **shift(number)) for number in range(1, rounds + 1)]
    alarms = [alarm for k in range(2, rounds + 1) for alarm in judge_round(made[:k], WATCH)]
    return {(a.change.round, a.change.quantity) for a in alarms if a.verdict == Verdict.EXCEEDS}


def test_a_planted_drift_rings_in_its_round() -> None:
    found = [rings(lambda number: {"gap": 0.35 if number == 3 else 0.0}, seed) for seed in range(10)]
    assert sum((3, "gap") in one for one in found) >= 9
    assert not any((2, "gap") in one for one in found)


def test_small_steps_that_add_up_ring_against_the_first_round() -> None:
    """Each step of 2.5 nats is within the limit of 3, both together are not."""
    rng = np.random.default_rng(0)
    made = [simulated(number, rng, kl=2.5 * (number - 1)) for number in (1, 2, 3)]
    alarms = {(a.change.since, a.change.quantity): a for a in judge_round(made, WATCH)}
    assert alarms[2, KL].verdict != Verdict.EXCEEDS
    assert alarms[1, KL].verdict == Verdict.EXCEEDS


def test_false_alarms_are_rarer_than_alpha_at_the_very_limit() -> None:
    """Truths that lie exactly on their limits are the hardest case: any alarm in any round is then false.

    A rate of 5 % that is held passes with probability .99 (binomial).
    """
    runs, alpha = 60, WATCH.alpha
    shift = {1: {}, 2: {"gap": WATCH.gap_limit(), "kl": WATCH.limits.kl}, 3: {"gap": WATCH.gap_limit(), "kl": 3.0}}
    false = sum(bool(rings(lambda number: shift[number], 1000 + seed)) for seed in range(runs))
    assert false <= stats.binom.ppf(0.99, runs, alpha)


def test_nothing_rings_where_nothing_drifts() -> None:
    assert not any(rings(lambda number: {}, 5000 + seed) for seed in range(15))


def test_no_refusal_anywhere_is_within_and_not_unmeasured() -> None:
    rng = np.random.default_rng(0)
    alarms = {a.change.quantity: a for a in judge_round([simulated(1, rng), simulated(2, rng)], WATCH)}
    found = alarms["refusals"].change.estimate
    assert found.estimate == 0
    assert found.ci_high == pytest.approx(1 - (0.025 / 2) ** (1 / 60))  # Clopper-Pearson at 0 of 60 names, alpha .025
    assert alarms["refusals"].verdict == Verdict.INCONCLUSIVE  # 60 names cannot exclude a share of 2 %


def test_a_score_that_is_missing_everywhere_is_not_measured() -> None:
    rng = np.random.default_rng(0)
    now, then = simulated(2, rng), simulated(1, rng)
    silent = RoundRecords(2, now.answers.assign(**{SCORE: math.nan}), now.old_pairs)
    for alarm in judge_round([then, silent], WATCH):
        if alarm.change.quantity in ("gap", "level"):
            assert alarm.verdict == Verdict.NOT_MEASURED
            assert alarm.reason


def test_relabelling_the_groups_changes_nothing() -> None:
    rng = np.random.default_rng(0)
    made = [simulated(1, rng), simulated(2, rng, gap=0.2)]
    words = {"m": "x", "w": "a"}
    other = [RoundRecords(r.round, r.answers.assign(group=r.answers["group"].map(words)), r.old_pairs) for r in made]
    renamed = Watch(**{**vars(WATCH), "attributes": (("group", "x"),)})
    ours, theirs = (
        next(a for a in judge_round(rounds, watch) if a.change.quantity == "gap")
        for rounds, watch in ((made, WATCH), (other, renamed))
    )
    assert isinstance(ours.change.estimate, Estimate)
    assert ours.change.estimate.estimate == pytest.approx(theirs.change.estimate.estimate)
    assert ours.change.p_value == pytest.approx(theirs.change.p_value)


@pytest.mark.parametrize("rounds", [1, 5, 1000])
def test_spending_never_exceeds_alpha(rounds: int) -> None:
    # sum of 1 / (j (j + 1)) to J telescopes to 1 - 1 / (J + 1)
    assert sum(open_ended(0.05, j) for j in range(1, rounds + 1)) == pytest.approx(0.05 * rounds / (rounds + 1))
    assert rounds * even(0.05, rounds) == pytest.approx(0.05)


def test_an_even_share_is_for_the_planned_rounds_alone() -> None:
    with pytest.raises(SettingsError, match="comparison 3 of 2"):
        spent("even", 0.05, 3, 2)
