"""Who moves when a gap closes: answers are Gaussian scores, rewards pull each group to a level of its own.

A group's policy is N(theta, 1). Every sample theta + 1 comes with theta - 1, for which the score-function gradient of a
quadratic reward -k/2 (s - level)^2 is exact: p_g k (level_g - theta_g). Steps are taken in each group's own scale,
which leaves fixed points where they are; those below are worked by hand.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from rlhf_fair.training.fairness import FairnessSettings, FairnessShaper

LEVELS = {"minority": 1.0, "majority": 0.0}
GROUPS = ["minority"] * 2 + ["majority"] * 18  # 10 %
K = 1.0


def trained(shaper: FairnessShaper, steps: int = 100, rate: float = 0.2) -> tuple[dict[str, float], dict[str, float]]:
    """Where the groups' means end, by plain policy gradients; and the last row of the curve."""
    labels, signs = np.array(GROUPS), np.array([1.0, -1.0] * 10)
    levels = np.array([LEVELS[group] for group in GROUPS])
    theta = dict(LEVELS)
    for _ in range(steps):
        means = np.array([theta[group] for group in GROUPS])
        scores = means + signs
        shaped = shaper.shape(-K / 2 * (scores - levels) ** 2, scores, GROUPS)
        for group in theta:
            theta[group] += rate * float((shaped.rewards * signs)[labels == group].mean())
    return theta, shaped.metrics


def shaper(reference_means: Mapping[str, float] | None = None, **settings: object) -> FairnessShaper:
    plain = {"memory": 0.0, "minimum_count": 0.0, "floor_strength": 0.0} | settings
    return FairnessShaper(
        FairnessSettings.model_validate(plain), LEVELS if reference_means is None else reference_means
    )


CONTRAST = {"objective": "contrast", "contrasts": {"gap": {"minority": 1.0, "majority": -1.0}}}


@pytest.mark.parametrize(
    ("settings", "expected_gap"),
    [
        # fixed point k (level_g - theta_g) = price_g. variance: price_g = 4 (theta_g - theta), so D = 1 / (1 + 4)
        ({"strength": 4.0}, 0.2),
        # contrast: price_g = .36 D a_g / p_g, so D = 1 / (1 + .36 (1 / .1 + 1 / .9)) = 1 / (1 + 4)
        (CONTRAST | {"strength": 0.36}, 0.2),
    ],
)
def test_the_minority_moves_nine_times_as_far_under_either_objective(
    settings: dict[str, object], expected_gap: float
) -> None:
    """The reward holds groups in place in proportion to their shares; so 1 / p_g is in both, openly or not."""
    theta, row = trained(shaper(**settings))
    assert theta["minority"] - theta["majority"] == pytest.approx(expected_gap, abs=1e-6)
    assert row["moved:minority"] == pytest.approx(-0.9 * (1 - expected_gap), abs=1e-6)
    assert row["moved:majority"] == pytest.approx(+0.1 * (1 - expected_gap), abs=1e-6)


def test_at_one_strength_the_contrast_is_the_harsher_by_one_over_both_shares() -> None:
    # variance = p_1 p_2 D^2 = .09 D^2
    both = [shaper(strength=1.0), shaper(strength=1.0, **CONTRAST)]
    scores = np.array([2.0, 0.0, *[1.0, -1.0] * 9])
    variance, contrast = (np.abs(s.shape(np.zeros(20), scores, GROUPS).penalties) for s in both)
    assert contrast == pytest.approx(variance / 0.09)
    # by hand, D = 1: minority 1 / .1 * |s - 1| = 10, majority 1 / .9
    assert contrast[[0, 2]] == pytest.approx([10.0, 1 / 0.9])


def test_with_floors_the_majority_rises_and_the_minority_nearly_stays() -> None:
    theta, row = trained(shaper(strength=4.0, floor_strength=40.0, floor_tolerance=0.0), rate=0.03, steps=600)
    # minority: k (1 - t) = 4 (t - mean) - 40 (1 - t), so 41 (1 - t) = 3.6 D; majority: k u = .4 D
    # with D = t - u: D (1 + .4 + 3.6 / 41) = 1
    gap = 1 / (1.4 + 3.6 / 41)
    assert theta["minority"] - theta["majority"] == pytest.approx(gap, abs=1e-6)
    assert row["moved:minority"] == pytest.approx(-3.6 / 41 * gap, abs=1e-6)
    assert row["moved:majority"] == pytest.approx(0.4 * gap, abs=1e-6)


def test_the_dual_stops_at_its_tolerance_with_the_shadow_price_of_the_constraint() -> None:
    # maximise -1/2 [.1 (1 - t)^2 + .9 u^2] with t - u <= .1: kappa = .9 / (1 / .1 + 1 / .9) = .081
    dual = shaper(multiplier={"kind": "dual", "tolerance": 0.1, "rate": 0.01}, **CONTRAST)
    theta, row = trained(dual, steps=400)
    assert theta["minority"] - theta["majority"] == pytest.approx(0.1, abs=1e-3)
    assert row["multiplier:gap+"] == pytest.approx(0.081, rel=1e-2)
    assert row["multiplier:gap-"] == 0


def test_the_controller_stops_at_its_tolerance_and_leaves_a_smaller_gap_alone() -> None:
    gains = {"proportional": 0.05, "integral": 0.01, "derivative": 0.05}
    settings = {"kind": "pid", "tolerance": 0.1} | gains
    theta, row = trained(shaper(multiplier=settings, **CONTRAST), steps=600)
    assert theta["minority"] - theta["majority"] == pytest.approx(0.1, abs=1e-3)
    assert row["multiplier:gap+"] == pytest.approx(0.081, rel=1e-2)
    theta, row = trained(shaper(multiplier=settings | {"tolerance": 1.5}, **CONTRAST), steps=20)
    assert theta == LEVELS
    assert row["kappa"] == 0


def test_the_dual_on_the_variance_stops_where_it_exceeds_chance_by_the_tolerance() -> None:
    dual = shaper(multiplier={"kind": "dual", "tolerance": 0.2, "rate": 0.02}, memory=0.9)
    theta, row = trained(dual, steps=800, rate=0.05)
    assert row["gap"] ** 2 - row["noise_floor"] ** 2 == pytest.approx(0.2**2, rel=1e-3)
    # with strength l the gap is D = 1 / (1 + l)
    gap = theta["minority"] - theta["majority"]
    assert row["multiplier:variance"] / 0.2 == pytest.approx(1 / gap - 1, rel=1e-3)
