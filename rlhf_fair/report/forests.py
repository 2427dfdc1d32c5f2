"""Forest plots: which findings are drawn together, and one plot of them with its axis, threshold and parity lines."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from rlhf_fair.records import Finding
from rlhf_fair.report import numbers as num
from rlhf_fair.report import wording as say
from rlhf_fair.report.display import Chart, Key, Plot, Series
from rlhf_fair.report.findings_table import findings_table
from rlhf_fair.report.palette import CONTROL_MARK, READING_MARKS
from rlhf_fair.report.points import interval_point
from rlhf_fair.report.ranking import ranked
from rlhf_fair.report.reading import Reading, Terms, family_of, is_measured, is_to_best, limits_of, parity

TOP = 15
CONTROLS_SHOWN = 5
SMALLEST_FOREST = 4
MOST_FORESTS = 5
LABEL_LENGTH = 28
_STAGE_LABELS = {"sft": "SFT", "fair_ppo": "PPO + penalty"}
_CONTROL = "control"


def forests(
    findings: Sequence[Finding], terms: Terms, definitions: Mapping[str, str] | None = None
) -> tuple[Chart, ...]:
    """Forest plots of the largest estimates, one for each metric and role, and for each variant where all are many.

    The note above a metric's first plot begins with what the metric is, as far as ``definitions`` says it.
    """
    charts: list[Chart] = []
    unsaid = dict(definitions or {})
    families: dict[tuple[str, str, str], list[Finding]] = {}
    for finding in findings:
        families.setdefault(family_of(finding), []).append(finding)
    for members in families.values():
        claims = [f for f in members if f.role == "claim"]
        slices = [f for f in members if f.role == "exploratory"]
        split = len(claims) >= 2 and len(slices) >= 2
        sets = {"claims": claims, "exploratory slices": slices} if split else {"findings": [*claims, *slices]}
        for kind, chosen in sets.items():
            for name, variant in _variants(chosen).items():
                order = ranked(variant)
                if len(order) >= SMALLEST_FOREST or (split and kind == "claims" and order):
                    controls = _controls_for(variant, members)
                    chart = _forest(f"forest-{len(charts) + 1}", kind + name, order, controls, terms)
                    meaning = unsaid.pop(order[0].metric, "")
                    charts.append(replace(chart, note=f"{meaning} {chart.note}".strip()))
    return tuple(charts[:MOST_FORESTS])


def _variants(members: Sequence[Finding]) -> dict[str, list[Finding]]:
    """Findings by probe and variant, which compare with different things; kept together where that leaves too few."""
    groups: dict[str, list[Finding]] = {}
    for finding in members:
        parts = (say.words(finding.probe), say.words(finding.variant))
        groups.setdefault(f", {', '.join(part for part in parts if part)}", []).append(finding)
    large = {name: group for name, group in groups.items() if len(ranked(group)) >= SMALLEST_FOREST}
    return large if len(groups) > 1 and large else {"": list(members)}


def _controls_for(members: Sequence[Finding], family: Sequence[Finding]) -> list[Finding]:
    """The controls of the same probe, else all of the same metric."""
    controls = ranked([f for f in family if f.role == _CONTROL])
    probes = {finding.probe for finding in members}
    return [finding for finding in controls if finding.probe in probes] or controls


def _forest(id: str, kind: str, members: Sequence[Finding], controls: Sequence[Finding], terms: Terms) -> Chart:
    top, shown_controls = members[:TOP], controls[:CONTROLS_SHOWN]
    drawn = [*top, *shown_controls]
    metric = say.words(members[0].metric)
    count = (
        f"the {len(top)} {say.extreme(members[0])} of {num.count(len(members))}"
        if len(members) > len(top)
        else f"all {len(top)}"
    )
    title = f"{say.sentence_case(metric)}: {count} {kind}"
    plot = forest_plot(f"{id}-plot", title, drawn, terms, lambda finding: _label(finding, drawn))
    note = axis_note(drawn)
    if shown_controls:
        note.append(f"Grey squares: the {len(shown_controls)} largest controls, which should show nothing.")
    if len(members) > len(top):
        note.append("The most extreme of many estimates tend to be overstated; the table gives adjusted p-values.")
    table = findings_table(drawn, terms, id=f"{id}-table", caption=f"The numbers drawn: {title}")
    return Chart(id, title, " ".join(note), (plot,), legend_of([plot]), table, 1)


def forest_plot(id: str, title: str, drawn: Sequence[Finding], terms: Terms, label: Callable[[Finding], str]) -> Plot:
    """One row for each finding in the order given. One that was not measured keeps its row and gets no mark."""
    kinds = dict.fromkeys(_kind(finding, terms) for finding in drawn if is_drawn(finding))
    series = tuple(_series(kind, drawn, terms) for kind in kinds)
    ends = [end for s in series for p in s.points for end in (p.low, p.value, p.high)]
    lines, null = shared_limits(drawn), _shared_parity(drawn)
    log = is_on_log_axis(drawn)
    across = [*ends, *lines, null]
    span = num.padded_ratio(across) if log else num.padded(across)
    series = tuple(_to_the_edge(one, span[0]) for one in series) if log and span else series
    return Plot(
        id=id,
        title=title,
        label=f"{title}. Horizontal intervals around each estimate; the same numbers are in the table that follows.",
        kind="forest",
        series=series,
        value_title=_axis_title(drawn),
        ticks=tuple((float(position), label(finding)) for position, finding in enumerate(drawn)),
        value_ticks=num.ratio_ticks(span) if log and span else (),
        log=log,
        parity=null,
        thresholds=lines,
        value_range=span,
    )


def is_drawn(finding: Finding) -> bool:
    """True for a finding with an estimate and both ends of its interval: no other gets a mark."""
    return is_measured(finding) and num.finite(finding.ci_low) and num.finite(finding.ci_high)


def is_on_log_axis(drawn: Sequence[Finding]) -> bool:
    """True for ratios, unless an estimate is 0, which a log axis has no place for."""
    return all(f.better == "one" for f in drawn) and all(f.estimate > 0 for f in drawn if is_drawn(f))


def _to_the_edge(series: Series, edge: float) -> Series:
    """The lower end of an interval that reaches 0, which a log axis never does, at the axis' edge."""
    points = (p if p.low is None or p.low > 0 else replace(p, low=edge) for p in series.points)
    return replace(series, points=tuple(points))


def legend_of(plots: Sequence[Plot]) -> tuple[Key, ...]:
    """One key for each kind of mark in the plots."""
    return tuple(dict.fromkeys(Key(s.name, s.colour, s.symbol) for plot in plots for s in plot.series))


def axis_note(drawn: Sequence[Finding]) -> list[str]:
    """How to read the axis: which way is better, what left and right mean, and where the dashed lines stand."""
    first, lines = drawn[0], shared_limits(drawn)
    note = [f"{say.sentence_case(say.better(first))}."]
    if first.better == "zero" and first.reference:
        verb = say.verb(first)
        note.append(f"Right of 0 the group {verb}s more than its reference, left of 0 less.")
    if is_to_best(first):
        note.append("1 is the best group's own value, which no ratio exceeds; further left is lower.")
    elif first.better == "one":
        note.append("Right of 1 the group has the higher value, left of 1 the lower.")
    if first.better == "one" and is_on_log_axis(drawn):
        note.append("The axis is logarithmic; an interval that reaches 0 is drawn to its edge.")
    if lines:
        side = {"zero": "beyond them", "one": "outside them", "high": "left of it", "low": "right of it"}[first.better]
        side = "left of it" if is_to_best(first) else side
        named = f"±{num.limit(lines[-1])}" if first.better == "zero" else " and ".join(map(num.limit, lines))
        many = "s" if len(lines) > 1 else ""
        note.append(f"Dashed line{many}: threshold {named}; {side} a claim exceeds it.")
    elif any(num.finite(finding.threshold) for finding in drawn):
        note.append("Thresholds differ and stand in the table.")
    return note


def shared_limits(drawn: Sequence[Finding]) -> tuple[float, ...]:
    """Where the threshold's lines stand, where all findings share them."""
    found = {limits_of(finding, finding.threshold) for finding in drawn if num.finite(finding.threshold)}
    return tuple(num.rounded(line, 6) for line in found.pop()) if len(found) == 1 else ()


def _shared_parity(drawn: Sequence[Finding]) -> float | None:
    nulls = {parity(finding) for finding in drawn}
    return nulls.pop() if len(nulls) == 1 else None


def _axis_title(drawn: Sequence[Finding]) -> str:
    first, dot = drawn[0], "\N{MIDDLE DOT}"
    metric = say.words(first.metric)
    axis = f"{metric}, {first.unit}" if first.unit and first.unit not in metric else metric
    if first.better == "zero" and not first.reference:
        return axis
    if first.better == "zero":
        verb = say.verb(first)
        return f"← group {verb}s less {dot} {axis} {dot} group {verb}s more →"
    if is_to_best(first):
        return f"{axis} to the best group {dot} better →"
    if first.better == "one":
        return f"← group lower {dot} {axis} {dot} group higher →"
    return f"{axis} {dot} better →" if first.better == "high" else f"← better {dot} {axis}"


def _kind(finding: Finding, terms: Terms) -> Reading | str:
    return _CONTROL if finding.role == _CONTROL else terms.reading(finding)


def _series(kind: Reading | str, drawn: Sequence[Finding], terms: Terms) -> Series:
    points, first = [], None
    for position, finding in enumerate(drawn):
        if is_drawn(finding) and _kind(finding, terms) == kind:
            first = first or finding
            ends = (finding.estimate, finding.ci_low, finding.ci_high)
            points.append(interval_point(float(position), *ends, terms.places(finding), say.subject(finding)))
    assert first is not None
    mark = READING_MARKS[kind] if isinstance(kind, Reading) else CONTROL_MARK
    name = say.reading_words(first, kind) if isinstance(kind, Reading) else _CONTROL
    return Series(name, *mark, tuple(points))


def _label(finding: Finding, drawn: Sequence[Finding]) -> str:
    """The row's name: group, and on a second line whatever else tells it from the other rows."""
    main = _group(finding)
    if len({f.reference for f in drawn}) > 1 and finding.reference and not say.is_overall(finding):
        main = f"{main} vs {finding.reference}"
    stage = _STAGE_LABELS.get(finding.stage, say.words(finding.stage))
    attribute = _CONTROL if finding.role == _CONTROL else say.words(finding.attribute)
    others = [f for f in drawn if f.role != _CONTROL] or drawn
    context = {
        attribute: finding.role == _CONTROL or (len({f.attribute for f in others}) > 1 and main != attribute),
        stage: len({f.stage for f in drawn}) > 1,
        say.words(finding.variant): len({f.variant for f in drawn}) > 1,
        say.words(finding.probe): len({f.probe for f in drawn}) > 1,
    }
    second = ", ".join(part for part, tells in context.items() if tells and part)
    return "\n".join(say.shortened(line, LABEL_LENGTH) for line in (main, second) if line)


def _group(finding: Finding) -> str:
    """The group's name, or the attribute's for a finding about all groups."""
    return say.words(finding.attribute) if say.is_overall(finding) else finding.group
