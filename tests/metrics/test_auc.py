from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats as distributions
from sklearn.metrics import roc_auc_score

from rlhf_fair.errors import RowError
from rlhf_fair.metrics.auc import area, area_gap, auc_estimate, scored_rows


def data(seed: int, n: int = 60) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores with many ties, outcomes of both kinds, weights."""
    rng = np.random.default_rng(seed)
    outcomes = np.r_[0, 1, rng.integers(0, 2, n - 2)]
    return np.round(rng.normal(outcomes, 1.0), 1), outcomes, rng.uniform(0.2, 3, n)


def test_three_positives_and_two_negatives_by_hand() -> None:
    # Positives 2 3 1 among negatives 1 0: placements 1, 1, (1/2 + 1)/2 = 3/4; AUC = 11/12.
    # Negatives: 1 lies below (1 + 1 + 1/2)/3 = 5/6 of the positives, 0 below all.
    # S10 = (1 + 1 + 4)/144 / 2 = 1/48, S01 = (1 + 1)/144 = 1/72; variance = (1/48)/3 + (1/72)/2 = 1/72.
    e = auc_estimate([2, 3, 1, 1, 0], [1, 1, 1, 0, 0])
    assert e.estimate == pytest.approx(11 / 12)
    assert e.standard_error == pytest.approx(math.sqrt(1 / 72))
    assert 0 < e.ci_low < e.estimate < e.ci_high < 1
    assert (e.n, e.n_clusters) == (5, 5)


@pytest.mark.parametrize("seed", range(3))
def test_independent_rows_have_delongs_variance(seed: int) -> None:
    scores, outcomes, _ = data(seed)
    positives, negatives = scores[outcomes == 1], scores[outcomes == 0]
    kernel = (positives[:, None] > negatives) + 0.5 * (positives[:, None] == negatives)
    variance = kernel.mean(1).var(ddof=1) / len(positives) + kernel.mean(0).var(ddof=1) / len(negatives)
    e = auc_estimate(scores, outcomes)
    assert e.estimate == pytest.approx(roc_auc_score(outcomes, scores))
    assert e.standard_error == pytest.approx(math.sqrt(variance))
    # d logit(A) / dA = 1 / (A (1 - A)), and logit(.5) = 0
    t = math.log(e.estimate / (1 - e.estimate)) * e.estimate * (1 - e.estimate) / math.sqrt(variance)
    assert e.p_value == pytest.approx(2 * distributions.t.sf(abs(t), e.df))


@given(st.integers(0, 2**32 - 1), st.integers(4, 12), st.sampled_from([0.01, 0.05, 0.1]))
def test_p_value_and_interval_say_the_same_of_chance(seed: int, per_side: int, alpha: float) -> None:
    rng = np.random.default_rng(seed)
    outcomes = np.repeat([0, 1], per_side)
    e = auc_estimate(rng.normal(0.8 * outcomes, 1.0), outcomes, alpha=alpha)
    assume(math.isfinite(e.ci_low) and abs(e.p_value - alpha) > 1e-9)
    assert (e.p_value < alpha) == (not e.ci_low <= 0.5 <= e.ci_high)


@given(st.integers(0, 2**32 - 1))
def test_weighted_point_is_scikit_learns(seed: int) -> None:
    scores, outcomes, weights = data(seed, 25)
    assert auc_estimate(scores, outcomes, weights=weights).estimate == pytest.approx(
        roc_auc_score(outcomes, scores, sample_weight=weights)
    )


@given(st.integers(0, 2**32 - 1))
def test_any_increasing_transform_changes_nothing_and_the_reverse_mirrors(seed: int) -> None:
    scores, outcomes, weights = data(seed, 25)
    e = auc_estimate(scores, outcomes, weights=weights)
    same = auc_estimate(np.exp(scores), outcomes, weights=weights)
    mirrored = auc_estimate(-scores, outcomes, weights=weights)
    assert (same.estimate, same.standard_error) == pytest.approx((e.estimate, e.standard_error), nan_ok=True)
    assert (mirrored.estimate, mirrored.ci_low) == pytest.approx((1 - e.estimate, 1 - e.ci_high), nan_ok=True)


def test_a_row_written_down_twice_is_still_one_cluster() -> None:
    scores, outcomes, _ = data(4)
    once = auc_estimate(scores, outcomes)
    twice = auc_estimate(np.tile(scores, 2), np.tile(outcomes, 2), clusters=[np.tile(np.arange(60), 2)])
    assert (twice.estimate, twice.standard_error, twice.df) == pytest.approx(
        (once.estimate, once.standard_error, once.df)
    )
    assert (twice.n, twice.n_clusters) == (120, 60)


def test_clustered_standard_error_is_the_spread_over_repetitions() -> None:
    rng = np.random.default_rng(5)
    cluster = np.repeat(np.arange(30), 8)
    drawn = []
    for _ in range(400):
        outcomes = rng.integers(0, 2, 240)
        scores = 0.5 * outcomes + rng.normal(size=30)[cluster] + rng.normal(size=240)
        # half the clusters are positive throughout, so that their effects do not cancel
        outcomes[cluster < 15] = 1
        clustered = auc_estimate(scores, outcomes, clusters=[cluster])
        drawn.append((clustered.estimate, clustered.standard_error, auc_estimate(scores, outcomes).standard_error))
    estimates, clustered_se, independent_se = np.array(drawn).T
    # The SD of 400 draws has a relative standard error of 1/sqrt(800) = 3.5 %.
    assert np.sqrt(np.mean(clustered_se**2)) == pytest.approx(estimates.std(ddof=1), rel=0.12)
    assert np.sqrt(np.mean(independent_se**2)) < 0.75 * estimates.std(ddof=1)


def test_gap_of_two_areas_that_share_rows() -> None:
    # The same positives against two sets of negatives: the variance of the difference, from the kernels.
    scores, outcomes, _ = data(6)
    rows = scored_rows(scores, outcomes, (), None)
    positive, first = outcomes == 1, (outcomes == 0) & (np.arange(60) % 2 == 0)
    second = (outcomes == 0) & ~first
    p, a, b = scores[positive], scores[first], scores[second]
    one, other = ((p[:, None] > x) + 0.5 * (p[:, None] == x) for x in (a, b))
    variance = (
        (one.mean(1) - other.mean(1)).var(ddof=1) / len(p)
        + one.mean(0).var(ddof=1) / len(a)
        + other.mean(0).var(ddof=1) / len(b)
    )
    e = area_gap(area(rows, positive, first), area(rows, positive, second), rows, 0.05)
    assert e.estimate == pytest.approx(one.mean() - other.mean())
    assert e.standard_error == pytest.approx(math.sqrt(variance))
    assert e.n == 60


def test_not_estimable_says_why() -> None:
    assert "no positive rows" in auc_estimate([1, 2], [0, 0]).reason
    assert math.isnan(auc_estimate([1, 2], [0, 0]).estimate)
    perfect = auc_estimate([0, 1, 2, 3], [0, 0, 1, 1])
    assert perfect.estimate == 1
    assert math.isnan(perfect.ci_low)
    assert "no variation" in perfect.reason


def test_missing_scores_are_left_out() -> None:
    scores, outcomes, _ = data(7)
    with_gaps = auc_estimate(np.r_[scores, np.nan, 1.0], np.r_[outcomes, 1, np.nan])
    assert with_gaps.estimate == auc_estimate(scores, outcomes).estimate
    assert with_gaps.n == 60


def test_faults_are_named() -> None:
    with pytest.raises(RowError, match="outcomes holds 2"):
        auc_estimate([1, 2], [0, 2])
    with pytest.raises(RowError, match="outcomes has 3 rows, scores has"):
        auc_estimate([1, 2], [0, 1, 1])
    with pytest.raises(RowError, match="weights row 2: -1"):
        auc_estimate([1, 2], [0, 1], weights=[1, -1])
