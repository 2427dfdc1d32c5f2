"""Constraints of a panel that always hold, each with the name it was declared under."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rlhf_fair.annotators.integer_program import IntegerProgram, UnsettledError
from rlhf_fair.annotators.minimums import EVERYBODY, Cell

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Limit:
    """``low <= row @ counts <= high``, with one count for each stratum.

    ``kind``: ``size``, ``minimum`` or ``budget``; ``available``: what the whole pool would give; ``cell``: whom it
    counts.
    """

    kind: str
    name: str
    row: FloatArray
    low: float
    high: float
    available: float
    cell: Cell = EVERYBODY


def feasible(limits: Sequence[Limit], upper: FloatArray) -> bool:
    """Whether whole persons, at most ``upper`` of each stratum, can hold all ``limits`` together.

    False is proved; so is True, unless the search was cut short: what is not proved impossible counts as possible.
    """
    program = IntegerProgram(upper, continuous=0)
    for limit in limits:
        program.row([limit.row[None, :]], limit.low, limit.high)
    if not limits or not len(upper):
        return all(limit.low <= 0 <= limit.high for limit in limits)
    try:
        return program.minimise(np.zeros(len(upper))) is not None
    except UnsettledError:
        return True
