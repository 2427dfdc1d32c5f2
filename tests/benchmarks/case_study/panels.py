"""Two panels out of the people who really rated: those at hand, white men, and as many planned against the census."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from rlhf_fair.annotators.panel import plan_panel
from rlhf_fair.annotators.weights import raking_weights
from rlhf_fair.settings import read_toml
from rlhf_fair.tables import ATTRIBUTE_PREFIX, write_table
from rlhf_fair.training.reward.config import RatingSource, RewardConfig
from rlhf_fair.training.reward.panel import read_census
from rlhf_fair.training.reward.sources import read_ratings

AT_HAND = {"attr.gender": "Male", "attr.race": "White"}
ATTRIBUTES = ["gender", "race", "age"]


@dataclass(frozen=True)
class Panels:
    """``convenience`` and ``diverse``: annotator_id, source, attr.*, and of the planned one weight."""

    convenience: pd.DataFrame
    diverse: pd.DataFrame
    margins: pd.DataFrame


def choose(config: Path, data: Path, rng: np.random.Generator) -> Panels:
    """Both panels, as large as each other in every source."""
    read = read_toml(config, RewardConfig, "training config")
    assert read.panel is not None
    population = read_census(data / read.panel.census, ATTRIBUTES)
    at_hand, planned, margins = [], [], []
    for source in read.sources:
        assert isinstance(source, RatingSource)
        pool = _raters(source, data)
        men = pool[np.logical_and.reduce([pool[name] == level for name, level in AT_HAND.items()])]
        plan = plan_panel(pool, population, size=len(men), rng=rng)
        weighed = raking_weights(plan.members, population, trim=read.panel.trim)
        members = plan.members.assign(weight=plan.members["annotator_id"].map(weighed.weights), source=source.name)
        at_hand.append(men.assign(source=source.name))
        planned.append(members[[*men.columns, "source", "weight"]])
        margins.append(plan.targets.assign(source=source.name, pool=len(pool)))
    return Panels(*(pd.concat(parts, ignore_index=True) for parts in (at_hand, planned, margins)))


def save(panels: Panels, out: Path) -> None:
    """``panel-NAME.csv`` of each, and how near the plan came to the census."""
    write_table(out / "panel-convenience.csv", panels.convenience)
    write_table(out / "panel-diverse.csv", panels.diverse)
    write_table(out / "margins.csv", panels.margins)


def _raters(source: RatingSource, data: Path) -> pd.DataFrame:
    """One row per rater of a source: annotator_id and ``attr.*`` as the census names them."""
    ratings = read_ratings(source, data, None).ratings
    columns = [f"{ATTRIBUTE_PREFIX}{name}" for name in ATTRIBUTES]
    people = ratings.astype({"rater_id": "str"}).groupby("rater_id", as_index=False)[columns].first()
    return people.rename(columns={"rater_id": "annotator_id"})
