from __future__ import annotations

from collections.abc import Callable
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.stats.multitest import multipletests

from rlhf_fair.stats.corrections import benjamini_hochberg, holm

P_VALUES = st.lists(st.floats(0, 1), min_size=1, max_size=12)


def test_holm_by_hand() -> None:
    # sorted .005 .01 .03 .04, times 4 3 2 1: .02 .03 .06 .04; never falling: .02 .03 .06 .06
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_holm_stops_at_one() -> None:
    assert holm([0.6, 0.7]) == pytest.approx([1, 1])


def test_missing_p_values_stay_missing_and_do_not_count_as_tests() -> None:
    adjusted = holm([0.01, np.nan, 0.04])
    assert adjusted[[0, 2]] == pytest.approx([0.02, 0.04])
    assert np.isnan(adjusted[1])


@pytest.mark.parametrize("adjust", [holm, benjamini_hochberg])
def test_nothing_to_adjust(adjust: Callable[[list[float]], np.ndarray]) -> None:
    assert adjust([]).shape == (0,)
    assert np.isnan(adjust([np.nan])).all()


@given(P_VALUES)
def test_equal_to_statsmodels(p: list[float]) -> None:
    assert holm(p) == pytest.approx(multipletests(p, method="holm")[1])
    assert benjamini_hochberg(p) == pytest.approx(multipletests(p, method="fdr_bh")[1])


@given(P_VALUES)
def test_adjusting_never_helps_and_holm_lies_between_the_others(p: list[float]) -> None:
    raw, bonferroni = np.array(p), np.minimum(np.array(p) * len(p), 1)
    assert (holm(p) >= raw - 1e-12).all()
    assert (holm(p) <= bonferroni + 1e-12).all()
    assert (benjamini_hochberg(p) <= holm(p) + 1e-12).all()


@given(P_VALUES, st.randoms(use_true_random=False))
def test_order_does_not_matter(p: list[float], random: Random) -> None:
    order = list(range(len(p)))
    random.shuffle(order)
    assert holm([p[i] for i in order]) == pytest.approx(holm(p)[order])
