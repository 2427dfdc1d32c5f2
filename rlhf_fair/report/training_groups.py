"""The course of a training group by group: the score that is penalised with its band, rewards, refusals and lengths."""

from __future__ import annotations

from collections.abc import Sequence

from rlhf_fair.records import TrainingRun
from rlhf_fair.report import numbers as num
from rlhf_fair.report import wording as say
from rlhf_fair.report.display import Cell, Chart, Column, Key, Plot, Point, Series, Table
from rlhf_fair.report.palette import mark
from rlhf_fair.report.training_steps import share_range, thinned

MEASURES = {
    "mean": "score of training",
    "reward": "reward",
    "refused": "refusals",
    "length": "length, tokens",
}
"""Start of a curve's entry about one group -> what it is."""
BAND = 1.96
"""Standard errors on each side of a running mean; they come with the score of training alone."""
MOST_GROUPS = 8
Row = dict[str, float]


def group_charts(runs: Sequence[TrainingRun]) -> tuple[Chart, ...]:
    """One chart for each run that knew groups: a plot for each measure, one line for each group."""
    charts = [_chart(number, run) for number, run in enumerate(runs, start=1)]
    return tuple(chart for chart in charts if chart)


def _chart(number: int, run: TrainingRun) -> Chart | None:
    rows = thinned([dict(row) for row in run.curve])
    groups = _groups(rows)
    shown = [measure for measure in MEASURES if any(num.finite(r.get(f"{measure}:{g}")) for r in rows for g in groups)]
    if not groups or not shown:
        return None
    drawn = groups[:MOST_GROUPS]
    styles = {group: mark(position) for position, group in enumerate(drawn)}
    places = {
        measure: num.decimals(
            [], [row[key] for row in rows for g in groups if num.finite(row.get(key := f"{measure}:{g}"))]
        )
        for measure in shown
    }
    name = f"curves-groups-{number}"
    note = (
        "One line for each group, running means during training; the band is 1.96 standard errors on each side. They "
        "are of training prompts: what counts is measured on held-out ones."
    )
    if len(groups) > len(drawn):
        note += f" The first {len(drawn)} of {len(groups)} groups are drawn; all are in the table."
    plots = tuple(_plot(name, measure, rows, styles, places[measure]) for measure in shown)
    legend = tuple(Key(group, *styles[group]) for group in drawn)
    title = f"The course of training by group: {say.words(run.name)}"
    return Chart(name, title, note, plots, legend, _table(name, title, rows, groups, shown, places))


def _groups(rows: Sequence[Row]) -> list[str]:
    """Groups by the size of their last known share, the largest first; then by name."""
    shares: dict[str, float] = {}
    for row in rows:
        for key, value in row.items():
            what, colon, group = key.partition(":")
            if colon and what == "mean":
                shares.setdefault(group, 0.0)
            if colon and what == "share" and num.finite(value):
                shares[group] = value
    return sorted(shares, key=lambda group: (-shares[group], group))


def _plot(name: str, measure: str, rows: Sequence[Row], styles: dict[str, tuple[str, str]], places: int) -> Plot:
    series = []
    for group, style in styles.items():
        points = tuple(_point(row, measure, group, places) for row in rows if num.finite(row.get(f"{measure}:{group}")))
        if points:
            series.append(Series(group, *style, points, joined=True, banded=measure == "mean"))
    what = MEASURES[measure]
    return Plot(
        id=f"{name}-{measure}",
        title=say.sentence_case(what),
        label=f"{say.sentence_case(what)} by training step, one line for each group; the same numbers are in the table "
        "that follows.",
        kind="steps",
        series=tuple(series),
        value_title="",
        value_range=share_range(point.value for one in series for point in one.points)
        if measure == "refused"
        else None,
        at_title="step",
    )


def _point(row: Row, measure: str, group: str, places: int) -> Point:
    value, error = row[f"{measure}:{group}"], row.get(f"se:{group}") if measure == "mean" else None
    hover = f"{group}, step {num.significant(row['step'])}: {num.shown(value, places)}"
    if not num.finite(error) or error is None:
        return Point(row["step"], num.rounded(value, places), hover=hover)
    low, high = (num.rounded(value + side * BAND * error, places) for side in (-1, 1))
    return Point(row["step"], num.rounded(value, places), low, high, f"{hover} {num.interval(low, high, places)}")


def _table(
    name: str, caption: str, rows: Sequence[Row], groups: Sequence[str], shown: Sequence[str], places: dict[str, int]
) -> Table:
    def cell(row: Row, measure: str, group: str) -> Cell:
        value, error = row.get(f"{measure}:{group}"), row.get(f"se:{group}") if measure == "mean" else None
        if value is None or not num.finite(value):
            return Cell("–")
        band = f" ± {num.shown(BAND * error, places[measure])}" if error is not None and num.finite(error) else ""
        return Cell(num.shown(value, places[measure]) + band)

    body = tuple(
        (
            Cell(num.significant(row["step"], 6)),
            Cell(group),
            Cell(num.share(row.get(f"share:{group}", float("nan")))),
            *(cell(row, measure, group) for measure in shown),
        )
        for row in rows
        for group in groups
    )
    heads = (Column("Step", True), Column("Group"), Column("Share", True))
    columns = (*heads, *(Column(say.sentence_case(MEASURES[measure]), True) for measure in shown))
    return Table(f"{name}-table", caption, columns, body, paged=True)
