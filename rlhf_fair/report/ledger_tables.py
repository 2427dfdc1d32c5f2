"""The bias ledger in tables: every row, and every change between stages."""

from __future__ import annotations

from collections.abc import Sequence

from rlhf_fair.records import LedgerRow
from rlhf_fair.report import numbers as num
from rlhf_fair.report import wording as say
from rlhf_fair.report.display import Cell, Column, Table


def places_of(rows: Sequence[LedgerRow]) -> int:
    """Decimals with which the rows' gaps and intervals are shown."""
    return num.decimals([(row.ci_low, row.ci_high) for row in rows], [row.estimate for row in rows])


def in_order(rows: Sequence[LedgerRow]) -> list[LedgerRow]:
    """Rows by attribute, metric, stage and panel."""
    order = say.stage_order(row.stage for row in rows)
    attributes = list(dict.fromkeys(row.attribute for row in rows))
    panels = list(dict.fromkeys(row.panel for row in rows))
    return sorted(
        rows, key=lambda r: (attributes.index(r.attribute), r.metric, order.index(r.stage), panels.index(r.panel))
    )


def ledger_table(rows: Sequence[LedgerRow]) -> Table:
    """All ledger rows: the gap at each stage, with the round where the pipeline ran in rounds."""
    cells, rounds = [], in_rounds(rows)
    for row in in_order(rows):
        places = places_of([other for other in rows if (other.attribute, other.metric) == (row.attribute, row.metric)])
        known = num.finite(row.estimate)
        cells.append(
            (
                Cell(say.words(row.attribute)),
                *([round_cell(row)] if rounds else []),
                Cell(say.sentence_case(say.stage(row.stage))),
                Cell(say.words(row.panel) or "–"),
                Cell(say.words(row.metric)),
                Cell(row.reference),
                Cell(num.shown(row.estimate, places) if known else say.not_measured(row.reason), missing=not known),
                Cell(num.interval(row.ci_low, row.ci_high, places) if known else "–"),
                Cell(num.p_value(row.p_value)),
                Cell(num.count(row.n)),
                Cell(num.count(row.n_clusters)),
            )
        )
    head = ("Attribute", *(["Round"] if rounds else []), "Stage", "Panel", "Metric", "Reference")
    columns = (*head, "Gap", "Interval", "p", "n", "Clusters")
    return Table(
        "ledger-table",
        "The gap at each stage",
        tuple(Column(label, label in {"Round", "Gap", "Interval", "p", "n", "Clusters"}) for label in columns),
        tuple(cells),
    )


def in_rounds(rows: Sequence[LedgerRow]) -> bool:
    """Whether the pipeline ran in rounds, so that they are worth a column."""
    return any(row.round for row in rows)


def round_cell(row: LedgerRow) -> Cell:
    """The round of a row; a dash for what came before the first."""
    return Cell(num.count(row.round) if row.round else "–")


def changes_table(rows: Sequence[LedgerRow]) -> Table | None:
    """How the absolute gap changed from one stage to another; negative means that the gap got smaller."""
    changed = [row for row in in_order(rows) if row.change_from]
    if not changed:
        return None
    places = {
        row.metric: num.decimals(
            [(r.change_ci_low, r.change_ci_high) for r in changed if r.metric == row.metric],
            [r.change for r in changed if r.metric == row.metric],
        )
        for row in changed
    }
    cells = tuple(
        (
            Cell(say.words(row.attribute)),
            Cell(say.words(row.panel) or "–"),
            Cell(say.sentence_case(say.stage(row.change_from))),
            Cell(say.sentence_case(say.stage(row.stage))),
            Cell(
                num.shown(row.change, places[row.metric], sign=True)
                if num.finite(row.change)
                else say.not_measured(row.reason),
                missing=not num.finite(row.change),
            ),
            Cell(num.interval(row.change_ci_low, row.change_ci_high, places[row.metric])),
            Cell(_change_in_words(row)),
        )
        for row in changed
    )
    columns = ("Attribute", "Panel", "From", "To", "Change of |gap|", "Interval", "In words")
    return Table(
        "changes-table",
        "Change of the absolute gap on the same items",
        tuple(Column(label, label in {"Change of |gap|", "Interval"}) for label in columns),
        cells,
        note="Negative: the gap got smaller, which is better. Intervals are paired.",
    )


def _change_in_words(row: LedgerRow) -> str:
    if not num.finite(row.change):
        return num.MISSING
    if not (num.finite(row.change_ci_low) and num.finite(row.change_ci_high)):
        return "no interval: not settled"
    if row.change_ci_high < 0:
        return "gap got smaller"
    if row.change_ci_low > 0:
        return "gap got larger"
    return "no change detected"
