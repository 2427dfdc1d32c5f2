from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlhf_fair.errors import SettingsError
from rlhf_fair.probes.best_of_n import best_of_n_kl, selection_probabilities


@given(rewards=st.lists(st.integers(0, 4), min_size=1, max_size=8), data=st.data())
def test_probabilities_are_those_of_all_draws_enumerated(rewards: list[int], data: st.DataObject) -> None:
    n = data.draw(st.integers(1, len(rewards)))
    counted = np.zeros(len(rewards))
    draws = list(combinations(range(len(rewards)), n))
    for draw in draws:
        best = [k for k in draw if rewards[k] == max(rewards[j] for j in draw)]
        counted[best] += 1 / len(best)
    assert selection_probabilities(rewards, n) == pytest.approx(counted / len(draws), abs=1e-12)


def test_worked_by_hand() -> None:
    # 4 candidates, best of 2: 6 pairs; the best is in 3, the second best in 2, the third in 1
    assert selection_probabilities([4.0, 3.0, 2.0, 1.0], 2) == pytest.approx([3 / 6, 2 / 6, 1 / 6, 0])
    assert selection_probabilities([1.0, 1.0, 1.0], 2) == pytest.approx([1 / 3] * 3)


def test_one_draw_selects_evenly_and_all_draws_the_best() -> None:
    rewards = np.random.default_rng(0).normal(size=100)
    assert selection_probabilities(rewards, 1) == pytest.approx(np.full(100, 0.01))
    assert selection_probabilities(rewards, 100)[rewards.argmax()] == pytest.approx(1)


def test_large_pools_neither_overflow_nor_lose_mass() -> None:
    rewards = np.arange(5000.0)
    chance = selection_probabilities(rewards, 64)
    assert chance.sum() == pytest.approx(1)
    # mean rank of the best of n without replacement: n (N + 1) / (n + 1) = 64 * 5001 / 65, counted from 1
    assert chance @ (rewards + 1) == pytest.approx(64 * 5001 / 65)


def test_kl_is_that_of_the_order_statistic() -> None:
    # of a continuous reward the best of n has density n u^(n-1) on its quantile u: KL = int n u^(n-1) log(n u^(n-1)) du
    u = (np.arange(1_000_000) + 0.5) / 1_000_000
    for n in (2, 4, 16):
        density = n * u ** (n - 1)
        assert best_of_n_kl(n) == pytest.approx(np.mean(density * np.log(density)), abs=1e-4)
    assert best_of_n_kl(1) == 0


@pytest.mark.parametrize(("rewards", "n"), [([1.0, 2.0], 3), ([1.0], 0), ([1.0, float("nan")], 1)])
def test_what_cannot_be_drawn_is_an_error(rewards: list[float], n: int) -> None:
    with pytest.raises(SettingsError, match="allowed"):
        selection_probabilities(rewards, n)
    with pytest.raises(SettingsError, match="best of 0"):
        best_of_n_kl(0)
