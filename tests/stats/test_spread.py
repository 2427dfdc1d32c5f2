from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as distributions

from rlhf_fair.errors import SettingsError
from rlhf_fair.stats.contrasts import contrast_estimate
from rlhf_fair.stats.group_sums import GroupMeans, GroupSums
from rlhf_fair.stats.spread import between_variance, cross_fitted_spread, debiased_squared_gap, spread


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def group_means(values: np.ndarray, group: np.ndarray, cluster: np.ndarray) -> GroupMeans:
    return GroupMeans.of(values, np.ones(len(values)), group, [cluster], int(group.max()) + 1)


@pytest.mark.parametrize("crossed", [False, True])
def test_without_differences_the_cross_fitted_spread_is_zero_on_average_and_the_plain_one_is_not(crossed: bool) -> None:
    simulations, r = 400, rng(1)
    group, cluster = np.tile(np.arange(6), 20), np.repeat(np.arange(20), 6)
    plain, fitted = np.empty(simulations), np.empty(simulations)
    for i in range(simulations):
        values = r.normal(size=120) + (r.normal(size=20)[cluster] if crossed else 0)
        sums = GroupSums.of(values, np.ones(120), group, cluster if crossed else np.arange(120), 6)
        plain[i] = np.ptp(sums.means)
        fitted[i] = cross_fitted_spread(sums, rng=r, n_splits=20)
    assert abs(fitted.mean()) < 3.3 * fitted.std() / math.sqrt(simulations)
    # The range of six independent normal means has expectation 2.534 standard errors (Tippett 1925); what all groups
    # of a cluster share cancels.
    assert plain.mean() == pytest.approx(2.534 * math.sqrt(1 / 20), rel=0.06)


def test_a_gap_that_stands_out_is_measured_without_bias_and_a_blurred_one_from_below() -> None:
    r, group = rng(2), np.repeat(np.arange(4), 30)
    for truth in (np.array([0, 1, 2, 9.0]), np.array([0, 0.1, 0.2, 0.3])):
        found = []
        for _ in range(150):
            values = r.normal(size=120) + truth[group]
            sums = GroupSums.of(values, np.ones(120), group, np.arange(120), 4)
            found.append(cross_fitted_spread(sums, rng=r, n_splits=20))
        error = 3.3 * np.std(found) / math.sqrt(150)
        assert np.mean(found) < np.ptp(truth) + error
        if truth[3] == 9:
            assert np.mean(found) > 9 - error


def test_between_variance_is_that_of_the_analysis_of_variance() -> None:
    # Balanced, k groups of n rows: E[MSB] = s2 + n/(k-1) * sum (m_g - m)^2, E[MSW] = s2.
    values = rng(3).normal(size=(5, 12)) + rng(4).normal(size=(5, 1))
    within = values.var(axis=1, ddof=1).mean()
    between = distributions.f_oneway(*values).statistic * within
    means = group_means(values.reshape(-1), np.repeat(np.arange(5), 12), np.arange(60))
    found = between_variance(means, np.full(5, 12.0))
    assert found.plug_in == pytest.approx(values.mean(axis=1).var())
    assert found.debiased == pytest.approx(4 / 5 * (between - within) / 12)


@pytest.mark.parametrize("crossed", [False, True])
def test_debiased_squares_have_the_true_value_as_their_mean(crossed: bool) -> None:
    simulations, r = 600, rng(5)
    group, cluster = np.repeat(np.arange(4), 24), (np.tile(np.arange(24), 4) if crossed else np.arange(96)) // 2
    truth = np.array([0.0, 0.3, 0.3, 0.5])
    shares = np.array([1.0, 2, 3, 4])
    own = np.average((truth - np.average(truth, weights=shares)) ** 2, weights=shares)
    variance, squares = [], []
    for _ in range(simulations):
        values = truth[group] + r.normal(size=96) + r.normal(size=48)[cluster]
        variance.append(between_variance(group_means(values, group, cluster), shares))
        gap = contrast_estimate(values, group, {3: 1.0, 0: -1.0}, clusters=[cluster])
        squares.append((debiased_squared_gap(gap), gap.estimate**2))

    def bias(found: list[float], target: float) -> float:
        return float((np.mean(found) - target) / (np.std(found) / math.sqrt(simulations)))

    assert abs(bias([v.debiased for v in variance], own)) < 3.3
    assert bias([v.plug_in for v in variance], own) > 5
    assert abs(bias([s[0] for s in squares], 0.25)) < 3.3
    assert bias([s[1] for s in squares], 0.25) > 5


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**32 - 1), st.booleans())
def test_names_order_and_copies_of_rows_change_nothing(seed: int, crossed: bool) -> None:
    r = rng(seed)
    cluster = np.repeat(np.arange(6), 4)
    group = np.tile([0, 1], 12) if crossed else cluster % 2
    values = r.normal(size=24) + r.normal(size=6)[cluster]
    once = spread(values, group, clusters=[cluster], rng=rng())
    order = r.permutation(np.tile(np.arange(24), 2))
    twice = spread(values[order], np.array(["z", "b"])[group][order], clusters=[9 - cluster[order]], rng=rng(1))
    assert once.test == twice.test
    assert once.test.endswith("exact")
    assert {0: "z", 1: "b"}[once.highest] == twice.highest  # type: ignore[index]
    for name in ("plug_in", "p_value", "p_value_raw"):
        assert getattr(twice, name) == pytest.approx(getattr(once, name)), name
    assert (twice.interval.ci_low, twice.interval.ci_high) == pytest.approx(
        (once.interval.ci_low, once.interval.ci_high)
    )
    assert twice.between.debiased == pytest.approx(once.between.debiased)


def test_two_groups_spread_over_the_size_of_their_gap() -> None:
    values, group = np.r_[rng(6).normal(size=40), rng(7).normal(3, 1, 40)], np.repeat([0, 1], 40)
    gap = contrast_estimate(values, group, {1: 1.0, 0: -1.0})
    found = spread(values, group, rng=rng())
    assert found.plug_in == pytest.approx(gap.estimate)
    assert (found.interval.ci_low, found.interval.ci_high) == pytest.approx((gap.ci_low, gap.ci_high))
    assert found.p_value == 1 / 1000  # none of 999 arrangements comes near
    assert (found.highest, found.lowest) == (1, 0)
    null = spread(np.r_[values[:40], values[:40] + 0.01], group, rng=rng())
    assert null.interval.ci_low == 0
    assert null.interval.ci_high > 0.3


def test_the_interval_covers_the_true_spread_and_reaches_zero_when_there_is_none() -> None:
    r, group, simulations = rng(8), np.repeat(np.arange(5), 20), 80
    zero = covered = 0
    for _ in range(simulations):
        noise = r.normal(size=100)
        zero += spread(noise, group, rng=r, n_rearrangements=99).interval.ci_low == 0
        e = spread(noise + 0.25 * group, group, rng=r, n_rearrangements=99).interval
        covered += e.ci_low <= 1 <= e.ci_high
    assert zero >= distributions.binom(simulations, 0.94).ppf(0.001)
    assert covered >= distributions.binom(simulations, 0.95).ppf(0.001)


def test_lonely_groups_are_named_and_too_few_groups_have_no_spread() -> None:
    values, groups = [1, 2, 3, 4, 50.0, np.nan], [*"aabb", "c", "d"]
    found = spread(values, groups, rng=rng())
    assert found.plug_in == 2  # 3.5 - 1.5; c has a single row
    assert "not part of the spread: c, d" in found.reason
    assert len(found.pairs.table) == 6
    assert found.interval.n_left_out == 2
    alone = spread([1, 2, 3.0], list("aaa"), rng=rng())
    assert math.isnan(alone.plug_in)
    assert "fewer than 2 groups" in alone.reason
    assert math.isnan(alone.interval.ci_low)


def test_too_few_rearrangements_are_refused() -> None:
    with pytest.raises(SettingsError, match="n_rearrangements is 10; allowed: 99 or more"):
        spread([1, 2.0], [0, 1], rng=rng(), n_rearrangements=10)


def test_several_clusterings_are_tested_by_the_family_of_pairs() -> None:
    values, group = rng(9).normal(size=120), np.arange(120) % 3
    found = spread(values, group, clusters=[np.arange(120) // 6, np.arange(120) % 11], rng=rng())
    assert found.test == "pairs"
    assert found.p_value == found.pairs.table["p_adjusted"].min()
    assert math.isnan(found.debiased)
    assert math.isfinite(found.interval.ci_high)
