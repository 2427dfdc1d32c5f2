"""The page of a comparison of mitigations: fronts, a table of every measure, who moved, and what each method does.

Reads the content of comparison.json alone, so it renders without torch and knows no method by name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rlhf_fair.artifacts import canonical_json, sha256_bytes
from rlhf_fair.report import numbers as num
from rlhf_fair.report import wording as say
from rlhf_fair.report.display import Cell, Column, Page, Section, Summary, Table
from rlhf_fair.report.pareto import pareto_chart

TEMPLATE = "mitigations.html.j2"
Rows = Sequence[Mapping[str, Any]]


def mitigations_page(content: Mapping[str, Any]) -> Page:
    """The whole page from the content of comparison.json."""
    payload = canonical_json(dict(content))
    labels = {str(method["name"]): str(method["label"]) for method in content["methods"]}
    sections = [
        _front_section(content, labels),
        *(_measures_section(section, content["summary"], labels) for section in content["sections"]),
        _groups_section(content, labels),
        _methods_section(content["methods"]),
    ]
    return Page(_summary(content, labels), tuple(sections), sha256_bytes(payload + b"\n"), payload)


def _summary(content: Mapping[str, Any], labels: Mapping[str, str]) -> Summary:
    verdict = " ".join(_smallest(content["fronts"], labels, str(content["baseline"])))
    return Summary(
        title=str(content["title"]),
        question=str(content["question"]),
        verdict=verdict or "No method could be measured.",
        sensitivity=str(content["sensitivity"]),
        tallies=(),
        gaps=(),
        scope=tuple((str(name), str(value)) for name, value in content["scope"]),
        not_shown=tuple(str(sentence) for sentence in content["limits"]),
    )


def _smallest(fronts: Rows, labels: Mapping[str, str], baseline: str) -> list[str]:
    """For each attribute: who has the smallest gap, beside the baseline's."""
    sentences = []
    for attribute in dict.fromkeys(str(row["attribute"]) for row in fronts):
        rows = {row["method"]: row for row in fronts if row["attribute"] == attribute}
        known = [row for row in rows.values() if num.finite(row["estimate_gap"])]
        if not known or baseline not in rows:
            continue
        best = min(known, key=lambda row: float(row["estimate_gap"]))
        pair = [_value(row, "_gap", 3) for row in (best, rows[baseline])]
        sentences.append(
            f"{say.sentence_case(say.words(attribute))}: the smallest gap has {labels[best['method']]}, {pair[0]}; "
            f"{labels[baseline]} has {pair[1]}."
        )
    return sentences


def _front_section(content: Mapping[str, Any], labels: Mapping[str, str]) -> Section:
    fronts: Rows = content["fronts"]
    charts = []
    for number, quality in enumerate(dict.fromkeys(str(row["quality"]) for row in fronts), start=1):
        rows = [row for row in fronts if row["quality"] == quality]
        axes = (str(content["gap_axis"]), say.sentence_case(quality))
        title = f"{say.sentence_case(quality)} against the gap"
        charts.append(pareto_chart(f"front-{number}", title, rows, labels, axes))
    return Section("front", "What does each method give up?", "Gap and quality", charts=tuple(charts))


def _measures_section(section: Mapping[str, Any], summary: Rows, labels: Mapping[str, str]) -> Section:
    tables = tuple(
        _measures_table(f"{section['id']}-{number}-table", table, summary, labels)
        for number, table in enumerate(section["tables"], start=1)
    )
    return Section(str(section["id"]), str(section["heading"]), str(section["short"]), tables=tables)


def _measures_table(id: str, table: Mapping[str, Any], summary: Rows, labels: Mapping[str, str]) -> Table:
    found = {(row["method"], row["measure"], row["attribute"]): row for row in summary}
    wanted = [(str(c["measure"]), str(c["attribute"])) for c in table["columns"]]
    places = [_places([row for row in summary if (row["measure"], row["attribute"]) == key]) for key in wanted]
    rows = []
    for method, label in labels.items():
        own = [found.get((method, *key)) for key in wanted]
        if any(own):
            rows.append((Cell(label), *(_cell(row, digits) for row, digits in zip(own, places, strict=True))))
    columns = (Column("Method"), *(Column(str(c["title"]), True) for c in table["columns"]))
    return Table(id, str(table["caption"]), columns, tuple(rows), stacked=True, note=str(table["note"]))


def _cell(row: Mapping[str, Any] | None, places: int) -> Cell:
    if row is None:
        return Cell("–")
    value, low, high = (_number(row[name]) for name in ("estimate", "ci_low", "ci_high"))
    if not num.finite(value):
        return Cell(num.MISSING, missing=True, detail=str(row["reason"] or ""))
    limits = num.interval(low, high, places) if num.finite(low) and num.finite(high) else ""
    return Cell(num.shown(value, places), detail=" ".join(filter(None, [limits, str(row.get("group") or "")])))


def _value(row: Mapping[str, Any], ending: str, places: int) -> str:
    value, low, high = (_number(row[f"{name}{ending}"]) for name in ("estimate", "ci_low", "ci_high"))
    limits = f" {num.interval(low, high, places)}" if num.finite(low) and num.finite(high) else ""
    return num.shown(value, places) + limits


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)


def _places(rows: Rows) -> int:
    intervals = [(_number(row["ci_low"]), _number(row["ci_high"])) for row in rows]
    return num.decimals(intervals, [_number(row["estimate"]) for row in rows])


def _groups_section(content: Mapping[str, Any], labels: Mapping[str, str]) -> Section:
    groups: Rows = content["groups"]
    names = list(dict.fromkeys(str(row["group"]) for row in groups))
    found = {(row["method"], row["group"]): row for row in groups}
    tables = []
    for key, what in (("score_change", str(content["metric"])), ("utility_change", "true utility")):
        places = num.decimals([], [_number(row[key]) for row in groups])
        rows = tuple(
            (
                Cell(label),
                *(
                    Cell(num.shown(_number(found[method, name][key]), places, sign=True))
                    if (method, name) in found
                    else Cell(num.MISSING, missing=True)
                    for name in names
                ),
            )
            for method, label in labels.items()
        )
        columns = (Column("Method"), *(Column(name, True) for name in names))
        tables.append(
            Table(
                f"moved-{key.replace('_', '-')}-table",
                f"Change of the mean {what} from SFT, by group",
                columns,
                rows,
                stacked=True,
                note="Above 0: the group gets more than the SFT model gives it. A gap can close by raising some groups "
                "or by lowering others; these numbers tell which.",
            )
        )
    return Section("moved", "Who moved?", "Who moved", tables=tuple(tables))


def _methods_section(methods: Rows) -> Section:
    columns = (Column("Method"), Column("Name"), Column("Acts on"), Column("What it does"))
    rows = tuple(
        (Cell(str(m["label"])), Cell(str(m["name"])), Cell(str(m["acts_on"])), Cell(str(m["summary"]))) for m in methods
    )
    table = Table("methods-table", "The methods", columns, rows, stacked=True)
    return Section("methods", "What does each method do?", "Methods", tables=(table,))
