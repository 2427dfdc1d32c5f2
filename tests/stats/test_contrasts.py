from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as distributions

from rlhf_fair.errors import RowError
from rlhf_fair.records import Estimate
from rlhf_fair.stats.contrasts import contrast_estimate, mean_estimate

GAP = {"a": 1.0, "b": -1.0}


def nested(seed: int, clusters: tuple[int, int] = (9, 6), rows: int = 5) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """values, groups, clusters: each cluster lies in one group and has ``rows`` rows around a mean of its own."""
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.repeat(["a", "b"], clusters), rows)
    cluster = np.repeat(np.arange(sum(clusters)), rows)
    values = rng.normal(size=sum(clusters))[cluster] * 2 + rng.normal(size=len(cluster))
    return values, groups, cluster


def assert_same(one: Estimate, other: Estimate) -> None:
    for name in ("estimate", "ci_low", "ci_high", "standard_error", "df", "p_value", "mde"):
        assert getattr(one, name) == pytest.approx(getattr(other, name), rel=1e-9, abs=1e-12), name


@pytest.mark.parametrize("seed", range(5))
def test_balanced_clusters_equal_welch_on_cluster_means(seed: int) -> None:
    values, groups, cluster = nested(seed)
    means = values.reshape(-1, 5).mean(axis=1)
    welch = distributions.ttest_ind(means[:9], means[9:], equal_var=False)
    interval = welch.confidence_interval(0.95)
    e = contrast_estimate(values, groups, GAP, clusters=[cluster])
    assert e.estimate == pytest.approx(means[:9].mean() - means[9:].mean())
    assert e.df == pytest.approx(welch.df)
    assert e.p_value == pytest.approx(welch.pvalue)
    assert (e.ci_low, e.ci_high) == pytest.approx((interval.low, interval.high))
    assert e.standard_error == pytest.approx(e.estimate / welch.statistic)
    assert (e.n, e.n_clusters) == (75, 15)


def test_independent_rows_equal_welch() -> None:
    rng = np.random.default_rng(1)
    x, y = rng.normal(1, 1, 30), rng.normal(0, 3, 12)
    welch = distributions.ttest_ind(x, y, equal_var=False)
    e = contrast_estimate(np.r_[x, y], ["a"] * 30 + ["b"] * 12, GAP)
    assert (e.df, e.p_value) == pytest.approx((welch.df, welch.pvalue))
    assert (e.ci_low, e.ci_high) == pytest.approx(tuple(welch.confidence_interval(0.95)))


def test_one_mean_equals_the_one_sample_t_interval() -> None:
    values = np.random.default_rng(2).normal(3, 1, 20)
    interval = distributions.ttest_1samp(values, 0).confidence_interval(0.9)
    e = mean_estimate(values, alpha=0.1)
    assert (e.ci_low, e.ci_high) == pytest.approx(tuple(interval))
    assert e.df == pytest.approx(19)


def test_two_crossed_clusterings_by_hand() -> None:
    # Rows (rater, item): (0,0) (0,0) (0,1) (1,0) (1,1), values 6 0 2 1 1: mean 2, deviations 4 -2 0 -1 -1, n = 5.
    # Without one rater the mean is 1 or 8/3, without one item 3/2 or 7/3..., that is deviation sum / (n (1 - h)):
    # raters: sums 2, -2, h 3/5 2/5 -> 1/2 * (4/.16 + 4/.36)                     = 325/18
    # items:  sums 1, -1, h the same -> a quarter of it                           = 325/72
    # cells:  sums 2, 0, -1, -1, h 2/5 1/5 1/5 1/5 -> 3/4 * (4/.36 + 2/.64)       = 1025/96
    # 325/18 + 325/72 - 1025/96 = 11.9, but raters alone give 325/18, and that is the larger; over n^2 = 25.
    rater, item = [0, 0, 0, 1, 1], [0, 0, 1, 0, 1]
    e = mean_estimate([6, 0, 2, 1, 1], clusters=[rater, item])
    assert e.estimate == 2
    assert e.standard_error == pytest.approx(math.sqrt(325 / 18 / 25))
    assert e.df == pytest.approx(1)
    # Values 1 2 3 6 in the cells of a 2 x 2 table: mean 3, deviations -2 -1 0 3, n = 4.
    # raters: (-3, 3) -> 18 * 2/16; items: (-2, 2) -> 8 * 2/16; cells: 4 + 1 + 0 + 9 = 14 * (4/3)/16
    # 36/16 + 16/16 - (56/3)/16 = (100/3)/16 < 36/16, again the floor
    e = mean_estimate([1, 2, 3, 6], clusters=[[0, 0, 1, 1], [0, 1, 0, 1]])
    assert e.standard_error == pytest.approx(math.sqrt(36 / 16))
    # Deviations +-2 of a row effect and +-2 of a column effect, values 4 0 0 -4, n = 4.
    # raters: (4, -4) -> 32 * 2/16 = 4; items the same 4; cells: 16 + 0 + 0 + 16 = 32 * (4/3)/16 = 8/3
    # 4 + 4 - 8/3 = 16/3
    e = mean_estimate([4, 0, 0, -4], clusters=[[0, 0, 1, 1], [0, 1, 0, 1]])
    assert e.standard_error == pytest.approx(math.sqrt(16 / 3))


def test_the_scarcer_clustering_sets_the_degrees_of_freedom() -> None:
    values, groups, cluster = nested(1)
    e = contrast_estimate(values, groups, GAP, clusters=[cluster, np.tile(np.arange(5), 15)])
    assert (e.df, e.n_clusters) == (pytest.approx(4), 5)  # 15 clusters in one way, 5 shared by both groups in the other


@given(st.integers(0, 2**32 - 1))
def test_names_of_groups_and_clusters_and_the_order_of_rows_change_nothing(seed: int) -> None:
    rng = np.random.default_rng(seed)
    values, groups, cluster = nested(seed)
    item = np.tile(np.arange(5), 15)
    before = contrast_estimate(values, groups, GAP, clusters=[cluster, item])
    order = rng.permutation(len(values))
    names = np.array([f"name {n}" for n in rng.permutation(15)])
    renamed = np.where(groups == "a", "zebra", "ape")
    after = contrast_estimate(
        values[order],
        renamed[order],
        {"ape": -1.0, "zebra": 1.0},
        clusters=[names[cluster][order], rng.permutation(5)[item][order]],
    )
    assert_same(before, after)


def test_exchanging_the_groups_changes_the_sign_only() -> None:
    values, groups, cluster = nested(3)
    there = contrast_estimate(values, groups, GAP, clusters=[cluster])
    back = contrast_estimate(values, groups, {"a": -1.0, "b": 1.0}, clusters=[cluster])
    assert (back.estimate, back.ci_low, back.ci_high) == pytest.approx((-there.estimate, -there.ci_high, -there.ci_low))
    assert back.p_value == pytest.approx(there.p_value)


@pytest.mark.parametrize("crossed", [False, True])
def test_copies_of_every_row_are_no_new_evidence(crossed: bool) -> None:
    values, groups, cluster = nested(4)
    ways = [cluster, np.tile(np.arange(5), 15)] if crossed else [cluster]
    once = contrast_estimate(values, groups, GAP, clusters=ways)
    twice = contrast_estimate(np.r_[values, values], np.r_[groups, groups], GAP, clusters=[np.r_[w, w] for w in ways])
    assert_same(once, twice)
    assert (twice.n, twice.n_clusters) == (2 * once.n, once.n_clusters)


@given(st.floats(-1e3, 1e3), st.floats(0.01, 1e3))
def test_shift_and_scale(shift: float, scale: float) -> None:
    values, groups, cluster = nested(5)
    before = contrast_estimate(values, groups, GAP, clusters=[cluster])
    after = contrast_estimate(values * scale + shift, groups, GAP, clusters=[cluster])
    assert after.estimate == pytest.approx(before.estimate * scale, rel=1e-6)
    assert after.standard_error == pytest.approx(before.standard_error * scale, rel=1e-6)
    assert after.df == pytest.approx(before.df, rel=1e-6)


def test_a_group_with_one_cluster_has_an_estimate_and_no_interval() -> None:
    e = contrast_estimate([1, 2, 3, 9], ["a", "a", "a", "b"], GAP, clusters=[[0, 0, 1, 2]])
    assert e.estimate == -7  # (1 + 2 + 3) / 3 - 9
    assert math.isnan(e.ci_low)
    assert math.isnan(e.ci_high)
    assert math.isnan(e.p_value)
    assert math.isnan(e.mde)
    assert "1 cluster" in e.reason
    assert e.n_clusters == 1


@pytest.mark.parametrize("values", [[1.0, 2.0, np.nan], [1.0, 2.0, np.inf]])
def test_a_group_without_measured_rows_is_not_estimable(values: list[float]) -> None:
    e = contrast_estimate(values, ["a", "a", "b"], GAP)
    assert math.isnan(e.estimate)
    assert "group b" in e.reason
    assert e.n == 2


def test_no_rows_at_all() -> None:
    e = contrast_estimate([], [], GAP)
    assert math.isnan(e.estimate)
    assert "a, b" in e.reason


@pytest.mark.parametrize("constant", [0.0, 0.1, 0.3, 1 / 3, 7.7, 1e9])
def test_no_variation_gives_no_interval_whatever_the_rounding(constant: float) -> None:
    # 0.1 summed and divided is not exactly 0.1: deviations of 1e-17 are no evidence of certainty
    values = np.r_[np.full(7, constant), np.full(11, 2 * constant + 0.1)]
    e = contrast_estimate(values, ["a"] * 7 + ["b"] * 11, GAP)
    assert e.estimate == pytest.approx(-constant - 0.1)
    assert math.isnan(e.ci_low)
    assert math.isnan(e.p_value)
    assert "no variation" in e.reason


def test_a_scenario_effect_shared_by_both_groups_cancels_and_leaves_nothing_to_estimate_from() -> None:
    scenario = np.tile(np.arange(6), 4)
    values = np.array([0.1, 0.7, 0.2, 0.9, 0.4, 0.3])[scenario]
    e = contrast_estimate(values, np.repeat(["a", "b"], 12), GAP, clusters=[scenario, np.repeat(np.arange(4), 6)])
    assert e.estimate == pytest.approx(0, abs=1e-12)
    assert "no variation" in e.reason


def test_missing_rows_are_left_out_and_n_says_so() -> None:
    values, groups, cluster = nested(6)
    holes = values.copy()
    holes[::7] = np.nan
    known = np.isfinite(holes)
    with_holes = contrast_estimate(holes, groups, GAP, clusters=[cluster])
    assert_same(with_holes, contrast_estimate(values[known], groups[known], GAP, clusters=[cluster[known]]))
    assert with_holes.n == known.sum() == 75 - 11


def test_rows_of_other_groups_are_left_out() -> None:
    values, groups, cluster = nested(7)
    groups = np.where(np.arange(75) % 10 == 0, "other", groups)
    used = groups != "other"
    assert_same(
        contrast_estimate(values, groups, GAP, clusters=[cluster]),
        contrast_estimate(values[used], groups[used], GAP, clusters=[cluster[used]]),
    )


def test_whole_number_weights_are_copies_within_a_cluster() -> None:
    values, groups, cluster = nested(8)
    weights = np.random.default_rng(8).integers(1, 4, len(values))
    assert_same(
        contrast_estimate(values, groups, GAP, clusters=[cluster], weights=weights),
        contrast_estimate(values.repeat(weights), groups.repeat(weights), GAP, clusters=[cluster.repeat(weights)]),
    )


def test_the_size_of_weights_does_not_matter() -> None:
    values, groups, cluster = nested(9)
    weights = np.random.default_rng(9).uniform(0.5, 2, len(values))
    assert_same(
        contrast_estimate(values, groups, GAP, clusters=[cluster], weights=weights),
        contrast_estimate(values, groups, GAP, clusters=[cluster], weights=1000 * weights),
    )


def test_a_contrast_of_four_groups_by_hand() -> None:
    # White minus the mean of the others: means 4, 1, 2, 3 -> 4 - 2 = 2.
    # Each group has two rows at mean +- 1: s^2/n = 2/2 = 1; variance 1 + 3/9 = 4/3.
    values = [3, 5, 0, 2, 1, 3, 2, 4]
    groups = ["White"] * 2 + ["Black"] * 2 + ["Hispanic"] * 2 + ["Asian"] * 2
    others = dict.fromkeys(("Black", "Hispanic", "Asian"), -1 / 3)
    e = contrast_estimate(values, groups, {"White": 1.0, **others})
    assert e.estimate == pytest.approx(2)
    assert e.standard_error == pytest.approx(math.sqrt(4 / 3))
    # Welch-Satterthwaite: (4/3)^2 / (1^2/1 + 3 * (1/9)^2/1) = (16/9) / (28/27) = 12/7
    assert e.df == pytest.approx(12 / 7)


def crossed_null(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """32 names (16 in each group) asked in the same 24 scenarios; names and scenarios differ, groups do not."""
    name, scenario = np.repeat(np.arange(32), 24), np.tile(np.arange(24), 32)
    groups = np.where(name < 16, "a", "b")
    values = 0.5 * rng.normal(size=32)[name] + 0.8 * rng.normal(size=24)[scenario] + rng.normal(size=768)
    return values, groups, name, scenario


def test_crossed_intervals_cover_and_intervals_that_ignore_clusters_do_not() -> None:
    simulations = 300
    rng = np.random.default_rng(20)
    covered = ignored = 0
    for _ in range(simulations):
        values, groups, name, scenario = crossed_null(rng)
        e = contrast_estimate(values, groups, GAP, clusters=[name, scenario])
        covered += e.ci_low <= 0 <= e.ci_high
        naive = contrast_estimate(values, groups, GAP)
        ignored += naive.ci_low <= 0 <= naive.ci_high
    # at 95 % true coverage, 99.9 % of all runs lie between these counts
    low, high = distributions.binom(simulations, 0.95).interval(0.999)
    assert low <= covered <= high
    assert ignored < low


def test_the_minimum_detectable_effect_is_detected_four_times_in_five() -> None:
    rng = np.random.default_rng(21)
    groups = np.repeat(["a", "b"], 20)
    effect = (1.0 * math.sqrt(2 / 20)) * (distributions.t.ppf(0.975, 38) + distributions.t.ppf(0.8, 38))
    found = mde = 0.0
    for _ in range(1000):
        values = rng.normal(size=40) + effect * (groups == "a")
        e = contrast_estimate(values, groups, GAP)
        found += e.p_value < 0.05
        mde += e.mde / 1000
    assert mde == pytest.approx(effect, rel=0.03)  # the standard error is estimated, hence not exact
    low, high = distributions.binom(1000, 0.8).interval(0.999)
    assert low <= found <= high


def jackknife_by_leaving_out(
    values: np.ndarray, groups: np.ndarray, cluster: np.ndarray, labels: list[str], a: np.ndarray
) -> float:
    """Variance from group means that are computed anew without each cluster in turn."""
    means = np.array([values[groups == label].mean() for label in labels])
    counts = np.array([len(np.unique(cluster[groups == label])) for label in labels])
    variance = 0.0
    for c in np.unique(cluster):
        rest = cluster != c
        without = np.array([values[rest & (groups == label)].mean() for label in labels])
        variance += float(a @ (np.sqrt((counts - 1) / counts) * (without - means))) ** 2
    return variance


def degrees_of_freedom_by_matrices(
    values: np.ndarray, groups: np.ndarray, cluster: np.ndarray, labels: list[str], a: np.ndarray
) -> float:
    """As Bell & McCaffrey 2002 write them: each cluster's weight on every error, from the whole hat matrix."""
    x = np.column_stack([groups == label for label in labels]).astype(float)
    residual_maker = np.eye(len(x)) - x @ np.linalg.inv(x.T @ x) @ x.T
    e = residual_maker @ values
    clusters = np.unique(cluster)
    counts = np.array([len(np.unique(cluster[groups == label])) for label in labels])
    weight, sums, expected = [], np.zeros(len(labels)), np.zeros(len(labels))
    for c in clusters:
        rows = cluster == c
        share = x[rows].sum(axis=0) / x.sum(axis=0)
        factor = a * np.sqrt((counts - 1) / counts) / (1 - share) / x.sum(axis=0)
        weight.append(factor @ x[rows].T @ residual_maker[rows])
        sums += np.square(x[rows].T @ e[rows])
        expected += np.square(x[rows].T @ residual_maker[rows]).sum(axis=1)
    omega = np.array(weight) @ np.diag(x @ (sums / expected)) @ np.array(weight).T
    return float(np.trace(omega) ** 2 / np.square(omega).sum())


@given(st.integers(0, 2**32 - 1), st.booleans())
def test_variance_and_degrees_of_freedom_equal_the_long_way(seed: int, crossed: bool) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(25, 50))
    cluster = rng.choice(8, n, p=np.array([6, 5, 4, 3, 3, 2, 1, 1]) / 25)
    groups = rng.choice(["a", "b", "c"], n) if crossed else np.array(["a", "b", "c"])[cluster % 3]
    values = rng.normal(size=n) + rng.normal(size=8)[cluster]
    a = np.array([1.0, -0.4, -0.6])
    e = contrast_estimate(values, groups, dict(zip("abc", a, strict=True)), clusters=[cluster])
    if math.isnan(e.ci_low):
        assert e.reason
        return
    design = (values, groups, cluster, list("abc"), a)
    assert e.standard_error**2 == pytest.approx(jackknife_by_leaving_out(*design), rel=1e-6)
    assert e.df == pytest.approx(degrees_of_freedom_by_matrices(*design), rel=1e-6)


def test_many_small_strata_of_trials_cover() -> None:
    # score limits for each stratum of 2 and 6 rows would cover 85 %
    rng = np.random.default_rng(30)
    strata, groups = np.repeat(np.arange(60), 8), np.tile([*"aa", *"bbbbbb"], 60)
    covered = 0
    for _ in range(400):
        trials = (rng.random(480) < 0.3).astype(float)
        e = contrast_estimate(trials, groups, GAP, control_features=strata)
        covered += e.ci_low <= 0 <= e.ci_high
    low, high = distributions.binom(400, 0.95).interval(0.999)
    assert low <= covered <= high


def test_a_stratum_whose_group_has_one_cluster_is_left_out_and_said_so() -> None:
    values = [1, 2, 3, 4, 9, 5, 6.0]
    e = contrast_estimate(values, list("aabbabb"), GAP, control_features=list("xxxxyyy"))
    assert e.estimate == pytest.approx(-2)
    assert np.isfinite(e.ci_low)
    assert e.reason.startswith("3 rows in strata that lack a group are left out")


def test_missing_labels_in_a_plain_list_are_missing() -> None:
    values = [1, 0, 1, 0, 1, 1.0]
    e = contrast_estimate(values, ["a", "a", "b", "b", np.nan, None], GAP)
    assert (e.n, e.n_left_out) == (4, 2)
    clusters: list[object] = ["k", "k", np.nan, "l", np.nan, None]
    alone = mean_estimate([1, 0, 2, 0, 3, 5.0], clusters=[clusters])
    assert alone.n_clusters == 5  # k, l, and three of their own
    assert alone.reason == "3 rows without a cluster label count as clusters of their own"


def test_strata_are_compared_within_and_weighted_by_their_size() -> None:
    # stratum x (5 rows): a 4, 6 -> 5; b 1, 2, 3 -> 2; gap 3. stratum y (4 rows): a 0 2 -> 1; b 1 3 -> 2; gap -1.
    # gap = (5 * 3 + 4 * -1) / 9 = 11/9; stratum z has no b and is left out.
    values = [4, 6, 1, 2, 3, 0, 2, 1, 3, 100]
    groups = [*list("aabbbaabb"), "a"]
    strata = [*list("xxxxxyyyy"), "z"]
    e = contrast_estimate(values, groups, GAP, control_features=strata)
    assert e.estimate == pytest.approx(11 / 9)
    # s2/n: x: a 2/2 = 1, b 1/3; y: a 2/2 = 1, b 1 -> (25 * 4/3 + 16 * 2) / 81
    assert e.standard_error == pytest.approx(math.sqrt((25 * 4 / 3 + 16 * 2) / 81))
    assert "1 rows in strata" in e.reason


def test_unknown_groups_are_counted_and_a_table_of_features_is_an_intersection() -> None:
    e = contrast_estimate([1, 2, 3, 4, 5.0, np.nan], ["a", "a", "b", "b", None, "a"], GAP)
    assert (e.n, e.n_left_out) == (4, 2)
    sex, race = ["f", "f", "m", "m", "f"], ["x", "x", "x", "x", None]
    both = contrast_estimate([1, 2, 3, 4, 5.0], {"sex": sex, "race": race}, {("f", "x"): 1.0, ("m", "x"): -1.0})
    assert both.estimate == pytest.approx(-2)
    assert (both.n, both.n_left_out) == (4, 1)


@pytest.mark.parametrize(
    ("weights", "clusters", "said"),
    [
        ([1, 1, 0, 1], [], "weights row 3: 0; allowed: positive"),
        ([1, 1, 1], [], "weights has 3 rows, values has 4"),
        (None, [[1, 2]], r"clusters\[0\] has 2 rows, values has 4"),
    ],
)
def test_columns_that_do_not_fit_are_refused(weights: list[float] | None, clusters: list[list[int]], said: str) -> None:
    with pytest.raises(RowError, match=said):
        contrast_estimate([1, 2, 3, 4.0], list("aabb"), GAP, clusters=clusters, weights=weights)


def test_a_group_of_few_clusters_is_told_although_the_other_has_many() -> None:
    rng = np.random.default_rng(0)
    cluster = np.repeat(np.arange(103), 2)
    values, groups = rng.normal(size=206), np.where(cluster < 3, "a", "b")
    few = contrast_estimate(values, groups, {"a": 1, "b": -1}, clusters=[cluster])
    assert few.n_clusters == 103
    assert np.isfinite(few.ci_low)
    assert few.reason == "a group has only 3 clusters: the interval may be too narrow"
    enough = contrast_estimate(values, np.where(cluster < 5, "a", "b"), {"a": 1, "b": -1}, clusters=[cluster])
    assert enough.reason == ""
    single = contrast_estimate(values, np.where(cluster < 1, "a", "b"), {"a": 1, "b": -1}, clusters=[cluster])
    assert "no interval" in single.reason
    assert "too narrow" not in single.reason


def test_clusters_of_a_group_count_over_all_strata() -> None:
    rng = np.random.default_rng(1)
    cluster, stratum = np.repeat(np.arange(40), 2), np.repeat(np.arange(10), 8)
    groups = np.where(cluster % 2 == 0, "a", "b")  # two clusters of each group in every stratum
    values = rng.normal(size=80)
    nested = contrast_estimate(values, groups, {"a": 1, "b": -1}, clusters=[cluster], control_features=stratum)
    assert nested.reason == ""
    crossed = contrast_estimate(
        values,
        groups,
        {"a": 1, "b": -1},
        clusters=[cluster % 6],
        control_features=np.tile([0, 0, 0, 0, 1, 1, 1, 1], 10),
    )
    assert crossed.reason == "a group has only 3 clusters: the interval may be too narrow"
