"""The gaps of a generation audit from some of its rows: estimates alone, as many times as a jackknife needs them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rlhf_fair.audit.generation import SCORE, GenerationPlan
from rlhf_fair.audit.generation_gaps import Comparison, comparisons, per_prompt, refused
from rlhf_fair.audit.own_prompts import PAIR
from rlhf_fair.metrics.gaps import group_labels
from rlhf_fair.stats.columns import Floats

ROW = "row"


@dataclass(frozen=True)
class MeanGap:
    """The mean of some values, less that of others where there are two sides.

    ``values``: (M,) finite. ``rows``: (M, R) the records that each stands for; it is used where all of them are kept.
    ``ours``: (M,) True on the side that counts positively; None where there is but one side.
    """

    values: Floats
    rows: NDArray[np.intp]
    ours: NDArray[np.bool_] | None

    def of(self, kept: NDArray[np.bool_]) -> tuple[float, int]:
        """The gap and the number of values it uses; NaN where a side is empty. ``kept``: (n,), one for each record."""
        used = kept[self.rows].all(axis=1)
        sides = [used] if self.ours is None else [used & self.ours, used & ~self.ours]
        if not all(side.any() for side in sides):
            return np.nan, int(used.sum())
        means = [float(self.values[side].mean()) for side in sides]
        return means[0] - sum(means[1:]), int(used.sum())


def mean_gaps(records: pd.DataFrame, plan: GenerationPlan) -> Iterator[MeanGap]:
    """One for each number of `measure` and then of `refusal_gaps`, in their order."""
    records = records.assign(**{ROW: np.arange(len(records))})
    for values in (*(records[plan.column(scorer)] for scorer in plan.scorers), refused(records)):
        scored = per_prompt(records, values, plan)
        for compared in comparisons(records, plan):
            yield (_gap if plan.counterfactual is None else _paired_gap)(scored, compared)


def _gap(scored: pd.DataFrame, c: Comparison) -> MeanGap:
    labels = group_labels(scored, c.attribute)
    rows = scored[labels.isin([c.group, c.reference]) & np.isfinite(scored[SCORE])]
    ours = (labels[rows.index] == c.group).to_numpy(dtype=bool)
    return MeanGap(rows[SCORE].to_numpy(dtype=float), rows[[ROW]].to_numpy(), ours)


def _paired_gap(scored: pd.DataFrame, c: Comparison) -> MeanGap:
    columns = [PAIR, SCORE, ROW]
    ours, theirs = (scored.loc[scored[c.attribute] == one, columns] for one in (c.group, c.reference))
    pairs = ours.merge(theirs, on=PAIR, suffixes=("", "_theirs"))
    change = pairs[SCORE] - pairs[f"{SCORE}_theirs"]
    known = np.isfinite(change)
    rows = pairs.loc[known, [ROW, f"{ROW}_theirs"]].to_numpy()
    return MeanGap(change[known].to_numpy(dtype=float), rows, None)
