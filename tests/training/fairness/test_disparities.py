"""Prices are derivatives: of every disparity, for any shares, also where strata lack groups."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from rlhf_fair.training.fairness import FairnessSettings, GroupState, StratifiedSnapshot
from rlhf_fair.training.fairness.disparities import Disparity, disparities
from rlhf_fair.training.fairness.store import RunningMoments
from rlhf_fair.training.fairness.sums import SCORE, Cell

GROUPS, STRATA = ("a", "b", "c"), ("x", "y", "z")
CONTRAST = {
    "objective": "contrast",
    "contrasts": {"one": {"a": 1.0, "b": -1.0}, "two": {"a": 0.5, "b": 0.5, "c": -1.0}},
}


def state_of(mass: np.ndarray, means: np.ndarray) -> GroupState:
    """(strata, groups) of each; a mass of 0 is a cell that never came."""
    cells = {
        Cell(SCORE, STRATA[s], GROUPS[g]): RunningMoments(m, m, m * means[s, g], m * (means[s, g] ** 2 + 1))
        for (s, g), m in np.ndenumerate(mass)
        if m > 0
    }
    return GroupState(cells, 1, 1.0)


def found(mass: np.ndarray, means: np.ndarray, settings: FairnessSettings) -> dict[str, Disparity]:
    return {d.name: d for d in disparities(StratifiedSnapshot.of(state_of(mass, means), SCORE), settings)}


@given(st.integers(0, 2**32 - 1), st.sampled_from(["each", "standardized"]), st.booleans())
def test_prices_are_derivatives_over_shares(seed: int, across: str, contrast: bool) -> None:
    """price_c = (dD / dm_c) / p_c, of half of D where D is squared."""
    rng = np.random.default_rng(seed)
    mass = rng.integers(0, 20, (3, 3)) * (rng.random((3, 3)) < 0.8).astype(float)
    means, step = rng.normal(size=(3, 3)), 1e-5
    assume(mass.any())
    settings = FairnessSettings.model_validate(
        {"strata_by": ("t",), "across_strata": across, "minimum_count": 0.0} | (CONTRAST if contrast else {})
    )
    for name, disparity in found(mass, means, settings).items():
        if not disparity.estimable:
            assert not any(price.any() for price in disparity.prices.values())
            continue
        for (s, g), m in np.ndenumerate(mass):
            if m == 0 or STRATA[s] not in disparity.prices:
                continue
            shift = np.zeros((3, 3))
            shift[s, g] = step
            up, down = (found(mass, means + sign * shift, settings)[name].value for sign in (1, -1))
            slope = (up - down) / (2 * step) * (1.0 if disparity.signed else 0.5)
            share = m / mass.sum()
            if disparity.signed and across == "each":
                share = m / mass[s].sum()  # the objective weighs each stratum's difference by the stratum's share
            present = [group for group, weight in zip(GROUPS, mass[s], strict=True) if weight > 0]
            price = disparity.prices[STRATA[s]][present.index(GROUPS[g])]
            assert price * share == pytest.approx(slope, abs=1e-6)


@given(st.integers(0, 2**32 - 1), st.sampled_from(["each", "standardized"]), st.booleans(), st.floats(-5, 5))
def test_disparities_forget_the_level_of_the_score(seed: int, across: str, contrast: bool, level: float) -> None:
    rng = np.random.default_rng(seed)
    mass, means = rng.integers(1, 20, (3, 3)).astype(float), rng.normal(size=(3, 3))
    settings = FairnessSettings.model_validate(
        {"strata_by": ("t",), "across_strata": across, "minimum_count": 0.0} | (CONTRAST if contrast else {})
    )
    one, other = found(mass, means, settings), found(mass, means + level, settings)
    for name, disparity in one.items():
        assert other[name].value == pytest.approx(disparity.value, abs=1e-9)


@pytest.mark.parametrize("across", ["each", "standardized"])
def test_equal_means_are_no_disparity_and_have_no_price(across: str) -> None:
    mass = np.arange(1.0, 10.0).reshape(3, 3)
    settings = FairnessSettings.model_validate({"strata_by": ("t",), "across_strata": across, "minimum_count": 0.0})
    (disparity,) = found(mass, np.full((3, 3), 0.7), settings).values()
    assert disparity.value == pytest.approx(0, abs=1e-12)
    assert all(price == pytest.approx(np.zeros(3)) for price in disparity.prices.values())


def test_nothing_measured_is_not_estimable() -> None:
    empty = StratifiedSnapshot.of(GroupState(), SCORE)
    for settings in (
        {},
        {"strata_by": ("t",), "across_strata": "standardized"},
        CONTRAST,
        CONTRAST | {"strata_by": ("t",), "across_strata": "standardized"},
    ):
        assert not any(d.estimable for d in disparities(empty, FairnessSettings.model_validate(settings)))
    assert np.isnan(empty.gap)
    assert np.isnan(empty.noise_floor)
