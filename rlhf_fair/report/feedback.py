"""Feedback audits: who rated what, the gaps attribute by attribute, and how far groups agree among themselves.

Everything is read from the results file: the findings, and the tables that the audit wrote beside them. A table that is
absent, or has other columns, leaves its part of the page out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from rlhf_fair.records import Finding, Results
from rlhf_fair.report import numbers as num
from rlhf_fair.report import wording as say
from rlhf_fair.report.context import count_sentence, data_tables
from rlhf_fair.report.display import Chart, Section, Table
from rlhf_fair.report.findings_table import findings_table
from rlhf_fair.report.forests import LABEL_LENGTH, axis_note, forest_plot, legend_of
from rlhf_fair.report.plain_tables import rows_table
from rlhf_fair.report.ranking import ranked
from rlhf_fair.report.reading import Terms, is_measured

MEANS = "mean rating of every group"
ACCOUNT = "where every rating went, attribute by attribute"
AGREEMENT = ("agreement inside groups, and across to all other raters (XRR)", "agreement of all raters")
FEW = "few raters"
DIFFERENCE_OF_GAPS = "difference_of_gaps"
REFERENCE_MARK = " (reference)"


def is_feedback(results: Results) -> bool:
    """True for an audit of ratings by people, and of nothing else."""
    stages = {finding.stage for finding in results.findings}
    return stages == {say.FEEDBACK}


def raters_section(results: Results) -> Section:
    """Who rated what: raters, items, ratings, and where every rating went."""
    audit = results.audit
    data, counts = audit.get("data"), audit.get("counts")
    answer = []
    if isinstance(data, Mapping) and "ratings used" in data:
        raters = f"{data['raters']} raters gave" if "raters" in data else "Raters who are not named gave"
        answer.append(f"{raters} {data['ratings used']} ratings of {data.get('items', 'an unknown number of')} items.")
        if "raters" not in data:
            answer.append(
                "The file does not say who gave which rating: ratings by one person count as independent, so every "
                "interval below is too narrow by an unknown amount."
            )
    if isinstance(counts, Mapping):
        answer.append(count_sentence(counts, what="ratings in the files", unknown="are by raters of no known group"))
    tables = [*data_tables(audit), *_named(results, (ACCOUNT, MEANS))]
    return Section("data", "Who rated what?", "Who rated", tuple(filter(None, answer)), tables=tuple(tables))


def gap_charts(results: Results, terms: Terms) -> tuple[Chart, ...]:
    """Gaps as rated, on the same items, of intersections, and differences of gaps; one plot for each attribute."""
    raters = raters_by_group(results.audit)
    sets: dict[tuple[str, str], list[Finding]] = {}
    for finding in sorted(results.findings, key=lambda f: (f.metric == DIFFERENCE_OF_GAPS, _order(f.variant))):
        if finding.role != "control":
            sets.setdefault((finding.metric, finding.variant), []).append(finding)
    charts = []
    for number, ((metric, variant), members) in enumerate(sets.items(), start=1):
        title = say.sentence_case(say.words(metric)) + (f", {say.words(variant)}" if variant else "")
        charts.append(_chart(f"gaps-{number}", title, members, raters, terms))
    return tuple(charts)


def _order(variant: str) -> int:
    """As rated, then on the same items, then intersections and whatever else there is."""
    return {"": 0, "same_items": 1}.get(variant, 2)


def _chart(
    id: str, title: str, members: Sequence[Finding], raters: Mapping[tuple[str, str], str], terms: Terms
) -> Chart:
    attributes: dict[str, list[Finding]] = {}
    for finding in sorted(members, key=lambda f: f.role != "claim"):
        attributes.setdefault(finding.attribute, []).append(finding)
    plots = []
    for number, (attribute, own) in enumerate(attributes.items(), start=1):
        rows = [*ranked(own), *(finding for finding in own if not is_measured(finding))]
        name = f"{title} by {say.words(attribute)}"
        plot = forest_plot(f"{id}-plot-{number}", name, rows, terms, lambda finding: _label(finding, raters))
        with_n = _raters(raters.get((attribute, own[0].reference), ""))
        claim = ", claim" if any(finding.role == "claim" for finding in own) else ""
        references = {finding.reference for finding in own}
        against = f"against {own[0].reference}{f', {with_n}' if with_n else ''}" if len(references) == 1 else ""
        plots.append(replace(plot, title=say.sentence_case(say.words(attribute)) + claim, subtitle=against))
    ends = [end for plot in plots for end in plot.value_range or ()]
    if ends and not any(plot.log for plot in plots):  # one axis, so that attributes can be compared by eye
        plots = [replace(plot, value_range=(min(ends), max(ends))) for plot in plots]
    note = axis_note(members)
    if any(not is_measured(finding) for finding in members):
        note.append("A row without a mark was not measured; the table gives the reason.")
    table = findings_table(members, terms, id=f"{id}-table", caption=f"The numbers drawn: {title}")
    return Chart(id, title, " ".join(note), tuple(plots), legend_of(plots), table, 2 if len(plots) > 1 else 1)


def _label(finding: Finding, raters: Mapping[tuple[str, str], str]) -> str:
    """The group, and below it how many raters it has, or that it was not measured."""
    n = _raters(raters.get((finding.attribute, finding.group), ""))
    group, second = finding.group, n
    if finding.metric == DIFFERENCE_OF_GAPS and " on " in group:  # woman on vulgar posts
        group, on, kind = group.partition(" on ")
        second = (on + kind).strip()
    second = second if is_measured(finding) else ", ".join(filter(None, [num.MISSING, n]))
    return "\n".join(say.shortened(line, LABEL_LENGTH) for line in (group, second) if line)


def _raters(n: str) -> str:
    return f"{n} rater{'' if n == '1' else 's'}" if n else ""


def raters_by_group(audit: Mapping[str, Any]) -> dict[tuple[str, str], str]:
    """(attribute, group) -> number of raters, from the audit's own table of means."""
    found = {}
    for row in _rows(audit, MEANS):
        if {"attribute", "group", "raters"} <= set(row) and isinstance(row["raters"], int):
            group = str(row["group"]).removesuffix(REFERENCE_MARK)
            found[str(row["attribute"]), group] = num.count(row["raters"])
    return found


def agreement_section(results: Results) -> Section | None:
    """Agreement inside groups and across them, with what panels of this size cannot tell."""
    tables = _named(results, AGREEMENT)
    if not tables:
        return None
    rows = _rows(results.audit, AGREEMENT[0])
    answer = ["1 is perfect agreement and 0 is chance. GAI above 1: a group agrees with itself more than with others."]
    strays = [2 * row["chance SD"] for row in rows if isinstance(row.get("chance SD"), int | float)]
    if strays:
        answer.append(
            f"By luck alone GAI strays from 1 by up to twice its chance SD: {num.significant(min(strays), 2)} in the "
            f"group where it is steadiest, {num.significant(max(strays), 2)} where it is least. An index within that "
            "distance of 1 says nothing."
        )
    few = [row for row in rows if row.get("note") == FEW]
    if few:
        names = list(dict.fromkeys(f"{row.get('attribute')}: {row.get('group')}" for row in few))
        kept = say.listed(names[:6]) if len(names) <= 6 else f"{', '.join(names[:6])} and {len(names) - 6} more"
        answer.append(
            f"Little power: {len(few)} of {num.plural(len(rows), 'group')} have {FEW} ({kept}). Seeing no "
            "departure there does not mean that there is none."
        )
    return Section("agreement", "Do groups agree among themselves?", "Agreement", tuple(answer), tables=tuple(tables))


def told(name: str) -> bool:
    """True for a table that one of these sections shows, so that the rest of the page need not."""
    return name in (MEANS, ACCOUNT) or any(str(name).startswith(start) for start in AGREEMENT)


def _named(results: Results, starts: Sequence[str]) -> list[Table]:
    tables = results.audit.get("tables")
    names = sorted(tables, key=str) if isinstance(tables, Mapping) else []
    chosen = [name for start in starts for name in names if str(name).startswith(start)]
    assert isinstance(tables, Mapping) or not chosen
    made = [
        rows_table(f"feedback-{say.words(name)[:9].replace(' ', '-')}-{i}", name, (tables or {})[name])
        for i, name in enumerate(chosen)
    ]
    return [table for table in made if table]


def _rows(audit: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    """The rows of an audit's table as mappings; none where it is not a table with columns."""
    tables = audit.get("tables")
    table = tables.get(name) if isinstance(tables, Mapping) else None
    if not isinstance(table, Mapping):
        return []
    columns, rows = table.get("columns"), table.get("rows")
    if not (isinstance(columns, list | tuple) and isinstance(rows, list | tuple)):
        return []
    return [dict(zip(map(str, columns), row, strict=False)) for row in rows if isinstance(row, list | tuple)]
