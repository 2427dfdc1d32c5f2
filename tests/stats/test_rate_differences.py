"""Limits of differences of rates: by hand, against the intervals that they become, and what an error may not buy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.proportion import confint_proportions_2indep, proportion_confint

from rlhf_fair.errors import SettingsError
from rlhf_fair.records import Estimate
from rlhf_fair.stats.contrasts import mean_estimate
from rlhf_fair.stats.rate_differences import rate_difference, signed_mean


def templates(n: int, size: int) -> np.ndarray:
    return np.repeat(np.arange(n), size)


def reach(e: Estimate) -> float:
    return max(abs(e.ci_low), abs(e.ci_high))


def test_nothing_seen_by_hand() -> None:
    # 25 templates, t(24) = 2.0639, squared 4.2597: 4.2597 / (25 + 4.2597) = .14558
    e = signed_mean(np.zeros(1000), clusters=[templates(25, 40)])
    assert (e.estimate, e.n, e.n_clusters, e.p_value) == (0, 1000, 25, 1)
    assert (e.ci_low, e.ci_high) == (pytest.approx(-0.14558, abs=1e-5), pytest.approx(0.14558, abs=1e-5))
    assert math.isnan(e.standard_error)


def test_unequal_templates_count_as_fewer() -> None:
    # sizes 3, 1, 1, 1: 36 / 12 = 3 templates; t(3) = 3.1824, squared 10.128: 10.128 / 13.128 = .7715
    e = signed_mean(np.zeros(6), clusters=[[0, 0, 0, 1, 2, 3]])
    assert e.ci_high == pytest.approx(0.7715, abs=1e-4)


@pytest.mark.parametrize("n", [17, 25, 50])
def test_one_error_narrows_nothing(n: int) -> None:
    way = templates(n, 40)
    x = np.zeros(len(way))
    perfect = signed_mean(x, clusters=[way])
    x[7] = 1
    one = signed_mean(x, clusters=[way])
    assert reach(one) >= reach(perfect) - 1e-12
    assert one.ci_high - one.ci_low == pytest.approx(perfect.ci_high - perfect.ci_low, abs=2 / len(way))
    # the interval of the spread alone is a hundred times narrower
    spread = mean_estimate(x, clusters=[way], rates=False)
    assert reach(spread) < reach(perfect) / 25
    # right or wrong, with and without help
    right = np.r_[np.ones(len(way)), np.ones(len(way))]
    side = np.repeat(["helped", "misled"], len(way))
    flat = rate_difference(right, side, "helped", "misled", clusters=[np.r_[way, way]])
    right[-5] = 0
    near = rate_difference(right, side, "helped", "misled", clusters=[np.r_[way, way]])
    assert near.estimate == pytest.approx(1 / len(way))
    assert reach(flat) == pytest.approx(reach(perfect))
    assert reach(near) >= reach(flat) - 1e-12


@settings(max_examples=60)
@given(st.lists(st.integers(0, 25 * 20 - 1), max_size=40, unique=True))
def test_errors_for_the_stereotype_never_take_away_what_none_left_open(where: list[int]) -> None:
    way = templates(25, 20)
    x = np.zeros(len(way))
    perfect = signed_mean(x, clusters=[way])
    x[where] = 1
    assert signed_mean(x, clusters=[way]).ci_high >= perfect.ci_high - 1e-12


@settings(max_examples=60)
@given(st.lists(st.integers(-1, 1), min_size=12, max_size=60), st.integers(3, 9))
def test_turned_round_and_doubled(values: list[int], n: int) -> None:
    x, way = np.array(values, dtype=float), np.arange(len(values)) % n
    e, turned = signed_mean(x, clusters=[way]), signed_mean(-x, clusters=[way])
    assert (turned.ci_low, turned.ci_high) == pytest.approx((-e.ci_high, -e.ci_low))
    assert -1 <= e.ci_low <= e.estimate + 1e-12
    assert e.estimate - 1e-12 <= e.ci_high <= 1
    if e.p_value < 0.0499:
        assert e.ci_low > 0 or e.ci_high < 0
    if e.p_value > 0.0501:
        assert e.ci_low <= 0 <= e.ci_high


def test_clusters_that_agree_to_rounding_have_an_interval_and_no_spread() -> None:
    # every third of 18 values sums to -1: the variance of the difference comes out as -1e-17
    x = np.array([0, -1, 1, -1, 0, -1, -1, 0, 1, -1, 1, -1, 1, -1, 0, 1, 0, -1], dtype=float)
    way = np.arange(18) % 3
    assert set(np.bincount(way, x)) == {-1.0}
    e = signed_mean(x, clusters=[way])
    assert e.estimate == pytest.approx(-1 / 6)
    assert e.ci_low < -1 / 6 < e.ci_high
    assert math.isnan(e.standard_error)


def test_independent_rows_that_all_lean_one_way_or_the_other_are_wilsons() -> None:
    # of 100 signs 60 are positive: the difference is 2 b - 1
    low, high = proportion_confint(60, 100, method="wilson")
    e = signed_mean(np.repeat([1, -1], [60, 40]))
    assert (e.ci_low, e.ci_high) == (pytest.approx(2 * low - 1), pytest.approx(2 * high - 1))
    assert e.p_value == pytest.approx(2 * stats.norm.sf(0.1 / math.sqrt(0.25 / 100)))


def test_two_groups_of_independent_rows_are_newcombes() -> None:
    values = np.repeat([1.0, 0.0, 1.0, 0.0], [56, 14, 48, 32])
    e = rate_difference(values, np.repeat(["a", "b"], [70, 80]), "a", "b")
    low, high = confint_proportions_2indep(56, 70, 48, 80, method="newcomb", compare="diff")
    assert (e.ci_low, e.ci_high) == (pytest.approx(low), pytest.approx(high))  # Newcombe 1998: .0524, .3339


def test_plenty_of_answers_both_ways_are_the_spreads_own() -> None:
    rng = np.random.default_rng(4)
    way = templates(40, 60)
    x = rng.choice([-1, 0, 1], len(way), p=[0.35, 0.3, 0.35])
    e, t = signed_mean(x, clusters=[way]), mean_estimate(x, clusters=[way], rates=False)
    assert e.standard_error == pytest.approx(t.standard_error)
    assert (e.ci_low, e.ci_high) == pytest.approx((t.ci_low, t.ci_high), abs=0.006)


def test_a_direction_that_was_seen_is_not_taken_back() -> None:
    rng = np.random.default_rng(5)
    way = templates(20, 50)
    x = (rng.random(len(way)) < 0.3).astype(float)
    e = signed_mean(x, clusters=[way])
    assert e.ci_low > 0.2
    assert e.p_value < 1e-6


def test_missing_rows_weights_and_misuse() -> None:
    way = templates(10, 4)
    x = np.tile([1.0, 0.0, np.nan, -1.0], 10)
    e = signed_mean(x, clusters=[way], weights=np.tile([2.0, 1.0, 1.0, 1.0], 10))
    assert (e.n, e.n_left_out) == (30, 10)
    assert e.estimate == pytest.approx((2 - 1) / 4)
    empty = signed_mean([np.nan, np.nan])
    assert (empty.reason, empty.n_left_out) == ("no measured rows", 2)
    alone = signed_mean(np.zeros(5), clusters=[np.zeros(5)])
    assert math.isnan(alone.ci_low)
    assert "1 cluster" in alone.reason
    with pytest.raises(SettingsError, match="reach 2"):
        signed_mean([0, 2])
    assert rate_difference([1, 0], ["a", "a"], "a", "b").reason == "no measured rows in group b"
    with pytest.raises(SettingsError, match="0 to 1"):
        rate_difference([1.0, 2.0], ["a", "b"], "a", "b")
