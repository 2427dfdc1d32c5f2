from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as distributions
from statsmodels.stats.proportion import confint_proportions_2indep, proportion_confint, proportions_ztest

from rlhf_fair.errors import RowError
from rlhf_fair.stats.contrasts import contrast_estimate, mean_estimate

GAP = {"a": 1.0, "b": -1.0}


def trials(successes: int, n: int) -> list[float]:
    return [1.0] * successes + [0.0] * (n - successes)


@pytest.mark.parametrize(("successes", "n"), [(0, 10), (1, 29), (81, 263), (15, 148), (29, 29)])
def test_one_rate_of_independent_trials_has_wilsons_interval(successes: int, n: int) -> None:
    e = mean_estimate(trials(successes, n))
    assert (e.ci_low, e.ci_high) == pytest.approx(proportion_confint(successes, n, method="wilson"), abs=1e-12)
    assert math.isnan(e.p_value)  # a rate of 0 is nobody's null


def test_newcombes_published_examples() -> None:
    # Newcombe 1998, table II, method 10
    e = contrast_estimate(trials(56, 70) + trials(48, 80), ["a"] * 70 + ["b"] * 80, GAP)
    assert (round(e.ci_low, 4), round(e.ci_high, 4)) == (0.0524, 0.3339)
    e = contrast_estimate(trials(9, 10) + trials(3, 10), ["a"] * 10 + ["b"] * 10, GAP)
    assert (round(e.ci_low, 4), round(e.ci_high, 4)) == (0.1705, 0.8090)
    e = contrast_estimate(trials(10, 10) + trials(0, 20), ["a"] * 10 + ["b"] * 20, GAP)
    assert (round(e.ci_low, 4), round(e.ci_high, 4)) == (0.6791, 1.0)


@given(st.integers(2, 60), st.integers(2, 60), st.data())
def test_independent_trials_equal_statsmodels(n: int, m: int, data: st.DataObject) -> None:
    x, y = data.draw(st.integers(0, n)), data.draw(st.integers(0, m))
    e = contrast_estimate(trials(x, n) + trials(y, m), ["a"] * n + ["b"] * m, GAP)
    expected = confint_proportions_2indep(x, n, y, m, method="newcomb")
    assert (e.ci_low, e.ci_high) == pytest.approx(expected, abs=1e-9)


@given(st.integers(0, 2**32 - 1), st.sampled_from([0.01, 0.05, 0.2]))
def test_p_value_and_interval_agree(seed: int, alpha: float) -> None:
    rng = np.random.default_rng(seed)
    cluster = rng.integers(0, 12, 90)
    groups = np.where(cluster < rng.integers(3, 9), "a", "b")
    values = (rng.random(90) < rng.beta(0.6, 2, 12)[cluster]).astype(float)
    e = contrast_estimate(values, groups, GAP, clusters=[cluster], alpha=alpha)
    if math.isnan(e.ci_low):
        assert e.reason
    else:
        assert -1 <= e.ci_low <= e.estimate <= e.ci_high <= 1
        assert (e.p_value < alpha) == (not e.ci_low <= 0 <= e.ci_high)


def test_crossed_clusterings_give_no_less_than_either_alone() -> None:
    rng = np.random.default_rng(11)
    rater, item = np.repeat(np.arange(20), 10), np.tile(np.arange(10), 20)
    groups = np.where(rater < 10, "a", "b")
    for _ in range(30):
        values = (rng.random(200) < rng.beta(1, 1, 20)[rater]).astype(float)
        crossed = contrast_estimate(values, groups, GAP, clusters=[rater, item])
        t_crossed = contrast_estimate(values, groups, GAP, clusters=[rater, item], rates=False)
        assert crossed.standard_error == pytest.approx(t_crossed.standard_error)
        alone = contrast_estimate(values, groups, GAP, clusters=[rater])
        assert crossed.standard_error >= alone.standard_error - 1e-12
        # near one half, score limits are about as far apart as t limits
        assert crossed.ci_high - crossed.ci_low == pytest.approx(t_crossed.ci_high - t_crossed.ci_low, rel=0.12)


def test_no_success_in_either_group_still_has_an_interval() -> None:
    e = contrast_estimate(np.zeros(40), ["a"] * 20 + ["b"] * 20, GAP, clusters=[np.arange(40) // 4])
    # five clusters in each group count as five trials; df = 4
    t = distributions.t.ppf(0.975, 4)
    upper = t**2 / (5 + t**2)  # Wilson at 0 of 5
    assert (e.ci_low, e.ci_high) == pytest.approx((-upper, upper))
    assert e.p_value == 1


def test_copies_of_rows_are_no_new_evidence() -> None:
    rng = np.random.default_rng(3)
    cluster = rng.choice(20, 120, p=np.arange(1, 21) / 210)
    values = (rng.random(120) < rng.beta(1, 3, 20)[cluster]).astype(float)
    groups = np.where(cluster < 8, "a", "b")
    once = contrast_estimate(values, groups, GAP, clusters=[cluster])
    twice = contrast_estimate(np.tile(values, 2), np.tile(groups, 2), GAP, clusters=[np.tile(cluster, 2)])
    assert (twice.standard_error, twice.df) == pytest.approx((once.standard_error, once.df))
    assert (twice.ci_low, twice.ci_high, twice.p_value) == pytest.approx((once.ci_low, once.ci_high, once.p_value))


def test_groups_that_share_clusters_get_the_t_interval_of_the_differences_within_them() -> None:
    rng = np.random.default_rng(4)
    cluster, groups = np.repeat(np.arange(12), 8), np.tile(np.repeat(["a", "b"], 4), 12)
    values = (rng.random(96) < 0.4).astype(float)
    within = values.reshape(12, 2, 4).mean(axis=2)
    expected = distributions.ttest_rel(within[:, 0], within[:, 1])
    e = contrast_estimate(values, groups, GAP, clusters=[cluster])
    assert (e.ci_low, e.ci_high) == pytest.approx(tuple(expected.confidence_interval()))
    assert e.p_value == pytest.approx(expected.pvalue)


def test_half_a_success_for_a_tie_is_a_rate_and_a_score_is_not() -> None:
    wins = [0.0] * 19 + [0.5]
    assert mean_estimate(wins).ci_low >= 0  # a t interval would reach below
    assert mean_estimate([*wins[:-1], 0.4]).ci_low < 0


def test_differences_that_happen_to_hold_no_minus_one_are_no_rates() -> None:
    changes = [0.0] * 49 + [1.0]
    assert mean_estimate(changes).ci_low > 0
    assert mean_estimate(changes, rates=False).ci_low < 0


def clustered(seed: int, n_clusters: int, size: int, icc: float) -> tuple[np.ndarray, np.ndarray]:
    """Binary rows with rate .2; with probability sqrt(icc) a row copies its cluster, so the correlation is icc."""
    rng = np.random.default_rng(seed)
    shared = np.repeat(rng.random(n_clusters) < 0.2, size)
    own = rng.random(n_clusters * size) < 0.2
    copies = rng.random(n_clusters * size) < math.sqrt(icc)
    return np.where(copies, shared, own).astype(float), np.repeat(np.arange(n_clusters), size)


def wilson_at(successes: float, n: float, df: float) -> tuple[float, float]:
    """statsmodels' Wilson interval with the quantile of t in place of the normal's."""
    level = 2 * distributions.norm.sf(distributions.t.ppf(0.975, df))
    return tuple(proportion_confint(successes, n, alpha=level, method="wilson"))


def test_rows_that_only_repeat_their_cluster_count_once() -> None:
    # 12 of 40 clusters, each five times over. n - 1 in the variance: p(1-p)/se^2 = 39, so between 39 and 40 rows
    values, cluster = np.repeat([1.0, 0.0], [12, 28]), np.arange(40)
    e = mean_estimate(np.repeat(values, 5), clusters=[np.repeat(cluster, 5)], rates=True)
    wide, narrow = wilson_at(0.3 * 39, 39, 39), wilson_at(0.3 * 40, 40, 39)
    assert wide[0] - 1e-12 <= e.ci_low <= narrow[0]
    assert narrow[1] <= e.ci_high <= wide[1] + 1e-12
    assert (e.n, e.n_clusters, e.df) == (200, 40, pytest.approx(39))


def test_independent_rates_count_what_is_missing() -> None:
    e = mean_estimate(np.repeat([1.0, 0.0, np.nan], [60, 240, 5]))
    assert (e.ci_low, e.ci_high) == pytest.approx(proportion_confint(60, 300, method="wilson"))
    assert (e.n, e.n_left_out) == (300, 5)


@pytest.mark.parametrize("rate", [0.0, 1.0])
def test_where_all_rows_agree_clusters_count(rate: float) -> None:
    e = mean_estimate(np.full(50, rate), clusters=[np.repeat(np.arange(10), 5)])
    assert e.estimate == rate
    assert (e.ci_low, e.ci_high) == pytest.approx(wilson_at(10 * rate, 10, 9))
    assert e.reason == ""


def test_a_rate_that_does_not_vary_between_clusters_has_no_interval() -> None:
    values, cluster = np.tile([0.0, 1.0], 30), np.repeat(np.arange(30), 2)
    assert "no variation" in mean_estimate(values, clusters=[cluster], rates=True).reason


def test_one_cluster_has_no_interval_and_no_rows_no_rate() -> None:
    e = mean_estimate([0.0, 1.0, 1.0], clusters=[["a", "a", "a"]], rates=True)
    assert e.estimate == pytest.approx(2 / 3)
    assert math.isnan(e.ci_low)
    assert e.reason
    assert math.isnan(mean_estimate([np.nan], rates=True).estimate)


def test_a_tie_counts_half_and_no_rate_lies_outside() -> None:
    assert mean_estimate([0, 0.5, 1, 1], rates=True).estimate == pytest.approx(2.5 / 4)
    with pytest.raises(RowError, match=r"values holds 1\.5; allowed: \[0, 1\]"):
        mean_estimate([0, 1.5, 1], rates=True)


def test_a_clustered_rate_is_covered_where_wilson_fails() -> None:
    simulations, covered, ignored = 400, 0, 0
    for seed in range(simulations):
        values, cluster = clustered(seed, n_clusters=30, size=10, icc=0.2)
        e, plain = mean_estimate(values, clusters=[cluster], rates=True), mean_estimate(values, rates=True)
        covered += e.ci_low <= 0.2 <= e.ci_high
        ignored += plain.ci_low <= 0.2 <= plain.ci_high
    low, high = distributions.binom(simulations, 0.95).interval(0.999)
    assert low <= covered <= high
    assert ignored < low


@given(st.integers(2, 60), st.data(), st.floats(0.02, 0.98))
def test_a_rate_has_the_score_test_that_its_interval_inverts(n: int, data: st.DataObject, null: float) -> None:
    successes = data.draw(st.integers(0, n))
    e = mean_estimate(trials(successes, n), null=null)
    _, p = proportions_ztest(successes, n, null, prop_var=null)
    assert e.p_value == pytest.approx(p, abs=1e-9)
    assert (e.p_value < 0.05) == (not e.ci_low <= null <= e.ci_high)


@given(st.integers(0, 2**32 - 1), st.floats(0.02, 0.98))
def test_with_clusters_too_the_test_of_a_rate_and_its_interval_agree(seed: int, null: float) -> None:
    rng = np.random.default_rng(seed)
    cluster = rng.integers(0, 12, 90)
    e = mean_estimate((rng.random(90) < rng.beta(0.6, 2, 12)[cluster]).astype(float), clusters=[cluster], null=null)
    assert (e.p_value < 0.05) == (not e.ci_low <= null <= e.ci_high)


def test_a_null_that_is_not_a_number_is_no_null() -> None:
    for values in (trials(3, 10), [0.3, 0.9, 0.4]):
        assert math.isnan(mean_estimate(values, null=math.nan).p_value)
