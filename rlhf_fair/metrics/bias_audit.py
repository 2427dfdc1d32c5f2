"""The bias audit of New York City's Local Law 144: sex, race/ethnicity and both together (6 RCNY 5-301)."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike

from rlhf_fair.errors import SettingsError
from rlhf_fair.metrics.impact_ratio import ImpactRatioOptions, ImpactRatioTable, Measure, scoring_rates, selection_rates


@dataclass(frozen=True)
class BiasAudit:
    """The three tables of Local Law 144; ``tables`` in the law's order."""

    sex: ImpactRatioTable
    race_ethnicity: ImpactRatioTable
    intersection: ImpactRatioTable
    tables: tuple[ImpactRatioTable, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "tables", (self.sex, self.race_ethnicity, self.intersection))


def bias_audit(
    outcomes: ArrayLike,
    sex: ArrayLike,
    race_ethnicity: ArrayLike,
    *,
    measure: Measure,
    options: ImpactRatioOptions | None = None,
) -> BiasAudit:
    """The tables for sex, race/ethnicity and their combinations.

    Parameters
    ----------
    outcomes: (n,) 0 and 1 (``measure="selection"``) or scores (``"scoring"``); NaN: no outcome.
    sex, race_ethnicity: (n,) labels; None and NaN are unknown. In the third table one unknown part makes a row unknown.

    Raises
    ------
    RowError: columns of different lengths, or a selection that is not 0 or 1.
    """
    both = {"sex": np.asarray(sex, dtype=object), "race_ethnicity": np.asarray(race_ethnicity, dtype=object)}
    table = {"selection": selection_rates, "scoring": scoring_rates}[_known_measure(measure)]
    return BiasAudit(
        sex=table(outcomes, both["sex"], attribute="sex", options=options),
        race_ethnicity=table(outcomes, both["race_ethnicity"], attribute="race/ethnicity", options=options),
        intersection=table(outcomes, both, attribute="sex × race/ethnicity", options=options),
    )


def _known_measure(measure: str) -> Measure:
    if measure not in ("selection", "scoring"):
        raise SettingsError(f"measure = {measure!r}; allowed: 'selection', 'scoring'")
    return "selection" if measure == "selection" else "scoring"
