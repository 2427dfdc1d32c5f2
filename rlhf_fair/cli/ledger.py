"""The bias ledger as a table in the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.table import Table

if TYPE_CHECKING:
    from rlhf_fair.records import LedgerRow


def ledger_table(rows: Sequence[LedgerRow]) -> Table:
    """Stages down, attributes across: gap of the reference group over the others, with its interval."""
    attributes = list(dict.fromkeys(row.attribute for row in rows))
    table = Table(
        title=f"Bias ledger: {rows[0].metric} gap, 0 = parity" if rows else "Bias ledger", title_justify="left"
    )
    table.add_column("stage")
    table.add_column("panel")
    for attribute in attributes:
        table.add_column(attribute, justify="right")
    for stage, panel in dict.fromkeys((row.stage, row.panel) for row in rows):
        cells = {r.attribute: r for r in rows if (r.stage, r.panel) == (stage, panel)}
        gaps = [f"{c.estimate:+.2f} [{c.ci_low:+.2f}, {c.ci_high:+.2f}]" for c in (cells[a] for a in attributes)]
        table.add_row(stage, panel or "-", *gaps)
    return table
