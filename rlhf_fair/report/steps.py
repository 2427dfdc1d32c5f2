"""The bias ledger as a waterfall: from one stage to the next, how far each step moved the absolute gap.

A step's change and its interval are the ledger's own, paired on the items that both stages answered, so no interval of
a step is made from those of two stages. A chain is followed back from its last stage by ``change_from``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from rlhf_fair.records import LedgerRow
from rlhf_fair.report import numbers as num
from rlhf_fair.report import wording as say
from rlhf_fair.report.display import Cell, Chart, Column, Key, Plot, Point, Series, Table
from rlhf_fair.report.ledger import panel_name

SMALLER, LARGER, OPEN = "gap got smaller", "gap got larger", "no change detected"
FIRST = "where it begins"
_MARKS = {
    FIRST: ("var(--ink)", "circle"),
    SMALLER: ("var(--green)", "triangle-down"),
    LARGER: ("var(--vermillion)", "triangle-up"),
    OPEN: ("var(--blue)", "diamond-open"),
}
NOTE = (
    "Each pale bar runs from the absolute gap before a step to the one after it; closer to 0 is better. The thin line "
    "is the interval of the change, paired on the items that both stages answered, set at the bar's end: where it "
    "reaches the bar's beginning, no change was detected. Where two stages were not measured on the same items, before "
    "and change do not add up to after. Stages beside the chain, such as a reward model, stand in the table of changes."
)


def steps_chart(rows: Sequence[LedgerRow]) -> Chart | None:
    """One plot for each attribute and panel whose ledger has at least one measured step."""
    plots: list[Plot] = []
    cells: list[tuple[Cell, ...]] = []
    for (attribute, metric, panel), chain in chains(rows).items():
        places = _places(chain)
        name = say.sentence_case(say.words(attribute)) + (f", {panel_name(panel)}" if panel else "")
        plots.append(_plot(f"steps-plot-{len(plots) + 1}", name, metric, chain, places))
        earlier = [None, *chain[:-1]]
        cells += [_cells(attribute, panel, row, before, places) for row, before in zip(chain, earlier, strict=True)]
    if not plots:
        return None
    if len({metric for _, metric, _ in chains(rows)}) == 1:  # one scale, so that panels can be compared by eye
        ends = [end for plot in plots for end in plot.value_range or ()]
        plots = [replace(plot, value_range=(min(ends), max(ends))) for plot in plots] if ends else plots
    kinds = [kind for kind in _MARKS if any(series.name == kind for plot in plots for series in plot.series)]
    legend = tuple(Key(kind, *_MARKS[kind]) for kind in kinds)
    columns = ("Attribute", "Panel", "Step", "|Gap| before", "Change", "|Gap| after", "Interval of the change", "n")
    numeric = {"|Gap| before", "Change", "|Gap| after", "Interval of the change", "n"}
    table = Table(
        "steps-table",
        "The steps drawn",
        tuple(Column(label, label in numeric) for label in columns),
        tuple(cells),
        note="The interval stands as drawn, around the absolute gap after the step.",
    )
    return Chart("steps", "The change of the absolute gap, step by step", NOTE, tuple(plots), legend, table)


def chains(rows: Sequence[LedgerRow]) -> dict[tuple[str, str, str], list[LedgerRow]]:
    """(attribute, metric, panel) -> the rows from the first stage to the last one of that panel.

    Only chains of two measured stages or more. A stage that nothing follows is an end; of several ends of one panel the
    last in the pipeline's order is taken, which leaves out the reward model, measured beside the policies.
    """
    order = say.stage_order(row.stage for row in rows)
    found: dict[tuple[str, str, str], list[LedgerRow]] = {}
    for row in sorted(rows, key=lambda row: order.index(row.stage)):
        chain = _chain(row, rows)
        if len(chain) > 1:
            found[row.attribute, row.metric, row.panel] = chain
    named = {(attribute, metric) for attribute, metric, panel in found if panel}
    return {key: chain for key, chain in found.items() if key[2] or key[:2] not in named}


def _chain(row: LedgerRow, rows: Sequence[LedgerRow]) -> list[LedgerRow]:
    chain = [row]
    while chain[0].change_from and num.finite(chain[0].change) and len(chain) <= len(rows):
        before = _before(chain[0], rows)
        if before is None or not num.finite(before.estimate):
            break
        chain.insert(0, before)
    return chain if num.finite(row.estimate) else []


def _before(row: LedgerRow, rows: Sequence[LedgerRow]) -> LedgerRow | None:
    """The row that ``change_from`` names: of the same panel, or of the stages before panels part."""
    siblings = [r for r in rows if (r.attribute, r.metric) == (row.attribute, row.metric) and r is not row]
    for panel in dict.fromkeys([row.panel, ""]):
        for other in siblings:
            label = f"{other.stage} ({other.panel})" if other.panel else other.stage
            if other.panel == panel and row.change_from in {label, other.stage}:
                return other
    return None


def _kind(row: LedgerRow) -> str:
    if num.finite(row.change_ci_high) and row.change_ci_high < 0:
        return SMALLER
    return LARGER if num.finite(row.change_ci_low) and row.change_ci_low > 0 else OPEN


def _places(chain: Sequence[LedgerRow]) -> int:
    steps = [(row.change_ci_low, row.change_ci_high) for row in chain[1:]]
    return num.decimals(steps, [row.change for row in chain[1:]])


def _ends(row: LedgerRow, earlier: LedgerRow, places: int) -> tuple[float, float, float | None, float | None]:
    """|gap| before and after the step, and the ends of the change's interval around the latter."""
    before, after = abs(earlier.estimate), abs(row.estimate)
    known = num.finite(row.change_ci_low) and num.finite(row.change_ci_high)
    low, high = (after - row.change + end if known else None for end in (row.change_ci_low, row.change_ci_high))
    shown = [None if end is None else num.rounded(end, places) for end in (low, high)]
    return num.rounded(before, places), num.rounded(after, places), shown[0], shown[1]


def _plot(id: str, name: str, metric: str, chain: Sequence[LedgerRow], places: int) -> Plot:
    marks: dict[str, list[Point]] = {}
    bars: dict[str, list[Point]] = {}
    first = num.rounded(abs(chain[0].estimate), places)
    start = f"{say.sentence_case(say.stage(chain[0].stage))}: absolute gap {num.shown(first, places)}"
    marks[FIRST], bars[FIRST] = [Point(0.0, first, hover=start)], [Point(0.0, first, low=0.0, high=first)]
    for at, row in enumerate(chain[1:], start=1):
        before, after, low, high = _ends(row, chain[at - 1], places)
        hover = f"{say.sentence_case(say.stage(row.stage))}: {num.shown(row.change, places, sign=True)} to "
        hover += num.shown(after, places)
        marks.setdefault(_kind(row), []).append(Point(float(at), after, low, high, hover))
        bars.setdefault(_kind(row), []).append(Point(float(at), after, low=before, high=after))
    series = [Series(f"{kind}, bar", *_MARKS[kind], tuple(own), blocks=True) for kind, own in bars.items()]
    series += [Series(kind, *_MARKS[kind], tuple(own)) for kind, own in marks.items()]
    ends = [end for s in series for p in s.points for end in (p.low, p.value, p.high)]
    return Plot(
        id=id,
        title=name,
        label=f"The absolute gap in {say.words(metric)} by {name} after each step, with the paired interval of every "
        "change; the same numbers are in the table that follows.",
        kind="forest",
        series=tuple(series),
        value_title=f"← better {chr(0xB7)} absolute gap in {say.words(metric)}",
        ticks=tuple((float(at), _tick(row)) for at, row in enumerate(chain)),
        parity=0.0,
        value_range=num.padded([0.0, *ends]),
    )


def _tick(row: LedgerRow) -> str:
    return say.stage_tick(row.stage).replace("\n", " ").replace("PPO with fairness penalty", "PPO with\npenalty")


def _cells(attribute: str, panel: str, row: LedgerRow, earlier: LedgerRow | None, places: int) -> tuple[Cell, ...]:
    head = (Cell(say.words(attribute)), Cell(say.words(panel) or "–"), Cell(say.sentence_case(say.stage(row.stage))))
    after = Cell(num.shown(abs(row.estimate), places))
    if earlier is None:
        nothing = Cell(num.shown(0.0, places))
        return (*head, nothing, Cell("–"), after, Cell("–"), Cell(num.count(row.n)))
    before, _, low, high = _ends(row, earlier, places)
    interval = num.interval(low, high, places) if low is not None and high is not None else "–"
    return (
        *head,
        Cell(num.shown(before, places)),
        Cell(num.shown(row.change, places, sign=True)),
        after,
        Cell(interval),
        Cell(num.count(row.n)),
    )
