"""The bias ledger: the gap at each stage, drawn and in sentences."""

from __future__ import annotations

from collections.abc import Sequence

from rlhf_fair.records import LedgerRow
from rlhf_fair.report import numbers as num
from rlhf_fair.report import wording as say
from rlhf_fair.report.display import Chart, Key, Plot, Point, Series
from rlhf_fair.report.ledger_tables import in_rounds, ledger_table, places_of
from rlhf_fair.report.palette import mark
from rlhf_fair.report.points import interval_point

DODGE = 0.16
UNPANELLED = "no panel (before feedback)"
MOST_STAGES = 7
"""So many names fit side by side below a plot of half the page's width."""


def _facets(rows: Sequence[LedgerRow]) -> dict[tuple[str, str], list[LedgerRow]]:
    facets: dict[tuple[str, str], list[LedgerRow]] = {}
    for row in rows:
        facets.setdefault((row.attribute, row.metric), []).append(row)
    return facets


def _facet_name(attribute: str, metric: str, rows: Sequence[LedgerRow]) -> str:
    several = len({row.metric for row in rows if row.attribute == attribute}) > 1
    return say.words(attribute) + (f", {say.words(metric)}" if several else "")


def panel_name(panel: str) -> str:
    """A panel in words."""
    return f"{say.words(panel)} panel" if panel else UNPANELLED


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
    if in_rounds(rows):
        note += " A reward model's point is the gap among the answers it picks, whichever round it is of."
    columns = 1 if crowded(stages) else 3 if len(plots) == 3 else 2
    return Chart("ledger", "The gap at each stage", note, plots, legend, ledger_table(rows), columns)


def crowded(stages: Sequence[str]) -> bool:
    """Whether a plot over the stages needs the page's whole width, as it does where they repeat in rounds."""
    return len(stages) > MOST_STAGES


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
    places = places_of(rows)
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
        places = places_of(members)
        begins = f"first differs from 0 at {_where(first)}" if first else _never(measured)
        sentences.append(
            f"{name}: {begins}; widest at {_where(peak)}, {num.shown(peak.estimate, places)} "
            f"{num.interval(peak.ci_low, peak.ci_high, places) if _has_interval(peak) else '(no interval)'}."
        )
    return tuple(sentences)


def _has_interval(row: LedgerRow) -> bool:
    return num.finite(row.ci_low) and num.finite(row.ci_high)


def _never(rows: Sequence[LedgerRow]) -> str:
    """Why no stage is the first that differs from 0; a reason only where no stage has an interval."""
    if any(map(_has_interval, rows)):
        return "at no stage does the interval exclude 0"
    reasons = list(dict.fromkeys(row.reason for row in rows if row.reason))
    return "no stage has an interval" + (f" ({'; '.join(reasons)})" if reasons else "")


def _where(row: LedgerRow) -> str:
    return say.stage(row.stage) + (f" with the {panel_name(row.panel)}" if row.panel else "")
