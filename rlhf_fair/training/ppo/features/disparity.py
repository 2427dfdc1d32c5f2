"""How often a decider chooses an action in every group, on rows it has not learned from."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from rlhf_fair.errors import ColumnError, SettingsError
from rlhf_fair.metrics.by_group import ByGroup, mean_by_group
from rlhf_fair.training.ppo.features.decider import Decider
from rlhf_fair.training.ppo.features.groups import row_labels


class SelectionByGroup(NamedTuple):
    """Rates in [0, 1] and gaps to the reference, 0 = parity, with intervals.

    ``most_likely``: of the decisions a decider makes without drawing. ``drawn``: of those it makes by drawing, taken
    from the probabilities, so that the interval is of the rows alone and not of the luck of the draw.
    """

    most_likely: ByGroup
    drawn: ByGroup


def selection_by_group(
    decider: Decider,
    table: pd.DataFrame,
    action: str,
    *,
    group_by: Sequence[str],
    reference: Hashable = None,
    among: str | None = None,
    alpha: float = 0.05,
) -> SelectionByGroup:
    """Rate of ``action`` in the groups that the columns ``group_by`` make, intersections written ``woman & Black``.

    ``among``: a column of truth values; only rows where it holds count (parity of true positive rates). Rows without a
    group are counted as unknown, rows that do not count as missing.
    """
    if action not in decider.config.actions:
        raise SettingsError(f"action {action!r} is none of {', '.join(decider.config.actions)}")
    if among is not None and among not in table.columns:
        raise ColumnError("the table of decisions", among, table.columns)
    counts = np.ones(len(table), dtype=bool) if among is None else table[among].to_numpy(dtype=bool)
    labels = row_labels(table, group_by)
    probabilities = decider.probabilities(table)
    decided = probabilities.to_numpy().argmax(1) == decider.config.actions.index(action)
    most_likely, drawn = (
        mean_by_group(np.where(counts, values, np.nan), labels, reference=reference, alpha=alpha)
        for values in (decided.astype(float), probabilities[action].to_numpy())
    )
    return SelectionByGroup(most_likely, drawn)
