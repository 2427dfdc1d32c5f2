from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as distributions
from statsmodels.stats.proportion import confint_proportions_2indep, proportions_ztest

from rlhf_fair.errors import SettingsError
from rlhf_fair.stats.intervals import newcombe, t_interval, wilson


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [
        # Newcombe 1998, Statistics in Medicine 17, table I, method 3 (score, without continuity correction)
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_against_newcombe(successes: int, n: int, low: float, high: float) -> None:
    e = wilson(successes, n)
    assert (e.ci_low, e.ci_high) == pytest.approx((low, high), abs=5e-5)
    assert e.estimate == successes / n
    assert (e.n, e.n_clusters) == (n, n)


def test_wilson_of_successes_mirrors_wilson_of_failures() -> None:
    e, mirrored = wilson(3, 17), wilson(14, 17)
    assert (e.ci_low, e.ci_high) == pytest.approx((1 - mirrored.ci_high, 1 - mirrored.ci_low))


def test_no_trials_is_no_rate() -> None:
    e = wilson(0, 0)
    assert math.isnan(e.estimate)
    assert e.reason == "no trials"


@pytest.mark.parametrize(
    ("counts", "low", "high"),
    [
        # Newcombe 1998, Statistics in Medicine 17, 873-890, table II, method 10
        ((56, 70, 48, 80), 0.0524, 0.3339),
        ((9, 10, 3, 10), 0.1705, 0.8090),
        ((6, 7, 2, 7), 0.0582, 0.8062),
        ((5, 56, 0, 29), -0.0381, 0.1926),
        ((0, 10, 0, 20), -0.1611, 0.2775),
        ((0, 10, 0, 10), -0.2775, 0.2775),
        ((10, 10, 0, 20), 0.6791, 1.0000),
        ((10, 10, 0, 10), 0.6075, 1.0000),
    ],
)
def test_newcombe_against_his_table(counts: tuple[int, int, int, int], low: float, high: float) -> None:
    e = newcombe(*counts)
    assert (e.ci_low, e.ci_high) == pytest.approx((low, high), abs=5e-5)


@given(st.integers(1, 60), st.integers(1, 60), st.data())
def test_newcombe_equals_statsmodels(n: int, m: int, data: st.DataObject) -> None:
    a, c = data.draw(st.integers(0, n)), data.draw(st.integers(0, m))
    e = newcombe(a, n, c, m, alpha=0.1)
    expected = confint_proportions_2indep(a, n, c, m, method="newcomb", compare="diff", alpha=0.1)
    assert (e.ci_low, e.ci_high) == pytest.approx(expected, abs=1e-9)
    mirrored = newcombe(c, m, a, n, alpha=0.1)
    assert (e.ci_low, e.ci_high) == pytest.approx((-mirrored.ci_high, -mirrored.ci_low))


def test_no_trials_is_no_difference() -> None:
    e = newcombe(0, 0, 3, 10)
    assert math.isnan(e.estimate)
    assert "no trials" in e.reason


def test_impossible_counts_are_refused() -> None:
    with pytest.raises(SettingsError, match="successes 5 of n 4"):
        wilson(5, 4)
    with pytest.raises(SettingsError, match="null 1"):
        wilson(3, 4, null=1.0)


@given(st.integers(1, 60), st.data(), st.floats(0.02, 0.98))
def test_the_score_test_rejects_exactly_outside_the_score_interval(n: int, data: st.DataObject, null: float) -> None:
    successes = data.draw(st.integers(0, n))
    e = wilson(successes, n, null=null)
    _, p = proportions_ztest(successes, n, null, prop_var=null)
    assert e.p_value == pytest.approx(p)
    assert (e.p_value < 0.05) == (not e.ci_low <= null <= e.ci_high)


@given(st.floats(-3, 3), st.floats(0.1, 5), st.integers(1, 60), st.floats(-2, 2))
def test_t_interval_is_scipys_and_its_test_rejects_exactly_outside(
    estimate: float, se: float, df: int, null: float
) -> None:
    e = t_interval(estimate, se, df, null=null)
    assert (e.ci_low, e.ci_high) == pytest.approx(distributions.t(df, estimate, se).interval(0.95))
    assert (e.p_value < 0.05) == (not e.ci_low <= null <= e.ci_high)
