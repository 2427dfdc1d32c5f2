from __future__ import annotations

import math

import numpy as np
import pytest

from rlhf_fair.probes.missing import measured_rate, unmeasured_gap
from rlhf_fair.stats.rate_differences import rate_difference


def test_the_side_with_less_counts_and_a_mean_of_groups_is_one_side() -> None:
    groups = ["a"] * 4 + ["b"] * 2 + ["c"] * 8
    entered = [True] * 3 + [False] + [True] * 2 + [True] * 4 + [False] * 4  # 3/4, 1, 1/2
    assert measured_rate(entered, groups, {"a": 1.0, "b": -1.0}) == 0.75
    assert measured_rate(entered, groups, {"b": 1.0, "c": -1.0}) == 0.5
    # against the mean of the others, each counts alike: (1 + 1/2) / 2, which is not the 6 of 10 rows
    assert measured_rate(entered, groups, {"a": 1.0, "b": -0.5, "c": -0.5}) == 0.75
    assert measured_rate(entered) == 9 / 14


def test_rows_of_no_group_are_nobodys_and_a_group_without_rows_has_no_rate() -> None:
    assert measured_rate([True, False, True], ["a", None, "b"], {"a": 1.0, "b": -1.0}) == 1.0
    assert math.isnan(measured_rate([True], ["a"], {"a": 1.0, "b": -1.0}))
    assert math.isnan(measured_rate([]))


def test_the_gap_is_that_of_two_rates() -> None:
    rng = np.random.default_rng(0)
    groups, clusters = np.repeat(["a", "b"], 60), np.tile(np.arange(20), 6)
    entered = rng.random(120) > np.where(groups == "a", 0.5, 0.1)
    sides = {"a": 1.0, "b": -1.0}
    e = unmeasured_gap(entered, groups, sides, clusters=[clusters])
    assert e == rate_difference(1.0 * ~entered, groups, "a", "b", clusters=[clusters])
    assert e.estimate == pytest.approx(entered[60:].mean() - entered[:60].mean())
    assert e.ci_low > 0.05


def test_nothing_measured_at_all_is_no_parity() -> None:
    e = unmeasured_gap([False] * 4, list("aabb"), {"a": 1.0, "b": -1.0})
    assert math.isnan(e.estimate)
    assert e.reason
