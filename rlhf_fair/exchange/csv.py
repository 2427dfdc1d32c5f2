"""Findings and ledger as CSV for a spreadsheet: UTF-8, comma, full precision, and no cell that a program would run.

A spreadsheet evaluates text that begins with ``=``, ``+``, ``-`` or ``@``, also behind spaces or a tab. Such a cell of
a text column gets a leading apostrophe (OWASP, CSV injection), and so does one that begins with an apostrophe, which
makes the rule reversible: `unprotected` takes one apostrophe off. Number columns hold numbers alone, negative ones
too. A number that is not estimable is an empty cell beside its reason, never 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from rlhf_fair.exchange.wording import clean
from rlhf_fair.records import Finding, GroupMean, LedgerRow, Results

_FULL_WIDTH = (
    "\N{FULLWIDTH EQUALS SIGN}",
    "\N{FULLWIDTH PLUS SIGN}",
    "\N{FULLWIDTH HYPHEN-MINUS}",
    "\N{FULLWIDTH COMMERCIAL AT}",
)
"""Read as their narrow twins where the spreadsheet's language is Chinese or Japanese."""

DANGEROUS = ("=", "+", "-", "@", "'", *_FULL_WIDTH)
BLANKS = ("\t", "\n", " ", "\N{NO-BREAK SPACE}")

FINDINGS_COLUMNS = tuple(Finding.model_fields)
LEDGER_COLUMNS = tuple(name for name in LedgerRow.model_fields if name != "groups")
GROUP_COLUMNS = ("stage", "panel", "attribute", "metric", *GroupMean.model_fields)


def findings_csv(results: Results) -> bytes:
    """One row for each finding, in the order of ``results.json``, with the columns of `Finding`."""
    return _table(FINDINGS_COLUMNS, (finding.model_dump(mode="json") for finding in results.findings))


def ledger_csv(results: Results) -> bytes:
    """One row for each attribute at each stage; see `LedgerRow`. The groups' means are `ledger_groups_csv`."""
    return _table(LEDGER_COLUMNS, (row.model_dump(mode="json", exclude={"groups"}) for row in results.ledger))


def ledger_groups_csv(results: Results) -> bytes:
    """One row for each group of each row of the ledger: who moved."""
    rows = (
        {"stage": row.stage, "panel": row.panel, "attribute": row.attribute, "metric": row.metric}
        | group.model_dump(mode="json")
        for row in results.ledger
        for group in row.groups
    )
    return _table(GROUP_COLUMNS, rows)


def protected(text: str) -> str:
    """``text`` as a cell that no spreadsheet evaluates.

    >>> protected("=1+1"), protected("man"), protected("'tis")
    ("'=1+1", 'man', "''tis")
    """
    whole = clean(text)
    begins = whole.lstrip()
    return f"'{whole}" if begins.startswith(DANGEROUS) or whole.startswith(BLANKS) else whole


def unprotected(cell: str) -> str:
    """The text behind a cell that `protected` wrote."""
    return cell.removeprefix("'")


def _table(columns: tuple[str, ...], rows: Iterable[Mapping[str, Any]]) -> bytes:
    import pandas as pd

    cells = [[protected(v) if isinstance(v, str) else v for v in map(row.__getitem__, columns)] for row in rows]
    # As objects: a column of counts beside an empty cell would turn into floats.
    frame = pd.DataFrame(cells, columns=list(columns), dtype=object)
    return frame.to_csv(index=False, lineterminator="\n").encode()
