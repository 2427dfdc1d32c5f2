"""Results as they may leave the machine: identifiers replaced by marks, numbers of small groups of people withheld.

People are raters and applicants: rows of a table that counts them, and the findings about the same groups. Prompts,
names in prompts and texts are not, and their cells stay. Which groups are withheld beside the small ones, so that
those cannot be had by subtraction, is decided by `rlhf_fair.disclosure.suppression`.

What is protected stays as it is when it is protected again.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import BaseModel

from rlhf_fair.disclosure.identifiers import redacted
from rlhf_fair.records import NAN, Finding, Results, Verdict

MINIMUM_CELL = 10
KEY = "privacy"
"""The entry of ``Results.audit`` that says what was withheld; absent where nothing was."""
PUBLICATION = "publication"
PEOPLE = ("raters", "people", "applicants", "annotators")
"""Columns that count people."""
COUNTS = (*PEOPLE, "ratings", "items", "n")
"""Columns that may tell how many people there are: raters give about the same number of ratings each."""
RATE = "rate"
"""A share to four digits tells its denominator, so rows that have one are withheld with all their numbers."""
LINES, GROUPS, NOTES = ("attribute", "table"), ("group", "category"), ("note", "reason")
COMPANION = "withheld"
ON_PURPOSE = ("owner", "particulars")
"""Keys of what somebody states in order to be reached: who answers for a policy, and a law's particulars."""
RESIDUAL = {"refused": "prefer not to say"}
"""Column of an account, with a row for each attribute -> the group that it counts, where that has another name."""
_REFERENCE_MARK = " (reference)"
_TOO_FEW = re.compile(r"\b[\d,]+ (rater|person|people|applicant)s?, the plan asks for (\d+)")

Why = Literal["small", "companion"]
Hidden = dict[tuple[str, str], Why]
"""(attribute or table, group) -> why its numbers are withheld."""


def protected(results: Results, minimum_cell: int | None = None) -> Results:
    """``results`` without direct identifiers, and without the numbers of groups of fewer than ``minimum_cell`` people.

    None: what the results say themselves, else the least number of raters that the plan asks for, else `MINIMUM_CELL`;
    1, which withholds nothing, for an audit whose counts a law wants published. Where that one is given a minimum, its
    publication goes: it cannot be made in part.
    """
    k = least(results) if minimum_cell is None else minimum_cell
    results = results.model_copy(update={"findings": _distinct(_cleaned(results.findings))}).model_copy(
        update={name: _cleaned(getattr(results, name)) for name in ("audit", "ledger", "training", "manifest")}
    )
    return _without_small_cells(results, k) if k > 1 else results


def least(results: Results) -> int:
    """The least number of people in a cell that is shown."""
    said, plan = results.audit.get(KEY), results.audit.get("plan")
    found = said.get("minimum_cell") if isinstance(said, Mapping) else None
    if found is None and isinstance(plan, Mapping):
        found = plan.get("min_raters")
    if type(found) is int and found >= 1:
        return found
    return 1 if PUBLICATION in results.audit else MINIMUM_CELL


def _cleaned(value: Any) -> Any:
    """A value whose texts, keys among them, are `redacted`."""
    if isinstance(value, str):
        return redacted(value)
    if isinstance(value, BaseModel):
        changed = {}
        for name in type(value).model_fields:
            old = getattr(value, name)
            if isinstance(old, str | tuple | dict | list | BaseModel) and (new := _cleaned(old)) != old:
                changed[name] = new
        return value.model_copy(update=changed) if changed else value
    if isinstance(value, Mapping):
        return _cleaned_mapping(value)
    if isinstance(value, list | tuple):
        parts = (_cleaned(part) for part in value)
        return list(parts) if isinstance(value, list) else tuple(parts)
    return value


def _cleaned_mapping(value: Mapping[Any, Any]) -> dict[Any, Any]:
    """Keys that become equal get a number, so that nothing is lost."""
    cleaned: dict[Any, Any] = {}
    for key, part in value.items():
        name = shown = redacted(key) if isinstance(key, str) else key
        nth = 1
        while name in cleaned:
            nth += 1
            name = f"{shown}~{nth}"
        cleaned[name] = part if key in ON_PURPOSE else _cleaned(part)
    return cleaned


def _distinct(findings: tuple[Finding, ...]) -> tuple[Finding, ...]:
    """Ids that became equal, since only an identifier told them apart, get a number."""
    seen: Counter[str] = Counter()
    told = []
    for finding in findings:
        seen[finding.id] += 1
        nth = seen[finding.id]
        told.append(finding if nth == 1 else finding.model_copy(update={"id": f"{finding.id}~{nth}"}))
    return tuple(told)


@dataclass
class _Cells:
    """The groups of people that a set of tables counts."""

    k: int
    hidden: Hidden = field(default_factory=dict)

    @property
    def few(self) -> str:
        return f"fewer than {self.k}"

    def read(self, name: str, table: _Rows) -> None:
        """Decide about the groups of one table, line by line; those that were decided before stay hidden."""
        lines: dict[str, dict[str, int]] = {}
        for row in table.rows:
            key, n = table.key(name, row), table.people(row)
            if isinstance(n, str) and n in (COMPANION, self.few):
                self.hidden[key] = "companion" if n == COMPANION else "small"
            elif type(n) is int:
                lines.setdefault(key[0], {})[key[1]] = n
        for line, counts in lines.items():
            self._decide(line, counts)

    def _decide(self, line: str, counts: Mapping[str, int]) -> None:
        known = {group: n for group, n in counts.items() if (line, group) not in self.hidden}
        if not any(0 < n < self.k for n in known.values()):
            return
        import numpy as np

        from rlhf_fair.disclosure.suppression import hidden_cells

        numbers = np.array(list(counts.values()), dtype=np.int64)
        chosen = hidden_cells(numbers, self.k)
        for at, (group, n) in enumerate(counts.items()):
            if chosen is None or chosen[at]:
                self.hidden.setdefault((line, group), "small" if 0 < n < self.k else "companion")


@dataclass
class _Rows:
    """A plain table of either form, row by row as mappings."""

    content: Any
    rows: list[dict[str, Any]]

    @classmethod
    def of(cls, content: Any) -> _Rows | None:
        if isinstance(content, Mapping):
            columns, rows = content.get("columns"), content.get("rows")
            if not (isinstance(columns, list | tuple) and isinstance(rows, list | tuple)):
                return None
            return cls(content, [dict(zip(map(str, columns), row, strict=False)) for row in rows])
        if isinstance(content, list | tuple) and content and all(isinstance(row, Mapping) for row in content):
            return cls(content, [dict(row) for row in content])
        return None

    def people(self, row: Mapping[str, Any]) -> object:
        """How many people are in the row's group, if the table counts people in groups."""
        if not any(name in row for name in GROUPS):
            return None
        return next((row[name] for name in PEOPLE if name in row), None)

    def key(self, name: str, row: Mapping[str, Any]) -> tuple[str, str]:
        """(attribute or table, group); a table's name ends with what it is by, where no column says it."""
        line = next((str(row[key]) for key in LINES if key in row), name.rpartition(": ")[2])
        group = next((str(row[key]) for key in GROUPS if key in row), "")
        return line, group.removesuffix(_REFERENCE_MARK)

    def written(self) -> Any:
        """In the form that it came in."""
        if not isinstance(self.content, Mapping):
            return self.rows
        columns = self.content["columns"]
        return {**self.content, "rows": [[row.get(str(column)) for column in columns] for row in self.rows]}


def _without_small_cells(results: Results, k: int) -> Results:
    audit, cells = dict(results.audit), _Cells(k)
    named = audit.get("tables")
    tables = {name: table for name, rows in dict(named or {}).items() if (table := _Rows.of(rows))}
    for name, table in sorted(tables.items(), key=lambda item: (-len(item[1].rows), item[0])):
        cells.read(name, table)
    changed = {name: _withheld_rows(name, table, cells) for name, table in tables.items()}
    findings = tuple(_withheld_finding(finding, cells) for finding in results.findings)
    if not cells.hidden and findings == results.findings and not any(changed.values()):
        return results
    audit["tables"] = {**dict(named or {}), **{name: tables[name].written() for name, new in changed.items() if new}}
    audit.pop(PUBLICATION, None)
    audit[KEY] = {"minimum_cell": k, "groups withheld": len(cells.hidden)}
    limits, said = audit.get("limits", []), _sentence(k)
    if isinstance(limits, list | tuple) and said not in limits:
        audit["limits"] = [*limits, said]
    return results.model_copy(update={"audit": audit, "findings": findings})


def _sentence(k: int) -> str:
    return (
        f"Numbers of groups of fewer than {k} people are withheld, and with them those of groups from which they could "
        "be worked out."
    )


def _withheld_rows(name: str, table: _Rows, cells: _Cells) -> bool:
    """Replace the numbers of hidden groups in place; True if there were any."""
    before = [dict(row) for row in table.rows]
    for row in table.rows:
        line, group = table.key(name, row)
        why = cells.hidden.get((line, group))
        note = next((key for key in NOTES if isinstance(row.get(key), str) and _TOO_FEW.search(row[key])), None)
        if note:
            row[note] = _TOO_FEW.sub(r"fewer than \2 \1s", row[note])
        for key, value in row.items():
            number = isinstance(value, int | float) and not isinstance(value, bool)
            alone = why is None and (line, RESIDUAL.get(key, key)) in cells.hidden
            telling = why == "small" or RATE in row or key in COUNTS
            if number and ((why and telling) or note or alone):
                row[key] = cells.few if why == "small" and key in PEOPLE else COMPANION
    return before != table.rows


def _withheld_finding(finding: Finding, cells: _Cells) -> Finding:
    """A finding about a hidden group without its counts; of a small group without any number."""
    reason = _TOO_FEW.sub(r"fewer than \2 \1s", finding.reason)
    both = [cells.hidden.get((finding.attribute, group)) for group in (finding.group, finding.reference)]
    why = "small" if reason != finding.reason or "small" in both else "companion" if any(both) else None
    if why is None:
        return finding
    update: dict[str, Any] = {"reason": reason, "n": 0, "n_clusters": 0}
    if why == "small" and finding.verdict != Verdict.NOT_MEASURED:
        numbers = ("estimate", "ci_low", "ci_high", "p_value", "p_adjusted", "mde", *_RATES)
        update |= dict.fromkeys(numbers, NAN) | {"verdict": Verdict.NOT_MEASURED}
        update["reason"] = f"withheld: {cells.few} people"
    elif finding.verdict != Verdict.NOT_MEASURED:
        update["note"] = finding.note if _UNCOUNTED in finding.note else f"{finding.note} {_UNCOUNTED}".strip()
    return finding.model_copy(update=update)


_RATES = ("parse_rate", "refusal_rate", "measured_rate")
_UNCOUNTED = "How many people stand behind this is withheld: it would give away how many a small group has."
