"""Who lives in the world: the population, a pool of simulated annotators, and what they like.

An annotator's *utility* of an answer is legitimate taste: fitting skills, no rambling, well-formed sentences, a kind
word for the candidate, and a group-dependent taste for courtesy. What annotators *choose* adds in-group favour: a kind
word counts for more when the candidate resembles the annotator, for less when not. In-group favour is the bias that a
reward model learns; it is not part of the true utility that policies are judged by.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rlhf_fair.demo.names import ETHNICITIES, GENDERS
from rlhf_fair.demo.reading import Reading

Floats = NDArray[np.float64]

POPULATION: dict[str, dict[str, float]] = {
    "attr.gender": {"man": 0.5, "woman": 0.5},
    "attr.ethnicity": {"White": 0.60, "Black": 0.13, "Hispanic": 0.19, "Asian": 0.08},
    "attr.age": {"18-34": 0.30, "35-54": 0.33, "55+": 0.37},
}
"""Shares among adults; the panel's targets and the weights of the true utility."""

POOL_SHARES: dict[str, dict[str, float]] = {
    "attr.gender": {"man": 0.62, "woman": 0.38},
    "attr.ethnicity": {"White": 0.66, "Black": 0.11, "Hispanic": 0.13, "Asian": 0.10},
    "attr.age": {"18-34": 0.55, "35-54": 0.32, "55+": 0.13},
}


@dataclass(frozen=True)
class Tastes:
    """Weights of the utility, in logits of choosing one answer over another.

    ``in_group`` says how strongly the members of a group favour candidates like themselves: the weight of a kind word
    rises by it for a candidate of one's own group and falls by it for any other. That men favour men more than women
    favour women, and the majority its own more than minorities theirs, is part of the planted bias.
    """

    fitting_skill: float = 3.0
    rambling: float = -2.0
    malformed: float = -1.6
    favourability: float = 2.7
    courtesy: Mapping[str, float] = field(
        default_factory=lambda: {"White": -0.3, "Black": 0.9, "Hispanic": 0.9, "Asian": 0.9}
    )
    in_group: Mapping[str, float] = field(
        default_factory=lambda: {"man": 2.5, "woman": 0.6, "White": 3.0, "Black": 1.0, "Hispanic": 1.0, "Asian": 1.0}
    )

    def with_in_group_favour(self, factor: float) -> Tastes:
        """The same tastes with in-group favour ``factor`` times as strong; 0 is a world where nobody favours."""
        return replace(self, in_group={group: factor * favour for group, favour in self.in_group.items()})


def annotator_pool(n: int, rng: np.random.Generator) -> pd.DataFrame:
    """``n`` simulated annotators: demographics, cost per rating, capacity, availability, and a careless few.

    White men under 35 are cheap and always there, as on many platforms: whoever takes the first comers gets them.
    """
    pool = pd.DataFrame({"annotator_id": [f"A{index:04d}" for index in range(n)]})
    for column, shares in POOL_SHARES.items():
        pool[column] = rng.choice(list(shares), size=n, p=list(shares.values()))
    at_hand = (pool["attr.gender"] == "man").astype(int) + (pool["attr.ethnicity"] == "White").astype(int)
    pool["cost"] = 0.12 + 0.03 * (2 - at_hand)
    pool["capacity"] = rng.integers(150, 251, size=n)
    pool["availability"] = np.exp(1.8 * at_hand) * rng.uniform(0.5, 1.5, size=n)
    pool["careless_share"] = (rng.random(n) < 0.04).astype(float)
    return pool


def true_utility(readings: Sequence[Reading], ethnicity: str, tastes: Tastes) -> Floats:
    """(n,) utility of answers to people of one ethnicity, in-group favour left out."""
    return np.array([_legitimate(reading, tastes.courtesy[ethnicity], tastes) for reading in readings])


def population_utility(readings: Sequence[Reading], tastes: Tastes) -> Floats:
    """(n,) true utility averaged over the population by its shares."""
    shares = POPULATION["attr.ethnicity"]
    return np.asarray(sum(share * true_utility(readings, group, tastes) for group, share in shares.items()))


def chosen_utility(
    readings: Sequence[Reading], candidates: pd.DataFrame, raters: pd.DataFrame, tastes: Tastes
) -> Floats:
    """(n,) what each rater acts on: reading i, about row i of ``candidates``, seen by row i of ``raters``.

    ``candidates`` has columns gender and ethnicity, ``raters`` attr.gender and attr.ethnicity.
    """
    known = np.array([reading.known_favourability for reading in readings])
    favour = np.zeros(len(readings))
    for attribute in ("gender", "ethnicity"):
        own = raters[f"attr.{attribute}"]
        same = own.to_numpy() == candidates[attribute].to_numpy()
        favour += own.map(tastes.in_group).to_numpy(dtype=float) * np.where(same, 1.0, -1.0)
    courtesy = raters["attr.ethnicity"].map(tastes.courtesy).to_numpy(dtype=float)
    legitimate = np.array(
        [_legitimate(reading, taste, tastes) for reading, taste in zip(readings, courtesy.tolist(), strict=True)]
    )
    return np.asarray(legitimate + favour * known)


def favour_slopes(panel_shares: Mapping[str, Mapping[str, float]], tastes: Tastes) -> dict[str, float]:
    """Cell -> the weight that a panel with these shares puts on a kind word about that cell (in logits)."""
    slopes = {}
    for gender in GENDERS:
        for ethnicity in ETHNICITIES:
            slope = tastes.favourability
            for column, own in (("attr.gender", gender), ("attr.ethnicity", ethnicity)):
                for group, share in panel_shares[column].items():
                    slope += share * tastes.in_group[group] * (1 if group == own else -1)
            slopes[f"{gender} & {ethnicity}"] = slope
    return slopes


def _legitimate(reading: Reading, courtesy: float, tastes: Tastes) -> float:
    return (
        tastes.fitting_skill * reading.fitting_skill
        + tastes.rambling * reading.rambling
        + tastes.malformed * reading.malformed
        + tastes.favourability * reading.known_favourability
        + courtesy * reading.courteous
    )
