"""Who moved: the mean of every group at each stage, and which of them changed most."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rlhf_fair.records import LedgerRow
from rlhf_fair.report import numbers as num
from rlhf_fair.report import wording as say
from rlhf_fair.report.display import Cell, Chart, Column, Key, Plot, Series, Table
from rlhf_fair.report.ledger import crowded, panel_name
from rlhf_fair.report.ledger_tables import in_order
from rlhf_fair.report.palette import mark
from rlhf_fair.report.points import interval_point


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
    columns = 1 if crowded(stages) else 2
    return Chart("moved", "Group means at each stage", note, tuple(plots), (), moved_table(with_groups), columns)


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
    title = say.sentence_case(say.words(rows[0].attribute)) + (f", {panel_name(panel)}" if panel else "")
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
    for row in in_order(rows):
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


def moved_answer(rows: Sequence[LedgerRow]) -> tuple[str, ...]:
    """For each attribute and panel: which group's mean moved most on the way to the last stage, and the reference's."""
    stages = say.stage_order(row.stage for row in rows)
    sentences = []
    for row in in_order(rows):
        siblings = [r for r in rows if (r.attribute, r.metric) == (row.attribute, row.metric) and r.groups]
        own = sorted((r for r in siblings if r.panel == row.panel), key=lambda r: stages.index(r.stage))
        if not own or row is not own[-1] or (not row.panel and any(r.panel for r in siblings)):
            continue
        at = stages.index(row.stage)
        earlier = [r for r in siblings if r.panel in {row.panel, ""} and stages.index(r.stage) < at]
        earlier = [r for r in earlier if row.change_from in {r.stage, f"{r.stage} ({r.panel})"}] or earlier
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
    panel = f", {panel_name(row.panel)}" if row.panel else ""
    rest = ""
    if row.reference in moves and most != row.reference:
        rest = f", the reference “{row.reference}” by {num.shown(moves[row.reference], places, sign=True)}"
    name = say.sentence_case(say.words(row.attribute))
    way = f"from {say.stage(before.stage)} to {say.stage(row.stage)}"
    return f"{name}{panel}: {way} “{most}” moved most, by {num.shown(moves[most], places, sign=True)}{rest}."
