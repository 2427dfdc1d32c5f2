"""Sums of one batch by measure, stratum and group: all that the penalty needs to know of the other samples.

Sums add, so several processes can each send their own: whatever the split, the whole is the same.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rlhf_fair.errors import RlhfFairError

Floats = NDArray[np.float64]

SCORE, REFUSED, LENGTH, REWARD = "score", "refused", "length", "reward"
"""The measures the shaper knows: the scored text, refusal (0 or 1), length in tokens, and the unshaped reward."""
ONE_STRATUM = ""
"""Stratum of every row where strata are not asked for."""


class Cell(NamedTuple):
    """Where a sample counts."""

    measure: str
    stratum: str
    group: str


class Moments(NamedTuple):
    """Number of finite values, their sum and the sum of their squares."""

    n: float
    total: float
    squares: float


@dataclass(frozen=True)
class BatchSums:
    """Moments of one batch by cell. rows: all rows. unknown: rows without a group. unscored: a group but no score."""

    cells: Mapping[Cell, Moments] = field(default_factory=dict)
    rows: int = 0
    unknown: int = 0
    unscored: int = 0

    @classmethod
    def of(
        cls,
        groups: Sequence[str | None],
        measures: Mapping[str, Floats],
        strata: Sequence[str] | None = None,
    ) -> BatchSums:
        """Sums of ``measures``, each (n,) with NaN where missing; a group of None is unknown and enters no cell."""
        strata = [ONE_STRATUM] * len(groups) if strata is None else strata
        places = list(zip(strata, groups, strict=True))
        sums: dict[Cell, Moments] = {}
        unscored = 0
        for measure, values in measures.items():
            for (stratum, group), value in zip(places, values.tolist(), strict=True):
                if group is None:
                    continue
                if math.isfinite(value):
                    cell = Cell(measure, stratum, group)
                    n, total, squares = sums.get(cell, (0.0, 0.0, 0.0))
                    sums[cell] = Moments(n + 1.0, total + value, squares + value * value)
                elif measure == SCORE:
                    unscored += 1
        return cls(sums, len(groups), sum(group is None for group in groups), unscored)

    def __add__(self, other: BatchSums) -> BatchSums:
        """Sums of both batches together."""
        cells = dict(self.cells)
        for cell, moments in other.cells.items():
            before = cells.get(cell, Moments(0.0, 0.0, 0.0))
            cells[cell] = Moments(*(a + b for a, b in zip(before, moments, strict=True)))
        return BatchSums(cells, self.rows + other.rows, self.unknown + other.unknown, self.unscored + other.unscored)

    def to_json(self) -> dict[str, Any]:
        """Plain lists and numbers, cells in order."""
        cells = [[*cell, *moments] for cell, moments in sorted(self.cells.items())]
        return {"rows": self.rows, "unknown": self.unknown, "unscored": self.unscored, "cells": cells}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> BatchSums:
        """Restore what `to_json` gave, also after a trip over a network; anything else is refused."""
        try:
            cells = {
                Cell(str(measure), str(stratum), str(group)): Moments(float(n), float(total), float(squares))
                for measure, stratum, group, n, total, squares in content["cells"]
            }
            sums = cls(cells, int(content["rows"]), int(content["unknown"]), int(content["unscored"]))
        except (KeyError, TypeError, ValueError) as error:
            raise RlhfFairError(f"these are no group sums: {error!r}") from error
        if not all(math.isfinite(number) for moments in cells.values() for number in moments):
            raise RlhfFairError("group sums hold a number that is not finite")
        return sums
