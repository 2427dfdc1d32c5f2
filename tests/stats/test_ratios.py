"""The ratio of two contrasts: worked by hand, and every row accounted for."""

from __future__ import annotations

import numpy as np
import pytest

from rlhf_fair.stats.ratios import contrast_ratio

GROUPS = ["a", "a", "b", "b", "b", "a", None, "c"]
NOW = [5, 7, 1, np.nan, 2, np.nan, 4, 4]
BEFORE = [44.9, 45.1, 1, 1, 2, 3, 4, np.nan]


def test_rows_without_a_partner_or_a_group_are_counted() -> None:
    e = contrast_ratio(NOW, BEFORE, GROUPS, {"a": 1.0, "b": -1.0})
    assert e.estimate == pytest.approx((6 - 1.5) / (45 - 1.5))
    assert (e.n, e.n_left_out) == (4, 3)  # two without a value now, one of no known group; c was not asked for


def test_a_denominator_at_zero_is_a_reason_and_counts_too() -> None:
    e = contrast_ratio(NOW, [4, 5, 5, 1, 4, 3, 4, 4], GROUPS, {"a": 1.0, "b": -1.0})
    assert np.isnan(e.estimate)
    assert "cannot be told from 0" in e.reason
    assert (e.n, e.n_left_out) == (4, 3)
