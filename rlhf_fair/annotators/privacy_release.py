"""Attributes that may leave: each person's row as it is, or with every attribute withheld; nothing in between.

The quasi-identifiers of a release, those of earlier ones among them, keep to k people, sensitive columns to l values.
What is called sensitive may well be known of somebody, so the risk is told over everything that has left, together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from rlhf_fair.annotators.privacy_cells import Gate, Risk, cell_labels, diversity, risk
from rlhf_fair.annotators.privacy_suppression import CountTable, count_table
from rlhf_fair.errors import RowError, SettingsError
from rlhf_fair.tables import ATTRIBUTE_PREFIX, FEEDBACK, attribute_columns, require_columns

WITHHELD = "attributes_withheld"
"""True where the gate emptied a row: an empty attribute of another row is an answer nobody gave."""


@dataclass(frozen=True)
class Release:
    """``people``: annotator_id, the released columns and `WITHHELD`; ``counts``: the cells behind the decision.

    ``too_few`` and ``companions`` people share a cell that `count_table` leaves out, ``too_alike`` are in a cell with
    fewer than l values of a sensitive column; ``passed`` is False where no attribute of anybody may leave.
    ``together``: whom all columns that leave or have left single out, sensitive ones among them, of the people who are
    not withheld; None where all are.
    """

    people: pd.DataFrame
    counts: CountTable
    too_few: int
    companions: int
    too_alike: int
    together: Risk | None = None

    @property
    def share_below_k(self) -> float:
        """Of people whose attributes leave, the share who have all of them in common with too few; 0 = nobody."""
        return self.together.below_k / self.together.people if self.together else 0.0

    @property
    def withheld(self) -> int:
        """People without attributes in this release."""
        return int(self.people[WITHHELD].sum())

    @property
    def passed(self) -> bool:
        """Is there anybody whose attributes may leave?"""
        return self.withheld < len(self.people)


def release_attributes(
    people: pd.DataFrame, columns: Sequence[str], gate: Gate, *, earlier: Sequence[str] = ()
) -> Release:
    """Withhold the attributes of everybody in a cell that ``gate`` does not let through.

    Parameters
    ----------
    people
        One row per person, with ``annotator_id``. Columns that are neither among ``columns`` (the quasi-identifiers)
        nor sensitive do not leave.
    earlier
        Columns of ``people`` that earlier releases held: quasi-identifiers, though they do not leave with this one.
    """
    require_columns(people, ["annotator_id", *columns, *gate.sensitive, *earlier], "people")
    twice = people["annotator_id"].duplicated()
    if twice.any():
        raise RowError(f"annotator {people.loc[twice, 'annotator_id'].iloc[0]!r} has more than one row of attributes")
    known = [*columns, *(name for name in earlier if name not in (*columns, *gate.sensitive))]
    counts = count_table(people, known, k=gate.k)
    labels = cell_labels(people, known)
    status = labels.merge(counts.cells, on=known, how="left", validate="many_to_one")["status"].to_numpy()
    left_out = np.full(len(people), True) if counts.withheld else status != "published"
    alike = np.zeros(len(people), dtype=bool)
    if gate.sensitive:
        alike = (diversity(people, known, gate.sensitive) < gate.l).to_numpy() & ~left_out
    released = people[["annotator_id", *columns, *gate.sensitive]].reset_index(drop=True)
    for name in (*columns, *gate.sensitive):
        released[name] = released[name].mask(left_out | alike)
    released[WITHHELD] = left_out | alike
    few = int((status == "small").sum())
    leaving = people[~(left_out | alike)]
    together = risk(leaving, [*known, *gate.sensitive], Gate(k=gate.k)) if len(leaving) else None
    return Release(released, counts, few, int(left_out.sum()) - few, int(alike.sum()), together)


def leaving_columns(feedback: pd.DataFrame, keep: Sequence[str] = ()) -> tuple[list[str], list[str]]:
    """Columns of a feedback table that leave, and those that stay at home: what feedback consists of, and ``keep``."""
    require_columns(feedback, keep, "feedback")
    named = [name for name in keep if name.lower().startswith(ATTRIBUTE_PREFIX)]
    if named:
        raise SettingsError(
            f"column {named[0]!r} is an attribute of people; allowed: --with-attributes, which gates it"
        )
    own = {*FEEDBACK.columns, "order", *keep}
    names = [str(name) for name in feedback]
    return [name for name in names if name in own], [name for name in names if name not in own]


def columns_about_people(feedback: pd.DataFrame, columns: Sequence[str]) -> list[str]:
    """Those of ``columns`` that say the same in all rows of each annotator, and not the same of all annotators.

    Such a column describes who answered, whatever its name. Nothing is found where nobody has two rows.
    """
    rows = feedback.groupby("annotator_id").size()
    if rows.max() < 2:
        return []
    per_person = feedback.groupby("annotator_id")[list(columns)].nunique(dropna=False) if columns else pd.DataFrame()
    return [name for name in columns if (per_person[name] <= 1).all() and feedback[name].nunique(dropna=False) > 1]


def people_of(feedback: pd.DataFrame) -> pd.DataFrame:
    """Each annotator once, with the ``attr.*`` columns of a feedback table; contradicting answers are an error."""
    columns = attribute_columns(feedback)
    people = feedback[["annotator_id", *columns]].drop_duplicates()
    twice = people["annotator_id"].duplicated()
    if twice.any():
        name = people.loc[twice, "annotator_id"].iloc[0]
        raise RowError(f"annotator {name!r} has different attributes in different rows; give the panel table instead")
    return people.reset_index(drop=True)
