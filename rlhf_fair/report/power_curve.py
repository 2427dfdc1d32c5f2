"""What a larger audit would see: the smallest detectable gap against the number of clusters.

The smallest detectable effect is (t[1 - alpha/2] + t[power]) standard errors (Bloom 1995), and with the same design the
standard error falls with the square root of the number of clusters: with k times as many, mde / sqrt(k) is left. The
quantiles stay those of the audit, so with few clusters a larger audit sees somewhat smaller gaps than said here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from rlhf_fair.records import Finding, Results
from rlhf_fair.report import numbers as num
from rlhf_fair.report import wording as say
from rlhf_fair.report.display import Cell, Chart, Column, Key, Plot, Point, Section, Series, Table
from rlhf_fair.report.palette import mark
from rlhf_fair.report.reading import Family, family_of, is_measured, mde

SIZES = (0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0)
"""Numbers of clusters drawn, in multiples of the audit's own."""
FEWEST = 5
"""Fewer clusters than this are no design to extrapolate to."""
MOST_LINES, MOST_PLOTS = 6, 4
LONGEST_NAME, LONGEST_TITLE = 60, 32
NOTE = (
    "Lower is better: smaller gaps can be seen. At 1 stands this audit; at 2 one with twice as many clusters of the "
    "same kind. The curve is the smallest detectable gap over the square root of the size (Bloom 1995), for 80 % power."
)


def detectable(now: float, times: float) -> float:
    """The smallest detectable effect with ``times`` as many clusters.

    >>> detectable(0.2, 4.0)
    0.1
    """
    return now / math.sqrt(times)


def clusters_needed(now: float, clusters: int, wished: float) -> int:
    """How many clusters make ``wished`` the smallest detectable effect.

    >>> clusters_needed(0.2, 50, 0.1)
    200
    """
    return math.ceil(clusters * (now / wished) ** 2 - 1e-9)


def power_section(results: Results) -> Section | None:
    """For the claims, or where there are none for all findings, one curve each."""
    families = _families(results)
    if not families:
        return None
    plots, rows = [], []
    for number, members in enumerate(families.values(), start=1):
        drawn = sorted(members, key=lambda f: -mde(f))[:MOST_LINES]
        places = num.decimals([], [detectable(mde(f), SIZES[-1]) for f in drawn])
        plots.append(_plot(f"power-plot-{number}", drawn, places))
        rows += [_row(f, places) for f in drawn]
    note = NOTE
    if any(len(members) > MOST_LINES for members in families.values()):
        note += f" Of each metric the {MOST_LINES} with the largest detectable gap are drawn."
    if any(plot.thresholds for plot in plots):
        note += " Dashed: the threshold."
    chart = Chart("power", "Smallest detectable gap by the size of the audit", note, tuple(plots), (), _table(rows))
    return Section(
        "power", "What would a larger audit see?", "Power", answer=_answer(list(families.values())), charts=(chart,)
    )


def _families(results: Results) -> dict[Family, list[Finding]]:
    """Gaps with a smallest detectable effect and enough clusters, by metric; claims alone where there are some."""
    known = [f for f in results.findings if f.better == "zero" and f.role != "control" and is_measured(f)]
    known = [f for f in known if num.finite(mde(f)) and mde(f) > 0 and f.n_clusters >= FEWEST]
    chosen = [f for f in known if f.role == "claim"] or known
    families: dict[Family, list[Finding]] = {}
    for finding in chosen:
        families.setdefault(family_of(finding), []).append(finding)
    largest = sorted(families.items(), key=lambda item: -len(item[1]))[:MOST_PLOTS]
    return {key: families[key] for key in families if key in dict(largest)}


def _answer(families: Sequence[Sequence[Finding]]) -> tuple[str, ...]:
    """How many of the claims can see a gap as large as their threshold, and what the others need."""
    said = []
    for members in families:
        limited = [f for f in members if num.finite(f.threshold) and f.threshold > 0]
        short = [f for f in limited if mde(f) > f.threshold]
        if not limited:
            continue
        metric = say.sentence_case(say.words(members[0].metric))
        if not short:
            said.append(f"{metric}: every comparison here could detect a gap as large as its threshold.")
            continue
        most = max(short, key=lambda f: mde(f) / f.threshold)
        needs = clusters_needed(mde(most), most.n_clusters, most.threshold)
        said.append(
            f"{metric}: {num.count(len(short))} of {num.plural(len(limited), 'comparison')} could not detect a gap as "
            f"large as the threshold. The one furthest from it, {say.subject(most)}, has "
            f"{num.count(most.n_clusters)} clusters and would need {num.count(needs)}."
        )
    return tuple(said)


def _plot(id: str, drawn: Sequence[Finding], places: int) -> Plot:
    series, shared = [], len({finding.reference for finding in drawn}) == 1
    for position, finding in enumerate(drawn):
        name = _name(finding, against=not shared)
        points = tuple(
            Point(
                at=times,
                value=num.rounded(detectable(mde(finding), times), places),
                hover=f"{name}, {_clusters(finding, times)} clusters: "
                f"{num.shown(detectable(mde(finding), times), places)}",
            )
            for times in SIZES
            if finding.n_clusters * times >= FEWEST
        )
        series.append(Series(name, *mark(position), points, joined=True))
    limits = {f.threshold for f in drawn if num.finite(f.threshold)}
    lines = (num.rounded(limits.pop(), 6),) if len(limits) == 1 else ()
    metric, unit = say.words(drawn[0].metric), drawn[0].unit
    return Plot(
        id=id,
        title=say.sentence_case(metric),
        label=f"Smallest detectable gap in {metric} against the size of the audit, one line for each comparison; the "
        "same numbers are in the table that follows.",
        kind="steps",
        series=tuple(series),
        value_title=say.shortened(f"gap, {unit}" if unit else "detectable gap", LONGEST_TITLE),
        at_title="clusters, in multiples of this audit's",
        at_range=(0.0, SIZES[-1] + 0.15),
        value_range=num.padded([0.0, *lines, *(p.value for s in series for p in s.points)]),
        thresholds=lines,
        legend=tuple(Key(s.name, s.colour, s.symbol) for s in series),
    )


def _name(finding: Finding, *, against: bool = True) -> str:
    variant = f" ({say.words(finding.variant)})" if finding.variant else ""
    subject = say.subject(finding if against else finding.model_copy(update={"reference": ""}))
    return say.shortened(subject + variant, LONGEST_NAME)


def _clusters(finding: Finding, times: float) -> str:
    return num.count(round(finding.n_clusters * times))


def _row(finding: Finding, places: int) -> tuple[Cell, ...]:
    def seen(times: float) -> Cell:
        enough = finding.n_clusters * times >= FEWEST
        return Cell(num.shown(detectable(mde(finding), times), places) if enough else "–")

    limited = num.finite(finding.threshold) and finding.threshold > 0
    needed = clusters_needed(mde(finding), finding.n_clusters, finding.threshold) if limited else 0
    return (
        Cell(_name(finding), detail=say.words(finding.metric)),
        Cell(num.count(finding.n_clusters)),
        *(seen(times) for times in SIZES),
        Cell(num.limit(finding.threshold) if limited else "–"),
        Cell(num.count(needed) if limited else "–"),
    )


def _table(rows: Sequence[tuple[Cell, ...]]) -> Table:
    sizes = tuple(Column("this audit" if times == 1 else f"× {times:g}", True) for times in SIZES)
    columns = (Column("Comparison"), Column("Clusters", True), *sizes, Column("Threshold", True))
    return Table(
        "power-table",
        "Smallest detectable gap by the size of the audit",
        (*columns, Column("Clusters to see the threshold", True)),
        tuple(rows),
        stacked=True,
    )
