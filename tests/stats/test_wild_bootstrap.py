from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as distributions

from rlhf_fair.errors import SettingsError
from rlhf_fair.stats.contrasts import contrast_estimate
from rlhf_fair.stats.wild_bootstrap import POINTS, WildResampling, wild_bootstrap_estimate

GAP = {"a": 1.0, "b": -1.0}
SIGNS = WildResampling(family="rademacher")


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def rows(seed: int, clusters: int, crossed: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """values, groups, clusters: unequal clusters with a mean of their own, within groups or across them."""
    r = rng(seed)
    cluster = np.repeat(np.arange(clusters), r.integers(3, 9, clusters))
    groups = r.choice(["a", "b"], len(cluster)) if crossed else np.where(cluster % 2, "a", "b")
    return r.normal(size=len(cluster)) + r.normal(size=clusters)[cluster], groups, cluster


def test_both_families_have_mean_zero_and_variance_one() -> None:
    for points in POINTS.values():
        assert points.mean() == pytest.approx(0)
        assert (points**2).mean() == pytest.approx(1)
    assert (POINTS["webb"] ** 4).mean() == pytest.approx(7 / 6)  # (9/4 + 1 + 1/4) / 3; normal weights would have 3


@pytest.mark.parametrize("seed", range(3))
def test_one_mean_with_signs_is_the_sign_flip_test(seed: int) -> None:
    # Under the null 0 the residuals are the values; flipping signs keeps their squares, so |t| rises with |mean|.
    values = rng(seed).normal(0.4, 1, size=10)
    exact = distributions.permutation_test((values,), np.mean, permutation_type="samples", n_resamples=np.inf)
    e = wild_bootstrap_estimate(values, np.zeros(10), {0: 1.0}, rng=rng(), resampling=SIGNS)
    assert e.p_value == pytest.approx(exact.pvalue)


@pytest.mark.parametrize("crossed", [False, True])
@pytest.mark.parametrize("null", [0.0, 0.7])
def test_all_signs_by_refitting_every_sample(crossed: bool, null: float) -> None:
    values, groups, cluster = rows(1, 6, crossed)
    shifted = values - null * (groups == "a")
    observed = contrast_estimate(shifted, groups, GAP, clusters=[cluster])
    # Restricted least squares with equal means is the common mean.
    residual = shifted - shifted.mean()
    extreme = 0
    for signs in itertools.product([-1, 1], repeat=6):
        drawn = shifted.mean() + np.array(signs)[cluster] * residual
        e = contrast_estimate(drawn, groups, GAP, clusters=[cluster])
        extreme += abs(e.estimate / e.standard_error) >= abs(observed.estimate / observed.standard_error) * (1 - 1e-9)
    ours = wild_bootstrap_estimate(shifted, groups, GAP, clusters=[cluster], rng=rng(), resampling=SIGNS)
    assert ours.p_value == pytest.approx(extreme / 64)
    assert (ours.estimate, ours.standard_error) == pytest.approx((observed.estimate, observed.standard_error))


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1), st.booleans(), st.sampled_from([10, 14]))
def test_the_interval_holds_the_null_values_that_are_not_rejected(seed: int, crossed: bool, clusters: int) -> None:
    values, groups, cluster = rows(seed, clusters, crossed)
    e = wild_bootstrap_estimate(
        values, groups, GAP, clusters=[cluster], rng=rng(), resampling=WildResampling(n_boot=999)
    )

    def p(null: float) -> float:
        moved = values - null * (groups == "a")
        return wild_bootstrap_estimate(
            moved, groups, GAP, clusters=[cluster], rng=rng(), resampling=WildResampling(n_boot=999)
        ).p_value

    width = e.ci_high - e.ci_low
    for end, outwards in ((e.ci_low, -1e-3 * width), (e.ci_high, 1e-3 * width)):
        assert p(end + outwards) <= 0.056  # p is not monotone to the last draw
        assert p(end - outwards) >= 0.044


@settings(max_examples=10)
@given(st.integers(0, 2**32 - 1), st.booleans())
def test_names_order_and_copies_of_rows_change_nothing(seed: int, crossed: bool) -> None:
    values, groups, cluster = rows(seed, 8, crossed)
    once = wild_bootstrap_estimate(values, groups, GAP, clusters=[cluster], rng=rng(), resampling=SIGNS)
    order = rng(seed).permutation(np.tile(np.arange(len(values)), 2))
    names = np.array(list("hgfedcba"))[cluster]
    twice = wild_bootstrap_estimate(
        values[order],
        np.where(groups == "a", "y", "x")[order],
        {"x": -1.0, "y": 1.0},
        clusters=[names[order]],
        rng=rng(1),
        resampling=SIGNS,
    )
    # 2^8 signs are all tried: nothing is left to chance
    for name in ("estimate", "ci_low", "ci_high", "p_value", "standard_error"):
        assert getattr(twice, name) == pytest.approx(getattr(once, name), rel=1e-4), name


def test_many_clusters_agree_with_the_t_interval() -> None:
    values, groups, cluster = rows(3, 300, True)
    plain = contrast_estimate(values, groups, GAP, clusters=[cluster])
    e = wild_bootstrap_estimate(
        values, groups, GAP, clusters=[cluster], rng=rng(), resampling=WildResampling(n_boot=4000)
    )
    assert (e.ci_low, e.ci_high) == pytest.approx((plain.ci_low, plain.ci_high), abs=0.2 * plain.standard_error)


def test_the_null_is_rejected_one_time_in_twenty_with_ten_clusters() -> None:
    simulations, rejected, r = 400, 0, rng(5)
    cluster = np.repeat(np.arange(10), 4)
    for _ in range(simulations):
        values = r.normal(size=40) + r.normal(size=10)[cluster]
        e = wild_bootstrap_estimate(
            values,
            np.where(cluster < 5, "a", "b"),
            GAP,
            clusters=[cluster],
            rng=r,
            resampling=WildResampling(n_boot=399),
        )
        rejected += e.p_value <= 0.05
    low, high = distributions.binom(simulations, 0.05).interval(0.999)
    assert low <= rejected <= high


def test_too_few_clusters_have_no_interval() -> None:
    values, groups, cluster = rows(2, 5, True)
    e = wild_bootstrap_estimate(values, groups, GAP, clusters=[cluster], rng=rng(), resampling=SIGNS)
    assert math.isnan(e.ci_low)
    assert "below 0.062" in e.reason  # all signs alike: 2 of 32 samples are as extreme as the data, whatever the null
    assert e.p_value >= 2 / 32


def test_what_cannot_be_estimated_says_why_and_unknown_options_are_refused() -> None:
    assert "1 cluster" in wild_bootstrap_estimate([1, 2, 9.0], list("aab"), GAP, rng=rng()).reason
    assert "group b" in wild_bootstrap_estimate([1, 2, np.nan], list("aab"), GAP, rng=rng()).reason
    with pytest.raises(SettingsError, match="clusters has 2 ways; allowed: 0 or 1"):
        wild_bootstrap_estimate([1, 2.0], ["a", "b"], GAP, clusters=[[0, 1], [0, 1]], rng=rng())
    with pytest.raises(SettingsError, match="family is 'mammen'; allowed: auto, rademacher, webb"):
        WildResampling(family="mammen")  # type: ignore[arg-type]
