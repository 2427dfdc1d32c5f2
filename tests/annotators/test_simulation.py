"""Simulated choices follow the probabilities they claim, whatever is shown first."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from rlhf_fair.annotators.simulation import simulate_pair_feedback
from rlhf_fair.errors import SettingsError
from rlhf_fair.tables import FEEDBACK, validate

N = 40_000
ASSIGNMENTS = pd.DataFrame(
    {
        "item_id": [f"i{k}" for k in range(N)],
        "annotator_id": ["reads", "clicks"] * (N // 2),
        "slot": 0,
        "order": (["ab"] * 2 + ["ba"] * 2) * (N // 4),
    }
)
ANNOTATORS = pd.DataFrame({"annotator_id": ["reads", "clicks"], "careless_share": [0.0, 1.0]})


def test_choices_follow_bradley_terry_and_careless_ones_the_position() -> None:
    table = simulate_pair_feedback(
        np.full(N, 1.0),
        np.full(N, 0.0),
        ASSIGNMENTS,
        ANNOTATORS,
        temperature=0.5,
        careless_first=0.8,
        rng=np.random.default_rng(0),
    )
    share = (table["choice"] == "a").groupby([table["annotator_id"], table["order"]]).mean()
    assert share["reads", "ab"] == pytest.approx(1 / (1 + np.exp(-2)), abs=0.015)  # 0.881, standard error 0.003
    assert share["reads", "ba"] == pytest.approx(1 / (1 + np.exp(-2)), abs=0.015)
    assert share["clicks", "ab"] == pytest.approx(0.8, abs=0.015)
    assert share["clicks", "ba"] == pytest.approx(0.2, abs=0.015)
    assert len(validate(table, FEEDBACK).rejects) == 0


def test_certain_preferences_are_kept_and_nobody_is_careless_by_default() -> None:
    sign = np.where(np.arange(N) % 3 == 0, 1.0, -1.0)
    table = simulate_pair_feedback(
        1e6 * sign, np.zeros(N), ASSIGNMENTS, ANNOTATORS[["annotator_id"]], rng=np.random.default_rng(0)
    )
    assert (table["choice"] == np.where(sign > 0, "a", "b")).all()


def test_bad_inputs_are_named() -> None:
    zeros, rng = np.zeros(N), np.random.default_rng(0)
    with pytest.raises(SettingsError, match=r"\(3,\)"):
        simulate_pair_feedback(zeros[:3], zeros, ASSIGNMENTS, ANNOTATORS, rng=rng)
    with pytest.raises(SettingsError, match="'clicks', who is not among the 1"):
        simulate_pair_feedback(zeros, zeros, ASSIGNMENTS, ANNOTATORS.iloc[:1], rng=rng)
    with pytest.raises(SettingsError, match="temperature = 0"):
        simulate_pair_feedback(zeros, zeros, ASSIGNMENTS, ANNOTATORS, temperature=0, rng=rng)
    with pytest.raises(SettingsError, match="finite"):
        simulate_pair_feedback(zeros * np.nan, zeros, ASSIGNMENTS, ANNOTATORS, rng=rng)
    with pytest.raises(SettingsError, match="careless_share"):
        simulate_pair_feedback(zeros, zeros, ASSIGNMENTS, ANNOTATORS.assign(careless_share=2), rng=rng)
