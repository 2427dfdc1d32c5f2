"""Tables too long to stand in a page row by row: a part is HTML, and all rows are one packed block.

10,000 rows of 8 cells would be 80,000 elements, 20 MB once printed. The page's script builds the rows that are looked
at; the part that is HTML is what a reader without scripts has.
"""

from __future__ import annotations

import json

from rlhf_fair.report.display import Cell, Table


def rows_block(table: Table) -> bytes:
    """All rows as JSON, column by column, since equal things side by side pack well.

    ``text``, ``detail`` and ``mark`` hold a list for each column, with an entry for each row; a column without any
    detail or mark has null. A mark is "v-" and a verdict's first letter, as the style sheet knows it, or "miss".
    """
    columns = range(len(table.columns))
    content = {
        "text": [[row[at].text for row in table.rows] for at in columns],
        "detail": [_or_none([row[at].detail for row in table.rows]) for at in columns],
        "mark": [_or_none([cell_mark(row[at]) for row in table.rows]) for at in columns],
    }
    return json.dumps(content, ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode()


def cell_mark(cell: Cell) -> str:
    """The cell's class in the page; "" where it needs none."""
    return "miss" if cell.missing else f"v-{cell.verdict[0]}" if cell.verdict else ""


def _or_none(texts: list[str]) -> list[str] | None:
    return texts if any(texts) else None
