"""Attributes that may leave: each person's row as it is, or with every attribute withheld; nothing in between."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from rlhf_fair.annotators.privacy_cells import Gate, cell_labels, diversity
from rlhf_fair.annotators.privacy_suppression import CountTable, count_table
from rlhf_fair.errors import RowError
from rlhf_fair.tables import attribute_columns, require_columns

WITHHELD = "attributes_withheld"
"""True where the gate emptied a row: an empty attribute of another row is an answer nobody gave."""


@dataclass(frozen=True)
class Release:
    """``people``: annotator_id, the released columns and `WITHHELD`; ``counts``: the cells behind the decision.

    ``too_few`` and ``companions`` people share a cell that `count_table` leaves out, ``too_alike`` are in a cell with
    fewer than l values of a sensitive column; ``passed`` is False where no attribute of anybody may leave.
    """

    people: pd.DataFrame
    counts: CountTable
    too_few: int
    companions: int
    too_alike: int

    @property
    def withheld(self) -> int:
        """People without attributes in this release."""
        return int(self.people[WITHHELD].sum())

    @property
    def passed(self) -> bool:
        """Is there anybody whose attributes may leave?"""
        return self.withheld < len(self.people)


def release_attributes(people: pd.DataFrame, columns: Sequence[str], gate: Gate) -> Release:
    """Withhold the attributes of everybody in a cell that ``gate`` does not let through.

    Parameters
    ----------
    people
        One row per person, with ``annotator_id``. Columns that are neither among ``columns`` (the quasi-identifiers)
        nor sensitive do not leave.
    """
    require_columns(people, ["annotator_id", *columns, *gate.sensitive], "people")
    twice = people["annotator_id"].duplicated()
    if twice.any():
        raise RowError(f"annotator {people.loc[twice, 'annotator_id'].iloc[0]!r} has more than one row of attributes")
    counts = count_table(people, columns, k=gate.k)
    labels = cell_labels(people, columns)
    status = labels.merge(counts.cells, on=list(columns), how="left", validate="many_to_one")["status"].to_numpy()
    left_out = np.full(len(people), True) if counts.withheld else status != "published"
    alike = np.zeros(len(people), dtype=bool)
    if gate.sensitive:
        alike = (diversity(people, columns, gate.sensitive) < gate.l).to_numpy() & ~left_out
    released = people[["annotator_id", *columns, *gate.sensitive]].reset_index(drop=True)
    for name in (*columns, *gate.sensitive):
        released[name] = released[name].mask(left_out | alike)
    released[WITHHELD] = left_out | alike
    few = int((status == "small").sum())
    return Release(released, counts, few, int(left_out.sum()) - few, int(alike.sum()))


def people_of(feedback: pd.DataFrame) -> pd.DataFrame:
    """Each annotator once, with the ``attr.*`` columns of a feedback table; contradicting answers are an error."""
    columns = attribute_columns(feedback)
    people = feedback[["annotator_id", *columns]].drop_duplicates()
    twice = people["annotator_id"].duplicated()
    if twice.any():
        name = people.loc[twice, "annotator_id"].iloc[0]
        raise RowError(f"annotator {name!r} has different attributes in different rows; give the panel table instead")
    return people.reset_index(drop=True)
