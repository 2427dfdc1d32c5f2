"""Variance components against published ones, the analysis of variance, and laws."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as distributions

from rlhf_fair.annotators.simulation_latent import Latent, fit_latent
from rlhf_fair.annotators.simulation_moments import variance_components

JUDGES = np.array([[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]], dtype=float)
"""Six targets, four judges (Shrout and Fleiss 1979, table 2)."""


def crossed(shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    item, rater = np.divmod(np.arange(shape[0] * shape[1]), shape[1])
    return item, rater


def test_shrout_and_fleiss() -> None:
    item, rater = crossed(JUDGES.shape)
    found = variance_components(JUDGES.reshape(-1), item, rater, np.zeros_like(item))
    # published mean squares: targets 11.24, judges 32.49, error 1.02, so that
    # targets (11.24 - 1.02) / 4 = 2.56, judges (32.49 - 1.02) / 6 = 5.24, and ICC(2,1) = .29
    assert found.item == pytest.approx(2.56, abs=0.005)
    assert found.rater == pytest.approx(5.24, abs=0.006)
    assert found.residual == pytest.approx(1.02, abs=0.005)
    assert found.item / (found.item + found.rater + found.residual) == pytest.approx(0.29, abs=0.005)
    assert np.isnan(found.group_item)


@given(st.integers(2, 6), st.integers(2, 6), st.floats(-1e3, 1e3), st.floats(0.1, 10), st.integers(0, 10_000))
@settings(max_examples=50, deadline=None)
def test_complete_tables_give_the_analysis_of_variance(
    items: int, raters: int, shift: float, scale: float, seed: int
) -> None:
    table = np.random.default_rng(seed).normal(size=(items, raters)) * scale + shift
    item, rater = crossed(table.shape)
    rest = table - table.mean(axis=0) - table.mean(axis=1, keepdims=True) + table.mean()
    error = (rest**2).sum() / ((items - 1) * (raters - 1))
    between_items = raters * table.mean(axis=1).var(ddof=1)
    between_raters = items * table.mean(axis=0).var(ddof=1)
    found = variance_components(table.reshape(-1), item, rater, np.zeros_like(item))
    wanted = ((between_items - error) / raters, (between_raters - error) / items, error)
    assert np.allclose((found.item, found.rater, found.residual), wanted, atol=1e-8 * scale**2)


def test_gaps_and_groups_leave_no_bias() -> None:
    rng, found = np.random.default_rng(3), []
    keep = rng.random((40, 30)) < 0.4  # two cells of five filled, the same in all worlds
    item, rater = np.nonzero(keep)
    group = (rater % 3 == 0).astype(np.intp)
    for _ in range(300):
        own = rng.normal(size=(40, 2)) * 0.5
        y = rng.normal(size=40)[item] + own[item, group] + 0.7 * rng.normal(size=30)[rater] + 3.0 * group
        c = variance_components(y + 1.5 * rng.normal(size=len(item)), item, rater, group)
        found.append([c.item, c.group_item, c.rater, c.residual])
    z = (np.mean(found, axis=0) - [1.0, 0.25, 0.49, 2.25]) / (np.std(found, axis=0) / np.sqrt(300))
    assert np.abs(z).max() < 4


def test_what_no_pair_tells_is_nan() -> None:
    alone = np.arange(4)
    found = variance_components(np.arange(4.0), alone, alone, np.zeros(4, dtype=np.intp))
    assert np.isnan(found.item)
    assert np.isnan(found.rater)


def test_a_cut_at_the_median_gives_the_arcsine() -> None:
    # P(both above) - 1/4 = arcsin(rho) / (2 pi): Sheppard 1899
    even = Latent(np.zeros(1), np.zeros(1), np.ones(1))
    for rho in (-0.9, -0.3, 0.1, 0.5, 0.95):
        covariance = even.covariance(rho, np.ones((1, 1)))
        assert covariance == pytest.approx(np.arcsin(rho) / (2 * np.pi), abs=1e-7)
        assert even.correlation(covariance, np.ones((1, 1))) == pytest.approx(rho, abs=1e-5)


def test_covariances_agree_with_the_bivariate_normal() -> None:
    latent = Latent(np.array([-0.8, 0.3, 1.1]), np.array([0.2, -0.4]), np.array([1.0, 2.0, 0.5]))
    joint = distributions.multivariate_normal([0, 0], [[1, 0.6], [0.6, 1]])
    one, other = -(latent.thresholds - 0.2), -(latent.thresholds + 0.4)
    wanted = sum(
        a * b * (joint.cdf([x, y]) - distributions.norm.cdf(x) * distributions.norm.cdf(y))
        for x, a in zip(one, latent.steps, strict=True)
        for y, b in zip(other, latent.steps, strict=True)
    )
    assert latent.covariance(0.6, np.array([[0.0, 1.0], [0.0, 0.0]])) == pytest.approx(wanted, abs=1e-5)


def test_thresholds_and_means_give_back_the_shares() -> None:
    # two groups half a step apart around thresholds of -0.5 and 1
    thresholds, means, sizes = np.array([-0.5, 1.0]), np.array([0.375, -0.125]), np.array([25.0, 75.0])
    below = distributions.norm.cdf(thresholds[None, :] - means[:, None])
    shares = np.diff(below, axis=1, prepend=0, append=1)
    found = fit_latent(shares, sizes, np.array([1.0, 2.0, 4.0]))
    assert np.allclose(found.thresholds, thresholds, atol=1e-6)
    assert np.allclose(found.means, means, atol=1e-6)


def test_nothing_is_covariance_beyond_the_possible() -> None:
    even = Latent(np.zeros(1), np.zeros(1), np.ones(1))
    assert even.correlation(0.3, np.ones((1, 1))) == 0.995  # 1/4 is the most that a covariance can be
    assert np.isnan(even.correlation(np.nan, np.ones((1, 1))))
    assert np.isnan(even.correlation(0.1, np.zeros((1, 1))))
