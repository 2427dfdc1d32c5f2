"""The bias ledger: the gap at each stage, what changed between stages, and which group moved."""

from __future__ import annotations

from collections.abc import Callable, Sequence

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
    legend = tuple(Key(_panel_name(panel), *styles[panel]) for panel in panels) if panels != [""] else ()
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
        series.append(Series(_panel_name(panel), *styles[panel], points, joined=True))
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
    facets: dict[tuple[str, str, str], list[LedgerRow]] = {}
    for row in with_groups:
        facets.setdefault((row.attribute, row.metric, row.panel), []).append(row)
    named = {(attribute, metric) for attribute, metric, panel in facets if panel}
    plots: list[Plot] = []
    ends = [end for row in with_groups for group in row.groups for end in (group.ci_low, group.mean, group.ci_high)]
    one_metric = len({row.metric for row in with_groups}) == 1
    for attribute, metric, panel in sorted(facets, key=_facet_order(with_groups)):
        members = facets[attribute, metric, panel]
        if not panel and (attribute, metric) in named:
            continue
        shared = facets.get((attribute, metric, ""), []) if panel else []
        plots.append(
            _means_plot(
                f"moved-plot-{len(plots) + 1}",
                [*shared, *members],
                stages,
                panel,
                num.padded(ends) if one_metric else None,
            )
        )
    note = "Each line is the mean of one group. A gap can close because one group gained or because another lost."
    return Chart("moved", "Group means at each stage", note, tuple(plots), (), moved_table(with_groups))


def _facet_order(rows: Sequence[LedgerRow]) -> Callable[[tuple[str, str, str]], tuple[int, str, int]]:
    """Attributes as first met, and within each its panels side by side."""
    attributes = list(dict.fromkeys(row.attribute for row in rows))
    panels = list(dict.fromkeys(row.panel for row in rows))
    return lambda facet: (attributes.index(facet[0]), facet[1], panels.index(facet[2]))


def _means_plot(
    id: str,
    rows: Sequence[LedgerRow],
    stages: Sequence[str],
    panel: str,
    value_range: tuple[float, float] | None,
) -> Plot:
    places = _group_places(rows)
    present = list(dict.fromkeys(group.group for row in rows for group in row.groups))
    styles = {name: mark(position) for position, name in enumerate(present)}
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
        value_range=value_range,
        legend=tuple(Key(name, *styles[name]) for name in present),
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
    return say.stage(row.stage) + (f" with the {_panel_name(row.panel)}" if row.panel else "")


def moved_answer(rows: Sequence[LedgerRow]) -> tuple[str, ...]:
    """For each attribute and panel: which group's mean moved most on the way to the last stage, and the reference's."""
    stages = say.stage_order(row.stage for row in rows)
    sentences = []
    for row in _sorted(rows):
        siblings = [r for r in rows if (r.attribute, r.metric) == (row.attribute, row.metric) and r.groups]
        own = sorted((r for r in siblings if r.panel == row.panel), key=lambda r: stages.index(r.stage))
        if not own or row is not own[-1] or (not row.panel and any(r.panel for r in siblings)):
            continue
        at = stages.index(row.stage)
        earlier = [r for r in siblings if r.panel in {row.panel, ""} and stages.index(r.stage) < at]
        earlier = [r for r in earlier if r.stage == row.change_from] or earlier
        if not earlier:
            continue
        before = max(earlier, key=lambda r: (stages.index(r.stage), r.panel == row.panel))
        means = {group.group: group.mean for group in before.groups if num.finite(group.mean)}
        moves = {g.group: g.mean - means[g.group] for g in row.groups if g.group in means and num.finite(g.mean)}
        if moves:
            sentences.append(_move_sentence(row, before, moves, _group_places(siblings)))
    return tuple(sentences)


def _move_sentence(row: LedgerRow, before: LedgerRow, moves: dict[str, float], places: int) -> str:
    most = max(moves, key=lambda name: abs(moves[name]))
    panel = f", {_panel_name(row.panel)}" if row.panel else ""
    rest = ""
    if row.reference in moves and most != row.reference:
        rest = f", the reference “{row.reference}” by {num.shown(moves[row.reference], places, sign=True)}"
    name = say.sentence_case(say.words(row.attribute))
    way = f"from {say.stage(before.stage)} to {say.stage(row.stage)}"
    return f"{name}{panel}: {way} “{most}” moved most, by {num.shown(moves[most], places, sign=True)}{rest}."
