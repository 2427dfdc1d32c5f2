from __future__ import annotations

from itertools import combinations_with_replacement

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlhf_fair.metrics.impact_ratio_bounds import impact_ratio_bounds


def test_by_hand() -> None:
    # a 6 of 10, b 3 of 10; unknown: 1 selected, 2 not
    found = impact_ratio_bounds([6, 3], [10, 10], unknown_selected=1, unknown_not_selected=2)
    # b lowest: 3/12 against 7/11; b highest: 4/11 against 6/12
    assert found.low[1] == pytest.approx((3 / 12) / (7 / 11))
    assert found.high[1] == pytest.approx((4 / 11) / (6 / 12))
    # a lowest: 6/12 against 4/11 is still the higher: 1
    assert found.low[0] == found.high[0] == 1


def test_nobody_selected_anywhere_is_no_ratio() -> None:
    found = impact_ratio_bounds([0, 0], [5, 5], unknown_selected=0, unknown_not_selected=3)
    assert np.isnan(found.low).all()
    assert np.isnan(found.high).all()


def every_way(selected: list[int], n: list[int], chosen: int, others: int) -> np.ndarray:
    """(ways, categories) impact ratios over all ways to deal the unknown to the categories."""
    size, ratios = len(n), []
    for up in combinations_with_replacement(range(size), chosen):
        for down in combinations_with_replacement(range(size), others):
            more, less = np.bincount(up, minlength=size), np.bincount(down, minlength=size)
            rate = (np.array(selected) + more) / (np.array(n) + more + less)
            if rate.max() > 0:
                ratios.append(rate / rate.max())
    return np.array(ratios)


CATEGORY = st.integers(1, 8).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


@given(st.lists(CATEGORY, min_size=2, max_size=3), st.integers(0, 2), st.integers(0, 3))
def test_against_every_way_to_deal_the_unknown(counts: list[tuple[int, int]], chosen: int, others: int) -> None:
    selected, n = [a for a, _ in counts], [size for _, size in counts]
    found = impact_ratio_bounds(selected, n, unknown_selected=chosen, unknown_not_selected=others)
    ratios = every_way(selected, n, chosen, others)
    if not len(ratios):
        assert np.isnan(found.low).all()
        return
    known = np.isfinite(found.low)
    assert found.low[known] == pytest.approx(ratios.min(axis=0)[known])
    # people are taken as divisible in the upper bound, so it may lie a little above what whole people give
    assert (found.high[known] >= ratios.max(axis=0)[known] - 1e-12).all()
    one_more = every_way(selected, n, chosen, others + len(n))
    assert (found.high[known] <= one_more.max(axis=0)[known] + 1e-12).all()
