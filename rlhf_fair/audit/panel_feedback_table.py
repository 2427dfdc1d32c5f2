"""Ratings files of any layout as one table: a rating per row, and every row that is no rating set aside with a reason.

The table has the columns ``item``, ``rater`` (absent where the file names no raters), ``value`` (on the file's scale),
``score`` (0 to 100, from the lower to the upper end of the scale), ``weight``, ``item_type`` where the plan has one,
``simulated`` where the file marks rows that nobody gave, and the plan's attribute columns as they stand in the file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from rlhf_fair.audit.panel_feedback_cells import as_text, item_types, parse_list, same_text
from rlhf_fair.audit.panel_feedback_json import answer_lists, read_keyed
from rlhf_fair.audit.panel_feedback_plan import FEEDBACK_FORMAT, FeedbackPlan, RatersPlan, RatingsPlan
from rlhf_fair.errors import RowError, SettingsError
from rlhf_fair.tables import (
    FEEDBACK,
    as_flags,
    as_numbers,
    attribute_columns,
    read_table,
    read_validated,
    require_columns,
)

REASONS = {
    "malformed": "the lists of the row cannot be read or differ in length",
    "missing": "no rating, item or rater in the row",
    "no_rating": "the rater did not decide",
    "not_a_number": "the rating is not a number",
    "not_allowed": "the rating is not among the plan's values",
    "out_of_range": "the rating lies outside the scale",
    "bad_weight": "the weight is not a positive number",
    "duplicate": "a second rating of one item by one rater; the first is kept",
    "other_kind": "feedback of another kind than the one measured here: ratings where a file holds any, else choices",
}
"""Reject code -> reason in words."""
MARK = "simulated"
"""Column that marks rows drawn from a model; it counts in files of any layout."""


@dataclass(frozen=True)
class Ratings:
    """``n_input`` = ``len(table) + len(rejects)``; ``low`` and ``high`` are the ends of the scale of ``value``.

    ``scale_note``: a sentence where nobody said the ends, so that they are those of the ratings given.
    """

    table: pd.DataFrame
    rejects: pd.DataFrame
    low: float
    high: float
    notes: tuple[str, ...] = ()
    scale_note: str = ""

    @property
    def n_input(self) -> int:
        """Ratings in the files, lists unfolded."""
        return len(self.table) + len(self.rejects)

    @property
    def has_raters(self) -> bool:
        """False where nobody can tell which ratings came from one person."""
        return "rater" in self.table.columns


def read_ratings(plan: FeedbackPlan, files: Sequence[Path], raters_file: Path | None = None) -> Ratings:
    """Read, unfold, join, check; raises only where no rating is left or the layout is not the plan's."""
    if plan.ratings.format == FEEDBACK_FORMAT:
        found = _read_feedback(plan, files)
    else:
        rows = _Rows(_read_columns(plan, files))
        if plan.ratings.lists:
            _unfold(rows, rows.table[list(plan.ratings.lists)].map(parse_list))
        if plan.ratings.answers:
            _unfold(rows, answer_lists(rows.table[plan.ratings.answers], plan.ratings.annotator, plan.ratings.value))
        if plan.raters is not None and raters_file is not None:
            rows.table = _join_raters(rows.table, plan, plan.raters, raters_file)
        found = _clean(rows, plan)
    if found.table.empty:
        reasons = found.rejects["code"].map(REASONS).value_counts()
        told = "; ".join(f"{reason}: {n}" for reason, n in reasons.items())
        raise RowError(f"{', '.join(map(str, files))}: no rating is left ({told})")
    return found


class _Rows:
    """Rows still in use (``table``) and the ones set aside so far."""

    def __init__(self, table: pd.DataFrame) -> None:
        self.table = table
        self._parts: list[pd.DataFrame] = []

    def reject(self, bad: pd.Series, column: str, code: str, *, shown: bool = True) -> None:
        """Set the rows where ``bad`` is True aside; ``shown``: keep the cell's text beside the reason."""
        bad = bad.astype(bool)
        if not bad.any():
            return
        part = self.table.loc[bad, ["file", "row"]].copy()
        part["column"] = column
        part["value"] = self.table.loc[bad, column].astype(object).fillna("").astype(str) if shown else ""
        part["code"] = code
        self._parts.append(part)
        self.table = self.table[~bad]

    def rejects(self) -> pd.DataFrame:
        columns = ["file", "row", "column", "value", "code"]
        table = pd.concat(self._parts) if self._parts else pd.DataFrame(columns=columns)
        table["message"] = table["code"].map(REASONS)
        return table.sort_values(["file", "row"], kind="stable", ignore_index=True)


def _read_columns(plan: FeedbackPlan, files: Sequence[Path]) -> pd.DataFrame:
    ratings, parts = plan.ratings, []
    given = [ratings.answers] if ratings.answers else [ratings.annotator, ratings.value]
    needed = dict.fromkeys([*ratings.item, *given, ratings.weight, *ratings.lists])
    if plan.item_type is not None:
        needed[plan.item_type.column] = None
    if plan.raters is None:
        needed |= dict.fromkeys(attribute.column for attribute in plan.attributes)
    columns = [name for name in needed if name]
    for path in files:
        table = read_keyed(path, ratings.keyed) if ratings.keyed else read_table(path)
        require_columns(table, columns, str(path))
        marks = {name: as_flags(table[name]) for name in (MARK,) if name in table and name not in columns}
        table = table[columns].apply(as_text)
        for name in columns:
            table[name] = table[name].mask(same_text(table[name], ratings.missing), None)
        table.insert(0, "file", path.name)
        table.insert(1, "row", np.arange(1, len(table) + 1))
        parts.append(table.assign(**marks))
    return pd.concat(parts, ignore_index=True)


def _join_raters(table: pd.DataFrame, plan: FeedbackPlan, raters: RatersPlan, path: Path) -> pd.DataFrame:
    """The attributes of the rater table beside each rating; a rater it lacks has unknown attributes."""
    people, annotator = read_keyed(path, raters.key) if raters.keyed else read_table(path), plan.ratings.annotator
    columns = list(dict.fromkeys(attribute.column for attribute in plan.attributes))
    require_columns(people, [raters.key, *columns], str(path))
    people = people[[raters.key, *columns]].apply(as_text).dropna(subset=[raters.key])
    repeated = people[raters.key].duplicated()
    if repeated.any():
        raise RowError(f"{path}: rater {people.loc[repeated, raters.key].iloc[0]!r} has more than one row")
    for name in columns:
        people[name] = people[name].mask(same_text(people[name], raters.missing), None)
    people[raters.key] = raters.prefix + people[raters.key]
    who = table[annotator].dropna()
    if not (people[raters.key].isin(who)).any():
        named = [f"{ids.iloc[0]!r}" if len(ids) else "none" for ids in (who, people[raters.key])]
        raise RowError(f"{path}: none of its raters ({named[1]}, ...) gave a rating; the ratings' are {named[0]}, ...")
    renamed = people.rename(columns={raters.key: annotator})
    return table.merge(renamed, on=annotator, how="left", validate="many_to_one")


def _clean(rows: _Rows, plan: FeedbackPlan) -> Ratings:
    ratings = plan.ratings
    for column in filter(None, (*ratings.item, ratings.annotator)):
        rows.reject(rows.table[column].isna(), column, "missing")
    table = rows.table.copy()
    table["item"] = table[list(ratings.item)].agg("/".join, axis=1) if len(table) else ""
    if ratings.item_is_text:
        table["item"] = table["item"].map(lambda text: hashlib.sha256(str(text).encode()).hexdigest()[:12])
    if ratings.annotator:
        table["rater"] = table[ratings.annotator]
    rows.table = table
    _number_values(rows, ratings)
    _weigh(rows, ratings.weight)
    if ratings.annotator:
        rows.reject(rows.table.duplicated(["item", "rater"]), "item", "duplicate")
    assert ratings.low is not None
    assert ratings.high is not None
    return _finish(rows, plan, ratings.low, ratings.high)


def _finish(rows: _Rows, plan: FeedbackPlan, low: float, high: float, notes: tuple[str, ...] = ()) -> Ratings:
    table = rows.table.reset_index(drop=True)
    table["score"] = 100 * (table["value"].astype(float) - low) / (high - low)
    if plan.item_type is not None:
        table["item_type"] = item_types(table, plan.item_type)
    return Ratings(table, rows.rejects(), low, high, notes)


def _unfold(rows: _Rows, lists: pd.DataFrame) -> None:
    """One row per element of the aligned lists; a row whose lists do not fit together is one reject."""
    columns = list(lists.columns)
    sizes = lists.map(lambda cell: -1 if cell is None else len(cell))
    aligned = (sizes.min(axis=1) == sizes.max(axis=1)) & (sizes.min(axis=1) > 0)
    rows.reject(~aligned, columns[0], "malformed", shown=False)
    table = rows.table.copy()
    for name in columns:
        table[name] = lists.loc[aligned, name]
    table = table.explode(columns, ignore_index=True)
    for name in columns:
        table[name] = as_text(table[name])
    rows.table = table


def _number_values(rows: _Rows, ratings: RatingsPlan) -> None:
    column = ratings.value
    rows.reject(rows.table[column].isna(), column, "missing")
    rows.reject(same_text(rows.table[column], ratings.no_rating), column, "no_rating")
    if ratings.values:
        of_text = {text.strip().casefold(): number for text, number in ratings.values.items()}
        numbers = rows.table[column].map(lambda cell: of_text.get(cell.casefold(), np.nan)).astype(float)
        rows.table = rows.table.assign(value=numbers)
        rows.reject(numbers.isna(), column, "not_allowed")
    else:
        numbers = as_numbers(rows.table[column]).astype(float)
        rows.table = rows.table.assign(value=numbers)
        rows.reject(numbers.isna(), column, "not_a_number")
    outside = (rows.table["value"] < ratings.low) | (rows.table["value"] > ratings.high)
    rows.reject(outside, column, "out_of_range")


def _weigh(rows: _Rows, column: str) -> None:
    weights = as_numbers(rows.table[column]) if column else 1.0
    rows.table = rows.table.assign(weight=weights)
    if column:
        rows.reject(~(np.isfinite(rows.table["weight"]) & (rows.table["weight"] > 0)), column, "bad_weight")


def _read_feedback(plan: FeedbackPlan, files: Sequence[Path]) -> Ratings:
    """The project's own table: ratings where there are any, else choices as the preference for answer a."""
    tables, rejects = zip(*(_read_validated_feedback(path) for path in files), strict=True)
    table = pd.concat(tables, ignore_index=True)
    if not attribute_columns(table) and not plan.attributes:
        raise SettingsError(f"{files[0]} has no attr.* column: there are no rater groups to compare")
    require_columns(table, (attribute.column for attribute in plan.attributes), str(files[0]))
    for name in (*attribute_columns(table), "item_id", "annotator_id"):
        table[name] = as_text(table[name])
    rows, notes = _Rows(table), list[str]()
    low, high, scale_note = plan.ratings.low, plan.ratings.high, ""
    if (table["kind"] == "rating").any():
        rows.reject(table["kind"] != "rating", "kind", "other_kind")
        value = rows.table["value"].astype(float)
    else:
        require_columns(table, ("choice",), str(files[0]))
        rows.reject(table["kind"] != "pair", "kind", "other_kind")
        value, low, high = rows.table["choice"].map({"a": 1.0, "tie": 0.5, "b": 0.0}), 0.0, 1.0
        notes.append("The score is the preference for answer a: a = 100, tie = 50, b = 0.")
    if low is None or high is None:
        low, high = float(value.min()), float(value.max())
        scale_note = (
            f"The scale's ends are the lowest and highest rating given, {low:g} and {high:g}: one wrong rating would "
            "stretch it and shrink every gap. Give low and high in the plan's [ratings] to fix it."
        )
    if not low < high:
        raise RowError(f"{files[0]}: every rating has the value {low:g}, so nothing differs")
    item, rater = rows.table["item_id"], rows.table["annotator_id"]
    rows.table = rows.table.assign(item=item, rater=rater, value=value, weight=1.0)
    rows.reject((value < low) | (value > high), "value", "out_of_range")
    rows.reject(rows.table.duplicated(["item", "rater"]), "item", "duplicate")
    found = _finish(rows, plan, low, high)
    every = pd.concat([part for part in (*rejects, found.rejects) if len(part)] or [found.rejects], ignore_index=True)
    return Ratings(found.table, every, low, high, tuple(notes), scale_note)


def _read_validated_feedback(path: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Sound rows and rejects of one file, each with its file and row."""
    read = read_validated(path, FEEDBACK)
    rows = np.setdiff1d(np.arange(1, len(read.table) + len(read.rejects) + 1), read.rejects["row"])
    # a JSONL file with empty lines has higher row numbers among its rejects; the sound rows then count on
    rows = np.append(rows, np.arange(len(rows), len(read.table)))[: len(read.table)]
    rejects = read.rejects.assign(file=path.name)
    return read.table.assign(file=path.name, row=rows), rejects[["file", "row", "column", "value", "code", "message"]]
