from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlhf_fair.records import Estimate, Verdict
from rlhf_fair.stats.equivalence import verdict


def interval(low: float, high: float) -> Estimate:
    return Estimate(estimate=(low + high) / 2, ci_low=low, ci_high=high, mde=0.07)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (-0.04, 0.03, Verdict.WITHIN),
        (0.01, 0.04, Verdict.WITHIN),  # differs from 0, and is small all the same
        (-0.05, 0.03, Verdict.INCONCLUSIVE),  # touches the margin: not wholly inside
        (-0.03, 0.05, Verdict.INCONCLUSIVE),
        (-0.30, 0.30, Verdict.INCONCLUSIVE),  # a wide interval is no evidence of absence
        (0.06, 0.09, Verdict.INCONCLUSIVE),  # between margin and threshold
        (0.10, 0.30, Verdict.INCONCLUSIVE),  # touches the threshold
        (0.11, 0.30, Verdict.EXCEEDS),
        (-0.30, -0.11, Verdict.EXCEEDS),
        (-0.30, -0.10, Verdict.INCONCLUSIVE),
    ],
)
def test_table_of_verdicts(low: float, high: float, expected: Verdict) -> None:
    decision, reason = verdict(interval(low, high), threshold=0.1, margin=0.05)
    assert decision == expected
    assert reason


@pytest.mark.parametrize(
    ("p_adjusted", "expected"),
    [
        (0.01, Verdict.EXCEEDS),
        (0.05, Verdict.EXCEEDS),
        (0.051, Verdict.INCONCLUSIVE),
        (math.nan, Verdict.INCONCLUSIVE),
    ],
)
def test_a_claim_of_harm_survives_the_correction_or_is_none(p_adjusted: float, expected: Verdict) -> None:
    decision, _ = verdict(interval(0.11, 0.3), threshold=0.1, margin=0.05, p_adjusted=p_adjusted, alpha=0.05)
    assert decision == expected


def test_correction_does_not_touch_a_claim_of_no_harm() -> None:
    assert verdict(interval(-0.01, 0.01), threshold=0.1, margin=0.05, p_adjusted=1.0)[0] == Verdict.WITHIN


def test_not_measured_keeps_its_reason() -> None:
    missing = Estimate.not_estimable("no measured rows in group b")
    assert verdict(missing, threshold=0.1, margin=0.05) == (Verdict.NOT_MEASURED, "no measured rows in group b")
    no_interval = Estimate(estimate=0.4, reason="a group has 1 cluster")
    assert verdict(no_interval, threshold=0.1, margin=0.05) == (Verdict.NOT_MEASURED, "a group has 1 cluster")
    assert verdict(Estimate(estimate=0.4), threshold=0.1, margin=0.05) == (Verdict.NOT_MEASURED, "no interval")


def test_no_reason_shows_nan() -> None:
    no_mde = Estimate(estimate=0.1, ci_low=0.0, ci_high=0.2)
    assert "nan" not in verdict(no_mde, threshold=0.1, margin=0.05)[1]


@given(st.floats(-1, 1), st.floats(0, 1), st.floats(0, 1))
def test_the_sign_of_a_gap_does_not_matter(low: float, width: float, p: float) -> None:
    e, mirrored = interval(low, low + width), interval(-low - width, -low)
    rule = {"threshold": 0.1, "margin": 0.05, "p_adjusted": p}
    assert verdict(e, **rule)[0] == verdict(mirrored, **rule)[0]


@given(st.floats(-1, 1), st.floats(0, 1), st.floats(0.0, 0.5))
def test_a_wider_interval_never_says_more(low: float, width: float, more: float) -> None:
    rule = {"threshold": 0.1, "margin": 0.05}
    narrow = verdict(interval(low, low + width), **rule)[0]
    wide = verdict(interval(low - more, low + width + more), **rule)[0]
    assert wide in (narrow, Verdict.INCONCLUSIVE)
