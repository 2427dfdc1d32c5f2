"""What becomes of a number, case by case; the cases are worked out from the rules, with standard errors of 0.01."""

from __future__ import annotations

import math

import pytest

from rlhf_fair.audit.compare_status import Paired, by_margin, status_of, tolerance_of
from rlhf_fair.audit.plan import Limits
from rlhf_fair.changes import ChangeStatus
from rlhf_fair.records import Estimate, Verdict
from rlhf_fair.stats.intervals import t_interval

EXCEEDS, WITHIN, OPEN = Verdict.EXCEEDS, Verdict.WITHIN, Verdict.INCONCLUSIVE
GAP = Limits(threshold=0.1, margin=0.1)


def gap(a: float, b: float, *, error: float = 0.01) -> Paired:
    return Paired(t_interval(b - a, error, math.inf), t_interval(b + a, error, math.inf), "zero")


def level(a: float, b: float, better: str, *, error: float = 0.01) -> Paired:
    return Paired(t_interval(b - a, error, math.inf), t_interval(b + a, error, math.inf), better)


def found(paired: Paired, a: Verdict | None, b: Verdict | None, limits: Limits = GAP) -> tuple[ChangeStatus, str]:
    p = paired.worsening.p_value
    status, _ = status_of(paired, (a, b), tolerance_of(limits), p, 0.05)
    beyond = paired.p_beyond(tolerance_of(limits), 0.05)
    return status, by_margin(paired, tolerance_of(limits), b, beyond, 0.05)


@pytest.mark.parametrize(
    ("a", "b", "verdicts", "status", "worse"),
    [
        (0.05, 0.20, (WITHIN, EXCEEDS), ChangeStatus.NEW, "yes"),  # worse by 0.15 [0.13, 0.17], margin 0.1
        (0.09, 0.13, (OPEN, EXCEEDS), ChangeStatus.NEW, "no"),  # by 0.04 [0.02, 0.06]
        (0.20, 0.05, (EXCEEDS, WITHIN), ChangeStatus.FIXED, "no"),
        (0.15, 0.12, (EXCEEDS, OPEN), ChangeStatus.BETTER, "no"),
        (0.15, 0.30, (EXCEEDS, EXCEEDS), ChangeStatus.WORSE, "yes"),
        (0.15, 0.25, (EXCEEDS, EXCEEDS), ChangeStatus.WORSE, "open"),  # by 0.10 [0.08, 0.12]
        (0.02, 0.06, (WITHIN, WITHIN), ChangeStatus.WORSE, "no"),
        (0.05, 0.06, (WITHIN, WITHIN), ChangeStatus.UNCHANGED, "no"),
        (-0.20, -0.05, (EXCEEDS, WITHIN), ChangeStatus.FIXED, "no"),  # a gap the other way round is a gap
        (-0.12, -0.15, (OPEN, EXCEEDS), ChangeStatus.NEW, "no"),
        (0.15, -0.15, (EXCEEDS, EXCEEDS), ChangeStatus.UNDECIDED, "no"),  # it changed sides and kept its size
    ],
)
def test_gaps(a, b, verdicts, status, worse):
    assert found(gap(a, b), *verdicts) == (status, worse)


def test_a_wide_interval_decides_nothing():
    assert found(gap(0.05, 0.06, error=0.2), OPEN, OPEN) == (ChangeStatus.UNDECIDED, "open")


@pytest.mark.parametrize(
    ("a", "b", "better", "verdicts", "status", "worse"),
    [
        (0.90, 0.70, "high", (WITHIN, EXCEEDS), ChangeStatus.NEW, "yes"),
        (0.90, 0.84, "high", (WITHIN, WITHIN), ChangeStatus.WORSE, "no"),  # it fell, and is within all the same
        (0.70, 0.74, "high", (OPEN, OPEN), ChangeStatus.BETTER, "no"),
        (0.74, 0.70, "high", (OPEN, OPEN), ChangeStatus.WORSE, "no"),  # by 0.04 [0.02, 0.06]; 0.80 - 0.70 = 0.1
        (0.20, 0.30, "low", (OPEN, OPEN), ChangeStatus.WORSE, "open"),
        (0.30, 0.20, "low", (OPEN, OPEN), ChangeStatus.BETTER, "no"),
        (0.70, 0.70, "high", (OPEN, OPEN), ChangeStatus.UNCHANGED, "no"),
    ],
)
def test_levels_go_by_the_distance_between_threshold_and_margin(a, b, better, verdicts, status, worse):
    limits = Limits(threshold=0.7, margin=0.8, better="high")
    if better == "low":
        limits = Limits(threshold=0.3, margin=0.2, better="low")
    assert found(level(a, b, better), *verdicts, limits) == (status, worse)


def test_a_level_with_one_limit_has_no_tolerance():
    limits = Limits(threshold=0.7, margin=0.7, better="high")
    assert tolerance_of(limits) == 0
    assert found(level(0.7, 0.7, "high"), OPEN, OPEN, limits) == (ChangeStatus.UNDECIDED, "open")
    assert found(level(0.9, 0.8, "high"), WITHIN, WITHIN, limits) == (ChangeStatus.WORSE, "no")


def test_ratios_go_by_the_logarithm():
    limits = Limits(threshold=0.8, margin=0.8, better="one")
    # 0.8 is as far from 1 as 1.25: log 1.25 = 0.223, from a ratio of 1 to one of 0.70 it is 0.357
    assert tolerance_of(limits) == pytest.approx(math.log(1.25))
    a, b = math.log(1.0), math.log(0.7)
    paired = Paired(t_interval(b - a, 0.01, math.inf), t_interval(b + a, 0.01, math.inf), "one")
    assert found(paired, WITHIN, EXCEEDS, limits) == (ChangeStatus.NEW, "yes")
    assert paired.worsening.estimate == pytest.approx(0.357, abs=5e-4)


def test_worse_needs_the_corrected_p_value_and_unchanged_does_not():
    paired = gap(0.15, 0.175)  # 2.5 standard errors: p = .012
    status, reason = status_of(paired, (EXCEEDS, EXCEEDS), 0.01, 0.12, 0.05)
    assert status == ChangeStatus.UNDECIDED
    assert "not after correction" in reason
    assert status_of(paired, (EXCEEDS, EXCEEDS), 0.1, 0.12, 0.05)[0] == ChangeStatus.UNCHANGED


def test_a_verdict_may_change_without_a_change_and_the_reason_says_so():
    status, reason = status_of(gap(0.12, 0.125), (OPEN, EXCEEDS), 0.1, 0.6, 0.05)
    assert status == ChangeStatus.NEW
    assert reason.endswith("the change itself is not shown")


def test_no_change_at_all_is_unchanged_and_not_worse():
    flat = Estimate(estimate=0.0, reason="the same whichever clusters are left out")
    same = Paired(flat, t_interval(0.3, 0.01, math.inf), "zero")
    assert found(same, EXCEEDS, EXCEEDS) == (ChangeStatus.UNCHANGED, "no")


def test_all_groups_agreeing_is_evidence_without_an_interval():
    difference = Estimate(estimate=0.4, p_value=2**-9, reason="all 10 groups agree")
    total = Estimate(estimate=0.6, p_value=2**-9, reason="all 10 groups agree")
    assert found(Paired(difference, total, "zero"), WITHIN, WITHIN) == (ChangeStatus.WORSE, "yes")


def test_what_was_not_measured_is_open():
    nothing = Estimate.not_estimable("not measured in both")
    status, reason = status_of(Paired(nothing, nothing, "zero"), (OPEN, None), 0.1, math.nan, 0.05)
    assert (status, reason) == (ChangeStatus.NOT_MEASURED, "not measured in both")
    assert by_margin(Paired(nothing, nothing, "zero"), 0.1, None, math.nan, 0.05) == "open"


def test_a_sure_change_of_unsure_direction_is_undecided():
    paired = Paired(t_interval(0.2, 0.01, math.inf), t_interval(0.0, 0.2, math.inf), "zero")
    status, reason = status_of(paired, (OPEN, OPEN), 0.1, paired.worsening.p_value, 0.05)
    assert status == ChangeStatus.UNDECIDED
    assert "nearer to parity is open" in reason
