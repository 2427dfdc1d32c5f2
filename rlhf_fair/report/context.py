"""What surrounds the numbers: data, exclusions, limits, extra tables, provenance. All free-form, none trusted."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from rlhf_fair.records import Results
from rlhf_fair.report import aggregates, outline
from rlhf_fair.report import numbers as num
from rlhf_fair.report import wording as say
from rlhf_fair.report.display import Section, Table
from rlhf_fair.report.embed import MOST_FINDINGS
from rlhf_fair.report.plain_tables import pairs_table, rows_table, sentences, text
from rlhf_fair.report.reading import is_sequential

Audit = Mapping[str, Any]
_ACCOUNT = ("input", "reported", "excluded", "unknown")
MOST_ENTRIES, LONGEST_ENTRY, LONGEST_NAME = 12, 100, 40
_RECOVERY = ("recover", "planted", "truth")
NOT_ABSENCE = "No gap detected is not the same as no gap: see the smallest detectable effect (MDE) of each finding."
NOT_ABSENCE_WITHOUT_MDE = "No gap detected is not the same as no gap: see how far the interval of each finding reaches."
ELSEWHERE = "It says nothing about groups, languages, prompts or uses that are not listed here."


def always_limits(results: Results) -> tuple[str, ...]:
    """Two limits that any audit has."""
    sized = not results.findings or any(not is_sequential(f) and num.finite(f.mde) for f in results.findings)
    return (NOT_ABSENCE if sized else NOT_ABSENCE_WITHOUT_MDE, ELSEWHERE)


def data_section(audit: Audit) -> Section | None:
    """Counts that must add up, and what was left out and why."""
    counts, exclusions = audit.get("counts"), audit.get("exclusions")
    if not counts and not exclusions:
        return None
    answer = []
    if isinstance(counts, Mapping):
        answer.append(count_sentence(counts))
    return Section(
        "data",
        "What data stands behind this, and what was left out?",
        "Data",
        answer=tuple(sentence for sentence in answer if sentence),
        tables=data_tables(audit),
    )


def data_tables(audit: Audit) -> tuple[Table, ...]:
    """Counts, and exclusions by reason."""
    counts, shown = audit.get("counts"), None
    if isinstance(counts, Mapping):
        keys = sorted(counts, key=lambda key: _ACCOUNT.index(key) if key in _ACCOUNT else len(_ACCOUNT))
        shown = {key: num.count(counts[key]) if type(counts[key]) is int else counts[key] for key in keys}
    tables = (
        pairs_table("counts-table", "Counts", shown),
        rows_table("exclusions-table", "Exclusions and their reasons", audit.get("exclusions")),
    )
    return tuple(table for table in tables if table)


def count_sentence(counts: Mapping[str, Any], *, what: str = "inputs", unknown: str = "have an unknown group") -> str:
    """``input = reported + excluded + unknown`` in words, and by how much it fails where it does."""
    known = {key: counts.get(key) for key in _ACCOUNT}
    if not all(type(value) is int for value in known.values()):
        return ""
    total, reported, excluded, unlabelled = (int(value or 0) for value in known.values())
    sentence = (
        f"Of {num.count(total)} {what}, {num.count(reported)} are reported, {num.count(excluded)} were excluded and "
        f"{num.count(unlabelled)} {unknown}."
    )
    rest = total - reported - excluded - unlabelled
    return sentence + (
        "" if rest == 0 else f" This leaves {num.count(abs(rest))} unaccounted for: the counts disagree."
    )


def limits_section(results: Results) -> Section:
    """What the audit cannot show, in the plan's own words and two that always hold."""
    return Section(
        "limits",
        "What does this audit not show?",
        "Limits",
        bullets=(*sentences(results.audit.get("limits")), *always_limits(results)),
    )


def with_left_out(shown: Sequence[Section], results: Results) -> tuple[Section, ...]:
    """``shown`` whose limits also name the parts of a report that this page does not have."""
    said = outline.left_out(shown, results)
    if not said:
        return tuple(shown)
    return tuple(replace(s, bullets=(*s.bullets, said)) if s.id == "limits" else s for s in shown)


def definitions(audit: Audit) -> dict[str, str]:
    """Metric -> what it is; none in results of audits that did not say."""
    said = audit.get("definitions")
    return {str(name): text(what) for name, what in said.items() if what} if isinstance(said, Mapping) else {}


def definitions_table(audit: Audit) -> Table | None:
    """What every number of the audit means, judged or not."""
    return pairs_table("definitions-table", "What the numbers mean", definitions(audit), columns=("Number", "Meaning"))


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


def tables_section(audit: Audit, told: Callable[[str], bool]) -> Section | None:
    """Tables that an audit adds of its own, but for those ``told`` elsewhere on the page."""
    named = _named_tables(audit)
    tables = [
        rows_table(f"extra-{i}", name, rows)
        for i, (name, rows) in enumerate(named.items())
        if not _recovers(name) and not told(name) and not _asks(name)
    ]
    found = tuple(table for table in tables if table)
    return Section("more", "What else was measured?", "More tables", tables=found) if found else None


def question_sections(audit: Audit) -> list[Section]:
    """Tables whose name is a question, each as a section of its own; what stands under "answer" answers it."""
    found = []
    for i, (name, rows) in enumerate(_named_tables(audit).items()):
        table = rows_table(f"question-{i}", name, rows) if _asks(name) and not _recovers(name) else None
        if table:
            answer = sentences(rows.get("answer")) if isinstance(rows, Mapping) else ()
            found.append(Section(f"question-{i}-section", name, name.removesuffix("?"), answer, tables=(table,)))
    return found


def _asks(name: str) -> bool:
    return str(name).endswith("?")


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
        "definitions",
        "limits",
        "counts",
        "exclusions",
        "tables",
        "truth",
        "word_attributions",
        "publication",
        *aggregates.KEYS,
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
            f"SHA-256 of results.json: {results_sha256}.",
            "Run “rlhf-fair verify” on the folder to check every file against manifest.json, and this page against "
            f"results.json. {_inside(len(results.findings))}",
        ),
        tables=tuple(table for table in tables if table),
    )


def _inside(n_findings: int) -> str:
    if n_findings <= MOST_FINDINGS:
        return "The complete results are embedded in this page."
    return (
        f"They are embedded in this page but for the {num.count(n_findings)} findings, which stand in its table as "
        "they are shown, and in full precision in results.json."
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
    """A value in a few words; of a mapping the entries, those of a mapping inside it among them."""
    if not value:
        return ""
    if isinstance(value, Mapping):
        return say.shortened(text(value["name"]), 80) if "name" in value else "; ".join(_entries(value))
    if isinstance(value, list | tuple):
        return _some([_brief(item) for item in value], 4)
    return say.shortened(text(value), 80)


def _entries(values: Mapping[str, Any]) -> list[str]:
    """``name: value`` of each, without those that say nothing; the rest of many as their number.

    Of a digest or a path, which is one long word, the name alone.
    """
    found: list[str] = []
    for key, value in values.items():
        name = say.words(str(key))
        if isinstance(value, Mapping) and "name" not in value:
            found += _entries(value)
        elif isinstance(value, str) and len(value) >= LONGEST_NAME and not any(map(str.isspace, value)):
            found.append(say.shortened(name, LONGEST_ENTRY))
        elif said := text(value) if isinstance(value, int | float) else _brief(value):
            found.append(say.shortened(f"{name}: {said}", LONGEST_ENTRY))
    rest = len(found) - MOST_ENTRIES
    return [*found[:MOST_ENTRIES], f"{rest} more"] if rest > 1 else found
