"""How one claim ran: its estimate at every audit with its interval, the verdicts by shape, the thresholds as lines."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from rlhf_fair.monitoring.history import DatedAudit
from rlhf_fair.records import Finding, Verdict
from rlhf_fair.report import numbers as num
from rlhf_fair.report import wording as say
from rlhf_fair.report.display import Cell, Chart, Column, Key, Plot, Point, Series, Table
from rlhf_fair.report.points import interval_point

MOST_PLOTS, MOST_TICKS = 24, 6
MARKS = {
    Verdict.EXCEEDS: ("var(--vermillion)", "triangle-up"),
    Verdict.WITHIN: ("var(--green)", "circle"),
    Verdict.INCONCLUSIVE: ("var(--blue)", "diamond-open"),
}
WORDS = {
    Verdict.EXCEEDS: "beyond the threshold",
    Verdict.WITHIN: "within the threshold",
    Verdict.INCONCLUSIVE: "inconclusive",
    Verdict.NOT_MEASURED: "not measured",
}


def day(moment: datetime) -> str:
    """``2026-11-21``, with the time where it is not midnight."""
    return (
        f"{moment:%Y-%m-%d}" if (moment.hour, moment.minute, moment.second) == (0, 0, 0) else f"{moment:%Y-%m-%d %H:%M}"
    )


def _tick(moment: datetime) -> str:
    """Narrow: month and day, and below them the year."""
    return f"{moment:%m-%d}\n{moment:%Y}"


def claim_name(claim: Finding) -> str:
    """``stereotype score, age vs all (base)``."""
    who = f"{claim.group} vs {claim.reference}" if claim.reference else claim.group
    parts = (say.words(claim.metric), say.words(claim.variant), f"{say.words(claim.attribute)}: {who}")
    return ", ".join(filter(None, parts)) + (f" ({say.stage(claim.stage)})" if claim.stage else "")


def trend_charts(audits: Sequence[DatedAudit]) -> tuple[Chart, ...]:
    """One plot for each claim, in the plan's order; the table has them all."""
    claims = list(audits[-1].claims)
    drawn = claims[:MOST_PLOTS]
    plots = tuple(_plot(f"trend-{i}", [audit.claims[id] for audit in audits], audits) for i, id in enumerate(drawn, 1))
    more = f" The first {MOST_PLOTS} of {len(claims)} claims are drawn." if len(claims) > MOST_PLOTS else ""
    note = (
        "Bars are intervals, broken lines the threshold, the full line parity. Audits stand in order of time, at equal "
        f"distances. An audit without a mark: not measured.{more}"
    )
    legend = tuple(Key(WORDS[verdict], *MARKS[verdict]) for verdict in MARKS)
    return (Chart("trends", "Every claim over time", note, plots, legend, _table(claims, audits), min(2, len(plots))),)


def _plot(id: str, run: Sequence[Finding], audits: Sequence[DatedAudit]) -> Plot:
    places = _places(run)
    points: dict[Verdict, list[Point]] = {verdict: [] for verdict in MARKS}
    line = []
    for at, (claim, audit) in enumerate(zip(run, audits, strict=True)):
        if num.finite(claim.estimate) and claim.verdict in MARKS:
            name = f"{day(audit.date)}, {WORDS[claim.verdict]}"
            point = interval_point(float(at), claim.estimate, claim.ci_low, claim.ci_high, places, name)
            points[claim.verdict].append(point)
            line.append(point)
    series = [Series(WORDS[v], *MARKS[v], tuple(found)) for v, found in points.items() if found]
    last, step = run[-1], -(-len(audits) // MOST_TICKS)
    ratio, gap = last.better == "one", last.better == "zero"
    marks = [last.threshold] if num.finite(last.threshold) else []
    marks += [-last.threshold] if gap and marks else [1 / last.threshold] if ratio and marks and marks[0] > 0 else []
    ends = [end for p in line for end in (p.low, p.value, p.high)]
    parity = 1.0 if ratio else 0.0 if gap else None
    return Plot(
        id=id,
        title=claim_name(last),
        label=f"{claim_name(last)} at every audit, with intervals; the same numbers are in the table that follows.",
        kind="stages",
        series=tuple(series),
        value_title=last.unit or say.words(last.metric),
        ticks=tuple((float(at), _tick(a.date) if at % step == 0 else "") for at, a in enumerate(audits)),
        parity=parity,
        thresholds=tuple(marks),
        value_range=num.padded([*ends, *marks, parity]),
    )


def _table(claims: Sequence[str], audits: Sequence[DatedAudit]) -> Table:
    rows = []
    for id in claims:
        places = _places([audit.claims[id] for audit in audits])
        for audit in audits:
            claim = audit.claims[id]
            known = num.finite(claim.estimate)
            rows.append(
                (
                    Cell(claim_name(claim), detail=claim.unit),
                    Cell(day(audit.date)),
                    Cell(num.shown(claim.estimate, places), missing=not known, detail="" if known else claim.reason),
                    Cell(num.interval(claim.ci_low, claim.ci_high, places)),
                    Cell(num.limit(claim.threshold)),
                    Cell(WORDS[claim.verdict], verdict=claim.verdict.value),
                    Cell(num.count(claim.n)),
                )
            )
    heads = (("Claim", False), ("Date", False), ("Estimate", True), ("Interval", True), ("Threshold", True))
    columns = tuple(Column(*head) for head in (*heads, ("Verdict", False), ("n", True)))
    return Table("trends-table", "The numbers drawn: claims over time", columns, tuple(rows), stacked=True)


def _places(run: Sequence[Finding]) -> int:
    ends = [(claim.ci_low, claim.ci_high) for claim in run]
    marks = [side * claim.threshold for claim in run[-1:] for side in (-1, 1)] + [0.0, 1.0]
    values = [end for pair in ends for end in pair]
    return min(4, num.places_apart(values, marks, at_least=num.decimals(ends, [c.estimate for c in run])))
