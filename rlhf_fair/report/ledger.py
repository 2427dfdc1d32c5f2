"""The bias ledger: the gap at each stage, and what changed between stages."""

from __future__ import annotations

from collections.abc import Sequence

from rlhf_fair.records import LedgerRow
from rlhf_fair.report import numbers as num
from rlhf_fair.report import wording as say
from rlhf_fair.report.display import Cell, Chart, Column, Key, Plot, Point, Series, Table
from rlhf_fair.report.palette import mark
from rlhf_fair.report.points import interval_point

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


def panel_name(panel: str) -> str:
    """A panel in words."""
    return f"{say.words(panel)} panel" if panel else UNPANELLED


def in_order(rows: Sequence[LedgerRow]) -> list[LedgerRow]:
    """Rows by attribute, metric, stage and panel."""
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
    one_metric = len({row.metric for row in rows}) == 1
    plots = tuple(
        _gap_plot(
            f"ledger-plot-{number}",
            _facet_name(*facet, rows),
            members,
            stages,
            styles,
            _range(rows if one_metric else members),
        )
        for number, (facet, members) in enumerate(_facets(rows).items(), start=1)
    )
    legend = tuple(Key(panel_name(panel), *styles[panel]) for panel in panels) if panels != [""] else ()
    note = (
        "Zero is parity. Above 0 the reference group gets more than the mean of the other groups, below 0 less. "
        "Bars are intervals; closer to 0 is better."
    )
    columns = 3 if len(plots) == 3 else 2
    return Chart("ledger", "The gap at each stage", note, plots, legend, ledger_table(rows), columns)


def _range(rows: Sequence[LedgerRow]) -> tuple[float, float] | None:
    return num.padded([0.0, *(end for row in rows for end in (row.ci_low, row.estimate, row.ci_high))])


def _gap_plot(
    id: str,
    name: str,
    rows: Sequence[LedgerRow],
    stages: Sequence[str],
    styles: dict[str, tuple[str, str]],
    value_range: tuple[float, float] | None,
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
        series.append(Series(panel_name(panel), *styles[panel], points, joined=True))
    shared = next((s for s in series if s.name == UNPANELLED), None)
    if shared and shared.points and len(series) > 1:
        series += [_bridge(shared, other) for other in series if other is not shared and other.points]
    reference = rows[0].reference
    return Plot(
        id=id,
        title=say.sentence_case(name),
        subtitle=f"reference: {reference}" if reference else "",
        label=f"Gap in {say.words(rows[0].metric)} by {name} at each stage, with intervals and a line at 0 for parity; "
        "the same numbers are in the table that follows.",
        kind="stages",
        series=tuple(series),
        value_title=say.words(rows[0].metric),
        ticks=tuple((float(position), say.stage_tick(name)) for position, name in enumerate(stages)),
        parity=0.0,
        value_range=value_range,
    )


def _offset(panels: Sequence[str], panel: str) -> float:
    named = [name for name in panels if name]
    return round((named.index(panel) - (len(named) - 1) / 2) * DODGE, 4)


def _point_name(row: LedgerRow) -> str:
    return (
        f"{say.sentence_case(say.stage(row.stage))}, {panel_name(row.panel)}"
        if row.panel
        else (say.sentence_case(say.stage(row.stage)))
    )


def _bridge(shared: Series, other: Series) -> Series:
    """A line from the last point before the panels part to the panel's first point; it carries no mark of its own."""
    before = [point for point in shared.points if point.at < other.points[0].at]
    ends = [Point(point.at, point.value) for point in (*before[-1:], other.points[0])]
    return Series("", other.colour, other.symbol, tuple(ends) if before else (), joined=True, marked=False)


def ledger_table(rows: Sequence[LedgerRow]) -> Table:
    """All ledger rows: the gap at each stage, with the round where the pipeline ran in rounds."""
    cells, rounds = [], in_rounds(rows)
    for row in in_order(rows):
        places = _places([other for other in rows if (other.attribute, other.metric) == (row.attribute, row.metric)])
        known = num.finite(row.estimate)
        cells.append(
            (
                Cell(say.words(row.attribute)),
                *([round_cell(row)] if rounds else []),
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
    head = ("Attribute", *(["Round"] if rounds else []), "Stage", "Panel", "Metric", "Reference")
    columns = (*head, "Gap", "Interval", "p", "n", "Clusters")
    return Table(
        "ledger-table",
        "The gap at each stage",
        tuple(Column(label, label in {"Round", "Gap", "Interval", "p", "n", "Clusters"}) for label in columns),
        tuple(cells),
    )


def in_rounds(rows: Sequence[LedgerRow]) -> bool:
    """Whether the pipeline ran in rounds, so that they are worth a column."""
    return any(row.round for row in rows)


def round_cell(row: LedgerRow) -> Cell:
    """The round of a row; a dash for what came before the first."""
    return Cell(num.count(row.round) if row.round else "–")


def changes_table(rows: Sequence[LedgerRow]) -> Table | None:
    """How the absolute gap changed from one stage to another; negative means that the gap got smaller."""
    changed = [row for row in in_order(rows) if row.change_from]
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


def ledger_answer(rows: Sequence[LedgerRow]) -> tuple[str, ...]:
    """For each attribute: the first stage whose interval excludes 0, and where the absolute gap is widest."""
    stages = say.stage_order(row.stage for row in rows)
    sentences = []
    for (attribute, metric), members in _facets(rows).items():
        name = say.sentence_case(_facet_name(attribute, metric, rows))
        measured = sorted((r for r in members if num.finite(r.estimate)), key=lambda r: stages.index(r.stage))
        if not measured:
            sentences.append(f"{name}: not measured at any stage.")
            continue
        first = next((row for row in measured if row.ci_low > 0 or row.ci_high < 0), None)
        peak = max(measured, key=lambda row: abs(row.estimate))
        places = _places(members)
        begins = f"first differs from 0 at {_where(first)}" if first else "at no stage does the interval exclude 0"
        sentences.append(
            f"{name}: {begins}; widest at {_where(peak)}, {num.shown(peak.estimate, places)} "
            f"{num.interval(peak.ci_low, peak.ci_high, places)}."
        )
    return tuple(sentences)


def _where(row: LedgerRow) -> str:
    return say.stage(row.stage) + (f" with the {panel_name(row.panel)}" if row.panel else "")
