"""Each number in A and in B, and beside it the change B less A, one row per number and the worst on top."""

from __future__ import annotations

from collections.abc import Sequence

from rlhf_fair.changes import Change
from rlhf_fair.report import numbers as num
from rlhf_fair.report import wording as say
from rlhf_fair.report.diff_table import changes_table
from rlhf_fair.report.diff_wording import STATUS_MARKS, STATUS_WORDS, Family, family, subject
from rlhf_fair.report.display import Chart, Key, Plot, Point, Series
from rlhf_fair.report.points import interval_point

MOST_ROWS = 20
MOST_CHARTS = 6
LABEL_LENGTH = 28
APART = 0.17
"""How far A's mark stands above its row's middle, and B's below."""
SIDES = (("A", "var(--muted)", "square-open", -APART), ("B", "var(--blue)", "circle", APART))


def charts(order: Sequence[Change], places: dict[Family, int], *, prefix: str) -> tuple[Chart, ...]:
    """One chart for each family of changes, in the order given; their ids begin with ``prefix``."""
    families: dict[Family, list[Change]] = {}
    for change in order:
        if num.finite(change.change):
            families.setdefault(family(change), []).append(change)
    found = [_chart(f"{prefix}-{i}", members, places[name]) for i, (name, members) in enumerate(families.items())]
    return tuple(found[:MOST_CHARTS])


def _chart(id: str, members: Sequence[Change], places: int) -> Chart:
    drawn = members[:MOST_ROWS]
    metric = say.sentence_case(say.words(members[0].metric))
    count = f"the {len(drawn)} worst of {len(members)}" if len(members) > len(drawn) else f"all {len(drawn)}"
    kind = "one change" if len(members) == 1 else f"{count} changes"
    ticks = tuple((float(row), _label(change, drawn)) for row, change in enumerate(drawn))
    plots = (_levels(id, metric, drawn, ticks, places), _differences(id, metric, drawn, ticks, places))
    caption = f"The numbers drawn: {metric}"
    table = changes_table(drawn, {family(members[0]): places}, id=f"{id}-table", caption=caption)
    return Chart(id, f"{metric}: {kind}", _note(drawn), plots, (), table, 2)


def _note(drawn: Sequence[Change]) -> str:
    first = drawn[0]
    way = {
        "zero": "Closer to 0 is better",
        "one": "Closer to 1 is better",
        "high": "Higher is better",
        "low": "Lower is better",
    }[first.better]
    note = f"{way}. The worst change stands on top."
    if _tolerances(drawn):
        note += (
            f" Dashed lines: thresholds in the first figure, changes of ±{num.limit(first.tolerance)} in the second."
        )
    return note


def _levels(id: str, metric: str, drawn: Sequence[Change], ticks: tuple[tuple[float, str], ...], places: int) -> Plot:
    series = []
    for name, colour, symbol, shift in SIDES:
        sides = [change.a if name == "A" else change.b for change in drawn]
        points = [
            interval_point(row + shift, s.estimate, s.ci_low, s.ci_high, places, f"{subject(c)}, {name}")
            for row, (c, s) in enumerate(zip(drawn, sides, strict=True))
            if num.finite(s.estimate)
        ]
        series.append(Series(name, colour, symbol, tuple(points)))
    first, limits = drawn[0], _limits(drawn)
    log = first.better == "one" and all(end is None or end > 0 for s in series for p in s.points for end in _ends(p))
    across = [*(end for s in series for p in s.points for end in _ends(p)), *limits]
    parity = {"zero": 0.0, "one": 1.0}.get(first.better)
    span = num.padded_ratio([*across, parity]) if log else num.padded([*across, parity])
    return Plot(
        id=f"{id}-levels",
        title="A and B",
        label=f"{metric} in A and in B with intervals; the same numbers are in the table that follows.",
        kind="forest",
        series=tuple(series),
        value_title=f"{say.words(first.metric)} {f'({first.unit})' if first.unit else ''}".strip(),
        ticks=ticks,
        value_ticks=num.ratio_ticks(span) if log and span else (),
        log=log,
        parity=parity,
        thresholds=limits,
        value_range=span,
        legend=tuple(Key(s.name, s.colour, s.symbol) for s in series),
    )


def _differences(
    id: str, metric: str, drawn: Sequence[Change], ticks: tuple[tuple[float, str], ...], places: int
) -> Plot:
    series = []
    for status in dict.fromkeys(change.status for change in drawn):
        points = [
            interval_point(float(row), c.change, c.ci_low, c.ci_high, places, f"{subject(c)}, B less A")
            for row, c in enumerate(drawn)
            if c.status == status
        ]
        series.append(Series(STATUS_WORDS[status], *STATUS_MARKS[status], tuple(points)))
    lines = _tolerances(drawn)
    across = [*(end for s in series for p in s.points for end in _ends(p)), *lines, 0.0]
    unit = f" ({drawn[0].unit})" if drawn[0].unit else ""
    return Plot(
        id=f"{id}-changes",
        title="B less A",
        label=f"{metric}: the change B less A with paired intervals; the same numbers are in the table that follows.",
        kind="forest",
        series=tuple(series),
        value_title=f"B less A{unit}",
        ticks=ticks,
        parity=0.0,
        thresholds=lines,
        value_range=num.padded(across),
        legend=tuple(Key(s.name, s.colour, s.symbol) for s in series),
    )


def _ends(point: Point) -> tuple[float | None, float, float | None]:
    return point.low, point.value, point.high


def _limits(drawn: Sequence[Change]) -> tuple[float, ...]:
    """The threshold's lines, where all changes share them."""
    found = {change.threshold for change in drawn}
    value = found.pop()
    if found or not num.finite(value):
        return ()
    return {"zero": (-value, value), "one": (value, 1 / value)}.get(drawn[0].better, (value,))


def _tolerances(drawn: Sequence[Change]) -> tuple[float, ...]:
    """The lines of an unimportant change, where all share them and they are in the unit of the change."""
    found = {change.tolerance for change in drawn}
    value = found.pop()
    return (-value, value) if not found and num.finite(value) and value > 0 and drawn[0].better != "one" else ()


def _label(change: Change, drawn: Sequence[Change]) -> str:
    """The row's name: the group, and on a second line whatever else tells it from other rows."""
    main = change.group or say.words(change.attribute)
    if len({c.reference for c in drawn}) > 1 and change.reference:
        main = f"{main} vs {change.reference}"
    told = {
        say.words(change.attribute): len({c.attribute for c in drawn}) > 1,
        say.words(change.variant): len({c.variant for c in drawn}) > 1,
    }
    second = ", ".join(text for text, tells in told.items() if tells and text and text != main)
    return "\n".join(say.shortened(line, LABEL_LENGTH) for line in (main, second) if line)
