"""The claim of the package docstring, for every objective: the shaped gradient is that of E[r] - Phi(cell means).

Phi is written out here from its definition; its gradient is a finite difference of exact expectations.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from rlhf_fair.training.fairness import FairnessSettings, FairnessShaper
from rlhf_fair.training.fairness.sums import LENGTH, REFUSED
from tests.training.fairness.enumerable import GROUPS, SHARES, STRATA, Policy, finite_difference, shaper_at

STRATUM = SHARES.sum(axis=1)  # w_s
GROUP = SHARES.sum(axis=0)  # p_g
WITHIN = SHARES / STRATUM[:, None]  # p_g|s
FLOORS = {"a": 0.3, "b": -0.5, "c": 0.8}
CONTRAST = np.array([1.0, 1.0, -2.0])

Phi = Callable[[Policy, np.ndarray], float]


def variance_in_each(policy: Policy, theta: np.ndarray, measure: str = "score") -> float:
    means = policy.means(theta, measure)
    stratum_means = (WITHIN * means).sum(axis=1, keepdims=True)
    return float((SHARES * (means - stratum_means) ** 2).sum() / 2)


def variance_of_standardized(policy: Policy, theta: np.ndarray) -> float:
    means = STRATUM @ policy.means(theta)
    return float(GROUP @ (means - GROUP @ means) ** 2 / 2)


def squared_contrast_in_each(policy: Policy, theta: np.ndarray) -> float:
    return float(STRATUM @ (policy.means(theta) @ CONTRAST) ** 2 / 2)


def squared_standardized_contrast(policy: Policy, theta: np.ndarray) -> float:
    return float((STRATUM @ policy.means(theta) @ CONTRAST) ** 2 / 2)


def against_reference(policy: Policy, theta: np.ndarray) -> float:
    means = STRATUM @ policy.means(theta)
    return float(((means[0] - means[1]) ** 2 + (means[2] - means[1]) ** 2) / 2)


def fallen(policy: Policy, theta: np.ndarray) -> float:
    means = (SHARES * policy.means(theta)).sum(axis=0) / GROUP  # a group's level is over all strata together
    return float(GROUP @ np.maximum(np.array(list(FLOORS.values())) - 0.05 - means, 0.0) ** 2 / 2)


CONTRASTS = {"a and b, less twice c": dict(zip(GROUPS, CONTRAST.tolist(), strict=True))}
CASES: dict[str, tuple[Phi, dict[str, object]]] = {
    "variance": (variance_in_each, {"strength": 2.0}),
    "variance of standardized means": (
        variance_of_standardized,
        {"strength": 2.0, "across_strata": "standardized"},
    ),
    "contrast": (squared_contrast_in_each, {"strength": 2.0, "objective": "contrast", "contrasts": CONTRASTS}),
    "standardized contrast": (
        squared_standardized_contrast,
        {"strength": 2.0, "objective": "contrast", "contrasts": CONTRASTS, "across_strata": "standardized"},
    ),
    "two contrasts against a reference": (
        against_reference,
        {"strength": 2.0, "objective": "contrast", "reference": "b", "across_strata": "standardized"},
    ),
    "floors": (fallen, {"floor_strength": 2.0, "floor_tolerance": 0.05}),
    "refusals": (lambda p, t: variance_in_each(p, t, REFUSED), {"refusal_strength": 2.0}),
    "lengths": (lambda p, t: variance_in_each(p, t, LENGTH), {"length_strength": 2.0}),
    "all at once": (
        lambda p, t: (
            variance_in_each(p, t) + fallen(p, t) + variance_in_each(p, t, REFUSED) + variance_in_each(p, t, LENGTH)
        ),
        {
            "strength": 2.0,
            "floor_strength": 2.0,
            "floor_tolerance": 0.05,
            "refusal_strength": 2.0,
            "length_strength": 2.0,
        },
    ),
}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("case", CASES)
def test_the_shaped_gradient_is_that_of_reward_less_disparity(case: str, seed: int) -> None:
    phi, settings = CASES[case]
    policy = Policy(seed)
    shaped = policy.shaped_rewards(shaper_at(policy, FLOORS, **settings))
    expected = finite_difference(lambda t: policy.expected_reward(t) - 2.0 * phi(policy, t), policy.theta)
    assert policy.gradient(shaped) == pytest.approx(expected, abs=1e-7)
    assert policy.gradient(policy.rewards) != pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("kind", ["dual", "pid"])
def test_under_a_moving_multiplier_it_is_that_of_reward_less_kappa_times_the_difference(kind: str) -> None:
    policy = Policy(4)
    settings = {"objective": "contrast", "contrasts": CONTRASTS, "across_strata": "standardized"}
    shaper = shaper_at(policy, multiplier={"kind": kind, "tolerance": 0.01}, **settings)
    shaper.take(policy.sums())  # moves the multipliers once
    multipliers = shaper.multipliers.values()
    (name,) = CONTRASTS
    kappa = multipliers[f"{name}+"] - multipliers[f"{name}-"]
    assert abs(kappa) > 0.1

    def objective(theta: np.ndarray) -> float:
        return policy.expected_reward(theta) - kappa * float(STRATUM @ policy.means(theta) @ CONTRAST)

    expected = finite_difference(objective, policy.theta)
    assert policy.gradient(policy.shaped_rewards(shaper)) == pytest.approx(expected, abs=1e-7)


def test_under_moving_multipliers_by_stratum_each_prices_its_own_difference() -> None:
    policy, (name,) = Policy(9), CONTRASTS
    settings = {"objective": "contrast", "contrasts": CONTRASTS, "multiplier": {"kind": "dual", "tolerance": 0.01}}
    shaper = shaper_at(policy, **settings)
    shaper.take(policy.sums())
    sides = shaper.multipliers.values()
    kappas = np.array([sides[f"{name} | {stratum}+"] - sides[f"{name} | {stratum}-"] for stratum in STRATA])
    assert np.abs(kappas).min() > 0.1

    def objective(theta: np.ndarray) -> float:
        return policy.expected_reward(theta) - float(STRATUM @ (kappas * (policy.means(theta) @ CONTRAST)))

    expected = finite_difference(objective, policy.theta)
    assert policy.gradient(policy.shaped_rewards(shaper)) == pytest.approx(expected, abs=1e-7)


def test_a_dual_on_the_variance_prices_half_of_it() -> None:
    policy = Policy(5)
    shaper = shaper_at(policy, multiplier={"kind": "dual", "tolerance": 0.1, "rate": 0.5})
    shaper.take(policy.sums())
    strength = shaper.multipliers.values()["variance"] / 0.1  # the constraint is variance / eps <= eps
    assert strength > 0.1
    expected = finite_difference(
        lambda t: policy.expected_reward(t) - strength * variance_in_each(policy, t), policy.theta
    )
    assert policy.gradient(policy.shaped_rewards(shaper)) == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize("case", CASES)
def test_no_penalty_changes_the_mean_of_any_cell(case: str) -> None:
    """A baseline of the prompt: the penalty says which answers of a cell to prefer, never which prompts pay."""
    policy = Policy(6)
    penalties = policy.rewards - policy.shaped_rewards(shaper_at(policy, FLOORS, **CASES[case][1]))
    assert (policy.probabilities(policy.theta) * penalties).sum(axis=-1) == pytest.approx(np.zeros((2, 3)), abs=1e-9)


def test_broadcasting_the_disparity_changes_nothing() -> None:
    policy = Policy(7)
    plain = policy.gradient(policy.rewards)
    assert policy.gradient(policy.rewards - 5.0 * variance_in_each(policy, policy.theta)) == pytest.approx(plain)


def test_only_shown_refusals_and_lengths_carry_no_penalty() -> None:
    policy = Policy(8)
    assert (policy.shaped_rewards(shaper_at(policy)) == policy.rewards).all()


@pytest.mark.parametrize("case", CASES)
def test_with_missing_scores_it_is_that_of_the_disparity_between_those_who_are_scored(case: str) -> None:
    """Three fifths of the rows have no group or no score: they bring no penalty, but gradients average over them."""
    phi, settings = CASES[case]
    policy = Policy(10)
    shaper = shaper_at(policy, FLOORS, **settings)
    shaper.take(replace(policy.sums(samples=4e5), rows=1_000_000))
    of_the_scored = policy.gradient(policy.shaped_rewards(shaper) - policy.rewards)
    expected = finite_difference(lambda t: -2.0 * phi(policy, t), policy.theta)
    assert 0.4 * of_the_scored == pytest.approx(expected, abs=1e-7)


def test_missing_scores_leave_the_gradient_of_a_moving_multiplier() -> None:
    policy, (name,) = Policy(4), CONTRASTS
    settings = {"objective": "contrast", "contrasts": CONTRASTS, "across_strata": "standardized"}
    shaper = shaper_at(policy, multiplier={"kind": "dual", "tolerance": 0.01}, **settings)
    shaper.take(replace(policy.sums(samples=4e5), rows=1_000_000))
    kappa = shaper.multipliers.values()[f"{name}+"] - shaper.multipliers.values()[f"{name}-"]
    assert abs(kappa) > 0.1
    of_the_scored = policy.gradient(policy.shaped_rewards(shaper) - policy.rewards)
    expected = finite_difference(lambda t: -kappa * float(STRATUM @ policy.means(t) @ CONTRAST), policy.theta)
    assert 0.4 * of_the_scored == pytest.approx(expected, abs=1e-7)


def test_the_measured_share_is_counted_row_by_row_and_fades_with_them() -> None:
    shaper = FairnessShaper(FairnessSettings(memory=0.5, minimum_count=0.0, strength=1.0, floor_strength=0.0))
    shaper.update(["a", "a", "b", None], np.array([1.0, np.nan, 0.0, 5.0]))  # 2 of 4
    state = shaper.update(["a", "a", "b", "b"], np.array([1.0, 1.0, 0.0, 0.0]))  # (1 + 4) of (2 + 4)
    assert state.measured_share == pytest.approx(5 / 6)
    # a has (.5 + 2) / 5 of the scored, mean 1; b mean 0: (1 - .5) * 6 / 5
    assert shaper.coefficients(state) == pytest.approx([0.6, -0.6])
    again = FairnessShaper(shaper.settings)
    again.load_state_dict(shaper.state_dict())
    assert again.snapshot().measured_share == state.measured_share


@pytest.mark.parametrize("memory", [0.0, 0.3, 0.8, 0.99])
def test_where_all_are_scored_nothing_is_raised(memory: float) -> None:
    shaper, rng = FairnessShaper(FairnessSettings(memory=memory)), np.random.default_rng(1)
    for _ in range(60):
        state = shaper.update(rng.choice(["a", "b", "c"], 37).tolist(), rng.normal(size=37))
        assert state.measured_share == 1.0
