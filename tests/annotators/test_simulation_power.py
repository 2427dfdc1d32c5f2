"""Simulated power: against the formula where both know the same, and against nothing where there is no gap."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats as distributions

from rlhf_fair.annotators.simulation_design import Design
from rlhf_fair.annotators.simulation_model import AnnotatorModel, GroupSettings
from rlhf_fair.annotators.simulation_power import PowerSettings, mean_answer, shifts_for_gap, simulated_power
from rlhf_fair.errors import SettingsError
from tests.annotators.simulated_worlds import ALIKE, BY, design


def prepared(content: dict[str, Any], size: tuple[int, int, int] = (60, 200, 20)) -> tuple[AnnotatorModel, Design]:
    model = AnnotatorModel.model_validate(content)
    assignments, annotators = design(*size)
    return model, Design.of(assignments, annotators, model, by=BY)


def test_power_agrees_with_the_formula_where_only_raters_differ() -> None:
    model, plan = prepared({"preferences": {"item_sd": 0.0}, "raters": {"leniency_sd": 0.8}})
    row = simulated_power(model, plan, PowerSettings(0.35, "y"), rng=np.random.default_rng(0)).iloc[0]
    assert 0.4 < row["formula"] < 0.95
    error = np.sqrt(row["formula"] * (1 - row["formula"]) / 200)
    assert abs(row["power"] - row["formula"]) < 4 * error
    assert row["false_alarms"] * 200 <= distributions.binom.ppf(0.9995, 200, 0.05)
    assert row["median_estimate"] == pytest.approx(0.35, abs=4 * 1.25 * 0.35 / 2 / np.sqrt(200))
    assert (row["raters"], row["reference_raters"], row["not_estimable"]) == (20, 40, 0)


def test_what_the_formula_does_not_know_costs_power() -> None:
    settings, power = PowerSettings(0.35, "y", repeats=80), []
    faults = {"careless": {"share": 0.3}, "leaving": {"hazard": 0.05}, "disclosure": {"missing": 0.3}}
    for content in ({}, faults):
        model, plan = prepared(content)
        power.append(float(simulated_power(model, plan, settings, rng=np.random.default_rng(1))["power"].iloc[0]))
    assert power[1] < power[0] - 2 * np.sqrt(2 * 0.25 / 80)


def test_groups_of_one_person_are_counted_as_not_estimable() -> None:
    model, plan = prepared({}, (3, 10, 5))  # one rater in x
    row = simulated_power(model, plan, PowerSettings(1.0, "y", repeats=3), rng=np.random.default_rng(0)).iloc[0]
    assert row["power"] == row["false_alarms"] == 0
    assert row["not_estimable"] == 6
    assert np.isnan(row["formula"])


@pytest.mark.parametrize(
    ("answers", "shift", "mean"),
    [
        ({"thresholds": [0.0]}, np.log(3), 1.75),  # 3 of 4 above
        ({"thresholds": [0.0], "link": "probit"}, 0.0, 1.5),
        ({"kind": "scalar", "location": 2.0, "unit": 3.0}, 0.5, 3.5),
        ({"kind": "pair", "tie": np.log(3)}, np.log(2), 0.4 + 8 / 35),  # Rao and Kupper: a 2/5, tie 16/35
    ],
)
def test_mean_answers_by_hand(answers: dict[str, Any], shift: float, mean: float) -> None:
    model = AnnotatorModel.model_validate(ALIKE | {"answers": answers})
    assert mean_answer(model, GroupSettings(shift=shift)) == pytest.approx(mean, abs=1e-9)


def test_mean_answers_average_over_items_and_raters() -> None:
    # a normal view of variance 1 + 1 + 1 under a probit cut at 1: Φ((0.5 - 1) / sqrt(1 + 3)) = Φ(-0.25) = 0.4013
    content = {"preferences": {"item_sd": 1, "group_item_sd": 1}, "raters": {"leniency_sd": 1}}
    model = AnnotatorModel.model_validate(content | {"answers": {"thresholds": [1.0], "link": "probit"}})
    assert mean_answer(model, GroupSettings(shift=0.5)) == pytest.approx(1.4013, abs=1e-3)


def test_gaps_are_measured_from_each_groups_own_habits() -> None:
    model, plan = prepared({"groups": {"y": {"shift": 0.3}, "x": {"temperature": 3.0}}})
    shift = shifts_for_gap(model, plan, "y", 0.4)["x"]
    reached = mean_answer(model, GroupSettings(shift=shift, temperature=3.0))
    assert reached - mean_answer(model, GroupSettings(shift=0.3)) == pytest.approx(0.4, abs=1e-6)


def test_faults_are_named() -> None:
    model, plan = prepared({})
    rng = np.random.default_rng(0)
    with pytest.raises(SettingsError, match=r"gap = 9; allowed for 'x' on this scale: between -2 and 2"):
        simulated_power(model, plan, PowerSettings(9.0, "y"), rng=rng)
    with pytest.raises(SettingsError, match=r"reference 'z'.*has x, y"):
        simulated_power(model, plan, PowerSettings(0.1, "z"), rng=rng)
    with pytest.raises(SettingsError, match="gap = 0; allowed: any finite number but 0"):
        PowerSettings(0.0, "y")
    with pytest.raises(SettingsError, match="repeats = 0"):
        PowerSettings(0.1, "y", repeats=0)
