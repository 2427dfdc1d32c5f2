"""Findings as tables and forest plots: ranked, grouped by metric, controls apart."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from rlhf_fair.records import Finding, Verdict
from rlhf_fair.report import numbers as num
from rlhf_fair.report import wording as say
from rlhf_fair.report.display import Cell, Chart, Column, Gap, Key, Plot, Point, Series, Table
from rlhf_fair.report.palette import CONTROL_MARK, VERDICT_MARKS

TOP = 15
CONTROLS_SHOWN = 5
SMALLEST_FOREST = 4
MOST_FORESTS = 5
PAGE_ROWS = 40
LABEL_LENGTH = 28
_STAGE_LABELS = {"sft": "SFT", "fair_ppo": "PPO + penalty"}


@dataclass(frozen=True)
class Family:
    """Findings of one metric and unit; they share a scale, hence an axis and a rounding."""

    metric: str
    unit: str
    findings: tuple[Finding, ...]
    places: int


def families(findings: Sequence[Finding]) -> list[Family]:
    """Findings by metric and unit, in order of first appearance."""
    groups: dict[tuple[str, str], list[Finding]] = {}
    for finding in findings:
        groups.setdefault((finding.metric, finding.unit), []).append(finding)
    return [Family(metric, unit, tuple(members), _places(members)) for (metric, unit), members in groups.items()]


def places_by_metric(findings: Sequence[Finding]) -> dict[tuple[str, str], int]:
    """(metric, unit) -> decimals."""
    return {(family.metric, family.unit): family.places for family in families(findings)}


def ranked(findings: Sequence[Finding]) -> list[Finding]:
    """Measured findings, largest distance from parity first.

    Where units differ the distances are put on one scale by dividing each by its own threshold.
    """
    measured = [finding for finding in findings if say.is_measured(finding)]
    mixed = len({(finding.unit, finding.better) for finding in measured}) > 1

    def size(finding: Finding) -> float:
        distance = say.distance_from_parity(finding)
        if mixed and num.finite(finding.threshold) and finding.threshold > 0:
            return distance / finding.threshold
        return distance

    return sorted(measured, key=lambda finding: (-size(finding), finding.id))


def worst(findings: Sequence[Finding], places: dict[tuple[str, str], int], *, most: int = 3) -> tuple[Gap, ...]:
    """The largest gaps in words: those beyond the threshold first, claims before slices, within each by size."""
    order = list(Verdict)
    candidates = ranked([finding for finding in findings if finding.role != "control"])
    chosen = sorted(candidates, key=lambda f: (order.index(f.verdict), f.role != "claim"))[:most]
    several_stages = len({finding.stage for finding in findings}) > 1
    return tuple(
        Gap(
            sentence=say.gap_sentence(finding, places[finding.metric, finding.unit]) + ".",
            detail=_detail(finding, several_stages),
            verdict=finding.verdict.value,
            word=say.VERDICT_WORDS[finding.verdict],
        )
        for finding in chosen
    )


def _detail(finding: Finding, several_stages: bool) -> str:
    parts = [say.stage(finding.stage)] if several_stages else []
    parts += [say.words(finding.attribute)]
    parts += [say.words(finding.variant)] if finding.variant else []
    parts += ["exploratory"] if finding.role != "claim" else []
    parts += [f"n\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}{num.count(finding.n)}"]
    return " · ".join(dict.fromkeys(parts))


def findings_table(
    findings: Sequence[Finding], places: dict[tuple[str, str], int], *, id: str, caption: str, stacked: bool = False
) -> Table:
    """One row for each finding in the order given. Columns that never vary move into the note under the caption."""
    rows = [_cells(finding, places[finding.metric, finding.unit]) for finding in findings]
    varying = [label for label in _COLUMNS if label in _ALWAYS or len({row[label].text for row in rows}) > 1]
    fixed = [
        f"{label.lower()}: {rows[0][label].text}"
        for label in _COLUMNS
        if rows and label not in varying and rows[0][label].text not in {"", "–"}
    ]
    return Table(
        id=id,
        caption=caption,
        columns=tuple(Column(label, numeric=_COLUMNS[label]) for label in varying),
        rows=tuple(tuple(row[label] for label in varying) for row in rows),
        paged=len(rows) > PAGE_ROWS,
        stacked=stacked,
        note="The same for every row: " + "; ".join(fixed) + "." if fixed else "",
    )


_COLUMNS = {
    "Verdict": False,
    "Attribute": False,
    "Group": False,
    "Reference": False,
    "Stage": False,
    "Metric": False,
    "Probe": False,
    "Variant": False,
    "Role": False,
    "Estimate": True,
    "Interval": True,
    "Unit": False,
    "Threshold": True,
    "Adjusted p": True,
    "MDE": True,
    "n": True,
    "Clusters": True,
    "Parsed": True,
    "Refused": True,
    "Better": False,
}
_ALWAYS = {"Verdict", "Group", "Estimate", "Interval", "n", "Clusters", "MDE", "Adjusted p"}


def _cells(finding: Finding, places: int) -> dict[str, Cell]:
    measured = say.is_measured(finding)
    estimate = num.shown(finding.estimate, places) if measured else say.not_measured(finding.reason)
    return {
        "Verdict": Cell(say.SHORT_VERDICTS[finding.verdict], verdict=finding.verdict.value),
        "Attribute": Cell(say.words(finding.attribute)),
        "Group": Cell(finding.group or "all groups"),
        "Reference": Cell(finding.reference),
        "Stage": Cell(say.stage(finding.stage)),
        "Metric": Cell(say.words(finding.metric)),
        "Probe": Cell(say.words(finding.probe)),
        "Variant": Cell(say.words(finding.variant)),
        "Role": Cell(finding.role),
        "Estimate": Cell(estimate, missing=not measured),
        "Interval": Cell(num.interval(finding.ci_low, finding.ci_high, places) if measured else "–"),
        "Unit": Cell(finding.unit),
        "Threshold": Cell(num.significant(finding.threshold) if num.finite(finding.threshold) else "–"),
        "Adjusted p": Cell(num.p_value(finding.p_adjusted)),
        "MDE": Cell(num.shown(finding.mde, places + 1) if num.finite(finding.mde) else "–"),
        "n": Cell(num.count(finding.n)),
        "Clusters": Cell(num.count(finding.n_clusters)),
        "Parsed": Cell(num.share(finding.parse_rate)),
        "Refused": Cell(num.share(finding.refusal_rate)),
        "Better": Cell(say.better(finding)),
    }


def forests(findings: Sequence[Finding]) -> tuple[Chart, ...]:
    """Forest plots of the largest estimates, one for each metric and role, and for each variant where all are many."""
    charts: list[Chart] = []
    for family in families(findings):
        claims = [f for f in family.findings if f.role == "claim"]
        slices = [f for f in family.findings if f.role == "exploratory"]
        split = len(claims) >= 2 and len(slices) >= 2
        sets = {"claims": claims, "exploratory slices": slices} if split else {"findings": [*claims, *slices]}
        for kind, members in sets.items():
            for name, variant in _variants(members).items():
                order = ranked(variant)
                if len(order) >= SMALLEST_FOREST or (split and kind == "claims" and order):
                    controls = _controls_for(variant, family)
                    charts.append(_forest(f"forest-{len(charts) + 1}", family, kind + name, order, controls))
    return tuple(charts[:MOST_FORESTS])


def _variants(members: Sequence[Finding]) -> dict[str, list[Finding]]:
    """Findings by probe and variant, which compare with different things; kept together where that leaves too few."""
    groups: dict[str, list[Finding]] = {}
    for finding in members:
        parts = (say.words(finding.probe), say.words(finding.variant))
        groups.setdefault(f", {', '.join(part for part in parts if part)}", []).append(finding)
    large = {name: group for name, group in groups.items() if len(ranked(group)) >= SMALLEST_FOREST}
    return large if len(groups) > 1 and large else {"": list(members)}


def _controls_for(members: Sequence[Finding], family: Family) -> list[Finding]:
    """The controls of the same probe, else all of the same metric."""
    controls = ranked([f for f in family.findings if f.role == "control"])
    probes = {finding.probe for finding in members}
    return [finding for finding in controls if finding.probe in probes] or controls


def _forest(id: str, family: Family, kind: str, members: Sequence[Finding], controls: Sequence[Finding]) -> Chart:
    top, shown_controls = members[:TOP], controls[:CONTROLS_SHOWN]
    drawn = [*top, *shown_controls]
    metric = say.words(family.metric)
    count = f"the {len(top)} largest of {num.count(len(members))}" if len(members) > len(top) else f"all {len(top)}"
    title = f"{say.sentence_case(metric)}: {count} {kind}"
    kinds = dict.fromkeys(["control" if f.role == "control" else f.verdict for f in drawn])
    series = tuple(_forest_series(kind_, drawn, family.places) for kind_ in kinds)
    values = {f.threshold for f in drawn if num.finite(f.threshold) and f.threshold > 0}
    lines = [num.rounded(value, 6) for value in values] if len(values) == 1 else []
    two_sided = all(f.better == "zero" for f in drawn)
    thresholds = tuple([-line for line in lines] + lines) if two_sided else tuple(lines)
    parity = say.parity(drawn[0]) if len({f.better for f in drawn}) == 1 else None
    spread = [end for s in series for p in s.points for end in (p.low, p.value, p.high)]
    verb = say.verb(drawn[0])
    axis = f"{metric}, {family.unit}" if family.unit and family.unit not in metric else metric
    plot = Plot(
        id=f"{id}-plot",
        title=title,
        label=f"{title}. Horizontal intervals around each estimate; the same numbers are in the table that follows.",
        kind="forest",
        series=series,
        value_title=f"← group {verb}s less \N{MIDDLE DOT} {axis} \N{MIDDLE DOT} group {verb}s more →"
        if two_sided
        else axis,
        ticks=tuple((float(position), _label(f, drawn)) for position, f in enumerate(drawn)),
        parity=parity,
        thresholds=thresholds,
        value_range=num.padded([*spread, *thresholds, parity]),
    )
    note = [f"{say.sentence_case(say.better(drawn[0]))}."]
    if two_sided:
        note.append(f"Right of 0 the group {verb}s more than its reference, left of 0 less.")
    if lines:
        note.append(f"Dashed lines: threshold {num.significant(lines[0])}.")
    if shown_controls:
        note.append(f"Grey squares: the {len(shown_controls)} largest controls, which should show nothing.")
    if len(members) > len(top):
        note.append("The largest of many estimates tend to be overstated; the table gives adjusted p-values.")
    table = findings_table(
        drawn, {(family.metric, family.unit): family.places}, id=f"{id}-table", caption=f"The numbers drawn: {title}"
    )
    return Chart(id, title, " ".join(note), (plot,), tuple(Key(s.name, s.colour, s.symbol) for s in series), table, 1)


def _forest_series(kind: Verdict | str, drawn: Sequence[Finding], places: int) -> Series:
    is_control = kind == "control"
    colour, symbol = CONTROL_MARK if is_control else VERDICT_MARKS[Verdict(kind)]
    points = tuple(
        interval_point(float(position), f.estimate, f.ci_low, f.ci_high, places, say.subject(f))
        for position, f in enumerate(drawn)
        if (f.role == "control") == is_control and (is_control or f.verdict == kind)
    )
    return Series("control" if is_control else say.VERDICT_WORDS[Verdict(kind)], colour, symbol, points)


def interval_point(at: float, value: float, low: float, high: float, places: int, name: str) -> Point:
    """A point whose numbers are rounded as the table prints them; ``name`` heads its hover text."""
    known = num.finite(low) and num.finite(high)
    return Point(
        at=at,
        value=num.rounded(value, places),
        low=num.rounded(low, places) if known else None,
        high=num.rounded(high, places) if known else None,
        hover=f"{name}: {num.shown(value, places)} {num.interval(low, high, places)}",
    )


def _label(finding: Finding, drawn: Sequence[Finding]) -> str:
    """The row's name: group, and on a second line whatever else tells it from the other rows."""
    main = sentence_group(finding)
    if len({f.reference for f in drawn}) > 1 and finding.reference and not say.is_overall(finding):
        main = f"{main} vs {finding.reference}"
    stage = _STAGE_LABELS.get(finding.stage, say.words(finding.stage))
    attribute = "control" if finding.role == "control" else say.words(finding.attribute)
    others = [f for f in drawn if f.role != "control"] or drawn
    context = {
        attribute: finding.role == "control" or (len({f.attribute for f in others}) > 1 and main != attribute),
        stage: len({f.stage for f in drawn}) > 1,
        say.words(finding.variant): len({f.variant for f in drawn}) > 1,
        say.words(finding.probe): len({f.probe for f in drawn}) > 1,
    }
    second = ", ".join(part for part, tells in context.items() if tells and part)
    return "\n".join(say.shortened(line, LABEL_LENGTH) for line in (main, second) if line)


def sentence_group(finding: Finding) -> str:
    """The group's name, or the attribute's for a finding about all groups."""
    return say.words(finding.attribute) if say.is_overall(finding) else finding.group


def _places(findings: Sequence[Finding]) -> int:
    return num.decimals(
        [(f.ci_low, f.ci_high) for f in findings], [f.estimate for f in findings if not math.isnan(f.estimate)]
    )
