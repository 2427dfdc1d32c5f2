"""Which group each row of a table belongs to."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from rlhf_fair.errors import ColumnError
from rlhf_fair.training.fairness.groups import Labels, as_labels, crossed


def row_labels(table: pd.DataFrame, names: Sequence[str]) -> Labels:
    """One label per row, intersections joined by " & "; None where a column is missing or blank.

    >>> row_labels(pd.DataFrame({"sex": ["w", "m", None], "age": [1, 2, 3]}), ["sex", "age"])
    ['w & 1', 'm & 2', None]
    """
    for name in names:
        if name not in table.columns:
            raise ColumnError("the table of decisions", name, table.columns)
    columns = [table[name].astype(object).where(table[name].notna(), None) for name in names]
    return crossed([as_labels(column) for column in columns])
