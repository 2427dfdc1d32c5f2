"""Laws that every estimator of a gap obeys, whatever its method.

The estimators are the default one and all its alternatives. Those that resample get the same seed before and after, so
what is compared differs by nothing but the change in question, or, where the draws themselves are assigned anew, by
Monte-Carlo error.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from rlhf_fair.metrics.by_group import mean_by_group
from rlhf_fair.metrics.frame import group_metrics
from rlhf_fair.metrics.rates import mean_prediction
from rlhf_fair.records import Estimate
from rlhf_fair.stats.bootstrap import Resampling, bootstrap_interval
from rlhf_fair.stats.contrasts import contrast_estimate
from rlhf_fair.stats.simultaneous import all_pairs
from rlhf_fair.stats.spread import spread
from rlhf_fair.stats.wild_bootstrap import wild_bootstrap_estimate

Estimator = Callable[[Any, Any, str, str, Sequence[Any]], Estimate]


def rng() -> np.random.Generator:
    return np.random.default_rng(7)


def by_default(values: Any, groups: Any, group: str, reference: str, clusters: Sequence[Any]) -> Estimate:
    return contrast_estimate(values, groups, {group: 1.0, reference: -1.0}, clusters=clusters)


def by_frame(values: Any, groups: Any, group: str, reference: str, clusters: Sequence[Any]) -> Estimate:
    frame = group_metrics(mean_prediction, None, values, sensitive_features=groups, clusters=clusters)
    return frame.gap("mean_prediction", group, reference)


def by_group(values: Any, groups: Any, group: str, reference: str, clusters: Sequence[Any]) -> Estimate:
    return mean_by_group(values, groups, reference=reference, clusters=clusters).gaps[group]


def by_family(values: Any, groups: Any, group: str, reference: str, clusters: Sequence[Any]) -> Estimate:
    table = all_pairs(values, groups, clusters=clusters, rng=rng()).table
    row = table[(table["group"] == group) & (table["reference"] == reference)]
    sign = 1.0
    if row.empty:
        row, sign = table[(table["group"] == reference) & (table["reference"] == group)], -1.0
    first = row.iloc[0]
    low, high = sorted([sign * first["ci_low"], sign * first["ci_high"]])
    return Estimate(
        estimate=sign * first["estimate"],
        ci_low=low,
        ci_high=high,
        n=int(first["n"]),
        n_clusters=int(first["n_clusters"]),
        reason=str(first["reason"]),
    )


def by_bootstrap(values: Any, groups: Any, group: str, reference: str, clusters: Sequence[Any]) -> Estimate:
    coefficients = {group: 1.0, reference: -1.0}
    resampling = Resampling(n_boot=999)
    return bootstrap_interval(values, groups, coefficients, clusters=clusters, rng=rng(), resampling=resampling)


def by_wild_bootstrap(values: Any, groups: Any, group: str, reference: str, clusters: Sequence[Any]) -> Estimate:
    return wild_bootstrap_estimate(values, groups, {group: 1.0, reference: -1.0}, clusters=clusters, rng=rng())


EXACT = (by_default, by_frame, by_group)
RESAMPLED = (by_family, by_bootstrap, by_wild_bootstrap)
ALL = EXACT + RESAMPLED


def example(seed: int) -> tuple[NDArray[np.float64], NDArray[np.str_], NDArray[np.intp]]:
    """Three groups in 24 clusters of unequal size, each cluster in one group; nobody is left out."""
    draw = np.random.default_rng(seed)
    cluster = np.sort(np.r_[np.arange(24), draw.integers(0, 24, 60)])
    groups = np.array(["a", "b", "c"])[cluster % 3]
    return draw.normal(size=84) + draw.normal(size=24)[cluster], groups, cluster


def same(one: Estimate, other: Estimate, tolerance: float) -> None:
    width = one.ci_high - one.ci_low
    assert other.estimate == pytest.approx(one.estimate, abs=1e-9)
    assert (other.ci_low, other.ci_high) == pytest.approx((one.ci_low, one.ci_high), abs=tolerance * width)


@pytest.mark.parametrize("estimate", ALL)
@settings(max_examples=15)
@given(st.integers(0, 2**32 - 1))
def test_relabelling_groups_changes_nothing(estimate: Estimator, seed: int) -> None:
    values, groups, cluster = example(seed)
    names = dict(zip("abc", np.random.default_rng(seed).permutation(["p", "q", "r"]), strict=True))
    renamed = np.array([names[group] for group in groups])
    before = estimate(values, groups, "a", "b", [cluster])
    after = estimate(values, renamed, names["a"], names["b"], [cluster])
    same(before, after, 1e-9 if estimate in EXACT else 0.25)  # resampled: other groups get other random numbers


@pytest.mark.parametrize("estimate", ALL)
@settings(max_examples=15)
@given(st.integers(0, 2**32 - 1))
def test_copies_of_every_row_change_no_clustered_interval(estimate: Estimator, seed: int) -> None:
    values, groups, cluster = example(seed)
    before = estimate(values, groups, "a", "b", [cluster])
    after = estimate(np.tile(values, 3), np.tile(groups, 3), "a", "b", [np.tile(cluster, 3)])
    same(before, after, 1e-9)
    assert (after.n, after.n_clusters) == (3 * before.n, before.n_clusters)


@pytest.mark.parametrize("estimate", ALL)
@settings(max_examples=15)
@given(st.integers(0, 2**32 - 1))
def test_trials_obey_the_same_laws(estimate: Estimator, seed: int) -> None:
    values, groups, cluster = example(seed)
    trials = (values > 0.5).astype(float)
    before = estimate(trials, groups, "a", "b", [cluster])
    after = estimate(np.tile(trials, 2), np.tile(groups, 2), "a", "b", [np.tile(cluster, 2)])
    if math.isnan(before.ci_low):
        assert before.reason
        assert math.isnan(after.ci_low)
    else:
        same(before, after, 1e-9)


@pytest.mark.parametrize("estimate", ALL)
@pytest.mark.parametrize("rows", [0, 1])
def test_fewer_than_two_rows_give_no_interval_and_a_reason(estimate: Estimator, rows: int) -> None:
    values = [1.0, 2.0, 4.0] + [3.0] * rows if rows else [1.0, 2.0, 4.0, math.nan]
    groups = ["a", "a", "a", "b"]
    e = estimate(values, groups, "a", "b", [])
    assert math.isnan(e.ci_low)
    assert math.isnan(e.ci_high)
    assert e.reason
    if rows == 0:
        assert math.isnan(e.estimate)


@settings(max_examples=30)
@given(st.integers(0, 2**32 - 1))
def test_groups_never_vanish(seed: int) -> None:
    draw = np.random.default_rng(seed)
    n = int(draw.integers(6, 60))
    values = np.where(draw.random(n) < 0.2, np.nan, draw.normal(size=n))
    groups = draw.choice(np.array(["a", "b", "c", None], dtype=object), n)
    counts = group_metrics(mean_prediction, None, values, sensitive_features=groups).counts
    assert counts.input == n == counts.reported + counts.excluded + counts.unknown
    assert counts.unknown == sum(group is None for group in groups)
    pairs = all_pairs(values, groups, rng=rng())
    assert int(pairs.counts["n"].sum()) + pairs.n_missing + pairs.n_unknown == n
    assert set(pairs.labels) == {group for group in groups if group is not None}  # even one without a value
    interval = spread(values, groups, rng=rng()).interval
    assert interval.n + interval.n_left_out == n
