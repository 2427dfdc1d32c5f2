"""What surrounds the numbers: data, exclusions, limits, extra tables, provenance. All free-form, none trusted."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from rlhf_fair.records import Results
from rlhf_fair.report import numbers as num
from rlhf_fair.report import wording as say
from rlhf_fair.report.display import Cell, Column, Section, Table

Audit = Mapping[str, Any]
LONGEST_TEXT = 600
PAGE_ROWS = 30
_NAMES = ("name", "stage", "attribute", "group", "reference", "panel", "metric")
_RECOVERY = ("recover", "planted", "truth")
ALWAYS_LIMITS = (
    "No gap detected is not the same as no gap: see the smallest detectable effect (MDE) of each finding.",
    "It says nothing about groups, languages, prompts or uses that are not listed here.",
)


def text(value: object) -> str:
    """Any JSON value in words; a missing number reads 'not measured'."""
    if value is None:
        return num.MISSING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return num.count(value)
    if isinstance(value, float):
        return num.significant(value) if math.isfinite(value) else num.MISSING
    if isinstance(value, Mapping):
        return "; ".join(f"{say.words(str(key))}: {text(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(text(item) for item in value)
    return say.shortened(str(value), LONGEST_TEXT)


def pairs(value: object, name: str = "") -> list[tuple[str, str]]:
    """Nested mappings and lists as (dotted name, text), one for each leaf."""
    if isinstance(value, Mapping):
        return [pair for key, item in value.items() for pair in pairs(item, f"{name} › {key}" if name else str(key))]
    if isinstance(value, list | tuple) and any(isinstance(item, Mapping) for item in value):
        return [pair for i, item in enumerate(value, 1) for pair in pairs(item, f"{name} {i}".strip())]
    if value is None or value == "" or value == [] or value == ():
        return []
    # A seed or a version is a name, not a quantity: no thousands separators.
    shown = str(value) if isinstance(value, int) and not isinstance(value, bool) else text(value)
    return [(say.sentence_case(say.words(name)) or "Value", shown)]


def sentences(value: object) -> tuple[str, ...]:
    """A list of sentences from a string, a list or a mapping."""
    if not value:
        return ()
    if isinstance(value, str):
        return (value,)
    if isinstance(value, Mapping):
        return tuple(f"{name}: {shown}" for name, shown in pairs(value))
    if isinstance(value, list | tuple):
        return tuple(text(item) for item in value)
    return (text(value),)


def pairs_table(id: str, caption: str, value: object) -> Table | None:
    """A two-column table of a nested value; None if there is nothing in it."""
    found = pairs(value)
    if not found:
        return None
    rows = tuple((Cell(name), Cell(shown)) for name, shown in found)
    return Table(id, caption, (Column("What"), Column("Value")), rows, paged=len(rows) > PAGE_ROWS)


def rows_table(id: str, name: str, rows: object) -> Table | None:
    """A list of plain rows as a table; a missing number shows the row's reason.

    ``{"columns": [...], "rows": [[...]]}`` keeps the order of its columns. Plain rows come from sorted JSON and have
    none, so names come first, then other text, then numbers, then the reason.
    """
    caption = say.sentence_case(say.words(name))
    ordered: list[str] = []
    if isinstance(rows, Mapping):
        columns, values = rows.get("columns"), rows.get("rows")
        if not (isinstance(columns, list | tuple) and isinstance(values, list | tuple)):
            return pairs_table(id, caption, rows)
        ordered = [str(column) for column in columns]
        rows = [dict(zip(ordered, row, strict=False)) for row in values if isinstance(row, list | tuple)]
    if not isinstance(rows, list | tuple) or not rows:
        return None
    records = [
        {str(key): value for key, value in row.items()} if isinstance(row, Mapping) else {"value": row} for row in rows
    ]
    met = dict.fromkeys(key for record in records for key in record)
    numeric = {key: _all_numbers([record.get(key) for record in records]) for key in met}
    keys = ordered or sorted(met, key=lambda key: _column_order(key, numeric[key]))
    return Table(
        id,
        caption,
        tuple(Column(key if key == "n" else say.sentence_case(say.words(key)), numeric[key]) for key in keys),
        tuple(tuple(_cell(record, key, numeric[key]) for key in keys) for record in records),
        paged=len(records) > PAGE_ROWS,
    )


def _column_order(key: str, numeric: bool) -> tuple[int, str]:
    if key in _NAMES:
        return _NAMES.index(key), ""
    return len(_NAMES) + (2 if key == "reason" and not numeric else 1 if numeric else 0), key


def _all_numbers(values: Sequence[object]) -> bool:
    return all(_is_number(value) for value in values) and any(value is not None for value in values)


def _is_number(value: object) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def _cell(record: Mapping[str, Any], key: str, numeric: bool) -> Cell:
    value = record.get(key)
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return Cell(say.not_measured(str(record.get("reason") or "")) if numeric else "–", missing=numeric)
    return Cell(text(value))


def data_section(audit: Audit) -> Section | None:
    """Counts that must add up, and what was left out and why."""
    counts, exclusions = audit.get("counts"), audit.get("exclusions")
    if not counts and not exclusions:
        return None
    answer = []
    if isinstance(counts, Mapping):
        answer.append(count_sentence(counts))
    tables = [
        pairs_table("counts-table", "Counts", {key: num.count(v) if type(v) is int else v for key, v in counts.items()})
        if isinstance(counts, Mapping)
        else None,
        rows_table("exclusions-table", "Exclusions and their reasons", exclusions),
    ]
    return Section(
        "data",
        "What data stands behind this, and what was left out?",
        "Data",
        answer=tuple(sentence for sentence in answer if sentence),
        tables=tuple(table for table in tables if table),
    )


def count_sentence(counts: Mapping[str, Any]) -> str:
    """``input = reported + excluded + unknown`` in words, and by how much it fails where it does."""
    known = {key: counts.get(key) for key in ("input", "reported", "excluded", "unknown")}
    if not all(type(value) is int for value in known.values()):
        return ""
    total, reported, excluded, unknown = (int(value or 0) for value in known.values())
    sentence = (
        f"Of {num.count(total)} inputs, {num.count(reported)} are reported, {num.count(excluded)} were excluded and "
        f"{num.count(unknown)} have an unknown group."
    )
    rest = total - reported - excluded - unknown
    return sentence + (
        "" if rest == 0 else f" This leaves {num.count(abs(rest))} unaccounted for: the counts disagree."
    )


def limits_section(audit: Audit) -> Section:
    """What the audit cannot show, in the plan's own words and two that always hold."""
    return Section(
        "limits",
        "What does this audit not show?",
        "Limits",
        bullets=(*sentences(audit.get("limits")), *ALWAYS_LIMITS),
    )


def recovery_section(audit: Audit) -> Section | None:
    """What was planted in the embedded world, and what the audit found of it."""
    named = _named_tables(audit)
    tables = [
        rows_table(f"recovery-{i}", name, rows) for i, (name, rows) in enumerate(named.items()) if _recovers(name)
    ]
    planted = pairs_table("truth-table", "What was planted", audit.get("truth"))
    found = tuple(table for table in (*tables, planted) if table)
    if not found:
        return None
    return Section(
        "recovery",
        "Did the audit recover what was planted?",
        "Planted bias",
        answer=("The data come from a simulated world with a bias of known size, so the audit itself can be checked.",),
        tables=found,
    )


def tables_section(audit: Audit) -> Section | None:
    """Tables that an audit adds of its own."""
    named = _named_tables(audit)
    tables = [
        rows_table(f"extra-{i}", name, rows) for i, (name, rows) in enumerate(named.items()) if not _recovers(name)
    ]
    found = tuple(table for table in tables if table)
    return Section("more", "What else was measured?", "More tables", tables=found) if found else None


def _named_tables(audit: Audit) -> Mapping[str, Any]:
    tables = audit.get("tables")
    return tables if isinstance(tables, Mapping) else {}


def _recovers(name: str) -> bool:
    return any(part in str(name).lower() for part in _RECOVERY)


def provenance_section(results: Results, results_sha256: str) -> Section:
    """Plan, seed, models, data, hashes: what a stranger needs to repeat the audit and to check this page."""
    audit = results.audit
    run = {key: audit[key] for key in ("seed", "alpha") if audit.get(key) is not None}
    known = {
        "title",
        "question",
        "plan",
        "seed",
        "alpha",
        "models",
        "model",
        "data",
        "limits",
        "counts",
        "exclusions",
        "tables",
        "truth",
    }
    rest = {key: value for key, value in audit.items() if key not in known}
    plan = audit.get("plan")
    tables = (
        pairs_table("run-table", "This run", {**run, "schema version": results.schema_version, **rest}),
        pairs_table("plan-table", "Plan", plan if isinstance(plan, Mapping) else {"plan": plan}),
        pairs_table(
            "models-table",
            "Models",
            models(audit) if isinstance(models(audit), Mapping | list) else {"model": models(audit)},
        ),
        pairs_table(
            "sources-table",
            "Data",
            audit.get("data") if isinstance(audit.get("data"), Mapping | list) else {"data": audit.get("data")},
        ),
        pairs_table("manifest-table", "Manifest", results.manifest),
    )
    return Section(
        "provenance",
        "Where do these numbers come from, and how can they be checked?",
        "Provenance",
        answer=(
            f"SHA-256 of the results inside this page: {results_sha256}.",
            "Run “rlhf-fair verify” on the folder to check every file against manifest.json, and this page against "
            "results.json. The complete results are embedded in this page.",
        ),
        tables=tuple(table for table in tables if table),
    )


def models(audit: Audit) -> Any:
    """The audit's models, under either of the two names in use."""
    return audit.get("models") or audit.get("model")


def scope(results: Results) -> tuple[tuple[str, str], ...]:
    """What was examined, in a few labelled lines."""
    audit, findings = results.audit, results.findings
    stages = say.stage_order([*(f.stage for f in findings), *(row.stage for row in results.ledger)])
    attributes = list(dict.fromkeys([*(f.attribute for f in findings if f.role != "control")]))
    attributes = attributes or list(dict.fromkeys(row.attribute for row in results.ledger))
    lines = [
        ("Stages", _some([say.stage(name) for name in stages], 6)),
        ("Attributes", _some([say.words(name) for name in attributes], 8)),
        ("Probes", _some(list(dict.fromkeys(say.words(f.probe) for f in findings)), 5)),
        ("Models", _brief(models(audit))),
        ("Data", _brief(audit.get("data"))),
        ("Comparisons", num.count(len(findings)) if findings else ""),
    ]
    return tuple((label, value) for label, value in lines if value)


def _some(names: Sequence[str], most: int) -> str:
    kept = [name for name in names if name][:most]
    rest = len([name for name in names if name]) - len(kept)
    return ", ".join(kept) + (f" and {rest} more" if rest else "")


def _brief(value: object) -> str:
    if not value:
        return ""
    if isinstance(value, Mapping) and "name" in value:
        return say.shortened(text(value["name"]), 80)
    if isinstance(value, Mapping):
        return _some(
            [
                say.shortened(
                    f"{say.words(str(k))}: {_brief(v)}" if isinstance(v, str) and len(v) < 40 else say.words(str(k)), 60
                )
                for k, v in value.items()
            ],
            4,
        )
    if isinstance(value, list | tuple):
        return _some([_brief(item) for item in value], 4)
    return say.shortened(text(value), 80)
