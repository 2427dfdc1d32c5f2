"""Changes as a table: the number in A and in B, B less A with its interval, and what became of it."""

from __future__ import annotations

from collections.abc import Sequence

from rlhf_fair.changes import Change, Side
from rlhf_fair.report import numbers as num
from rlhf_fair.report import wording as say
from rlhf_fair.report.diff_wording import (
    BY_MARGIN,
    STATUS_ICONS,
    STATUS_WORDS,
    Family,
    family,
    is_judged,
    size_words,
    subject,
)
from rlhf_fair.report.display import Cell, Table
from rlhf_fair.report.findings_table import context_table

PAGE_ROWS = 40
NUMERIC = ("A", "B", "B less A", "Interval", "Adjusted p", "n", "Clusters")


def changes_table(changes: Sequence[Change], places: dict[Family, int], *, id: str, caption: str) -> Table:
    """One row for each change in the order given. What is the same for every row moves into the note."""
    context = [_context(change) for change in changes]
    names = list(context[0]) if context else []
    shared = {name: context[0][name] for name in names if all(c[name] == context[0][name] for c in context)}
    rows = []
    for change, about in zip(changes, context, strict=True):
        told = [text for name, text in about.items() if name not in shared and text]
        rows.append(_cells(change, told, places[family(change)]))
    labels = list(rows[0]) if rows else []
    return context_table(rows, labels, shared, id=id, caption=caption, numeric=NUMERIC, page_rows=PAGE_ROWS)


def _context(change: Change) -> dict[str, str]:
    """All that a row is about besides its numbers, by name."""
    return {
        "metric": say.words(change.metric),
        "attribute": say.words(change.attribute),
        "variant": say.words(change.variant),
        "role": change.role,
        "unit": change.unit,
        "margin of a change": f"±{num.limit(change.tolerance)}" if change.tolerance > 0 else "",
    }


def _cells(change: Change, told: Sequence[str], places: int) -> dict[str, Cell]:
    known = num.finite(change.change)
    detail = "; ".join(filter(None, [change.reason, BY_MARGIN[change.worse_by_margin] if is_judged(change) else ""]))
    return {
        "Status": Cell(
            STATUS_WORDS[change.status], verdict=STATUS_ICONS[change.status].value, detail=_size(change, places)
        ),
        "Comparison": Cell(subject(change), detail=" · ".join([*told, detail])),
        "A": _side(change.a, places),
        "B": _side(change.b, places),
        "B less A": Cell(num.shown(change.change, places, sign=True) if known else num.MISSING, missing=not known),
        "Interval": Cell(num.interval(change.ci_low, change.ci_high, places)),
        "Adjusted p": Cell(num.p_value(change.p_adjusted)),
        "n": Cell(num.count(change.n)),
        "Clusters": Cell(num.count(change.n_clusters)),
    }


def _size(change: Change, places: int) -> str:
    """By how much the distance from parity changed, where that is another number than B less A."""
    if change.better not in ("zero", "one") or not num.finite(change.worsening):
        return ""
    ends = num.interval(change.worsening_low, change.worsening_high, places)
    value = num.shown(change.worsening, places, sign=True)
    return f"{size_words(change)}: {value}" + ("" if ends == "–" else f" {ends}")


def _side(side: Side, places: int) -> Cell:
    verdict = say.SHORT_VERDICTS[side.verdict] if side.verdict else ""
    if not num.finite(side.estimate):
        return Cell(say.not_measured(side.reason), missing=True)
    return Cell(num.shown(side.estimate, places), detail=verdict)
