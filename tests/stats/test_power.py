from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats as distributions
from statsmodels.stats.power import NormalIndPower, TTestIndPower

from rlhf_fair.errors import SettingsError
from rlhf_fair.stats.power import (
    ClusterDesign,
    design_effect,
    minimum_detectable_effect,
    power_for_gap,
    power_of_test,
    sample_size_for_gap,
)


def test_detectable_effect_at_large_df() -> None:
    # 1.95996 + 0.84162: the normal quantiles of any table
    assert minimum_detectable_effect(2.0, 1e9) == pytest.approx(2 * (1.959964 + 0.841621), abs=1e-5)
    # Bloom 1995: t of 20 df, 2.086 + 0.860
    assert minimum_detectable_effect(1.0, 20) == pytest.approx(2.086 + 0.860, abs=1e-3)


@given(st.floats(0.05, 2), st.integers(2, 200), st.sampled_from([1.0, 2.0, 0.5]), st.sampled_from([0.01, 0.05, 0.1]))
def test_power_equals_statsmodels(effect: float, n: int, ratio: float, alpha: float) -> None:
    n *= 2
    design = ClusterDesign(sd=1.0, allocation=ratio)
    expected = TTestIndPower().power(effect, n, alpha, ratio=ratio)
    assume(not math.isnan(expected))  # statsmodels adds a tail in which scipy has no number
    assert power_for_gap(effect, design, n, alpha=alpha) == pytest.approx(expected, abs=1e-6)


@given(st.floats(0.1, 3), st.integers(2, 500))
def test_with_endless_df_it_is_the_z_test(effect: float, n: int) -> None:
    expected = NormalIndPower().power(effect, n, 0.05)
    assert power_of_test(effect, math.sqrt(2 / n), math.inf) == pytest.approx(expected)


def test_power_of_nothing_is_alpha_and_the_sign_does_not_matter() -> None:
    assert power_of_test(0.0, 1.0, 12, alpha=0.07) == pytest.approx(0.07)
    assert power_of_test(-1.3, 1.0, 12) == power_of_test(1.3, 1.0, 12)
    assert power_of_test(40.0, 1.0, 10) == 1.0


@pytest.mark.parametrize(("effect", "n"), [(0.2, 394), (0.5, 64), (0.8, 26)])
def test_cohens_table(effect: float, n: int) -> None:
    # Cohen 1988, table 2.4.1: n per group for d = .2, .5, .8 at two-sided .05 and power .80 (for d = .2 he rounds 393.4
    # down; 393 has a power of .7996)
    size = sample_size_for_gap(effect, ClusterDesign(sd=1.0))
    assert (size.group_clusters, size.reference_clusters, size.rows) == (n, n, 2 * n)


@given(
    st.floats(0.05, 1.5),
    st.floats(0, 0.5),
    st.floats(1, 30),
    st.floats(0, 1),
    st.sampled_from([0.25, 0.5, 1.0, 1.5, 3.0]),
    st.sampled_from([0.6, 0.8, 0.9]),
)
def test_the_size_found_is_the_smallest_that_is_enough(
    gap: float, icc: float, size: float, cv: float, allocation: float, power: float
) -> None:
    design = ClusterDesign(sd=1.3, icc=icc, cluster_size=size, cluster_size_cv=cv, allocation=allocation)
    found = sample_size_for_gap(gap, design, power=power)
    assert found.power >= power
    assert found.power == power_for_gap(gap, design, found.group_clusters)
    fewer = power_for_gap(gap, design, found.group_clusters - 1)
    assert math.isnan(fewer) or fewer < power
    assert found.reference_clusters == math.ceil(allocation * found.group_clusters)
    assert min(found.group_clusters, found.reference_clusters) >= 2


@given(st.floats(0.1, 1.0))
def test_the_size_for_an_effect_detects_that_effect(gap: float) -> None:
    design = ClusterDesign(sd=1.0, icc=0.1, cluster_size=10)
    clusters = sample_size_for_gap(gap, design).group_clusters
    mde = minimum_detectable_effect(design.standard_error(clusters), design.df(clusters))
    # Bloom's formula puts a central t where the noncentral one belongs: up to 4 % off from 10 clusters on
    if clusters >= 10:
        assert mde <= gap * 1.04


def test_design_effect_by_hand() -> None:
    assert design_effect(0.05, 21) == pytest.approx(2)  # 1 + 20 * .05
    # sizes 10 and 30: mean 20, SD 10, cv .5; by definition sum m² / sum m = 1000/40 = 25 -> 1 + 24 * .05
    assert design_effect(0.05, 20, cluster_size_cv=0.5) == pytest.approx(2.2)
    assert design_effect(0, 50) == design_effect(0.3, 1) == 1


@pytest.mark.parametrize(
    ("field", "value"), [("sd", 0), ("icc", 1.2), ("cluster_size", 0.5), ("cluster_size_cv", -1), ("allocation", 0)]
)
def test_a_design_that_cannot_be_is_refused(field: str, value: float) -> None:
    with pytest.raises(SettingsError, match=f"{field} = {value:g}; allowed"):
        ClusterDesign(**{"sd": 1.0, field: value})


def test_no_design_shows_a_gap_of_nothing() -> None:
    with pytest.raises(SettingsError, match="gap = 0"):
        sample_size_for_gap(0.0, ClusterDesign(sd=1))
    with pytest.raises(SettingsError, match="too small"):
        sample_size_for_gap(1e-9, ClusterDesign(sd=1))
    with pytest.raises(SettingsError, match="power = 1"):
        sample_size_for_gap(0.1, ClusterDesign(sd=1), power=1.0)
    assert math.isnan(power_for_gap(0.1, ClusterDesign(sd=1), 1))


def test_simulated_data_reject_as_often_as_planned() -> None:
    # two groups of clusters of 8 rows, variance 1 of which a fifth lies between clusters; t test on cluster means
    rng, gap, size, icc, simulations = np.random.default_rng(4), 0.5, 8, 0.2, 4000
    planned = sample_size_for_gap(gap, ClusterDesign(sd=1.0, icc=icc, cluster_size=size))
    shape = (simulations, planned.group_clusters)
    means = [
        rng.normal(scale=math.sqrt(icc), size=shape) + rng.normal(scale=math.sqrt((1 - icc) / size), size=shape)
        for _ in range(2)
    ]
    rejected = (distributions.ttest_ind(means[0] + gap, means[1], axis=1).pvalue < 0.05).sum()
    low, high = distributions.binom(simulations, planned.power).interval(0.999)
    assert low <= rejected <= high
