"""Multipliers against traces worked by hand, and against what noise alone must do to them."""

from __future__ import annotations

import json

import numpy as np
import pytest

from rlhf_fair.training.fairness import FairnessSettings, FairnessShaper, MultiplierSettings
from rlhf_fair.training.fairness.disparities import Disparity
from rlhf_fair.training.fairness.multipliers import PID, Dual, Multipliers


def signed(value: float, noise: float = 0.0) -> Disparity:
    return Disparity("gap", value, noise, True, {})


def squared(value: float, noise: float = 0.0) -> Disparity:
    return Disparity("variance", value, noise, False, {})


def test_dual_by_hand() -> None:
    # rate 2, limit .1: costs .3 .3 0 0 0 move by .4 .4 -.2 -.2 -.2; cost 9 would move by 17.8, cut at 1
    dual, values = Dual(2.0, 1.0), []
    for cost in (0.3, 0.3, 0.0, 0.0, 0.0, 9.0, -9.0):
        dual.step(cost, 0.1)
        values.append(dual.value)
    assert values == pytest.approx([0.4, 0.8, 0.6, 0.4, 0.2, 1.0, 0.0])


def test_a_difference_has_two_duals_and_kappa_is_signed() -> None:
    # rate 1, eps .1. Differences .5 .5 -.3: + side .4 .8 .4; - side 0 0 .2
    multipliers = Multipliers(MultiplierSettings(kind="dual", tolerance=0.1, rate=1.0), 0.0)
    kappas = []
    for value in (0.5, 0.5, -0.3):
        multipliers.move([signed(value)])
        kappas.append(multipliers.kappa(signed(value)))
    assert kappas == pytest.approx([0.4, 0.8, 0.2])
    assert multipliers.values() == pytest.approx({"gap+": 0.4, "gap-": 0.2})


def test_a_squared_disparity_has_one_dual_on_what_exceeds_chance() -> None:
    # eps .2, noise floor .3, rate 1: (.25 - .09) / .2 - .2 = .6; then (.09 - .09) / .2 - .2 = -.2. The price is that
    # of the constraint's slope, value / eps
    multipliers = Multipliers(MultiplierSettings(kind="dual", tolerance=0.2, rate=1.0), 0.0)
    multipliers.move([squared(0.25, 0.3)])
    assert multipliers.kappa(squared(0.25)) == pytest.approx(0.6 / 0.2)
    multipliers.move([squared(0.09, 0.3)])
    assert multipliers.kappa(squared(0.09)) == pytest.approx(0.4 / 0.2)


def test_a_multiplier_of_a_variance_stays_the_same_in_another_unit_of_the_score() -> None:
    # reward per unit of score: with scores and tolerance ten times as large, a tenth; the penalty is the same
    kappas = []
    for unit in (1.0, 10.0):
        multipliers = Multipliers(MultiplierSettings(kind="dual", tolerance=0.2 * unit, rate=0.3 / unit**2), 0.0)
        multipliers.move([squared(0.25 * unit**2, 0.3 * unit)])
        kappas.append(multipliers.kappa(squared(0.25 * unit**2)) * unit**2)
    assert kappas[0] == pytest.approx(kappas[1])


def test_pid_by_hand() -> None:
    # Kp 2, Ki .5, Kd 4, memories 1/2, delay 1, limit .2; costs .6 1 .2
    # excess       .4              .8                  0
    # its average  .2              .5                  .25
    # integral     .2              .6                  .6
    # cost average .6              .8                  .5
    # rise         0               .8 - .6 = .2        [.5 - .8]+ = 0
    # value        .4+.2+0 = .6    1 + .6 + .8 = 2.4   .5 + .6 + 0 = 1.1
    settings = MultiplierSettings(
        kind="pid",
        tolerance=0.2,
        proportional=2.0,
        integral=0.5,
        derivative=4.0,
        proportional_memory=0.5,
        derivative_memory=0.5,
        delay=1,
    )
    pid, values = PID(settings), []
    for cost in (0.6, 1.0, 0.2):
        pid.step(cost, 0.2)
        values.append(pid.value)
    assert values == pytest.approx([0.6, 2.4, 1.1])


def test_pid_looks_back_as_far_as_its_delay() -> None:
    # derivative alone, no smoothing, delay 2: rises over two steps of 0 1 3 2 are -, 1 (from the first), 3, 1
    settings = MultiplierSettings(
        kind="pid", tolerance=1.0, proportional=0.0, integral=0.0, derivative=1.0, derivative_memory=0.0, delay=2
    )
    pid, values = PID(settings), []
    for cost in (0.0, 1.0, 3.0, 2.0):
        pid.step(cost, 1.0)
        values.append(pid.value)
    assert values == pytest.approx([0.0, 1.0, 3.0, 1.0])


def test_the_integral_does_not_wind_up_beyond_the_cap() -> None:
    settings = MultiplierSettings(
        kind="pid", tolerance=0.1, cap=2.0, proportional=0.0, integral=1.0, proportional_memory=0.0
    )
    pid = PID(settings)
    for _ in range(100):
        pid.step(1.1, 0.1)
    assert pid.value == 2.0
    for _ in range(2):  # two steps at excess -1 undo two units, however long the violation was
        pid.step(-0.9, 0.1)
    assert pid.value == pytest.approx(0.0)


@pytest.mark.parametrize("kind", ["dual", "pid"])
def test_what_cannot_be_estimated_moves_nothing_and_prices_nothing(kind: str) -> None:
    multipliers = Multipliers(MultiplierSettings(kind=kind, tolerance=0.1), 0.0)
    multipliers.move([signed(0.5)])
    before = multipliers.values()
    multipliers.move([signed(float("nan"))])
    assert multipliers.values() == before
    assert multipliers.kappa(signed(float("nan"))) == 0
    assert Multipliers(MultiplierSettings(), 3.0).kappa(signed(float("nan"))) == 0


@pytest.mark.parametrize("kind", ["dual", "pid"])
def test_restored_multipliers_go_on_bit_for_bit(kind: str) -> None:
    settings = MultiplierSettings(kind=kind, tolerance=0.05)
    costs = np.random.default_rng(0).normal(size=20)
    whole, first, second = (Multipliers(settings, 0.0) for _ in range(3))
    for cost in costs[:10]:
        whole.move([signed(cost), squared(cost**2, 0.1)])
        first.move([signed(cost), squared(cost**2, 0.1)])
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    for cost in costs[10:]:
        whole.move([signed(cost), squared(cost**2, 0.1)])
        second.move([signed(cost), squared(cost**2, 0.1)])
    assert second.values() == whole.values()


# --- true gap zero: two groups of 50 a batch, sd 1, memory .8, so 50 * (1 + .8) / (1 - .8) = 450 effective samples each
STEPS = 400
EXPECTED_ABSOLUTE_GAP = np.sqrt(2 / np.pi) * np.sqrt(2 / 450)  # E|D| = .8 sqrt(sum sigma^2 / n) = .0532


def kappas_without_a_gap(seed: int, **settings: object) -> tuple[np.ndarray, np.ndarray]:
    """(steps,) kappa of the first disparity, and its value."""
    rng = np.random.default_rng(seed)
    plain = {"objective": "contrast", "contrasts": {"gap": {"a": 1, "b": -1}}, "floor_strength": 0.0} | settings
    shaper = FairnessShaper(FairnessSettings.model_validate(plain))
    kappas, gaps = [], []
    for _ in range(STEPS):
        row = shaper.shape(np.zeros(100), rng.normal(size=100), ["a", "b"] * 50).metrics
        sides = [value for name, value in row.items() if name.startswith("multiplier:")]
        kappas.append(sides[0] - sides[1] if len(sides) == 2 else sides[0] if sides else row["contrast:gap"])
        gaps.append(row.get("contrast:gap", row["gap"]))
    return np.array(kappas), np.array(gaps)


def test_without_a_gap_kappa_stays_near_zero_when_the_tolerance_lies_above_the_noise() -> None:
    # eps = .15 is 2.25 standard errors of D: noise exceeds it in 2.4 % of steps, by little
    for settings in (
        {"multiplier": {"kind": "dual", "tolerance": 0.15}},
        {"multiplier": {"kind": "pid", "tolerance": 0.15}},
        {"multiplier": {"kind": "dual", "tolerance": 0.15}, "objective": "variance", "contrasts": {}},
    ):
        paths = [kappas_without_a_gap(seed, **settings)[0] for seed in range(2)]
        assert np.mean(np.abs(paths)) < 0.02
        assert max(np.abs(path).max() for path in paths) < 0.5


def test_without_a_gap_a_fixed_strength_pulls_by_noise_alone_and_in_no_direction() -> None:
    paths = np.array([kappas_without_a_gap(seed, strength=1.0)[0][50::40] for seed in range(5)])
    # kappa = strength * D, and D has standard error sqrt(2 / 450); draws 40 steps apart are nearly independent
    assert paths.std() == pytest.approx(np.sqrt(2 / 450), rel=0.3)
    assert abs(paths.mean()) < 4 * np.sqrt(2 / 450) / np.sqrt(paths.size)


def test_the_trap_a_dual_on_the_absolute_gap_is_pumped_up_by_noise() -> None:
    tolerance, ends, fair = 0.02, [], []
    for seed in range(3):
        kappas, gaps = kappas_without_a_gap(seed, multiplier={"kind": "dual", "tolerance": tolerance})
        trap = Dual(1.0, 100.0)
        for gap in gaps:
            trap.step(abs(gap), tolerance)
        ends.append(trap.value)
        fair.append(kappas)
    # it climbs by E|D| - eps a step: 400 * (.0532 - .02) = 13.3
    assert np.mean(ends) == pytest.approx(STEPS * (EXPECTED_ABSOLUTE_GAP - tolerance), rel=0.2)
    # two signed ones under the same tolerance, too small as it is, wander about 0
    assert np.mean(np.abs(fair)) < np.mean(ends) / 8
    assert abs(np.mean(fair)) < np.mean(ends) / 20


def test_a_tolerance_below_the_noise_is_shown_in_the_curve() -> None:
    rng = np.random.default_rng(1)
    for tolerance, expected in ((0.04, 1.0), (0.9, 0.0)):
        settings = {"multiplier": {"kind": "dual", "tolerance": tolerance}, "minimum_count": 0.0}
        shaper = FairnessShaper(FairnessSettings.model_validate(settings))
        row = shaper.shape(np.zeros(40), rng.normal(size=40), ["a", "b"] * 20).metrics
        assert row["tolerance_below_noise"] == expected


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "dual"}, "tolerance above 0"),
        ({"kind": "pid", "integral": 1.0}, "tolerance above 0"),
        ({"kind": "fixed", "tolerance": 0.1}, "does not use tolerance"),
        ({"kind": "dual", "tolerance": 0.1, "integral": 1.0}, "does not use integral"),
        ({"kind": "pid", "tolerance": 0.1, "rate": 1.0}, "does not use rate"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MultiplierSettings.model_validate(settings)
