"""Alarms: their error rate over whole histories, their power, and single changes worked by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from rlhf_fair.monitoring.change import independent, tolerance_of
from rlhf_fair.monitoring.drift import State, Watch, drift_of
from rlhf_fair.records import NAN, Verdict

from .histories import audit, claim, history

HISTORIES, AUDITS = 400, 12


@pytest.mark.parametrize(("gap", "df"), [(0.0, 60), (0.2, 60), (0.2, 8)])
def test_a_history_without_drift_rings_with_probability_alpha_at_most(gap, df):
    rng = np.random.default_rng(20261121)
    truth = np.full((AUDITS, 3), gap)
    alpha, n = 0.2, HISTORIES // 2  # larger than .05: an excess would be seen sooner
    rang = sum(bool(drift_of(history(truth, rng, df=df), Watch(alpha)).alarms) for _ in range(n))
    # more than this would be seen in 1 of 1,000 such tests if the rate were alpha
    assert rang <= stats.binom.ppf(0.999, n, alpha)


def test_at_five_per_cent_few_of_400_histories_ring():
    rng = np.random.default_rng(5)
    truth = np.tile([0.2, -0.15], (AUDITS, 1))
    rang = sum(bool(drift_of(history(truth, rng), Watch(0.05)).alarms) for _ in range(HISTORIES))
    assert rang <= stats.binom.ppf(0.999, HISTORIES, 0.05)


def test_a_planted_drift_rings_and_no_other_claim_is_blamed():
    rng = np.random.default_rng(6)
    truth = np.full((AUDITS, 3), 0.1)
    truth[6:, 1] = 0.3  # 4.7 standard errors of a change
    found = [drift_of(history(truth, rng), Watch()) for _ in range(60)]
    blamed = [{move.claim.group for move in drift.alarms} for drift in found]
    assert np.mean(["g1" in groups for groups in blamed]) >= 0.9
    others = sum(bool(groups - {"g1"}) for groups in blamed)
    early = sum(any(move.at < 6 for move in drift.alarms) for drift in found)
    assert max(others, early) <= stats.binom.ppf(0.999, len(found), 0.05)  # false alarms, as alpha allows


def test_a_gap_that_closes_rings_no_alarm():
    rng = np.random.default_rng(7)
    truth = np.full((6, 1), 0.4)
    truth[3:] = 0.0
    assert not any(drift_of(history(truth, rng), Watch()).alarms for _ in range(20))


def test_a_change_by_hand():
    # standard errors .03 and .04, so .05; df = .05^4 / (.03^4/60 + .04^4/60) = 6.25 / (.81 + 2.56) * 60 = 111.28
    moved = independent(claim("a", 0.20, error=0.03), claim("a", 0.35, error=0.04), 0.05)
    assert moved.change.standard_error == pytest.approx(0.05)
    assert moved.change.df == pytest.approx(111.28, abs=0.01)
    assert moved.change.p_value == pytest.approx(2 * stats.t.sf(3.0, 111.276), rel=1e-4)  # .15 / .05 = 3
    assert moved.worsening.estimate == pytest.approx(0.15)
    assert (moved.worsening.ci_low, moved.worsening.ci_high) == pytest.approx((0.15 - 0.0991, 0.15 + 0.0991), abs=1e-3)


def test_a_change_is_what_scipy_says_of_two_samples():
    rng = np.random.default_rng(8)
    a, b = rng.normal(0.3, 1.0, 40), rng.normal(0.9, 2.0, 25)
    sides = [claim("x", float(x.mean()), error=float(stats.sem(x)), df=len(x) - 1, better="low") for x in (a, b)]
    oracle = stats.ttest_ind(b, a, equal_var=False)
    moved = independent(*sides, 0.05)
    assert moved.change.p_value == pytest.approx(oracle.pvalue, rel=1e-9)
    interval = oracle.confidence_interval(0.95)
    assert (moved.change.ci_low, moved.change.ci_high) == pytest.approx((interval.low, interval.high), rel=1e-9)


def test_directions():
    rise = {better: independent(claim("a", 0.5, better=better), claim("a", 0.8, better=better), 0.05)
            for better in ("zero", "one", "high", "low")}  # fmt: skip
    assert rise["zero"].worsening.estimate == pytest.approx(0.3)
    assert rise["low"].worsening.estimate == pytest.approx(0.3)
    assert rise["high"].worsening.estimate == pytest.approx(-0.3)
    assert rise["one"].worsening.estimate == pytest.approx(math.log(0.5) - math.log(0.8))  # |log .8| - |log .5|, < 0
    flipped = independent(claim("a", -0.4), claim("a", 0.1), 0.05)
    assert flipped.worsening.estimate == pytest.approx(-0.3)  # from -.4 to .1 the gap shrank


def test_the_margin_of_a_ratio_is_one_of_logarithms():
    assert tolerance_of(claim("a", 1.0, better="one", margin=0.8)) == pytest.approx(-math.log(0.8))
    assert tolerance_of(claim("a", 0.5, better="high", threshold=0.6, margin=0.7)) == pytest.approx(0.1)


def test_states_and_exit_codes():
    def code(*values: float, error: float = 0.03, **changes: object) -> tuple[int, State]:
        audits = [audit(at, [claim("a", v, error=error, **changes)]) for at, v in enumerate(values)]
        drift = drift_of(audits, Watch())
        return drift.exit_code, drift.latest[0].state

    assert code(0.1, 0.1) == (0, State.STEADY)
    assert code(0.1, 0.1, error=0.2) == (3, State.UNDECIDED)
    assert code(0.1, 0.6) == (1, State.ALARM)
    assert code(0.1, 0.6, 0.1) == (1, State.STEADY)  # an alarm stays until a later baseline
    assert code(0.1, NAN, verdict=Verdict.NOT_MEASURED, reason="no answers") == (3, State.NOT_MEASURED)


def test_an_even_share_ends_with_what_was_planned():
    audits = [audit(at, [claim("a", 0.1)]) for at in range(4)]
    assert {move.level for move in drift_of(audits, Watch(0.06, "even", 3)).moves} == {0.02}
    assert [round(move.level, 4) for move in drift_of(audits, Watch(0.06)).moves[::2]] == [0.03, 0.01, 0.005]
    with pytest.raises(Exception, match="3 of 2 planned"):
        drift_of(audits, Watch(0.06, "even", 2))
