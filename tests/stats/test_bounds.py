from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats as distributions

from rlhf_fair.errors import RowError, SettingsError
from rlhf_fair.stats.bounds import Bounds, BoundsOptions, gap_bounds, imbens_manski, mean_bounds
from rlhf_fair.stats.contrasts import contrast_estimate, mean_estimate

RANGE = (0.0, 1.0)
Rows = list[tuple[float, str | None]]


def brute_force(rows: Rows, reference: str | None, shares: dict[str, tuple[float, float]]) -> tuple[float, float]:
    """Every assignment of the unknown rows to the groups there are, every missing outcome at either end."""
    labels = sorted({label for _, label in rows if label} | {"a"} | ({reference} if reference else set()) | set(shares))
    unknown = [index for index, (_, label) in enumerate(rows) if label is None]
    found = []
    for assignment in product(labels, repeat=len(unknown)):
        taken = {label: assignment.count(label) for label in labels}
        u = len(unknown)
        if any(not math.floor(lo * u) <= taken[label] <= math.ceil(hi * u) for label, (lo, hi) in shares.items()):
            continue
        full = [label for _, label in rows]
        for index, label in zip(unknown, assignment, strict=True):
            full[index] = label
        for raise_group in (True, False):
            value = 0.0
            for label, sign in (("a", 1), (reference, -1)):
                if label is None:
                    continue
                fill = RANGE[int((sign > 0) == raise_group)]
                x = [fill if math.isnan(v) else v for (v, _), own in zip(rows, full, strict=True) if own == label]
                value += sign * (sum(x) / len(x) if x else math.nan)
            if not math.isnan(value):
                found.append(value)
    return (min(found), max(found)) if found else (math.nan, math.nan)


VALUE = st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.75, 1.0, math.nan])
SHARES = st.sampled_from([
    {},
    {"a": (0.0, 0.5)},
    {"a": (0.4, 0.8), "b": (0.2, 0.6)},
    {"b": (0.5, 1.0)},
    {"c": (0.3, 0.7)},
    {"elsewhere": (0.0, 1.0)},
    {"a": (0.3, 0.3), "elsewhere": (0.2, 0.5)},
])  # fmt: skip
KNOWN = st.lists(st.tuples(VALUE, st.sampled_from(["a", "b", "c"])), max_size=6)
UNKNOWN = st.lists(st.tuples(VALUE, st.none()), max_size=5)


def columns(rows: Rows) -> tuple[list[float], list[str | None]]:
    return [value for value, _ in rows], [label for _, label in rows]


@given(KNOWN, UNKNOWN, SHARES, st.sampled_from(["b", None]))
def test_bounds_are_those_of_trying_everything(
    known: Rows, unknown: Rows, shares: dict[str, tuple[float, float]], reference: str | None
) -> None:
    options = BoundsOptions(value_range=RANGE, unknown_shares=shares)
    rows = known + unknown
    named = {label for _, label in rows if label} | {"a", reference} - {None} | set(shares)
    assume(not unknown or sum(shares.get(label, (0, 1))[1] for label in named) >= 1)
    if reference:
        found = gap_bounds(*columns(rows), group="a", reference=reference, options=options)
    else:
        found = mean_bounds(*columns(rows), group="a", options=options)
    expected = brute_force(rows, reference, shares)
    assert (found.low, found.high) == pytest.approx(expected, nan_ok=True)
    assert bool(found.reason) >= math.isnan(found.low)


def test_manski_by_hand() -> None:
    # a: 1 0 and one missing in [0, 1]: between 1/3 and 2/3
    found = mean_bounds([1, 0, np.nan], ["a"] * 3, group="a", options=BoundsOptions(value_range=RANGE))
    assert (found.low, found.high) == pytest.approx((1 / 3, 2 / 3))
    assert (found.n, found.n_missing, found.n_unknown) == (3, 1, 0)
    # a: 1 0, b: 1 0, and a 1 and a 0 that could be anybody's: at best a gets the 1 and b the 0: 2/3 - 1/3
    rows = [1, 0, 1, 0, 1, 0], ["a", "a", "b", "b", None, None]
    found = gap_bounds(*rows, group="a", reference="b")
    assert (found.low, found.high) == pytest.approx((-1 / 3, 1 / 3))
    # with half of them in each group by decree nothing changes; with all of them in a: 2/4 - 1/2
    same = gap_bounds(*rows, group="a", reference="b", options=BoundsOptions(unknown_shares={"a": (0.5, 0.5)}))
    assert (same.low, same.high) == (found.low, found.high)
    forced = gap_bounds(*rows, group="a", reference="b", options=BoundsOptions(unknown_shares={"a": (1, 1)}))
    assert (forced.low, forced.high) == pytest.approx((0, 0))


def sampled(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    groups = rng.choice(np.array(["a", "b", None], dtype=object), n, p=[0.45, 0.35, 0.2])
    return rng.normal(np.where(groups == "a", 0.5, 0.0)), groups


@given(st.integers(0, 10**6), st.integers(30, 200))
def test_the_estimate_from_complete_rows_and_any_guess_lie_inside(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    values, groups = sampled(rng, n)
    found = gap_bounds(values, groups, group="a", reference="b")
    guess = np.where(groups == None, rng.choice(["a", "b"], n), groups)  # noqa: E711
    for labels in (guess, np.where(groups == None, "a", groups), np.where(groups == None, "b", groups)):  # noqa: E711
        e = contrast_estimate(values, labels, {"a": 1.0, "b": -1.0})
        assert found.low - 1e-9 <= e.estimate <= found.high + 1e-9
    assert found.ci_low < found.low <= found.high < found.ci_high


@given(st.integers(0, 10**6))
def test_turning_the_gap_round_and_moving_the_values(seed: int) -> None:
    values, groups = sampled(np.random.default_rng(seed), 60)
    one = gap_bounds(values, groups, group="a", reference="b")
    other = gap_bounds(values, groups, group="b", reference="a")
    moved = gap_bounds(3 * values + 7, groups, group="a", reference="b")
    assert (one.low, one.high) == pytest.approx((-other.high, -other.low))
    assert (moved.low, moved.high, moved.ci_low) == pytest.approx((3 * one.low, 3 * one.high, 3 * one.ci_low))


@given(st.integers(0, 10**6), st.floats(0, 0.5), st.floats(0.5, 1))
def test_knowing_more_never_widens(seed: int, least: float, most: float) -> None:
    values, groups = sampled(np.random.default_rng(seed), 60)
    wide = gap_bounds(values, groups, group="a", reference="b")
    options = BoundsOptions(unknown_shares={"a": (least, most)})
    narrow = gap_bounds(values, groups, group="a", reference="b", options=options)
    elsewhere = BoundsOptions(unknown_shares={"elsewhere": (0, 1)})
    widest = gap_bounds(values, groups, group="a", reference="b", options=elsewhere)
    assert widest.low <= wide.low <= narrow.low <= narrow.high <= wide.high <= widest.high


def test_nothing_unknown_is_the_plain_estimate() -> None:
    values, groups = sampled(np.random.default_rng(3), 80)
    known = groups != None  # noqa: E711
    values, groups, cluster = values[known], groups[known].astype(str), np.arange(known.sum()) // 2
    found = gap_bounds(values, groups, group="a", reference="b", options=BoundsOptions(clusters=[cluster]))
    e = contrast_estimate(values, groups, {"a": 1.0, "b": -1.0}, clusters=[cluster])
    assert found.low == pytest.approx(found.high) == pytest.approx(e.estimate)
    # never narrower; the number of rows in each group, given there, is chance here
    assert (found.ci_low, found.ci_high) == pytest.approx((e.ci_low, e.ci_high), rel=0.05)
    assert found.ci_high - found.ci_low >= (e.ci_high - e.ci_low) * (1 - 1e-9)
    assert found.n_clusters == e.n_clusters
    mean = mean_bounds(values, np.full(len(values), "a"), group="a", options=BoundsOptions(clusters=[cluster]))
    e = mean_estimate(values, clusters=[cluster])
    assert (mean.low, mean.ci_low, mean.ci_high) == pytest.approx((e.estimate, e.ci_low, e.ci_high))


def test_a_group_nobody_can_be_in() -> None:
    found = gap_bounds([1.0, 0.0], ["b", "b"], group="a", reference="b")
    assert math.isnan(found.low)
    assert "no rows" in found.reason
    options = BoundsOptions(unknown_shares={"a": (0, 0)})
    assert math.isnan(mean_bounds([1.0, 0.0], ["b", None], group="a", options=options).low)


def test_unusable_settings_are_refused() -> None:
    with pytest.raises(SettingsError, match="value_range must say"):
        mean_bounds([1, np.nan], ["a", "a"], group="a")
    with pytest.raises(RowError, match="value 2 lies outside"):
        mean_bounds([2.0], ["a"], group="a", options=BoundsOptions(value_range=RANGE))
    with pytest.raises(SettingsError, match="value_range"):
        BoundsOptions(value_range=(1, 1))
    with pytest.raises(SettingsError, match="unknown_shares of 'a'"):
        BoundsOptions(unknown_shares={"a": (0.5, 0.2)})
    with pytest.raises(SettingsError, match="add up"):
        gap_bounds([1.0, 0.0, 0.5], ["a", "b", None], group="a", reference="b",
                   options=BoundsOptions(unknown_shares={"a": (0.6, 1), "b": (0.6, 1)}))  # fmt: skip
    with pytest.raises(SettingsError, match="two different groups"):
        gap_bounds([1.0], ["a"], group="a", reference="a")
    with pytest.raises(RowError, match="groups has 1 rows"):
        mean_bounds([1.0, 2.0], ["a"], group="a")


@given(st.floats(-1, 1), st.floats(0, 3), st.floats(0.05, 2), st.floats(0.05, 2), st.sampled_from([0.05, 0.1]))
def test_imbens_and_manski_lie_between_one_sided_and_two_sided(
    low: float, width: float, se_low: float, se_high: float, alpha: float
) -> None:
    ends = imbens_manski(low, low + width, se_low, se_high, alpha=alpha)
    c = (low - ends[0]) / se_low
    assert c == pytest.approx((ends[1] - low - width) / se_high)
    one, two = distributions.norm.ppf([1 - alpha, 1 - alpha / 2])
    assert one - 1e-6 <= c <= two + 1e-6
    # their equation (7)
    covered = distributions.norm.cdf(c + width / max(se_low, se_high)) - distributions.norm.cdf(-c)
    assert covered == pytest.approx(1 - alpha)


@pytest.mark.parametrize(
    ("shares", "cut"),
    [
        ({}, None),  # the cut is free: the best one
        ({"a": (0.5, 0.5)}, 0.0),  # the cut is the median
    ],
)
def test_intervals_cover_the_ends_of_the_set(shares: dict[str, tuple[float, float]], cut: float | None) -> None:
    high = population_bound(cut)
    rng, simulations, covered = np.random.default_rng(11), 400, 0
    for _ in range(simulations):
        values, groups = sampled(rng, 400)
        found = gap_bounds(values, groups, group="a", reference="b", options=BoundsOptions(unknown_shares=shares))
        # the set is wide, so each end has a one-sided 95 % limit
        covered += high <= found.ci_high
    low, most = distributions.binom(simulations, 0.95).interval(0.999)
    assert low <= covered <= most


def population_bound(cut: float | None) -> float:
    """The largest gap in the population of `sampled`: unknown rows above the cut join a, those below join b."""

    def gap(c: float) -> float:
        up, density = float(distributions.norm.sf(c)), float(distributions.norm.pdf(c))
        a = (0.45 * 0.5 + 0.2 * density) / (0.45 + 0.2 * up)
        b = (0.35 * 0.0 - 0.2 * density) / (0.35 + 0.2 * (1 - up))
        return a - b

    return gap(cut) if cut is not None else max(gap(c) for c in np.linspace(-3, 3, 6001))


@pytest.mark.parametrize(("sizes", "per_cluster"), [((3, 300), 1), ((5, 200), 3)])
def test_a_small_group_beside_a_large_one_is_covered(sizes: tuple[int, int], per_cluster: int) -> None:
    rng, simulations, covered = np.random.default_rng(5), 200, 0
    cluster = np.repeat(np.arange(sum(sizes)), per_cluster)
    groups = np.where(cluster < sizes[0], "a", "b")
    options = BoundsOptions(clusters=[cluster])
    for _ in range(simulations):
        values = rng.normal(size=len(cluster)) + rng.normal(size=sum(sizes))[cluster]
        found = gap_bounds(values, groups, group="a", reference="b", options=options)
        covered += found.ci_low <= 0 <= found.ci_high
    assert covered >= distributions.binom(simulations, 0.95).ppf(0.001)


def test_a_group_of_one_row_has_bounds_and_no_interval() -> None:
    found = gap_bounds([1.0, 0.0, 0.5, 0.2], ["a", "b", "b", "b"], group="a", reference="b")
    assert (found.low, found.high) == pytest.approx((1 - 0.7 / 3, 1 - 0.7 / 3))
    assert math.isnan(found.ci_low)
    assert "1 cluster" in found.reason
    assert found.n_clusters == 4


def test_clusters_of_copies_are_counted_once() -> None:
    values, groups = sampled(np.random.default_rng(2), 50)
    once = gap_bounds(values, groups, group="a", reference="b")
    ids = np.repeat(np.arange(50), 6)
    options = BoundsOptions(clusters=[ids])
    often = gap_bounds(np.repeat(values, 6), np.repeat(groups, 6), group="a", reference="b", options=options)
    assert often.n_clusters == 50
    assert (often.low, often.high) == pytest.approx((once.low, once.high), abs=0.02)  # a row need not move as one
    assert often.standard_error_high == pytest.approx(once.standard_error_high, rel=0.1)


def test_ten_thousand_unknown_rows_take_no_time() -> None:
    rng = np.random.default_rng(0)
    values, groups = sampled(rng, 50_000)
    values[rng.random(50_000) < 0.002] = np.nan
    found = gap_bounds(values, groups, group="a", reference="b", options=BoundsOptions(value_range=(-6, 6)))
    assert isinstance(found, Bounds)
    assert found.low < 0.5 < found.high


def test_an_interval_is_there_where_degrees_of_freedom_are_not():
    # 12 scenes with 8 names of each group; all answers score 1, 48 of a and 16 of b are missing, whole scenes of them
    scene, name = np.divmod(np.arange(192), 16)
    labels = np.where(name < 8, "a", "b")
    values = np.ones(192)
    values[np.flatnonzero(labels == "a")[:48]] = math.nan
    values[np.flatnonzero(labels == "b")[:16]] = math.nan
    options = BoundsOptions(value_range=(-1.0, 1.0), clusters=(name, scene))
    found = gap_bounds(values, labels, group="a", reference="b", options=options)
    # half of a's at -1, and none of b's: 0 - 1; a sixth of b's at -1, and none of a's: 1 - 2/3
    assert (found.low, found.high) == (pytest.approx(-1.0), pytest.approx(1 / 3))
    assert found.ci_low < found.low
    assert found.high < found.ci_high
