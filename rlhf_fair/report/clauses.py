"""Two sections: which evidence there is for which clause, and what people state of the system and answer for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date

from rlhf_fair.compliance.context import Context
from rlhf_fair.compliance.evidence import Case, Found
from rlhf_fair.compliance.loading import find_frameworks
from rlhf_fair.compliance.matrix import Matrix, ReferenceDate, Row, matrix, matrix_csv, reference_date
from rlhf_fair.compliance.models import STALE_AFTER_DAYS, Framework
from rlhf_fair.compliance.stated_evidence import SECTION as CONTEXT_SECTION
from rlhf_fair.records import Results
from rlhf_fair.report import numbers as num
from rlhf_fair.report.display import Cell, Column, Section, Table
from rlhf_fair.report.rendering import Rendering

CLAUSES_SECTION = "clauses"
NOT_A_JUDGEMENT = (
    "Present, partial and absent say how much of the evidence that bears on a clause is in this report. Whether the "
    "clause is met, or applies at all, is for people to judge, with what lies outside this report."
)
WHATEVER_THE_VERDICT = (
    "A finding counts as evidence whatever its verdict: a large gap that was measured is evidence too."
)
COLUMNS = (
    Column("Clause"),
    Column("What it asks", wide=True),
    Column("Status"),
    Column("Evidence", wide=True),
    Column("Where"),
    Column("Source"),
)


def matrices(frameworks: Sequence[Framework], case: Case, today: date) -> tuple[Matrix, ...]:
    """The clause matrix of every framework."""
    return tuple(matrix(framework, case, today) for framework in frameworks)


def with_clauses(shown: Sequence[Section], results: Results, rendering: Rendering) -> tuple[Section, ...]:
    """``shown`` with the sections that ``rendering`` asks for, before the limits."""
    if not rendering.frameworks and rendering.context is None:
        return tuple(shown)
    case = Case(results, rendering.context or Context())
    names = {section.id: section.short for section in shown}
    found = clauses_section(find_frameworks(rendering.frameworks), case, rendering.as_of, names)
    stated = context_section(case.context, given=rendering.context is not None)
    place = next((i for i, section in enumerate(shown) if section.id == "limits"), len(shown))
    return (*shown[:place], *((found,) if found else ()), stated, *shown[place:])


def warnings(results: Results, rendering: Rendering) -> list[str]:
    """What to look up before relying on the page: old entries, secondary sources, a policy that has expired."""
    frameworks = find_frameworks(rendering.frameworks)
    case = Case(results, rendering.context or Context())
    expired = expiry_note(results, rendering.as_of)
    said = [expired] if expired else []
    if frameworks:
        reference = reference_date(frameworks, rendering.as_of)
        said += _cautions(matrices(frameworks, case, reference.day), reference)
    return said


def clauses_csv(results: Results, rendering: Rendering) -> bytes:
    """The clause matrix as CSV; empty where no framework was asked for."""
    frameworks = find_frameworks(rendering.frameworks)
    if not frameworks:
        return b""
    case = Case(results, rendering.context or Context())
    return matrix_csv(matrices(frameworks, case, reference_date(frameworks, rendering.as_of).day))


def clauses_section(
    frameworks: Sequence[Framework], case: Case, as_of: date | None, sections: Mapping[str, str]
) -> Section | None:
    """A table for each framework. ``sections``: id -> short name of the page's other sections."""
    if not frameworks:
        return None
    reference = reference_date(frameworks, as_of)
    found = matrices(frameworks, case, reference.day)
    named = {**sections, CONTEXT_SECTION: "Context"}
    return Section(
        CLAUSES_SECTION,
        "Which evidence is there for which clause?",
        "Clauses",
        answer=(NOT_A_JUDGEMENT, WHATEVER_THE_VERDICT, reference.said),
        bullets=tuple(_cautions(found, reference)),
        tables=tuple(_table(one, named) for one in found),
    )


def context_section(context: Context, *, given: bool) -> Section:
    """What people state about the system, and what they do not; ``given``: whether there was a file at all."""
    entries = list(context.entries())
    missing = [entry.label for entry in entries if not entry.text]
    rows = tuple(
        (Cell(entry.label), Cell(entry.text) if entry.text else Cell("not stated", missing=True)) for entry in entries
    )
    answer = [
        "These are statements by whoever wrote the context file; nothing here was measured."
        if given
        else "No context file was given, so nothing is stated; see --context."
    ]
    if missing and given:
        answer.append(f"Of {num.plural(len(entries), 'entry', 'entries')}, {len(missing)} are missing.")
    table = Table("context-table", "Statements, entry by entry", (Column("Entry"), Column("Stated")), rows)
    return Section(
        CONTEXT_SECTION,
        "What is the system for, and who answers for it?",
        "Context",
        answer=tuple(answer),
        bullets=(f"Missing: {', '.join(missing)}.",) if missing else (),
        tables=(table,) if given else (),
    )


def expiry_note(results: Results, as_of: date | None) -> str:
    """That the audit's policy has expired by the date of reference; "" where it has not, or nothing is known."""
    plan = results.audit.get("plan")
    policy = plan.get("policy") if isinstance(plan, Mapping) else None
    said = policy.get("expires") if isinstance(policy, Mapping) else None
    try:
        expires = date.fromisoformat(str(said)) if said else None
    except ValueError:
        return ""
    if expires is None or as_of is None or expires >= as_of:
        return ""
    return f"The policy of this audit expired on {expires}, before {as_of}: its thresholds want a fresh look."


def _cautions(found: Sequence[Matrix], reference: ReferenceDate) -> list[str]:
    said = []
    for one in found:
        stale = [row.clause for row in one.rows if row.stale]
        if stale:
            oldest, many = min(clause.as_of for clause in stale), num.plural(len(stale), "entry", "entries")
            said.append(
                f"{one.framework.title}: {many} of {len(one.rows)} last checked more than {STALE_AFTER_DAYS} days "
                f"before {reference.day} (the oldest on {oldest}); check the law anew."
            )
        for check in dict.fromkeys(row.clause.check for row in one.rows if row.clause.check):
            about = [row.clause.id for row in one.rows if row.clause.check == check]
            whom = one.framework.title + (f", {about[0]}" if len(about) == 1 else "")
            said.append(f"{whom}: {check}")
    return said


def _table(one: Matrix, sections: Mapping[str, str]) -> Table:
    rows = tuple(_cells(row, sections) for row in one.rows)
    caption = f"{one.framework.title}: {one.framework.instrument}"
    return Table(f"clauses-{one.framework.id}", caption, COLUMNS, rows, stacked=True)


def _cells(row: Row, sections: Mapping[str, str]) -> tuple[Cell, ...]:
    clause = row.clause
    if row.state is None:
        evidence = Cell("–", detail=f"not looked for: the clause is {clause.status.value}")
    else:
        said = [_said(name, f) for name, f in row.found]
        said += [f"no more than there is for {clause.at_most}, on which it rests"] if clause.at_most else []
        evidence = Cell(f"evidence {row.state.value}", detail="; ".join(said))
    where = dict.fromkeys(sections[f.where] for _, f in row.found if f.where in sections)
    checked = [
        "secondary source, check" if clause.secondary else "",
        f"checked {clause.as_of}" + (f", more than {STALE_AFTER_DAYS} days ago" if row.stale else ""),
    ]
    return (
        Cell(clause.id, detail=clause.title),
        Cell(clause.asks),
        Cell(row.standing),
        evidence,
        Cell(", ".join(where) or "–"),
        Cell(clause.source, detail="; ".join(filter(None, checked))),
    )


def _said(name: str, found: Found) -> str:
    return f"{found.state.value}: {name.replace('_', ' ')} ({found.said})"
