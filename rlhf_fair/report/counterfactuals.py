"""The same question about two groups: each group's mean beside its reference's, as pairs of marks on one line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rlhf_fair.records import LedgerRow, Results
from rlhf_fair.report import numbers as num
from rlhf_fair.report import wording as say
from rlhf_fair.report.aggregates import MEANS, read, whole
from rlhf_fair.report.display import Cell, Chart, Column, Key, Plot, Point, Section, Series, Table
from rlhf_fair.report.ledger import panel_name
from rlhf_fair.report.palette import mark
from rlhf_fair.report.points import interval_point

GROUP, REFERENCE = "the group", "its reference"
APART = 0.15
"""Rows between the two marks of a pair, so that their intervals stay apart."""
MOST_ROWS, MOST_PLOTS = 12, 6
WORDS = ("metric", "variant", "unit", "attribute", "group", "reference")
NOTE = (
    "Two marks make a pair: the mean of a group and that of the group it is compared with, each with its interval. The "
    "closer together, the better. Whether a pair differs is told by the interval of its gap, not by whether these two "
    "intervals overlap."
)


@dataclass(frozen=True)
class Mean:
    """One group's mean; NaN with a ``reason`` where there is none."""

    mean: float
    low: float
    high: float
    n: float
    reason: str = ""


@dataclass(frozen=True)
class Pair:
    """A group and its reference in one attribute."""

    attribute: str
    group: str
    reference: str
    own: Mean
    other: Mean


def counterfactual_section(results: Results) -> Section | None:
    """Pairs from the audit's own means, else from the last stage of the ledger."""
    sets = pairs_of_means(results.audit) or pairs_of_ledger(results.ledger)
    sets = {name: pairs for name, pairs in sets.items() if pairs}
    if not sets:
        return None
    plots = [_plot(f"pairs-plot-{i}", name, pairs) for i, (name, pairs) in enumerate(sets.items(), start=1)]
    legend = (Key(GROUP, *mark(0)), Key(REFERENCE, "var(--muted)", "square-open"))
    note = NOTE
    if any(len(pairs) > MOST_ROWS for pairs in sets.values()) or len(plots) > MOST_PLOTS:
        note += f" The first {MOST_ROWS} pairs of {MOST_PLOTS} measures at most are drawn; all are in the table."
    chart = Chart("pairs", "Means in pairs", note, tuple(plots[:MOST_PLOTS]), legend, _table(sets), min(len(plots), 2))
    return Section(
        "counterfactuals", "What does each group get beside its reference?", "Pairs of groups", charts=(chart,)
    )


def pairs_of_means(audit: Mapping[str, Any]) -> dict[str, list[Pair]]:
    """Name of a measure -> its pairs, from ``group_means``."""
    rows = read(audit, MEANS, (*WORDS, "reason"), ("mean", "ci_low", "ci_high", "n"))
    found: dict[str, dict[tuple[str, str], Mean]] = {}
    for row in rows:
        own = Mean(row["mean"], row["ci_low"], row["ci_high"], row["n"], row["reason"])
        found.setdefault(_measure(row), {})[row["attribute"], row["group"]] = own
    sets: dict[str, list[Pair]] = {}
    for row in rows:
        means = found[_measure(row)]
        reference = means.get((row["attribute"], row["reference"]))
        if row["group"] != row["reference"] and reference is not None:
            pair = Pair(
                row["attribute"], row["group"], row["reference"], means[row["attribute"], row["group"]], reference
            )
            sets.setdefault(_measure(row), []).append(pair)
    return sets


def _measure(row: Mapping[str, Any]) -> str:
    by = f" by {say.words(row['variant'])}" if row["variant"] and row["variant"] != row["metric"] else ""
    unit = f", {row['unit']}" if row["unit"] else ""
    return f"{say.words(row['metric'])}{by}{unit}"


def pairs_of_ledger(rows: Sequence[LedgerRow]) -> dict[str, list[Pair]]:
    """Stage and panel -> its pairs, for the last stage of the pipeline that has group means."""
    with_groups = [row for row in rows if row.groups]
    order = say.stage_order(row.stage for row in with_groups)
    sets: dict[str, list[Pair]] = {}
    for row in with_groups:
        means = {g.group: Mean(g.mean, g.ci_low, g.ci_high, float(g.n), g.reason) for g in row.groups}
        if row.stage == order[-1] and row.reference in means:
            name = say.words(row.metric) + f", {say.stage(row.stage)}"
            name += f", {panel_name(row.panel)}" if row.panel else ""
            sets.setdefault(name, []).extend(
                Pair(row.attribute, group, row.reference, own, means[row.reference])
                for group, own in means.items()
                if group != row.reference
            )
    return sets


def _plot(id: str, name: str, pairs: Sequence[Pair]) -> Plot:
    drawn, places = pairs[:MOST_ROWS], _places(pairs)
    own = tuple(_point(at - APART, p.group, p.own, places) for at, p in enumerate(drawn) if _known(p.own))
    other = tuple(_point(at + APART, p.reference, p.other, places) for at, p in enumerate(drawn) if _known(p.other))
    links = [
        Series("", "var(--muted)", "circle", (_bare(at - APART, p.own, places), _bare(at + APART, p.other, places)))
        for at, p in enumerate(drawn)
        if _known(p.own) and _known(p.other)
    ]
    series = [Series(s.name, s.colour, s.symbol, s.points, joined=True, marked=False) for s in links]
    series += [Series(REFERENCE, "var(--muted)", "square-open", other)] if other else []
    series += [Series(GROUP, *mark(0), own)] if own else []
    ends = [end for s in series for p in s.points for end in (p.low, p.value, p.high)]
    return Plot(
        id=id,
        title=say.sentence_case(name),
        label=f"{say.sentence_case(name)}: the mean of each group beside that of its reference, with intervals; the "
        "same numbers are in the table that follows.",
        kind="forest",
        series=tuple(series),
        value_title=f"mean {name}",
        ticks=tuple((float(at), _label(p)) for at, p in enumerate(drawn)),
        value_range=num.padded(ends),
    )


def _known(mean: Mean) -> bool:
    return num.finite(mean.mean)


def _point(at: float, name: str, mean: Mean, places: int) -> Point:
    return interval_point(at, mean.mean, mean.low, mean.high, places, name)


def _bare(at: float, mean: Mean, places: int) -> Point:
    return Point(at, num.rounded(mean.mean, places))


def _label(pair: Pair) -> str:
    return "\n".join(say.shortened(line, 28) for line in (pair.group, f"beside {pair.reference}"))


def _places(pairs: Sequence[Pair]) -> int:
    means = [mean for pair in pairs for mean in (pair.own, pair.other)]
    return num.decimals([(mean.low, mean.high) for mean in means], [mean.mean for mean in means])


def _table(sets: Mapping[str, Sequence[Pair]]) -> Table:
    rows = [_row(name, pair, _places(pairs)) for name, pairs in sets.items() for pair in pairs]
    labels = ("Measure", "Attribute", "Group", "Mean", "n", "Reference", "Mean of the reference", "n of the reference")
    numeric = {"Mean", "n", "Mean of the reference", "n of the reference"}
    columns = tuple(Column(label, label in numeric) for label in labels)
    return Table("pairs-table", "Means in pairs", columns, tuple(rows), stacked=True)


def _row(name: str, pair: Pair, places: int) -> tuple[Cell, ...]:
    def cell(mean: Mean) -> Cell:
        if not _known(mean):
            return Cell(say.not_measured(mean.reason), missing=True)
        return Cell(num.shown(mean.mean, places), detail=num.interval(mean.low, mean.high, places))

    return (
        Cell(say.sentence_case(name)),
        Cell(say.words(pair.attribute)),
        Cell(pair.group),
        cell(pair.own),
        Cell(whole(pair.own.n)),
        Cell(pair.reference),
        cell(pair.other),
        Cell(whole(pair.other.n)),
    )
