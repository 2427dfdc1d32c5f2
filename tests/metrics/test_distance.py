from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import integrate
from scipy import stats as distributions

from rlhf_fair.metrics.distance import Noise, absolute_without_noise, joint_covariance, noisy_distance
from rlhf_fair.stats.group_sums import GroupMeans


def expectation(truth: float) -> float:
    """Mean of the corrected value over a normal difference with standard error 1 around ``truth``."""
    one = np.ones(1)
    value, _ = integrate.quad(
        lambda d: absolute_without_noise(np.array([d]), one)[0] * distributions.norm.pdf(d - truth),
        truth - 9,
        truth + 9,
        points=[0] if abs(truth) < 9 else None,
    )
    return float(value)


def test_no_bias_at_zero_and_far_from_it() -> None:
    assert expectation(0.0) == pytest.approx(0, abs=1e-8)
    assert expectation(8.0) == pytest.approx(8, abs=1e-6)


@pytest.mark.parametrize("truth", [0.3, 1.0, 1.06, 2.0, 4.0])
def test_bias_in_between_is_that_of_an_independent_sign(truth: float) -> None:
    # The sign from a half sample is right with probability Φ(truth/√2), so the mean is truth (2Φ(truth/√2) - 1).
    expected = truth * (2 * distributions.norm.cdf(truth / math.sqrt(2)) - 1)
    assert expectation(truth) == pytest.approx(expected, abs=1e-7)
    assert expectation(truth) - truth > -0.481


def test_noise_floor_and_p_value_of_one_coordinate() -> None:
    noise = Noise(np.eye(1), np.eye(1), np.inf, n=10, n_clusters=10)
    result = noisy_distance(np.array([1.5]), np.ones(1), noise, rng=np.random.default_rng(0))
    assert result.noise_floor == pytest.approx(math.sqrt(2 / math.pi))  # E|N(0, 1)|
    assert result.corrected.p_value == pytest.approx(2 * distributions.norm.sf(1.5), abs=0.02)
    # one coordinate: the interval is |1.5| ± 1.96, cut at 0
    assert result.corrected.ci_low == 0
    assert result.corrected.ci_high == pytest.approx(1.5 + 1.96, abs=0.1)


@pytest.mark.parametrize("size", [0.0, 0.5, 3.0])
def test_interval_covers_the_distance_of_correlated_differences(size: float) -> None:
    rng = np.random.default_rng(1)
    root = rng.normal(size=(6, 6)) / 3
    covariance, truth = root @ root.T, size * np.linspace(-1, 1, 6)
    noise = Noise(covariance, covariance, np.inf, n=1, n_clusters=1)
    widths = np.full(6, 0.5)
    hit = 0
    for _ in range(400):
        seen = truth + root @ rng.normal(size=6)
        e = noisy_distance(seen, widths, noise, draws=400, rng=rng).corrected
        hit += e.ci_low <= widths @ np.abs(truth) <= e.ci_high
    # at least 95 % nominal; 400 draws have a standard error of 1.1 %, quantiles of 400 draws about as much
    assert hit / 400 > 0.92


def test_joint_covariance_of_independent_rows_is_diagonal() -> None:
    rng = np.random.default_rng(2)
    x, group = rng.normal(size=50), np.arange(50) % 3
    means = GroupMeans.of(x, np.ones(50), group, [np.arange(50)], 3)
    expected = np.diag([x[group == g].var(ddof=1) / (group == g).sum() for g in range(3)])
    np.testing.assert_allclose(joint_covariance(means), expected)


def test_several_clusterings_give_a_covariance_without_negative_directions() -> None:
    rng = np.random.default_rng(3)
    x, group = rng.normal(size=40), np.arange(40) % 4
    means = GroupMeans.of(x, np.ones(40), group, [rng.integers(0, 6, 40), rng.integers(0, 6, 40)], 4)
    assert np.linalg.eigvalsh(joint_covariance(means)).min() > -1e-12
