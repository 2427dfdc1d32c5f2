from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as distributions

from rlhf_fair.errors import SettingsError
from rlhf_fair.records import Estimate
from rlhf_fair.stats.contrasts import contrast_estimate, mean_estimate
from rlhf_fair.stats.grouped_jackknife import deal, grouped_jackknife, leave_groups_out

NAMES = ("estimate", "ci_low", "ci_high", "standard_error", "df", "p_value", "mde")


def jackknife(number, rows, ways, *, seed=0, n_groups=50, most_df=math.inf, apart=None) -> Estimate:
    """``number(rows[kept])`` with an interval; ``rows``: (n, columns)."""

    def recompute(kept):
        return np.array([number(rows[kept])]), np.array([float(kept.sum())])

    leave_outs = leave_groups_out(recompute, ways, n_groups=n_groups, rng=np.random.default_rng(seed), apart=apart)
    full, _ = recompute(np.ones(len(rows), dtype=bool))
    (e,) = grouped_jackknife(full, leave_outs, scale=np.abs(full), most_df=np.array([most_df]))
    return e


def mean(rows) -> float:
    return float(rows[:, 0].mean())


def clustered(seed: int, clusters: int, rows: int = 6) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    cluster = np.repeat(np.arange(clusters), rng.integers(1, rows + 1, clusters))
    return (rng.normal(size=clusters)[cluster] + rng.normal(size=len(cluster)))[:, None], cluster


@pytest.mark.parametrize("clusters", [4, 25, 50])
def test_with_a_group_for_each_cluster_a_mean_has_the_interval_of_its_contrast(clusters):
    rows, cluster = clustered(clusters, clusters)
    e, plain = jackknife(mean, rows, [cluster]), mean_estimate(rows[:, 0], clusters=[cluster], rates=False)
    for name in NAMES:
        assert getattr(e, name) == pytest.approx(getattr(plain, name), rel=1e-9), name


def test_two_crossed_clusterings_have_the_variance_of_their_contrast():
    rng = np.random.default_rng(3)
    name, scenario = (codes.reshape(-1) for codes in np.meshgrid(np.arange(6), np.arange(7), indexing="ij"))
    x = rng.normal(size=6)[name] + rng.normal(size=7)[scenario] + rng.normal(size=42)
    # 42 cells in up to 42 groups: each its own, so that nothing is left to chance
    e = jackknife(mean, x[:, None], [name, scenario])
    plain = mean_estimate(x, clusters=[name, scenario], rates=False)
    for column in NAMES:
        assert getattr(e, column) == pytest.approx(getattr(plain, column), rel=1e-9), column


def test_a_paired_gap_has_the_standard_error_of_the_gap_in_differences():
    # groups of 8 and 12 clusters: 1/8 and 1/12 are each inflated by the factor (C - 1) / C of their own group in the
    # contrast (7/8, 11/12), and by that of all 20 clusters (19/20) here
    rng = np.random.default_rng(4)
    cluster = np.repeat(np.arange(20), 5)
    group = cluster < 8
    difference = rng.normal(size=20)[cluster] + rng.normal(size=100)
    plain = contrast_estimate(difference, group, {True: 1.0, False: -1.0}, clusters=[cluster])
    by_group = [contrast_estimate(difference, group, {g: 1.0}, clusters=[cluster]) for g in (True, False)]
    expected = 19 / 20 * sum(e.standard_error**2 * c / (c - 1) for e, c in zip(by_group, (8, 12), strict=True))

    def gap(rows) -> float:
        return float(rows[rows[:, 1] == 1, 0].mean() - rows[rows[:, 1] == 0, 0].mean())

    e = jackknife(gap, np.column_stack([difference, group]), [cluster], most_df=plain.df)
    assert e.estimate == pytest.approx(plain.estimate)
    assert e.standard_error**2 == pytest.approx(expected)
    assert e.standard_error == pytest.approx(plain.standard_error, rel=0.05)
    assert e.df == pytest.approx(plain.df)  # Welch's, which the whole cannot tell from its clusters alone


def test_many_clusters_in_fifty_groups_agree_on_average():
    # 400 rows: the variance from groups is that of the mean times a chi-squared with 49 df over 49, whose mean over
    # 60 ways of dealing has a standard error of 0.2 / sqrt(60) = 2.6 %
    x = np.random.default_rng(5).normal(size=(400, 1))
    found = [jackknife(mean, x, [np.arange(400)], seed=seed) for seed in range(60)]
    assert [e.df for e in found] == pytest.approx([49] * 60)
    variance = x.var(ddof=1) / 400
    assert np.mean([e.standard_error**2 for e in found]) == pytest.approx(variance, rel=0.1)


def test_a_ratio_has_the_delta_methods_interval():
    rng = np.random.default_rng(6)
    rows = rng.normal([4.0, 2.0], 0.5, size=(400, 2))

    def ratio(kept) -> float:
        return float(kept[:, 0].mean() / kept[:, 1].mean())

    e = jackknife(ratio, rows, [np.arange(400)], n_groups=400)
    residual = (rows[:, 0] - ratio(rows) * rows[:, 1]) / rows[:, 1].mean()
    assert e.standard_error == pytest.approx(residual.std(ddof=1) / 20, rel=0.01)


def test_parts_that_share_no_number_are_dealt_out_each_for_itself():
    rows, cluster = clustered(7, 60)
    part = (cluster >= 25).astype(int)
    first = part == 0

    def of_first(kept):
        return float(kept[kept[:, 1] == 0, 0].mean())

    def recompute(kept):
        return np.array([of_first(both[kept])]), np.array([float((kept & first).sum())])

    both = np.column_stack([rows, part])
    leave_outs = leave_groups_out(recompute, [cluster], apart=part, rng=np.random.default_rng(0))
    (e,) = grouped_jackknife(np.array([of_first(both)]), leave_outs, scale=np.ones(1), most_df=np.array([math.inf]))
    plain = mean_estimate(rows[first, 0], clusters=[cluster[first]], rates=False)
    assert (e.standard_error, e.df) == pytest.approx((plain.standard_error, plain.df))
    assert len(leave_outs[0].values) == 35  # the larger part has 35 clusters: no more groups than that


@given(st.lists(st.integers(0, 30), min_size=1, max_size=200), st.integers(2, 20), st.integers(0, 5))
def test_dealing_keeps_clusters_whole_and_groups_even(labels, n_groups, seed):
    cluster = np.array(labels)
    groups = deal(cluster, n_groups, np.random.default_rng(seed))
    pairs = {(c, g) for c, g in zip(labels, groups.tolist(), strict=True)}
    assert len(pairs) == len(set(labels))
    sizes = np.bincount([g for _, g in pairs])
    assert len(sizes) == min(n_groups, len(set(labels)))
    assert sizes.max() - sizes.min() <= 1


@settings(max_examples=25)
@given(st.integers(0, 10_000), st.floats(-3, 3), st.floats(0.1, 5))
def test_shift_and_scale_go_through(seed, shift, factor):
    rows, cluster = clustered(seed, 12)
    e, moved = jackknife(mean, rows, [cluster]), jackknife(mean, factor * rows + shift, [cluster])
    assert moved.estimate == pytest.approx(factor * e.estimate + shift)
    assert moved.standard_error == pytest.approx(factor * e.standard_error)


def test_the_p_value_is_students():
    rows, cluster = clustered(8, 15)
    e = jackknife(mean, rows, [cluster])
    assert e.p_value == pytest.approx(2 * distributions.t.sf(abs(e.estimate) / e.standard_error, e.df))


def test_what_never_moves_has_no_interval_and_a_sign_test():
    e = jackknife(mean, np.ones((10, 1)), [np.arange(10)])
    assert e.estimate == 1
    assert math.isnan(e.ci_low)
    assert e.p_value == 2**-9  # ten clusters on one side of 0, two-sided: 2 / 2^10
    e = jackknife(mean, np.zeros((10, 1)), [np.arange(10)])
    assert (e.estimate, math.isnan(e.p_value)) == (0, True)
    assert e.reason


@pytest.mark.parametrize(
    ("rows", "cluster", "reason"),
    [
        ([[1.0], [2.0], [3.0]], [0, 0, 0], "one group of clusters"),
        ([[np.nan], [2.0]], [0, 1], "not measured in both"),
    ],
)
def test_too_little_is_a_reason_and_no_number(rows, cluster, reason):
    e = jackknife(mean, np.array(rows), [np.array(cluster)])
    assert math.isnan(e.ci_low)
    assert reason in e.reason


def test_a_number_that_cannot_do_without_a_cluster_has_no_interval():
    def gap(rows) -> float:
        sides = [rows[rows[:, 1] == side, 0] for side in (1, 0)]
        return float(sides[0].mean() - sides[1].mean()) if all(len(side) for side in sides) else math.nan

    rows = np.array([[1.0, 1], [2.0, 0], [3.0, 0], [4.0, 0]])
    e = jackknife(gap, rows, [np.arange(4)])
    assert e.estimate == -2
    assert math.isnan(e.ci_low)
    assert "nothing is left" in e.reason


def test_a_clustering_with_one_cluster_plays_no_part_and_is_told():
    rows, cluster = clustered(9, 12)
    alone, both = jackknife(mean, rows, [cluster]), jackknife(mean, rows, [cluster, np.zeros(len(rows), dtype=int)])
    assert both.standard_error == pytest.approx(alone.standard_error)
    assert both.df == pytest.approx(alone.df)
    assert "plays no part" in both.reason


def test_one_group_is_refused():
    with pytest.raises(SettingsError, match="n_groups is 1; allowed: 2 or more"):
        deal(np.arange(3), 1, np.random.default_rng(0))


def test_groups_that_a_number_has_no_rows_in_do_not_count_for_rounding_in_another_order_of_sums():
    rng = np.random.default_rng(4)
    rows, cluster = rng.normal(size=(60, 1)), np.repeat(np.arange(20), 3)
    ours = cluster < 6

    def recompute(kept):
        used = kept & ours
        return np.array([rows[used].mean() + 1e-16 * rng.normal()]), np.array([float(used.sum())])

    leave_outs = leave_groups_out(recompute, [cluster], rng=np.random.default_rng(0))
    full = np.array([rows[ours].mean()])
    (e,) = grouped_jackknife(full, leave_outs, scale=np.abs(full), most_df=np.array([math.inf]))
    plain = mean_estimate(rows[ours, 0], clusters=[cluster[ours]], rates=False)
    assert (e.standard_error, e.df) == pytest.approx((plain.standard_error, plain.df))
