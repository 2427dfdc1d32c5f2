from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as distributions

from rlhf_fair.errors import RowError, SettingsError
from rlhf_fair.stats.correlation import correlation_estimate


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_by_hand() -> None:
    # x − 2: −2 −1 0 1 2; y − 2: −2 0 −1 2 1: Σxy = 4 + 0 + 0 + 2 + 2 = 8, Σxx = Σyy = 10: .8
    e = correlation_estimate([0, 1, 2, 3, 4], [0, 2, 1, 4, 3])
    assert e.estimate == pytest.approx(0.8)


def test_for_normal_pairs_the_error_is_fishers() -> None:
    x, noise = rng().normal(size=(2, 4000))
    y = 0.6 * x + 0.8 * noise
    e, oracle = correlation_estimate(x, y), distributions.pearsonr(x, y)
    assert e.estimate == pytest.approx(oracle.statistic)
    assert (e.ci_low, e.ci_high) == pytest.approx(tuple(oracle.confidence_interval(0.95)), abs=0.002)


def test_the_jackknife_is_the_one_written_out() -> None:
    x, y = rng(1).normal(size=(2, 24))
    cluster = np.repeat(np.arange(8), 3)
    e = correlation_estimate(x, y, clusters=[cluster])
    z = [math.atanh(distributions.pearsonr(x[cluster != c], y[cluster != c])[0]) for c in range(8)]
    se = math.sqrt(7 / 8 * sum((value - np.mean(z)) ** 2 for value in z))
    half = distributions.t(6).ppf(0.975) * se
    centre = math.atanh(distributions.pearsonr(x, y)[0])
    assert (e.ci_low, e.ci_high) == pytest.approx((math.tanh(centre - half), math.tanh(centre + half)))
    assert (e.n, e.n_clusters, e.df) == (24, 8, 6)


def test_copied_rows_are_one_cluster() -> None:
    x, y = rng(2).normal(size=(2, 30))
    once = correlation_estimate(x, y)
    thrice = correlation_estimate(np.tile(x, 3), np.tile(y, 3), clusters=[np.tile(np.arange(30), 3)])
    assert (thrice.ci_low, thrice.ci_high) == pytest.approx((once.ci_low, once.ci_high))


@given(st.floats(0.1, 100), st.floats(-100, 100), st.integers(0, 1000))
def test_scale_and_offset_change_nothing_and_a_sign_only_the_sign(scale: float, offset: float, seed: int) -> None:
    x, y = rng(seed).normal(size=(2, 12))
    e = correlation_estimate(x, y)
    moved = correlation_estimate(scale * x + offset, -y)
    assert (moved.estimate, moved.ci_low, moved.ci_high) == pytest.approx(
        (-e.estimate, -e.ci_high, -e.ci_low), abs=1e-6
    )


def test_what_cannot_be_estimated_says_so() -> None:
    assert "does not vary" in correlation_estimate([1, 1, 1], [1, 2, 3]).reason
    assert "fewer than 2" in correlation_estimate([1, np.nan], [1, 2]).reason
    line = correlation_estimate(np.arange(9), np.arange(9))
    assert line.estimate == pytest.approx(1)
    assert math.isnan(line.ci_low)
    assert line.reason
    missing = correlation_estimate([0, 1, 2, 3, 4, 5], [0, 2, 1, 4, 3, np.nan])
    assert (missing.n, missing.n_left_out) == (5, 1)
    with pytest.raises(SettingsError, match="at most 1"):
        correlation_estimate([1, 2], [1, 2], clusters=[[1, 2], [1, 2]])
    with pytest.raises(RowError, match="y has 1 rows"):
        correlation_estimate([1, 2], [1])


@pytest.mark.parametrize("kind", ["normal", "discrete", "spread changes"])
def test_coverage_of_60_rows(kind: str) -> None:
    # 60 is the number of occupations in Winogender. 95 % of 1,000: within 3.5 standard errors, 2.4 points.
    draw, covered, n_sets = rng(7), 0, 1000
    for _ in range(n_sets):
        x, noise = draw.normal(size=(2, 60))
        y = noise if kind == "normal" else np.round(noise) if kind == "discrete" else noise * np.abs(x)
        e = correlation_estimate(x, y)
        covered += e.ci_low <= 0 <= e.ci_high
    assert covered / n_sets == pytest.approx(0.95, abs=0.024)
