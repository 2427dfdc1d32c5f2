"""The clause matrix: for every clause of the chosen frameworks, which evidence there is and where it stands."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from rlhf_fair.compliance.evidence import Case, Found, State, overall
from rlhf_fair.compliance.kinds import KINDS
from rlhf_fair.compliance.models import Clause, Framework

CSV_COLUMNS = (
    "framework", "clause", "title", "asks", "standing", "status", "applies_from", "as_of", "stale", "secondary_source",
    "check", "source", "evidence", "kind", "kind_evidence", "kind_found", "where",
)  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One clause. ``state`` is None for one that was repealed or replaced: it asks for nothing."""

    clause: Clause
    standing: str
    stale: bool
    state: State | None
    found: tuple[tuple[str, Found], ...]


@dataclass(frozen=True)
class Matrix:
    """One framework, clause by clause."""

    framework: Framework
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class ReferenceDate:
    """The day that ages and standings are counted on, and in words where it comes from."""

    day: date
    said: str


def reference_date(frameworks: Sequence[Framework], given: date | None) -> ReferenceDate:
    """``given``, else the day on which an entry was last checked; never the clock, so that a page renders the same.

    ``frameworks`` must not be empty where no day is given.
    """
    if given is not None:
        return ReferenceDate(given, f"Standings and ages of entries are those of {given}.")
    newest = max(framework.newest for framework in frameworks)
    return ReferenceDate(
        newest,
        f"No date was given, so standings and ages of entries are those of {newest}, when the newest entry used here "
        "was checked; --as-of gives another.",
    )


def matrix(framework: Framework, case: Case, today: date) -> Matrix:
    """Evidence for every clause."""
    rows: dict[str, Row] = {}
    for clause in framework.clauses:
        rows[clause.id] = _row(clause, case, today, rows[clause.at_most].state if clause.at_most else None)
    return Matrix(framework, tuple(rows.values()))


def _row(clause: Clause, case: Case, today: date, most: State | None) -> Row:
    found = tuple((kind, KINDS[kind](case)) for kind in clause.evidence)
    state = None if clause.ended else overall(look.state for _, look in found)
    if state and most:
        state = min(state, most, key=(State.ABSENT, State.PARTIAL, State.PRESENT).index)
    return Row(clause, clause.standing(today), clause.is_stale(today), state, found)


def matrix_csv(matrices: Sequence[Matrix]) -> bytes:
    """All of it as CSV, UTF-8, one row for each clause and kind of evidence.

    Every text is this package's own or of its clause maps, so no cell can begin a formula.
    """
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for one in matrices:
        for row in one.rows:
            writer.writerows(_csv_lines(one.framework.id, row))
    return stream.getvalue().encode()


def _csv_lines(framework: str, row: Row) -> list[list[str]]:
    c = row.clause
    about = [
        framework, c.id, c.title, c.asks, row.standing, c.status.value, str(c.applies_from or ""), str(c.as_of),
        "yes" if row.stale else "no", "yes" if c.secondary else "no", c.check, c.source,
        row.state.value if row.state else "",
    ]  # fmt: skip
    return [[*about, kind, f.state.value, f.said, f.where] for kind, f in row.found] or [[*about, *[""] * 4]]
