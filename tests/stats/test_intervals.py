from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as distributions
from statsmodels.stats.proportion import confint_proportions_2indep, proportion_confint, proportions_ztest

from rlhf_fair.errors import RowError, SettingsError
from rlhf_fair.stats.intervals import clustered_wilson, kish_effective_n, newcombe, wilson


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


def clustered(seed: int, n_clusters: int, size: int, icc: float) -> tuple[np.ndarray, np.ndarray]:
    """Binary rows with rate .2; with probability sqrt(icc) a row copies its cluster, so the correlation is icc."""
    rng = np.random.default_rng(seed)
    shared = np.repeat(rng.random(n_clusters) < 0.2, size)
    own = rng.random(n_clusters * size) < 0.2
    copies = rng.random(n_clusters * size) < math.sqrt(icc)
    return np.where(copies, shared, own).astype(float), np.repeat(np.arange(n_clusters), size)


def test_rows_that_only_repeat_their_cluster_count_once() -> None:
    # 12 of 40 clusters, each five times over: the effective size is that of the clusters. n - 1 in the variance:
    # p(1-p)/se^2 = 39, and the t quantile with 39 df instead of z
    values, cluster = np.repeat([1.0, 0.0], [12, 28]), np.arange(40)
    e = clustered_wilson(np.repeat(values, 5), clusters=[np.repeat(cluster, 5)])
    effective = 39 * (distributions.norm.ppf(0.975) / distributions.t.ppf(0.975, 39)) ** 2
    assert (e.ci_low, e.ci_high) == pytest.approx(
        proportion_confint(0.3 * effective, effective, method="wilson"), rel=1e-6
    )
    assert (e.n, e.n_clusters) == (200, 40)


def test_independent_rows_get_wilson_and_missing_ones_are_counted() -> None:
    e, plain = clustered_wilson(np.repeat([1.0, 0.0, np.nan], [60, 240, 5])), wilson(60, 300)
    assert e == plain.model_copy(update={"n_left_out": 5})


def test_clusters_of_one_come_close_to_wilson_and_are_never_narrower() -> None:
    e, plain = clustered_wilson(np.repeat([1.0, 0.0], [60, 240]), clusters=[np.arange(300)]), wilson(60, 300)
    assert e.ci_low <= plain.ci_low
    assert e.ci_high >= plain.ci_high
    assert (e.ci_low, e.ci_high) == pytest.approx((plain.ci_low, plain.ci_high), abs=2e-3)


@pytest.mark.parametrize("rate", [0.0, 1.0])
def test_where_all_rows_agree_clusters_count(rate: float) -> None:
    e = clustered_wilson(np.full(50, rate), clusters=[np.repeat(np.arange(10), 5)])
    plain = wilson(int(10 * rate), 10)
    assert e.estimate == rate
    assert (e.ci_low, e.ci_high) == pytest.approx((plain.ci_low, plain.ci_high))
    assert e.reason == ""


def test_negative_correlation_buys_nothing() -> None:
    # every cluster has exactly one success of two: the rate does not vary between clusters at all
    values, cluster = np.tile([0.0, 1.0], 30), np.repeat(np.arange(30), 2)
    assert "no variation" in clustered_wilson(values, clusters=[cluster]).reason
    values[:4] = [1, 1, 0, 0]
    e, plain = clustered_wilson(values, clusters=[cluster]), wilson(30, 60)
    assert e.ci_low <= plain.ci_low
    assert e.ci_high >= plain.ci_high


def test_one_cluster_has_no_interval_and_no_rows_no_rate() -> None:
    e = clustered_wilson([0.0, 1.0, 1.0], clusters=[["a", "a", "a"]])
    assert e.estimate == pytest.approx(2 / 3)
    assert math.isnan(e.ci_low)
    assert e.reason
    assert math.isnan(clustered_wilson([np.nan]).estimate)


def test_a_tie_counts_half_and_nothing_lies_outside() -> None:
    assert clustered_wilson([0, 0.5, 1, 1]).estimate == pytest.approx(2.5 / 4)
    with pytest.raises(RowError, match=r"values row 2: 1\.5"):
        clustered_wilson([0, 1.5, 1])


def test_clustered_wilson_covers_where_wilson_does_not() -> None:
    simulations, covered, ignored = 400, 0, 0
    for seed in range(simulations):
        values, cluster = clustered(seed, n_clusters=30, size=10, icc=0.2)
        e, plain = clustered_wilson(values, clusters=[cluster]), wilson(int(values.sum()), len(values))
        covered += e.ci_low <= 0.2 <= e.ci_high
        ignored += plain.ci_low <= 0.2 <= plain.ci_high
    low, high = distributions.binom(simulations, 0.95).interval(0.999)
    assert low <= covered <= high
    assert ignored < low


def test_kish() -> None:
    assert kish_effective_n([2, 2, 2]) == pytest.approx(3)  # equal weights lose nothing
    assert kish_effective_n([1, 0, 0]) == pytest.approx(1)
