"""A lending world that is known: who repays, what a loan earns, and how the groups differ.

A person's score is normal, lower on average in group b; the chance to repay is a logistic function of it, the same for
both groups. A granted loan earns ``GAIN`` if it is repaid and loses ``LOSS`` if not, so the best decision grants where
the chance exceeds LOSS / (GAIN + LOSS): a single threshold, which fewer of group b pass. Lenders see the score with
noise and a place of residence that tells the group most of the time; never the group itself.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.special import expit

GAIN, LOSS = 1.0, 2.0
FEATURES = ("income", "history", "residence")
MEAN = {"a": 0.5, "b": -0.5}
SHARE_B = 0.4
RESIDENCE_TELLS = 0.85


def applicants(n: int, rng: np.random.Generator) -> pd.DataFrame:
    """Features, group, the chance to repay, whether a loan would be repaid, and what it would earn on average."""
    group = np.where(rng.random(n) < SHARE_B, "b", "a")
    score = np.where(group == "a", MEAN["a"], MEAN["b"]) + rng.normal(size=n)
    at_home = rng.random(n) < RESIDENCE_TELLS
    chance = expit(2 * score)
    return pd.DataFrame(
        {
            "income": score + 0.5 * rng.normal(size=n),
            "history": score + 0.5 * rng.normal(size=n),
            "residence": np.where((group == "b") == at_home, "south", "north"),
            "group": group,
            "chance": chance,
            "repays": rng.random(n) < chance,
            "utility": GAIN * chance - LOSS * (1 - chance),
        }
    )


def profit(rows: pd.DataFrame, actions: np.ndarray) -> np.ndarray:
    """What each decision earned in the end: nothing where the loan was denied."""
    earned = np.where(rows["repays"].to_numpy(), GAIN, -LOSS)
    return np.where(actions == "grant", earned, 0.0)


def utility(rows: pd.DataFrame, granted: np.ndarray) -> float:
    """Mean true utility per applicant of granting with these probabilities (n,)."""
    return float((rows["utility"].to_numpy() * granted).mean())


def selection_gap(rows: pd.DataFrame, granted: np.ndarray) -> float:
    """Selection rate of group a less that of group b."""
    a = (rows["group"] == "a").to_numpy()
    return float(granted[a].mean() - granted[~a].mean())
