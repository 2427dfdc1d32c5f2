"""Made-up applicants to a made-up tool, with differences between categories that we planted and know.

The tool's score is normal with a mean that depends on sex and race/ethnicity; who is selected is drawn with a chance
that rises with the score. Nobody in the table exists, and shares and shifts describe no labour market.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
import pandas as pd

SEXES: Mapping[str, float] = MappingProxyType({"Male": 0.52, "Female": 0.48})
RACES: Mapping[str, float] = MappingProxyType(
    {
        "White": 0.40,
        "Hispanic or Latino": 0.20,
        "Black or African American": 0.17,
        "Asian": 0.13,
        "Two or More Races": 0.06,
        "Native American or Alaska Native": 0.028,
        "Native Hawaiian or Pacific Islander": 0.012,
    }
)
"""Shares of the applicants; the last is one of the small categories that the law's ratio may leave out."""

SHIFTS: Mapping[str, float] = MappingProxyType({"Female": -3.0, "Black or African American": -12.0})
"""Points that the tool's score is lower for, on a scale with a standard deviation of 12; 0 for all others."""

MEAN, SPREAD = 60.0, 12.0
UNKNOWN = 0.03
"""Share of people who do not state their sex, and of those who do not state their race or ethnicity."""


def applicants(n: int, rng: np.random.Generator) -> pd.DataFrame:
    """(n, 5) ``applicant_id``, ``sex``, ``race_ethnicity`` (empty where not stated), ``score``, ``selected`` (0, 1)."""
    sex, race = (rng.choice(list(shares), n, p=list(shares.values())) for shares in (SEXES, RACES))
    shift = np.array(
        [SHIFTS.get(str(one), 0.0) + SHIFTS.get(str(other), 0.0) for one, other in zip(sex, race, strict=True)]
    )
    score = np.clip(np.round(MEAN + shift + SPREAD * rng.standard_normal(n), 0), 0, 100).astype(int)
    chance = 1 / (1 + np.exp(-(score - MEAN) / 6))
    selected = (rng.random(n) < chance).astype(int)
    stated = rng.random((2, n)) >= UNKNOWN
    return pd.DataFrame(
        {
            "applicant_id": [f"P{index:04d}" for index in range(n)],
            "sex": np.where(stated[0], sex, ""),
            "race_ethnicity": np.where(stated[1], race, ""),
            "score": score,
            "selected": selected,
        }
    )
