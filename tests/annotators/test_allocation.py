"""Optimal allocation against published numbers and brute force; panel sizes against statsmodels."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.stats.power import TTestIndPower

from rlhf_fair.annotators.allocation import RaterDesign, neyman, panel_size_for_gap, whole_persons
from rlhf_fair.errors import SettingsError

SIZES, SDS = [400, 300, 200, 100], [5, 10, 20, 40]


def test_the_worked_example() -> None:
    np.testing.assert_allclose(neyman(SIZES, SDS, 100), [15.38, 23.08, 30.77, 30.77], atol=5e-3)
    np.testing.assert_allclose(neyman(SIZES, SDS, 100, [1, 4, 9, 16]), [34.29, 25.71, 22.86, 17.14], atol=5e-3)


def test_no_other_whole_allocation_has_less_variance() -> None:
    # variance of the estimated total: sum N² S² / n - N S² (Cochran 1977, 5.26)
    sizes, sds = np.array([30, 20, 6]), np.array([1.0, 3.0, 9.0])

    def variance(n: np.ndarray) -> float:
        return float(np.sum(sizes**2 * sds**2 / n - sizes * sds**2))

    whole = whole_persons(neyman(sizes, sds, 20))
    options = [n for n in itertools.product(range(1, 21), range(1, 21), range(1, 7)) if sum(n) == 20]
    assert whole.sum() == 20
    assert variance(whole) == pytest.approx(min(variance(np.array(n)) for n in options))


def test_a_stratum_that_would_need_more_than_it_has_is_taken_whole() -> None:
    # 100·1 : 5·100 would give the second 16.7 of 20; it has 5, so the first gets 15
    assert neyman([100, 5], [1, 100], 20).tolist() == [15, 5]
    assert neyman([10, 10], [0, 1], 15).tolist() == [5, 10]  # nobody is needed of the first until the second is out


@given(st.integers(0, 10_000))
def test_totals_and_limits_hold(seed: int) -> None:
    rng = np.random.default_rng(seed)
    sizes, sds = rng.integers(1, 50, 5), rng.uniform(0, 5, 5) * (rng.random(5) < 0.8)
    n = int(rng.integers(1, sizes.sum() + 1))
    found = neyman(sizes, sds, n, rng.uniform(0.5, 4, 5))
    assert found.sum() == pytest.approx(n)
    assert np.all((found >= 0) & (found <= sizes * (1 + 1e-9)))
    whole = whole_persons(found)
    assert whole.sum() == n
    assert np.all(np.abs(whole - found) < 1 + 1e-6)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (([1, 2], [1], 1), "shapes"),
        (([1, -2], [1, 1], 1), ">= 0"),
        (([1, 2], [1, 1], 4), "n = 4; allowed: above 0, at most the 3"),
        (([1, 2], [1, 1], 2, [1, 0]), "costs above 0"),
    ],
)
def test_bad_input_is_one_clear_error(arguments: tuple[object, ...], says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        neyman(*arguments)  # type: ignore[arg-type]


def test_a_medium_effect_needs_64_in_each_group() -> None:
    found = panel_size_for_gap(0.5, RaterDesign(1.0), ["man", "woman"], reference="man")  # Cohen 1988, table 2.4.1
    assert found.oversampled == {"man": 64, "woman": 64}
    assert found.contrasts[0].power >= 0.8


def test_several_contrasts_share_the_level() -> None:
    found = panel_size_for_gap(0.4, RaterDesign(1.0), ["a", "b", "c", "d"], reference="b")
    peer = TTestIndPower().solve_power(effect_size=0.4, alpha=0.05 / 3, power=0.8)
    assert set(found.oversampled.values()) == {int(np.ceil(peer))}
    assert [contrast.group for contrast in found.contrasts] == ["a", "c", "d"]


def test_ratings_that_share_a_rater_count_for_less() -> None:
    # deff = 1 + 20 * .05 = 2 with 21 ratings: variance of a rater's mean is 2/21 of one rating's
    found = panel_size_for_gap(0.1, RaterDesign(0.5, 21, 0.05), ["a", "b"], reference="a")
    peer = TTestIndPower().solve_power(effect_size=0.1 / (0.5 * np.sqrt(2 / 21)), alpha=0.05, power=0.8)
    assert found.design_effect == pytest.approx(2)
    assert found.oversampled["b"] == int(np.ceil(peer))


def test_a_panel_in_the_population_s_shares_is_larger() -> None:
    shares = {"a": 0.6, "b": 0.3, "c": 0.1}
    found = panel_size_for_gap(0.5, RaterDesign(1.0), list(shares), reference="a", shares=shares)
    small = TTestIndPower().solve_power(
        effect_size=0.5, alpha=0.025, power=0.8, ratio=6
    )  # c against a, 6 of a for each
    assert found.proportional == pytest.approx(small / 0.1, abs=10)
    assert found.proportional > sum(found.oversampled.values())
    with pytest.raises(SettingsError, match="reference 'z'"):
        panel_size_for_gap(0.5, RaterDesign(1.0), ["a", "b"], reference="z")
