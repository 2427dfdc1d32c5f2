"""Designs and models that the tests of simulated annotators share."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from rlhf_fair.annotators.simulation_feedback import Simulation, simulate_feedback
from rlhf_fair.annotators.simulation_model import AnnotatorModel

BY = ("attr.group",)


def design(raters: int, items: int, load: int, seed: int = 0) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Each rater judges ``load`` items drawn by lot, in random order; one rater of three is in group x, others in y."""
    rng = np.random.default_rng(seed)
    item = np.concatenate([rng.permutation(items)[:load] for _ in range(raters)])
    n = len(item)
    assignments = pd.DataFrame(
        {
            "item_id": [f"i{k}" for k in item],
            "annotator_id": np.repeat([f"r{k}" for k in range(raters)], load),
            "slot": np.arange(n),
            "order": np.where(rng.random(n) < 0.5, "ab", "ba"),
        }
    )
    annotators = pd.DataFrame(
        {"annotator_id": [f"r{k}" for k in range(raters)], "attr.group": np.where(np.arange(raters) % 3, "y", "x")}
    )
    return assignments, annotators


def simulated(size: tuple[int, int, int], content: dict[str, Any], seed: int = 0) -> Simulation:
    """A simulation of a model with these sections on `design` of that size."""
    assignments, annotators = design(*size)
    model = AnnotatorModel.model_validate(content)
    return simulate_feedback(model, assignments, annotators, by=BY, rng=np.random.default_rng(seed))


ALIKE: dict[str, Any] = {"preferences": {"item_sd": 0.0}, "raters": {"leniency_sd": 0.0}}
"""Items and raters without any difference: answers follow one distribution."""
