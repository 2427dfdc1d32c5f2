"""Rater weights from census margins, so that an item's target is the mean of the population and not of the panel."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from rlhf_fair.annotators.population import Population
from rlhf_fair.annotators.weights import design_effect, raking_weights
from rlhf_fair.errors import RowError, SettingsError, about_file
from rlhf_fair.tables import ATTRIBUTE_PREFIX, as_numbers, read_table, require_columns
from rlhf_fair.training.reward.config import Attribute

CENSUS_AGE = "age_category"
_AGE_SUFFIX = " years old"


def read_census(path: Path, attributes: list[str]) -> Population:
    """Margins of ``attributes`` (age, race, gender) from a table: age bands down, shares ``{race}_{gender}`` across."""
    table = read_table(path)
    require_columns(table, [CENSUS_AGE], f"census table {path}")
    names = [c for c in table.columns if "_" in str(c) and c != CENSUS_AGE and not str(c).startswith("All")]
    bands = table[~table[CENSUS_AGE].astype("str").str.startswith("All").fillna(False).astype(bool)]
    cells = bands[names].apply(as_numbers)
    if cells.empty or cells.isna().any(axis=None) or bands[CENSUS_AGE].isna().any():
        raise RowError(f"census table {path}: every row needs {CENSUS_AGE!r} and a share in every column RACE_GENDER")
    cells.index = pd.Index([str(band).removesuffix(_AGE_SUFFIX) for band in bands[CENSUS_AGE]])
    cells.columns = pd.MultiIndex.from_tuples([tuple(str(c).rsplit("_", 1)) for c in cells.columns])
    margins = {
        "age": cells.sum(axis=1),
        "race": cells.sum(axis=0).groupby(level=0).sum(),
        "gender": cells.sum(axis=0).groupby(level=1).sum(),
    }
    unknown = sorted(set(attributes) - set(margins))
    if unknown:
        raise SettingsError(f"census table {path.name} has no margin {unknown[0]!r}; allowed: {', '.join(margins)}")
    with about_file(path):
        return Population.from_shares(
            {name: {str(level): share for level, share in margins[name].items()} for name in attributes}
        )


def rater_attributes(ratings: pd.DataFrame, attributes: dict[str, Attribute]) -> pd.DataFrame:
    """One row per rater: annotator_id and ``attr.*`` as levels of the population; the first stated value counts."""
    members = pd.DataFrame({"annotator_id": ratings["rater_id"]})
    for name, attribute in attributes.items():
        members[ATTRIBUTE_PREFIX + name] = levels(ratings[ATTRIBUTE_PREFIX + name], attribute)
    return members.groupby("annotator_id", as_index=False).first()


def levels(values: pd.Series, attribute: Attribute) -> pd.Series:
    """Raw values as levels: banded if ``edges`` are given, else recoded; below the first edge is missing."""
    if attribute.edges:
        numbers = as_numbers(values)
        bands = pd.cut(numbers, [*attribute.edges, float("inf")], right=False, labels=list(attribute.labels))
        return bands.astype("object")
    return values.astype("object").map(lambda value: value if pd.isna(value) else attribute.recode.get(value, value))


def rater_weights(
    ratings: pd.DataFrame, attributes: dict[str, Attribute], census: Path, trim: float
) -> tuple[pd.Series, dict[str, object]]:
    """Weight of each rater (index rater id, mean 1), and what the weighting reached, as plain values."""
    members = rater_attributes(ratings, attributes)
    result = raking_weights(members, read_census(census, list(attributes)), trim=trim)
    margins = result.margins.astype("object")  # what a cell without members has no number of is null in JSON
    summary: dict[str, object] = {
        "raters": len(members),
        "design_effect": design_effect(result.weights),
        "trimmed": result.trimmed,
        "unknown": result.unknown,
        "largest_gap": result.max_gap,
        "margins": margins.where(margins.notna(), None).to_dict("records"),
    }
    return result.weights, summary
