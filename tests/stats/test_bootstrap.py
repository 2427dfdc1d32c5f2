from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as distributions

from rlhf_fair.errors import SettingsError
from rlhf_fair.stats.bootstrap import Resampling, bootstrap_interval, studentised_replicates
from rlhf_fair.stats.contrasts import contrast_estimate
from rlhf_fair.stats.replicates import Units, replicate_means

GAP = {"a": 1.0, "b": -1.0}
METHODS = ("percentile", "bca", "studentised")


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("method", ["percentile", "bca"])
@pytest.mark.parametrize("seed", range(3))
def test_one_mean_equals_scipy_on_the_same_replicates(method: str, seed: int) -> None:
    values = rng(seed).lognormal(size=25)
    replicates = replicate_means(values, np.ones(25), np.zeros(25, int), np.arange(25), 1, n_boot=2000, rng=rng(seed))
    known = distributions.bootstrap((values,), np.mean, n_resamples=10, rng=rng())
    known.bootstrap_distribution = replicates[:, 0, 0]
    theirs = distributions.bootstrap(
        (values,), np.mean, n_resamples=0, bootstrap_result=known, method={"bca": "BCa"}.get(method, method)
    ).confidence_interval
    ours = bootstrap_interval(
        values,
        np.zeros(25),
        {0: 1.0},
        clusters=[np.arange(25)],
        rng=rng(seed),
        resampling=Resampling(method=method, n_boot=2000),  # type: ignore[arg-type]
    )
    assert (ours.ci_low, ours.ci_high) == pytest.approx(tuple(theirs), rel=1e-9)
    assert ours.standard_error == pytest.approx(replicates.std(ddof=1))


def test_two_samples_equal_scipy_on_the_same_replicates() -> None:
    x, y = rng(1).lognormal(size=12), rng(2).lognormal(size=20)
    values, groups = np.r_[x, y], ["a"] * 12 + ["b"] * 20
    units = Units.of(values[:, None], np.ones((32, 1)), np.repeat([0, 1], [12, 20]), np.arange(32), 2).stratified()
    top, bottom = units.replicate_sums(2000, rng(5))
    difference = (top / bottom)[:, :, 0] @ [1, -1]

    def gap(u: np.ndarray, v: np.ndarray, axis: int) -> np.ndarray:
        return np.mean(u, axis=axis) - np.mean(v, axis=axis)

    known = distributions.bootstrap((x, y), gap, n_resamples=10, rng=rng())
    known.bootstrap_distribution = difference
    theirs = distributions.bootstrap((x, y), gap, n_resamples=0, bootstrap_result=known).confidence_interval
    ours = bootstrap_interval(
        values,
        groups,
        GAP,
        clusters=[np.arange(32)],
        rng=rng(5),
        resampling=Resampling(method="bca", n_boot=2000, stratified=True),
    )
    assert (ours.ci_low, ours.ci_high) == pytest.approx(tuple(theirs), rel=1e-9)


def test_before_and_after_on_the_same_clusters_is_the_bootstrap_of_the_differences() -> None:
    before = rng(6).normal(size=30) * 3
    after = before + rng(7).normal(0.5, 1, size=30)
    cluster = np.arange(30)
    how = Resampling(method="percentile", n_boot=1000)
    paired = bootstrap_interval(
        np.r_[before, after],
        ["b"] * 30 + ["a"] * 30,
        GAP,
        clusters=[np.r_[cluster, cluster]],
        rng=rng(),
        resampling=how,
    )
    single = bootstrap_interval(after - before, ["a"] * 30, {"a": 1.0}, clusters=[cluster], rng=rng(), resampling=how)
    assert (paired.ci_low, paired.ci_high) == pytest.approx((single.ci_low, single.ci_high))
    assert paired.standard_error < 0.3  # 1 / sqrt(30) = 0.18, and 0.8 if the pairs were torn apart


@pytest.mark.parametrize("method", METHODS)
def test_large_samples_agree_with_the_t_interval(method: str) -> None:
    r = rng(8)
    values, groups = r.normal(size=800), np.repeat(["a", "b"], 400)
    plain = contrast_estimate(values, groups, GAP)
    e = bootstrap_interval(
        values,
        groups,
        GAP,
        rng=rng(),
        resampling=Resampling(method=method, n_boot=4000),  # type: ignore[arg-type]
    )
    # an end point's Monte-Carlo error is sqrt(.025 * .975 / 4000) / .058 = 0.042 standard errors
    tolerance = 0.2 * plain.standard_error
    assert (e.ci_low, e.ci_high) == pytest.approx((plain.ci_low, plain.ci_high), abs=tolerance)
    assert e.p_value == pytest.approx(plain.p_value, abs=0.05)
    assert e.estimate == plain.estimate


@pytest.mark.parametrize("method", METHODS)
@settings(max_examples=20)
@given(seed=st.integers(0, 2**32 - 1))
def test_the_p_value_agrees_with_the_interval(method: str, seed: int) -> None:
    r = rng(seed)
    cluster = np.repeat(np.arange(16), 4)
    values = r.normal(size=64) + r.normal(size=16)[cluster] + 0.8 * (cluster < 8)
    e = bootstrap_interval(
        values,
        np.where(cluster < 8, "a", "b"),
        GAP,
        clusters=[cluster],
        rng=r,
        resampling=Resampling(method=method, n_boot=999),  # type: ignore[arg-type]
    )
    if abs(e.p_value - 0.05) > 0.004:  # two draws of 999: quantiles interpolate between draws
        assert (e.p_value < 0.05) == (not e.ci_low <= 0 <= e.ci_high)


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1), st.sampled_from(METHODS))
def test_names_order_and_copies_of_rows_change_nothing(seed: int, method: str) -> None:
    r = rng(seed)
    cluster = np.repeat(np.arange(14), 5)
    values, groups = r.normal(size=70) + r.normal(size=14)[cluster], r.choice(["a", "b"], 70)
    how = Resampling(method=method, n_boot=200)  # type: ignore[arg-type]
    once = bootstrap_interval(values, groups, GAP, clusters=[cluster], rng=rng(), resampling=how)
    order = np.r_[np.arange(70), np.arange(70)]  # copies, in another order that meets the clusters in the same order
    renamed = np.where(groups == "a", "x", "y")
    again = bootstrap_interval(
        values[order], renamed[order], {"x": 1.0, "y": -1.0}, clusters=[cluster[order]], rng=rng(), resampling=how
    )
    for name in ("estimate", "ci_low", "ci_high", "standard_error", "p_value", "n_clusters"):
        assert getattr(again, name) == pytest.approx(getattr(once, name), rel=1e-6), name


@pytest.mark.parametrize("crossed", [False, True])
def test_every_replicate_has_the_standard_error_of_its_own_rows(crossed: bool) -> None:
    r = rng(9)
    cluster = np.repeat(np.arange(9), [2, 3, 4, 5, 6, 5, 4, 3, 2])
    group = r.integers(2, size=34) if crossed else cluster % 2
    values = r.normal(size=34)
    units = Units.of(values[:, None], np.ones((34, 1)), group, cluster, 2)
    replicates, errors = studentised_replicates(units, np.array([1.0, -1.0]), 100, rng(1))
    for b, drawn in enumerate(next(units.draws(100, rng(1))).astype(int)):
        copies = [(np.flatnonzero(cluster == c), f"{c} {k}") for c in range(9) for k in range(drawn[c])]
        rows = np.concatenate([found for found, _ in copies])
        names = np.concatenate([[name] * len(found) for found, name in copies])
        e = contrast_estimate(values[rows], group[rows], {0: 1.0, 1: -1.0}, clusters=[names])
        if math.isfinite(e.standard_error):
            assert (replicates[b], errors[b]) == pytest.approx((e.estimate, e.standard_error))


def covered(method: str, *, clusters: int, simulations: int = 300) -> int:
    r, how = rng(11), Resampling(method=method, n_boot=399)  # type: ignore[arg-type]
    cluster = np.repeat(np.arange(clusters), 4)
    groups = np.where(np.arange(4 * clusters) % 4 < 2, "a", "b")  # every cluster holds both groups
    hits = 0
    for _ in range(simulations):
        own = np.stack([r.exponential(size=clusters), r.exponential(size=clusters)])  # the gap varies by cluster
        values = own[(groups == "a").astype(int), cluster] + r.normal(size=4 * clusters)
        e = bootstrap_interval(values, groups, GAP, clusters=[cluster], rng=r, resampling=how)
        hits += e.ci_low <= 0 <= e.ci_high
    return hits


def test_the_studentised_bootstrap_covers_and_the_percentile_bootstrap_with_eight_clusters_does_not() -> None:
    low, high = distributions.binom(300, 0.95).interval(0.999)
    assert low <= covered("studentised", clusters=15) <= high
    assert covered("percentile", clusters=8) < low


def test_what_cannot_be_estimated_says_why() -> None:
    lonely = bootstrap_interval([1, 2, 3, 9.0], list("aaab"), GAP, clusters=[[0, 0, 1, 2]], rng=rng())
    assert lonely.estimate == -7
    assert math.isnan(lonely.ci_low)
    assert "1 cluster" in lonely.reason
    assert "group b" in bootstrap_interval([1, 2, np.nan], list("aab"), GAP, rng=rng()).reason
    tiny = bootstrap_interval([1, 2, 4.0], list("aaa"), {"a": 1.0}, rng=rng())  # 1 replicate in 9 is one row thrice
    assert math.isnan(tiny.ci_low)
    assert "too few clusters" in tiny.reason
    rare = bootstrap_interval(
        [*range(40), 1.0, 2.0], ["a"] * 40 + ["b"] * 2, GAP, rng=rng(), resampling=Resampling(method="percentile")
    )
    assert "replicates lack a group" in rare.reason
    assert math.isfinite(rare.ci_low)


def test_unknown_options_are_refused() -> None:
    with pytest.raises(SettingsError, match="method is 'magic'; allowed: percentile, bca, studentised"):
        Resampling(method="magic")  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match="n_boot is 10; allowed: 100 or more"):
        Resampling(n_boot=10)
    with pytest.raises(SettingsError, match="clusters has 2 ways; allowed: 0 or 1"):
        bootstrap_interval([1, 2.0], ["a", "b"], GAP, clusters=[[0, 1], [0, 1]], rng=rng())
    with pytest.raises(SettingsError, match="allowed: one group each"):
        bootstrap_interval(
            [1, 2, 3, 4.0],
            list("abab"),
            GAP,
            clusters=[[0, 0, 1, 1]],
            rng=rng(),
            resampling=Resampling(stratified=True),
        )
