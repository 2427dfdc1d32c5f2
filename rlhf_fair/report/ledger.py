"""The bias ledger: the gap at each stage, what changed between stages, and which group moved."""

from __future__ import annotations

from collections.abc import Sequence

from rlhf_fair.records import LedgerRow
from rlhf_fair.report import numbers as num
from rlhf_fair.report import wording as say
from rlhf_fair.report.claims import interval_point
from rlhf_fair.report.display import Cell, Chart, Column, Key, Plot, Point, Series, Table
from rlhf_fair.report.palette import mark

DODGE = 0.16
UNPANELLED = "no panel (before feedback)"


def _facets(rows: Sequence[LedgerRow]) -> dict[tuple[str, str], list[LedgerRow]]:
    facets: dict[tuple[str, str], list[LedgerRow]] = {}
    for row in rows:
        facets.setdefault((row.attribute, row.metric), []).append(row)
    return facets


def _places(rows: Sequence[LedgerRow]) -> int:
    return num.decimals([(row.ci_low, row.ci_high) for row in rows], [row.estimate for row in rows])


def _facet_name(attribute: str, metric: str, rows: Sequence[LedgerRow]) -> str:
    several = len({row.metric for row in rows if row.attribute == attribute}) > 1
    return say.words(attribute) + (f", {say.words(metric)}" if several else "")


def _panel_name(panel: str) -> str:
    return f"{say.words(panel)} panel" if panel else UNPANELLED


def _sorted(rows: Sequence[LedgerRow]) -> list[LedgerRow]:
    order = say.stage_order(row.stage for row in rows)
    attributes = list(dict.fromkeys(row.attribute for row in rows))
    panels = list(dict.fromkeys(row.panel for row in rows))
    return sorted(
        rows, key=lambda r: (attributes.index(r.attribute), r.metric, order.index(r.stage), panels.index(r.panel))
    )


def ledger_chart(rows: Sequence[LedgerRow]) -> Chart:
    """One plot for each attribute: stages along x, the signed gap along y, one series for each annotator panel."""
    stages = say.stage_order(row.stage for row in rows)
    panels = list(dict.fromkeys(row.panel for row in rows))
    styles = {panel: mark(position) for position, panel in enumerate(sorted(panels, key=lambda p: p == ""))}
    plots = tuple(
        _gap_plot(f"ledger-plot-{number}", _facet_name(*facet, rows), members, stages, styles)
        for number, (facet, members) in enumerate(_facets(rows).items(), start=1)
    )
    legend = tuple(Key(_panel_name(panel), *styles[panel]) for panel in panels) if panels != [""] else ()
    note = (
        "Zero is parity. Above 0 the reference group gets more than the mean of the other groups, below 0 less. "
        "Bars are intervals; closer to 0 is better."
    )
    return Chart("ledger", "The gap at each stage", note, plots, legend, ledger_table(rows))


def _gap_plot(
    id: str, name: str, rows: Sequence[LedgerRow], stages: Sequence[str], styles: dict[str, tuple[str, str]]
) -> Plot:
    places = _places(rows)
    panels = [panel for panel in styles if any(row.panel == panel for row in rows)]
    series: list[Series] = []
    for panel in panels:
        offset = _offset(panels, panel) if panel else 0.0
        members = sorted((row for row in rows if row.panel == panel), key=lambda row: stages.index(row.stage))
        points = tuple(
            interval_point(
                stages.index(row.stage) + offset, row.estimate, row.ci_low, row.ci_high, places, _point_name(row)
            )
            for row in members
            if num.finite(row.estimate)
        )
        series.append(Series(_panel_name(panel), *styles[panel], points, joined=True))
    shared = next((s for s in series if s.name == UNPANELLED), None)
    if shared and shared.points and len(series) > 1:
        series += [_bridge(shared, other) for other in series if other is not shared and other.points]
    reference = rows[0].reference
    return Plot(
        id=id,
        title=f"{say.sentence_case(name)} (reference: {reference})" if reference else say.sentence_case(name),
        label=f"Gap in {say.words(rows[0].metric)} by {name} at each stage, with intervals and a line at 0 for parity; "
        "the same numbers are in the table that follows.",
        kind="stages",
        series=tuple(series),
        value_title=say.words(rows[0].metric),
        ticks=tuple((float(position), say.stage_tick(name)) for position, name in enumerate(stages)),
        parity=0.0,
    )


def _offset(panels: Sequence[str], panel: str) -> float:
    named = [name for name in panels if name]
    return round((named.index(panel) - (len(named) - 1) / 2) * DODGE, 4)


def _point_name(row: LedgerRow) -> str:
    return (
        f"{say.sentence_case(say.stage(row.stage))}, {_panel_name(row.panel)}"
        if row.panel
        else (say.sentence_case(say.stage(row.stage)))
    )


def _bridge(shared: Series, other: Series) -> Series:
    """A line from the last point before the panels part to the panel's first point; it carries no mark of its own."""
    before = [point for point in shared.points if point.at < other.points[0].at]
    ends = [Point(point.at, point.value) for point in (*before[-1:], other.points[0])]
    return Series("", other.colour, other.symbol, tuple(ends) if before else (), joined=True, marked=False)


def ledger_table(rows: Sequence[LedgerRow]) -> Table:
    """All ledger rows: the gap, and its change from an earlier stage on the same items."""
    cells = []
    for row in _sorted(rows):
        places = _places([other for other in rows if (other.attribute, other.metric) == (row.attribute, row.metric)])
        known = num.finite(row.estimate)
        cells.append(
            (
                Cell(say.words(row.attribute)),
                Cell(say.sentence_case(say.stage(row.stage))),
                Cell(say.words(row.panel) or "–"),
                Cell(say.words(row.metric)),
                Cell(row.reference),
                Cell(num.shown(row.estimate, places) if known else say.not_measured(row.reason), missing=not known),
                Cell(num.interval(row.ci_low, row.ci_high, places) if known else "–"),
                Cell(num.p_value(row.p_value)),
                Cell(num.count(row.n)),
                Cell(num.count(row.n_clusters)),
            )
        )
    columns = ("Attribute", "Stage", "Panel", "Metric", "Reference", "Gap", "Interval", "p", "n", "Clusters")
    return Table(
        "ledger-table",
        "The gap at each stage",
        tuple(Column(label, label in {"Gap", "Interval", "p", "n", "Clusters"}) for label in columns),
        tuple(cells),
    )


def changes_table(rows: Sequence[LedgerRow]) -> Table | None:
    """How the absolute gap changed from one stage to another; negative means that the gap got smaller."""
    changed = [row for row in _sorted(rows) if row.change_from]
    if not changed:
        return None
    places = {
        row.metric: num.decimals(
            [(r.change_ci_low, r.change_ci_high) for r in changed if r.metric == row.metric],
            [r.change for r in changed if r.metric == row.metric],
        )
        for row in changed
    }
    cells = tuple(
        (
            Cell(say.words(row.attribute)),
            Cell(say.words(row.panel) or "–"),
            Cell(say.sentence_case(say.stage(row.change_from))),
            Cell(say.sentence_case(say.stage(row.stage))),
            Cell(
                num.shown(row.change, places[row.metric], sign=True)
                if num.finite(row.change)
                else say.not_measured(row.reason),
                missing=not num.finite(row.change),
            ),
            Cell(num.interval(row.change_ci_low, row.change_ci_high, places[row.metric])),
            Cell(_change_in_words(row)),
        )
        for row in changed
    )
    columns = ("Attribute", "Panel", "From", "To", "Change of |gap|", "Interval", "In words")
    return Table(
        "changes-table",
        "Change of the absolute gap on the same items",
        tuple(Column(label, label in {"Change of |gap|", "Interval"}) for label in columns),
        cells,
        note="Negative: the gap got smaller, which is better. Intervals are paired.",
    )


def _change_in_words(row: LedgerRow) -> str:
    if not num.finite(row.change):
        return num.MISSING
    if num.finite(row.change_ci_high) and row.change_ci_high < 0:
        return "gap got smaller"
    if num.finite(row.change_ci_low) and row.change_ci_low > 0:
        return "gap got larger"
    return "no change detected"


def moved_chart(rows: Sequence[LedgerRow]) -> Chart | None:
    """Group means at each stage: one plot for each attribute and panel, one series for each group."""
    with_groups = [row for row in rows if row.groups]
    if not with_groups:
        return None
    stages = say.stage_order(row.stage for row in with_groups)
    names = list(dict.fromkeys(group.group for row in with_groups for group in row.groups))
    styles = {name: mark(position) for position, name in enumerate(names)}
    facets: dict[tuple[str, str, str], list[LedgerRow]] = {}
    for row in with_groups:
        facets.setdefault((row.attribute, row.metric, row.panel), []).append(row)
    named = {(attribute, metric) for attribute, metric, panel in facets if panel}
    plots: list[Plot] = []
    for (attribute, metric, panel), members in facets.items():
        if not panel and (attribute, metric) in named:
            continue
        shared = facets.get((attribute, metric, ""), []) if panel else []
        plots.append(_means_plot(f"moved-plot-{len(plots) + 1}", [*shared, *members], stages, styles, panel))
    legend = tuple(Key(name, *styles[name]) for name in names)
    note = "Each line is the mean of one group. A gap can close because one group gained or because another lost."
    return Chart("moved", "Group means at each stage", note, tuple(plots), legend, moved_table(with_groups))


def _means_plot(
    id: str, rows: Sequence[LedgerRow], stages: Sequence[str], styles: dict[str, tuple[str, str]], panel: str
) -> Plot:
    places = _group_places(rows)
    present = [name for name in styles if any(group.group == name for row in rows for group in row.groups)]
    series = []
    for number, name in enumerate(present):
        offset = round((number - (len(present) - 1) / 2) * min(0.08, 0.4 / len(present)), 4)
        points = [
            interval_point(
                stages.index(row.stage) + offset,
                group.mean,
                group.ci_low,
                group.ci_high,
                places,
                f"{name}, {say.stage(row.stage)}",
            )
            for row in sorted(rows, key=lambda row: stages.index(row.stage))
            for group in row.groups
            if group.group == name and num.finite(group.mean)
        ]
        series.append(Series(name, *styles[name], tuple(points), joined=True))
    title = say.sentence_case(say.words(rows[0].attribute)) + (f", {_panel_name(panel)}" if panel else "")
    return Plot(
        id=id,
        title=title,
        label=f"Mean {say.words(rows[0].metric)} of each group at each stage: {title}; "
        "the same numbers are in the table that follows.",
        kind="stages",
        series=tuple(series),
        value_title=f"mean {say.words(rows[0].metric)}",
        ticks=tuple((float(position), say.stage_tick(name)) for position, name in enumerate(stages)),
    )


def _group_places(rows: Sequence[LedgerRow]) -> int:
    groups = [group for row in rows for group in row.groups]
    return num.decimals([(group.ci_low, group.ci_high) for group in groups], [group.mean for group in groups])


def moved_table(rows: Sequence[LedgerRow]) -> Table:
    """One row for each group, panel and stage: mean, interval, n."""
    cells = []
    for row in _sorted(rows):
        places = _group_places([r for r in rows if (r.attribute, r.metric) == (row.attribute, row.metric)])
        for group in row.groups:
            known = num.finite(group.mean)
            cells.append(
                (
                    Cell(say.words(row.attribute)),
                    Cell(group.group),
                    Cell(say.sentence_case(say.stage(row.stage))),
                    Cell(say.words(row.panel) or "–"),
                    Cell(num.shown(group.mean, places) if known else say.not_measured(group.reason), missing=not known),
                    Cell(num.interval(group.ci_low, group.ci_high, places) if known else "–"),
                    Cell(num.count(group.n)),
                )
            )
    columns = ("Attribute", "Group", "Stage", "Panel", "Mean", "Interval", "n")
    return Table(
        "moved-table",
        "Group means at each stage",
        tuple(Column(label, label in {"Mean", "Interval", "n"}) for label in columns),
        tuple(cells),
        paged=True,
    )


def ledger_answer(rows: Sequence[LedgerRow]) -> tuple[str, ...]:
    """For each attribute: at which stage the absolute gap is largest, and its value there."""
    sentences = []
    for (attribute, metric), members in _facets(rows).items():
        measured = [row for row in members if num.finite(row.estimate)]
        if not measured:
            sentences.append(f"{say.sentence_case(_facet_name(attribute, metric, rows))}: not measured at any stage.")
            continue
        places = _places(members)
        peak = max(measured, key=lambda row: abs(row.estimate))
        panel = f" with the {_panel_name(peak.panel)}" if peak.panel else ""
        sentences.append(
            f"{say.sentence_case(_facet_name(attribute, metric, rows))}: the gap is widest at {say.stage(peak.stage)}"
            f"{panel}, {num.shown(peak.estimate, places)} {num.interval(peak.ci_low, peak.ci_high, places)}."
        )
    return tuple(sentences)
