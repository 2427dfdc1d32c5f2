from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as distributions

from rlhf_fair.stats.sign_flips import sign_flip_p_value


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@given(st.lists(st.integers(-9, 9), min_size=1, max_size=8))
def test_sign_flips_against_enumeration(values: list[int]) -> None:
    sums = np.array(values, dtype=float)
    totals = [
        abs(sum(np.where(np.array(list(np.binary_repr(i, len(sums))), dtype=int), sums, -sums)))
        for i in range(2 ** len(sums))
    ]
    assert sign_flip_p_value(sums, rng=rng()) == pytest.approx(np.mean(np.array(totals) >= abs(sums.sum())))


def test_drawn_sign_flips_are_near_the_t_test_for_many_clusters() -> None:
    x = rng(3).normal(0.25, 1, 100)
    p = distributions.ttest_1samp(x, 0).pvalue
    assert sign_flip_p_value(x, rng=rng()) == pytest.approx(p, abs=0.012)  # 9,999 draws: 3 · sqrt(.02/9999) < .005


def test_several_columns_are_flipped_together() -> None:
    # |±(1, -1) ± (1, 1)| with widths 1 and 2: (2, 0) -> 2 twice, (0, 2) -> 4 twice; the sums as they are give 2
    assert sign_flip_p_value(np.array([[1.0, -1], [1, 1]]), widths=np.array([1.0, 2]), rng=rng()) == 1
    # with widths 2 and 1 they give 4, and half of the patterns 2
    assert sign_flip_p_value(np.array([[1.0, -1], [1, 1]]), widths=np.array([2.0, 1]), rng=rng()) == 0.5


def test_clusters_of_nothing_do_not_count() -> None:
    assert sign_flip_p_value(np.zeros(3), rng=rng()) == 1
    assert sign_flip_p_value(np.array([0.0, 1, 2, 3, 0]), rng=rng()) == 0.25
