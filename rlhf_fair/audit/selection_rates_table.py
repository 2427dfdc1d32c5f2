"""A table of people as the audit ``selection-rates`` reads it: a row is used, or set aside with its reason.

The accepted table has ``outcome`` (1 selected or scored above the median, 0 not, NaN no outcome), a column for each
attribute by its name (None: unknown) and ``cluster`` where the plan has one. Nothing else of a person is kept, and rows
are sorted by what they hold, so that no row can be told from another with the same content.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from rlhf_fair.audit.panel_feedback_cells import as_text
from rlhf_fair.audit.selection_rates_plan import ApplicantsPlan, CategoriesPlan, SelectionRatesPlan
from rlhf_fair.errors import RowError
from rlhf_fair.records import NAN
from rlhf_fair.tables import Column, Contract, read_table, require_columns, validate

OUTCOME, CLUSTER, ROW = "outcome", "cluster", "row of the file"
LARGEST_SCORE = 1e300


@dataclass(frozen=True)
class People:
    """``n_input`` = ``len(table) + len(rejects)``; ``median``: of all scores, NaN for decisions."""

    table: pd.DataFrame
    rejects: pd.DataFrame
    median: float = NAN

    @property
    def n_input(self) -> int:
        """Rows of the file."""
        return len(self.table) + len(self.rejects)


def read_people(plan: SelectionRatesPlan, path: Path) -> People:
    """Read and check the file.

    Raises
    ------
    ColumnError
        A column that the plan names is missing.
    RowError
        No row is left, or more rows are rejected than ``most_rejected`` allows; the message quotes the first.
    """
    table, applicants = read_table(path), plan.applicants
    columns = [a.column for a in plan.attributes]
    named = [applicants.outcome, *columns, *filter(None, (applicants.id, applicants.cluster))]
    require_columns(table, named, str(path))
    table = table[list(dict.fromkeys(named))].copy()
    for attribute in plan.attributes:
        table[attribute.column] = _categories(table[attribute.column], attribute)
    if applicants.selected:
        table[applicants.outcome] = _decisions(table[applicants.outcome], applicants)
    table[ROW] = np.arange(1, len(table) + 1)
    read = validate(table, _contract(plan, path.name))
    _check_rejects(plan, path, len(table), read.rejects)
    return _people(plan, read.table, read.rejects)


def _contract(plan: SelectionRatesPlan, name: str) -> Contract:
    applicants = plan.applicants
    columns = {applicants.outcome: _outcome_column(applicants)}
    for attribute in plan.attributes:
        columns[attribute.column] = Column(nullable=True, allowed=tuple(attribute.categories))
    if applicants.cluster:
        columns[applicants.cluster] = Column(nullable=True)
    if applicants.id:
        columns[applicants.id] = Column()
    return Contract(name, columns, key=(applicants.id or ROW,))


def _outcome_column(applicants: ApplicantsPlan) -> Column:
    if applicants.kind == "score":
        return Column("number", nullable=True, low=-LARGEST_SCORE, high=LARGEST_SCORE)
    if applicants.selected:
        return Column(nullable=True, allowed=(applicants.selected[0], applicants.not_selected[0]))
    return Column("flag", nullable=True)


def _categories(cells: pd.Series, attribute: CategoriesPlan) -> pd.Series:
    """Spellings replaced by their category and those of the unknown by None; any other text stays to be rejected."""
    unknown, category_of = {text.strip().casefold() for text in attribute.unknown}, attribute.category_of
    found = [
        None if text is None or text.casefold() in unknown else category_of.get(text.casefold(), text)
        for text in as_text(cells)
    ]
    return pd.Series(found, index=cells.index, dtype=object)


def _decisions(cells: pd.Series, applicants: ApplicantsPlan) -> pd.Series:
    """The first of the listed texts for all that mean the same; any other text stays to be rejected."""
    spelled = {
        text.strip().casefold(): texts[0] for texts in (applicants.selected, applicants.not_selected) for text in texts
    }
    found = [None if text is None else spelled.get(text.casefold(), text) for text in as_text(cells)]
    return pd.Series(found, index=cells.index, dtype=object)


def _check_rejects(plan: SelectionRatesPlan, path: Path, n: int, rejects: pd.DataFrame) -> None:
    if len(rejects) < n and len(rejects) <= plan.most_rejected * n:
        return
    first = str(rejects["message"].iloc[0])
    raise RowError(
        f"{path}: {len(rejects)} of {n} rows cannot be used; allowed: most_rejected = {plan.most_rejected:g} of them. "
        f"The first: {first}"
    )


def _people(plan: SelectionRatesPlan, table: pd.DataFrame, rejects: pd.DataFrame) -> People:
    applicants, median = plan.applicants, NAN
    cells = table[applicants.outcome]
    if applicants.kind == "score":
        outcome = cells.astype(float).to_numpy()
        scored = np.isfinite(outcome)
        median = float(np.median(outcome[scored])) if scored.any() else NAN
        outcome = np.where(scored, outcome > median, np.nan)  # strictly: a score equal to the median is not above it
    elif applicants.selected:
        outcome = np.where(cells.isna(), np.nan, cells == applicants.selected[0])
    else:
        outcome = cells.astype("boolean").astype("Float64").to_numpy(dtype=float, na_value=np.nan)
    kept = {a.name: table[a.column].astype(object).where(table[a.column].notna(), None) for a in plan.attributes}
    people = pd.DataFrame({OUTCOME: outcome.astype(float), **kept})
    if applicants.cluster:
        codes = pd.factorize(table[applicants.cluster], sort=True)[0]
        people[CLUSTER] = np.where(codes < 0, np.nan, codes + 1.0)
    people = people.sort_values(list(people.columns), kind="stable", ignore_index=True)
    return People(people, rejects, median)
