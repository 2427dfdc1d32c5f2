"""Rater attributes as groups: spellings merged, numbers binned, unknown kept apart and counted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from rlhf_fair.audit.panel_feedback_cells import UNMAPPED, grouped_text, same_text
from rlhf_fair.audit.panel_feedback_plan import AttributePlan, FeedbackPlan
from rlhf_fair.audit.panel_feedback_table import Ratings
from rlhf_fair.errors import SettingsError
from rlhf_fair.records import INTERSECTION
from rlhf_fair.tables import ATTRIBUTE_PREFIX, as_numbers, attribute_columns

REFUSED = "prefer not to say"
UNKNOWN = "(unknown)"
CONFLICTING = "(conflicting)"
NO_GROUPS = (UNKNOWN, CONFLICTING)
"""Labels of rows that belong to no group: nothing is known, or one rater gave several answers."""


def declared_attributes(plan: FeedbackPlan, ratings: Ratings) -> tuple[AttributePlan, ...]:
    """The plan's attributes, or every ``attr.*`` column against its largest group where the plan has none."""
    if plan.attributes:
        return plan.attributes
    found = []
    for column in attribute_columns(ratings.table):
        sizes = ratings.table.dropna(subset=[column]).groupby(column)["rater"].nunique()
        if sizes.empty:
            continue
        # ties go to the first name, so that the order of rows decides nothing
        reference = str(sizes.sort_index().idxmax())
        name = column.removeprefix(ATTRIBUTE_PREFIX)
        found.append(AttributePlan(name=name, column=column, reference=reference, role="claim"))
    return tuple(found)


def label_ratings(ratings: Ratings, attributes: Sequence[AttributePlan]) -> pd.DataFrame:
    """``item, rater, value, score, weight, item_type`` and a column of group labels for each attribute, none empty.

    A rater with several answers to one question is `CONFLICTING` in all rows that have one: no guess is made.
    """
    kept = [name for name in ("item", "rater", "value", "score", "weight", "item_type") if name in ratings.table]
    records = ratings.table[kept].copy()
    for attribute in attributes:
        labels = group_labels(ratings.table[attribute.column], attribute)
        if ratings.has_raters:
            answers = labels.groupby(records["rater"]).transform("nunique")
            labels = labels.mask((answers > 1) & labels.notna(), CONFLICTING)
        records[attribute.name] = labels.fillna(UNKNOWN).astype(str)
        if attribute.reference not in set(records[attribute.name]):
            groups = sorted(set(records[attribute.name]) - set(NO_GROUPS))
            raise SettingsError(
                f"attribute {attribute.name!r}: no rating from the reference {attribute.reference!r}; has {groups}"
            )
    return records


def group_labels(cells: pd.Series, attribute: AttributePlan) -> pd.Series:
    """The group of each cell, None where it is unknown."""
    cells = cells.where(cells.notna(), None).astype(object)
    cells = cells.mask(same_text(cells, attribute.missing), None)
    cells = cells.where(cells.notna(), None)
    refused = same_text(cells, attribute.prefer_not_to_say)
    if attribute.bins:
        labels = _binned(cells, attribute)
    elif attribute.levels:
        labels = grouped_text(cells, attribute.levels)
    else:
        labels = cells
    return labels.mask(refused, REFUSED)


def _binned(cells: pd.Series, attribute: AttributePlan) -> pd.Series:
    numbers = as_numbers(cells)
    labels = pd.Series(UNMAPPED, index=cells.index, dtype=object).where(cells.notna(), None)
    for group, (low, high) in attribute.bins.items():
        labels = labels.mask((numbers >= low) & (numbers < high), group)
    return labels


def cross(records: pd.DataFrame, names: Sequence[str]) -> pd.Series:
    """Labels ``woman & Black`` of an intersection; a row without a group in any of ``names`` has none in it."""
    labels = records[names[0]]
    for name in names[1:]:
        labels = labels.str.cat(records[name], sep=" & ")
    without = records[list(names)].isin([*NO_GROUPS, UNMAPPED]).any(axis=1)
    return labels.mask(without, UNKNOWN)


def cross_name(names: Sequence[str]) -> str:
    """``gender × race``."""
    return INTERSECTION.join(names)


def account(records: pd.DataFrame, names: Sequence[str], n_excluded: int) -> list[dict[str, Any]]:
    """For each attribute: input = reported + excluded + unknown, so that no rating is lost between the lines.

    ``conflicting`` ratings are among the unknown, ``other/unmapped`` and ``refused`` ones among the reported.
    """
    rows = []
    for name in names:
        label = records[name]
        unknown, conflicting = int((label == UNKNOWN).sum()), int((label == CONFLICTING).sum())
        rows.append(
            {
                "attribute": name,
                "input": len(records) + n_excluded,
                "reported": len(records) - unknown - conflicting,
                "excluded": n_excluded,
                "unknown": unknown + conflicting,
                "of these conflicting": conflicting,
                "other/unmapped": int((label == UNMAPPED).sum()),
                "refused": int((label == REFUSED).sum()),
            }
        )
    return rows
