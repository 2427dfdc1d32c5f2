"""Findings as a table: few columns that fit a page, what tells the rows apart in a second line, the rest in a note."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from rlhf_fair.records import Finding
from rlhf_fair.report import numbers as num
from rlhf_fair.report import wording as say
from rlhf_fair.report.display import Cell, Column, Table
from rlhf_fair.report.reading import Reading, Terms, is_measured, is_sequential, mde, parity, where_it_stopped

PAGE_ROWS = 40
NUMERIC = ("Estimate", "Interval", "Adjusted p", "MDE", "n", "Clusters")
_READINGS = {
    Reading.UNCONFIRMED: "differs from {} before correction only",
    Reading.DIFFERS: "differs from {}, size not settled",
}


def findings_table(findings: Sequence[Finding], terms: Terms, *, id: str, caption: str) -> Table:
    """One row for each finding in the order given. What is the same for every row moves into the note."""
    context = [_context(finding) for finding in findings]
    shared = (
        {name: text for name, text in context[0].items() if all(c[name] == text for c in context)} if context else {}
    )
    rows = []
    for finding, about in zip(findings, context, strict=True):
        told = {name: text for name, text in about.items() if name not in shared}
        rows.append(_cells(finding, told, terms))
    empty = [label for label in ("MDE", "Adjusted p") if all(row[label].text == "–" for row in rows)]
    labels = [label for label in rows[0] if label not in empty] if rows else []
    table = context_table(rows, labels, shared, id=id, caption=caption, numeric=NUMERIC, page_rows=PAGE_ROWS)
    return replace(table, important=tuple(at for at, finding in enumerate(findings) if finding.role == "claim"))


def context_table(
    rows: Sequence[dict[str, Cell]],
    labels: Sequence[str],
    shared: dict[str, str],
    *,
    id: str,
    caption: str,
    numeric: Sequence[str],
    page_rows: int,
) -> Table:
    """Cells by column label, and in the note what is the same for every row."""
    fixed = [f"{name}: {text}" for name, text in shared.items() if text]
    return Table(
        id=id,
        caption=caption,
        columns=tuple(Column(label, numeric=label in numeric) for label in labels),
        rows=tuple(tuple(row[label] for label in labels) for row in rows),
        paged=len(rows) > page_rows,
        stacked=True,
        note="The same for every row: " + "; ".join(fixed) + "." if fixed else "",
    )


def _context(finding: Finding) -> dict[str, str]:
    """All that a row is about besides its numbers, by name."""
    return {
        "attribute": say.words(finding.attribute),
        "reference": finding.reference,
        "metric": say.words(finding.metric),
        "variant": say.words(finding.variant),
        "stopping": where_it_stopped(finding),
        "role": finding.role,
        "stage": say.stage(finding.stage),
        "probe": say.words(finding.probe),
        "unit": finding.unit,
        "threshold": say.within_limits(finding, finding.threshold) if num.finite(finding.threshold) else "",
        "scale": say.better(finding),
        "parsed": num.share(finding.parse_rate) if num.finite(finding.parse_rate) else "",
        "refused": num.share(finding.refusal_rate) if num.finite(finding.refusal_rate) else "",
        "measured": num.share(finding.measured_rate) if finding.measured_rate < 1 else "",
    }


_LABELLED = ("threshold", "parsed", "refused", "measured")


def _cells(finding: Finding, told: dict[str, str], terms: Terms) -> dict[str, Cell]:
    measured, places = is_measured(finding), terms.places(finding)
    against = f" vs {finding.reference}" if "reference" in told and finding.reference else ""
    about = [f"{name} {text}" if name in _LABELLED else text for name, text in told.items() if text]
    about = [text for text in dict.fromkeys([*about, finding.note]) if text and text != finding.reference]
    estimate = num.shown(finding.estimate, places) if measured else say.not_measured(finding.reason)
    return {
        "Verdict": Cell(
            say.SHORT_VERDICTS[finding.verdict], verdict=finding.verdict.value, detail=_verdict_detail(finding, terms)
        ),
        "Comparison": Cell((finding.group or "all groups") + against, detail=" · ".join(about)),
        "Estimate": Cell(estimate, missing=not measured),
        "Interval": Cell(num.interval(finding.ci_low, finding.ci_high, places) if measured else "–"),
        "Adjusted p": Cell(num.p_value(finding.p_adjusted)),
        "MDE": Cell(_detectable(finding)),
        "n": Cell(num.behind(finding.n, finding.estimate)),
        "Clusters": Cell(num.behind(finding.n_clusters, finding.estimate)),
    }


def _verdict_detail(finding: Finding, terms: Terms) -> str:
    """Whether the finding differs from parity, where the verdict leaves that open."""
    reading, null = terms.reading(finding), say.null_value(finding)
    if reading in _READINGS:
        return _READINGS[reading].format(null)
    if reading == Reading.WITHIN:
        return f"differs from {null}" if terms.differs(finding) else ""
    if reading == Reading.OPEN and finding.better in ("zero", "one"):
        return "no difference seen"
    return ""


def _detectable(finding: Finding) -> str:
    """The smallest detectable effect, for ratios and levels with what it is a distance from; a dash where it has none.

    An audit that could stop early has none.
    """
    if is_sequential(finding) or not is_measured(finding) or not num.finite(mde(finding)):
        return "–"
    size, null = num.significant(finding.mde), parity(finding)
    return size if null == 0 else f"{size} from {num.limit(finding.threshold if null is None else null)}"
