"""Scatter plots of a cost against a quality, with intervals both ways, and the front that no method beats."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rlhf_fair.report import numbers as num
from rlhf_fair.report import wording as say
from rlhf_fair.report.display import Cell, Chart, Column, Key, Plot, Point, Series, Table
from rlhf_fair.report.palette import mark

FRONT_NOTE = (
    "Left is a smaller gap, up is a higher quality. The dotted line joins the methods on the Pareto front: no other "
    "has both at most their gap and at least their quality. The front is drawn through estimates; where intervals "
    "overlap, which methods lie on it is not settled."
)


def pareto_chart(
    id: str, title: str, rows: Sequence[Mapping[str, Any]], labels: Mapping[str, str], axes: tuple[str, str]
) -> Chart:
    """One plot per attribute. ``rows``: attribute, method, estimate, ci_low and ci_high of ``_gap`` and ``_quality``,
    on_front. ``labels``: method -> name shown. ``axes``: titles of the gap's and the quality's axis.
    """
    styles = {method: mark(position) for position, method in enumerate(labels)}
    attributes = list(dict.fromkeys(str(row["attribute"]) for row in rows))
    places = {side: _places(rows, side) for side in ("gap", "quality")}
    qualities = num.padded(end for row in rows for end in _ends(row, "quality"))
    plots = tuple(
        _plot(
            f"{id}-plot-{number}",
            [row for row in rows if row["attribute"] == attribute],
            attribute,
            _Style(labels, styles, places, axes, qualities),
        )
        for number, attribute in enumerate(attributes, start=1)
    )
    legend = tuple(Key(labels[method], *styles[method]) for method in labels)
    return Chart(id, title, FRONT_NOTE, plots, legend, _table(id, title, rows, labels, places), min(len(plots), 3))


@dataclass(frozen=True)
class _Style:
    """What all plots of a chart share: names, marks, decimals by side, axis titles, and the range of qualities."""

    labels: Mapping[str, str]
    styles: Mapping[str, tuple[str, str]]
    places: Mapping[str, int]
    axes: tuple[str, str]
    qualities: tuple[float, float] | None


def _plot(id: str, rows: Sequence[Mapping[str, Any]], attribute: str, style: _Style) -> Plot:
    drawn = [row for row in rows if num.finite(row["estimate_gap"]) and num.finite(row["estimate_quality"])]
    front = sorted((row for row in drawn if row["on_front"]), key=lambda row: float(row["estimate_gap"]))
    line = tuple(Point(_at(row, style), _value(row, style)) for row in front)
    series = [Series("", "var(--muted)", "circle", line, joined=True, marked=False)] if len(line) > 1 else []
    series += [
        Series(style.labels[row["method"]], *style.styles[row["method"]], (_point(row, style),)) for row in drawn
    ]
    names = say.sentence_case(say.words(attribute))
    return Plot(
        id=id,
        title=names,
        label=f"{names}: {style.axes[1]} against {style.axes[0]}, one mark with two intervals for each method; the "
        "same numbers are in the table that follows.",
        kind="scatter",
        series=tuple(series),
        value_title=style.axes[1],
        at_title=style.axes[0],
        value_range=style.qualities,
        at_range=num.padded([0.0, *(end for row in drawn for end in _ends(row, "gap"))]),
    )


def _point(row: Mapping[str, Any], style: _Style) -> Point:
    gap, quality = (_shown(row, side, style.places[side]) for side in ("gap", "quality"))
    across, up = (_limits(row, side, style.places[side]) for side in ("gap", "quality"))
    front = "; on the front" if row["on_front"] else ""
    hover = f"{style.labels[row['method']]}\n{style.axes[0]}: {gap}\n{style.axes[1]}: {quality}{front}"
    return Point(_at(row, style), _value(row, style), *up, hover, *across)


def _at(row: Mapping[str, Any], style: _Style) -> float:
    return num.rounded(float(row["estimate_gap"]), style.places["gap"])


def _value(row: Mapping[str, Any], style: _Style) -> float:
    return num.rounded(float(row["estimate_quality"]), style.places["quality"])


def _ends(row: Mapping[str, Any], side: str) -> list[float | None]:
    return [row[f"{name}_{side}"] for name in ("ci_low", "estimate", "ci_high")]


def _limits(row: Mapping[str, Any], side: str, places: int) -> tuple[float | None, float | None]:
    low, high = row[f"ci_low_{side}"], row[f"ci_high_{side}"]
    known = num.finite(low) and num.finite(high)
    return (num.rounded(low, places), num.rounded(high, places)) if known else (None, None)


def _shown(row: Mapping[str, Any], side: str, places: int) -> str:
    low, value, high = (float("nan") if end is None else end for end in _ends(row, side))
    return f"{num.shown(value, places)} {num.interval(low, high, places)}"


def _places(rows: Sequence[Mapping[str, Any]], side: str) -> int:
    known = [row for row in rows if num.finite(row[f"ci_low_{side}"]) and num.finite(row[f"ci_high_{side}"])]
    intervals = [(row[f"ci_low_{side}"], row[f"ci_high_{side}"]) for row in known]
    return num.decimals(intervals, [row[f"estimate_{side}"] for row in rows if num.finite(row[f"estimate_{side}"])])


def _table(
    id: str,
    title: str,
    rows: Sequence[Mapping[str, Any]],
    labels: Mapping[str, str],
    places: Mapping[str, int],
) -> Table:
    cells = tuple(
        (
            Cell(say.words(str(row["attribute"]))),
            Cell(labels[row["method"]]),
            *(_cell(row, side, places[side]) for side in ("gap", "quality")),
            Cell("yes" if row["on_front"] else "no"),
        )
        for row in rows
    )
    columns = (
        Column("Attribute"),
        Column("Method"),
        Column("Absolute gap", True),
        Column("Quality", True),
        Column("On the front"),
    )
    return Table(f"{id}-table", f"The numbers drawn: {title}", columns, cells)


def _cell(row: Mapping[str, Any], side: str, places: int) -> Cell:
    known = num.finite(row[f"estimate_{side}"])
    return Cell(_shown(row, side, places) if known else num.MISSING, missing=not known)
