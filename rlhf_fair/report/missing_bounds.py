"""What the gaps could be, had nothing been missing: the estimate inside its best and worst case.

Three sources: bounds that the audit made of its records (``missing_bounds``); a table of
impact ratios over all ways in which people of unknown category could belong; and for other gaps in shares, whose range
is known, what follows from the share of rows that was measured. With a share q measured of the group that has less, an
estimate d and outcomes between 0 and 1, the gap of all rows lies in q·d ± (1 - q) (Manski 1990, with one q for both
groups, which only widens it).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rlhf_fair.records import Finding, Results
from rlhf_fair.report import numbers as num
from rlhf_fair.report import wording as say
from rlhf_fair.report.aggregates import BOUNDS, read, read_table, whole
from rlhf_fair.report.display import Cell, Chart, Column, Key, Plot, Point, Section, Series, Table
from rlhf_fair.report.reading import is_measured, limits_of

SHARE = "share of "
"""Start of the units whose outcomes lie between 0 and 1."""
UNKNOWN_CATEGORIES = "What if the people of unknown category were known?"
"""The table of an audit of selection rates; columns: table, category, impact ratio, lowest and highest possible."""
ESTIMATE, ALLOWED = "as measured", "all that the missing allow"
_ESTIMATE_MARK, _ALLOWED_MARK = ("var(--blue)", "circle"), ("var(--muted)", "square")
MOST_ROWS = 12
NOTE = (
    "The mark is the estimate from what was measured, which takes the missing to be like the rest. The pale bar holds "
    "every value that the missing allow, from one extreme to the other: no chance is in it, so it is not an interval. "
    "A narrow bar means that the missing cannot matter much."
)


@dataclass(frozen=True)
class Allowed:
    """One estimate, and the smallest and largest value that what is missing allows.

    ``missing``: in words. ``limits``: where the threshold stands.
    """

    metric: str
    name: str
    estimate: float
    low: float
    high: float
    missing: str
    limits: tuple[float, ...] = ()


def bounds_section(results: Results) -> Section | None:
    """One plot for each metric; None where nothing is missing, or nothing is known of what it could be."""
    found = [*_of_audit(results), *_of_ratios(results)]
    known = {one.metric for one in found}
    found += [one for one in _of_shares(results.findings) if one.metric not in known]
    metrics: dict[str, list[Allowed]] = {}
    for one in found:
        metrics.setdefault(one.metric, []).append(one)
    if not metrics:
        return None
    ordered = {metric: sorted(own, key=lambda one: one.low - one.high) for metric, own in metrics.items()}
    null = {metric: 1.0 if "ratio" in metric else 0.0 for metric in ordered}
    plots = tuple(
        _plot(f"bounds-plot-{i}", metric, own[:MOST_ROWS], null[metric])
        for i, (metric, own) in enumerate(ordered.items(), start=1)
    )
    note = NOTE
    if any(plot.thresholds for plot in plots):
        note += " Dashed: the threshold."
    if any(len(own) > MOST_ROWS for own in ordered.values()):
        note += f" The {MOST_ROWS} widest of each metric are drawn; all are in the table."
    legend = (Key(ESTIMATE, *_ESTIMATE_MARK), Key(ALLOWED, *_ALLOWED_MARK))
    chart = Chart("bounds", "Best and worst case", note, plots, legend, _table(ordered), min(len(plots), 2))
    return Section(
        "bounds", "What could the missing change?", "What is missing", answer=(_answer(ordered, null),), charts=(chart,)
    )


def share_bounds(estimate: float, measured: float) -> tuple[float, float]:
    """Ends of the gap of all rows, where a share ``measured`` of each group's outcomes, in [0, 1], gave ``estimate``.

    >>> [round(end, 3) for end in share_bounds(0.5, 0.8)]
    [0.2, 0.6]
    """
    middle, half = measured * estimate, 1.0 - measured
    return max(-1.0, middle - half), min(1.0, middle + half)


def _answer(ordered: Mapping[str, Sequence[Allowed]], null: Mapping[str, float]) -> str:
    every = [(metric, one) for metric, own in ordered.items() for one in own]
    settled = sum(not one.low <= null[metric] <= one.high for metric, one in every)
    said = f"{num.plural(len(every), 'estimate')} had something missing."
    if settled == len(every):
        return f"{said} Whatever the missing are, every one keeps its direction."
    return (
        f"{said} Whatever the missing are, {num.count(settled)} would keep the direction; the other "
        f"{num.count(len(every) - settled)} could turn."
    )


def _of_audit(results: Results) -> list[Allowed]:
    words = ("metric", "variant", "unit", "attribute", "group", "reference")
    rows = read(results.audit, BOUNDS, words, ("low", "high", "n", "n_missing", "n_unknown"))
    estimates = {(f.metric, f.variant, f.attribute, f.group, f.reference): f for f in results.findings}
    found = []
    for row in rows:
        finding = estimates.get((row["metric"], row["variant"], row["attribute"], row["group"], row["reference"]))
        if finding is None or not is_measured(finding) or not num.finite(row["low"]) or not num.finite(row["high"]):
            continue
        lost = f"{whole(row['n_missing'])} of {whole(row['n'])} scores"
        lost += f", {whole(row['n_unknown'])} groups" if row["n_unknown"] > 0 else ""
        by = f" by {say.words(row['variant'])}" if row["variant"] and row["variant"] != row["metric"] else ""
        metric = say.words(row["metric"]) + by
        ends = row["low"], row["high"]
        found.append(Allowed(metric, say.subject(finding), finding.estimate, *ends, lost, _limits(finding)))
    return found


def _limits(finding: Finding) -> tuple[float, ...]:
    return tuple(num.rounded(line, 6) for line in limits_of(finding, finding.threshold))


def _of_ratios(results: Results) -> list[Allowed]:
    ratios = [finding for finding in results.findings if finding.metric == "impact_ratio"]
    limits = {_limits(finding) for finding in ratios}
    numbers = ("impact ratio", "lowest possible", "highest possible", "people of unknown category")
    rows = read_table(results.audit, UNKNOWN_CATEGORIES, ("table", "category"), numbers)
    return [
        Allowed(
            "impact ratio",
            f"{row['table']}: {row['category']}",
            row["impact ratio"],
            row["lowest possible"],
            row["highest possible"],
            f"{whole(row['people of unknown category'])} people",
            next(iter(limits)) if len(limits) == 1 else (),
        )
        for row in rows
        if all(num.finite(row[name]) for name in numbers[:3])
    ]


def _of_shares(findings: Sequence[Finding]) -> list[Allowed]:
    gaps = [f for f in findings if f.better == "zero" and f.reference and f.unit.startswith(SHARE) and is_measured(f)]
    return [
        Allowed(
            say.words(f.metric) + (f", {say.words(f.variant)}" if f.variant else ""),
            say.subject(f),
            f.estimate,
            *share_bounds(f.estimate, f.measured_rate),
            f"{num.share(1 - f.measured_rate)} of the rows",
            _limits(f),
        )
        for f in gaps
        if f.role != "control" and 0 <= f.measured_rate < 1
    ]


def _places(own: Sequence[Allowed]) -> int:
    return max(2, num.decimals([(one.low, one.high) for one in own]))


def _plot(id: str, metric: str, drawn: Sequence[Allowed], null: float) -> Plot:
    places = _places(drawn)

    def point(at: int, one: Allowed, *, bar: bool) -> Point:
        low, value, high = (num.rounded(x, places) for x in (one.low, one.estimate, one.high))
        said = f"{one.name}: {num.shown(value, places)}; from {num.shown(low, places)} to {num.shown(high, places)}"
        return Point(float(at), value, low, high) if bar else Point(float(at), value, hover=said)

    series = (
        Series(ALLOWED, *_ALLOWED_MARK, tuple(point(at, one, bar=True) for at, one in enumerate(drawn)), blocks=True),
        Series(ESTIMATE, *_ESTIMATE_MARK, tuple(point(at, one, bar=False) for at, one in enumerate(drawn))),
    )
    shared = {one.limits for one in drawn}
    lines = shared.pop() if len(shared) == 1 else ()
    better = f"closer to {num.limit(null)} is better"
    return Plot(
        id=id,
        title=say.sentence_case(metric),
        label=f"{say.sentence_case(metric)}: each estimate inside the smallest and largest value that the missing rows "
        "allow; the same numbers are in the table that follows.",
        kind="forest",
        series=series,
        value_title=f"{metric}, {better}",
        ticks=tuple((float(at), _label(one.name)) for at, one in enumerate(drawn)),
        parity=null,
        thresholds=lines,
        value_range=num.padded([null, *lines, *(end for one in drawn for end in (one.low, one.high))]),
    )


def _label(name: str) -> str:
    first, colon, rest = name.partition(": ")
    lines = (rest, first) if colon else (first,)
    return "\n".join(say.shortened(line, 28) for line in lines)


def _table(ordered: Mapping[str, Sequence[Allowed]]) -> Table:
    rows = []
    for metric, own in ordered.items():
        places = _places(own[:MOST_ROWS])
        for one in own:
            rows.append(
                (
                    Cell(one.name, detail=metric),
                    Cell(num.shown(one.estimate, places)),
                    Cell(num.shown(one.low, places)),
                    Cell(num.shown(one.high, places)),
                    Cell(one.missing),
                )
            )
    columns = ("Comparison", "As measured", "Lowest possible", "Highest possible", "Missing")
    numeric = {"As measured", "Lowest possible", "Highest possible"}
    return Table(
        "bounds-table",
        "Best and worst case of every estimate",
        tuple(Column(label, label in numeric) for label in columns),
        tuple(rows),
        paged=len(rows) > 30,
        stacked=True,
    )
