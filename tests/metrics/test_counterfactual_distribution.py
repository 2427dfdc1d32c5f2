from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import wasserstein_distance

from rlhf_fair.metrics.counterfactual_distribution import wasserstein_change


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@given(st.integers(0, 2**32 - 1), st.booleans())
def test_plug_in_is_scipys(seed: int, rounded: bool) -> None:
    before, after = np.random.default_rng(seed).normal(size=(2, 30))
    weights = np.random.default_rng(seed).uniform(0.5, 2, 30)
    if rounded:
        before, after = np.round(before), np.round(after)
    result = wasserstein_change(before, after, weights=weights, draws=19, rng=rng())
    assert result.plug_in == pytest.approx(wasserstein_distance(before, after, weights, weights))
    assert result.corrected.estimate <= result.plug_in + 1e-9


def test_two_values_by_hand() -> None:
    # Shares at 1: 1/4 before, 3/4 after: W1 = 1/2. Pairs move by 1, 1, 0, 0.
    result = wasserstein_change([0, 0, 1, 0], [1, 1, 1, 0], draws=9999, rng=rng())
    assert result.plug_in == pytest.approx(0.5)
    # Swapping within pairs: 2 of the 4 patterns of the two pairs that move are as extreme.
    assert result.corrected.p_value == 0.5


def test_a_shift_of_every_score_is_the_distance() -> None:
    before = rng(1).normal(size=300)
    result = wasserstein_change(before, before + 0.7, draws=99, rng=rng())
    assert result.plug_in == pytest.approx(0.7)
    assert result.corrected.ci_low < 0.7 < result.corrected.ci_high
    assert result.corrected.estimate == pytest.approx(0.7, abs=0.03)
    assert result.corrected.p_value == pytest.approx(0.01)


def test_scores_that_change_places_leave_no_distance() -> None:
    before = np.array([0.0, 1.0, 2.0, 3.0])
    assert wasserstein_change(before, before[::-1], draws=99, rng=rng()).plug_in == 0


def test_equal_distributions_have_a_distance_and_no_corrected_one() -> None:
    draw = rng(2)
    cluster = np.repeat(np.arange(40), 4)
    found = []
    for _ in range(150):
        level = draw.normal(size=160)
        before, after = (level + draw.normal(size=160) / 2 + 0.3 * draw.normal(size=40)[cluster] for _ in range(2))
        result = wasserstein_change(before, after, clusters=[cluster], draws=99, rng=draw)
        e = result.corrected
        found.append((result.plug_in, e.estimate, e.p_value <= 0.05, e.ci_low == 0))
    plug_in, corrected, rejected, covered = np.array(found, dtype=float).T
    error = corrected.std() / math.sqrt(150)
    assert plug_in.mean() > 10 * error
    assert abs(corrected.mean()) < 3 * error
    assert rejected.mean() < 0.11  # 5 % of 150, three standard errors above
    assert covered.mean() > 0.89


def test_a_pair_written_down_ten_times_is_one_cluster() -> None:
    before, after = rng(3).normal(size=(2, 15))
    cluster = np.repeat(np.arange(15), 10)
    once = wasserstein_change(before, after, rng=rng())
    tenfold = wasserstein_change(np.repeat(before, 10), np.repeat(after, 10), clusters=[cluster], rng=rng())
    naive = wasserstein_change(np.repeat(before, 10), np.repeat(after, 10), rng=rng())
    assert tenfold.plug_in == pytest.approx(once.plug_in)
    assert tenfold.noise_floor == pytest.approx(once.noise_floor)
    assert tenfold.corrected.p_value == once.corrected.p_value
    assert (tenfold.corrected.n, tenfold.corrected.n_clusters) == (150, 15)
    # variances: 15/14 over 15 clusters against 150/149 over 150 pairs
    assert tenfold.noise_floor / naive.noise_floor == pytest.approx(math.sqrt(10 * (15 / 14) / (150 / 149)))


def test_several_clusterings() -> None:
    before, after = rng(4).normal(size=(2, 60))
    one, other = np.arange(60) // 6, np.arange(60) % 6
    crossed = wasserstein_change(before, after, clusters=[one, other], rng=rng())
    assert crossed.corrected.n_clusters == 6
    assert 0 < crossed.corrected.p_value <= 1
    assert crossed.noise_floor > 0


def test_not_estimable_says_why() -> None:
    assert "no measured pairs" in wasserstein_change([np.nan], [1], rng=rng()).corrected.reason
    one = wasserstein_change([0, 1], [1, 1], clusters=[[5, 5]], rng=rng())
    assert one.plug_in == pytest.approx(0.5)
    assert "one cluster" in one.corrected.reason
    assert "all scores are equal" in wasserstein_change([1, 1], [1, 1], rng=rng()).corrected.reason


def test_many_distinct_scores_are_followed_on_a_grid() -> None:
    draw = rng(4)
    before = draw.standard_t(3, size=2000)
    after = before * 1.3 + draw.normal(size=2000) * 0.1
    result = wasserstein_change(before, after, draws=19, rng=rng())
    assert result.plug_in == pytest.approx(wasserstein_distance(before, after))
    assert result.corrected.estimate == pytest.approx(result.plug_in, rel=0.1)
