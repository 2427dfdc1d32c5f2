"""Least numbers of items by group (topic, language, who is spoken about): read them, check them, hold them.

Choosing may be free as long as enough of the budget is left to make up what groups still lack. How many items that
takes is an integer program over cells (combinations of groups), solved only when the slack may have run out. A pick
never raises that number, so every state reached this way can be completed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rlhf_fair.annotators.integer_program import IntegerProgram
from rlhf_fair.errors import ColumnError, InfeasibleError, SettingsError

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]

UNKNOWN = "(unknown)"
"""Group of items whose cell is empty: reported like any other, but without a minimum unless it is named."""


@dataclass(frozen=True)
class AtLeast:
    """``column`` and ``group`` None stand for every one. A ``size`` below 1 with ``share`` is a part of the budget."""

    size: float
    share: bool
    column: str | None = None
    group: str | None = None

    @classmethod
    def parse(cls, text: str) -> AtLeast:
        """Read ``0.1``, ``20``, ``topic:0.1`` or ``topic=law:20``; a decimal point makes a share of the budget.

        >>> AtLeast.parse("topic=law:0.2")
        AtLeast(size=0.2, share=True, column='topic', group='law')
        """
        place, mark, size = text.rpartition(":")
        column, equals, group = place.partition("=")
        share = "." in size
        try:
            number = float(size) if share else float(int(size))
        except ValueError:
            number = -1.0
        named = (not mark or bool(column)) and (not equals or bool(group))
        if not named or number < 0 or (share and number > 1):
            raise SettingsError(f"--at-least {text!r}; allowed: 0.1, 20, topic:0.1, topic=law:20 (a share or items)")
        return cls(number, share, column or None, group or None)

    def items(self, budget: int) -> int:
        """The number of items it stands for; a share is rounded up."""
        return math.ceil(self.size * budget - 1e-9) if self.share else int(self.size)


@dataclass(frozen=True)
class Coverage:
    """Who must be covered. Cells are the combinations of groups that candidates have.

    ``cell``: (n,) of each candidate. ``names``: of the minimums, ``column=group``. ``wanted``: (m,) items.
    ``inside``: (m, cells) whether a cell counts towards a minimum.
    """

    cell: Codes
    names: tuple[str, ...]
    wanted: Codes
    inside: NDArray[np.bool_]

    @property
    def cells(self) -> int:
        """How many combinations there are."""
        return int(self.inside.shape[1])


def coverage(groups: pd.DataFrame, rules: Sequence[AtLeast], budget: int) -> Coverage:
    """Minimums of the groups that occur in ``groups``, one column for each attribute and one row for each candidate.

    The most specific rule of a group counts: one that names it, else one that names its column, else the general one.
    """
    for rule in rules:
        if rule.column is not None and rule.column not in groups:
            raise ColumnError("--group-column", rule.column, groups.columns)
        if rule.group is not None and rule.group not in set(groups[str(rule.column)]):
            known = sorted(set(groups[str(rule.column)]))
            raise InfeasibleError(
                f"group {rule.column}={rule.group}: {rule.items(budget)} wanted, 0 available; groups: {known}"
            )
    combinations, cell = _combinations(groups)
    names, wanted, inside = [], [], []
    for column in groups:
        for group in sorted(set(groups[column])):
            least = _least(rules, str(column), group, budget)
            if least > 0:
                names.append(f"{column}={group}")
                wanted.append(least)
                inside.append((combinations[column] == group).to_numpy())
    matrix = np.array(inside, dtype=bool).reshape(len(names), len(combinations))
    return Coverage(cell, tuple(names), np.array(wanted, dtype=np.int64), matrix)


def no_coverage(n: int) -> Coverage:
    """``n`` candidates in one cell, nobody of whom must be covered."""
    return Coverage(np.zeros(n, dtype=np.int64), (), np.zeros(0, dtype=np.int64), np.zeros((0, 1), dtype=bool))


class Slack:
    """How freely the next pick may be made: picks left, items still lacking, and the least fill that mends it.

    ``fill``: (cells,) items of a smallest completion found so far.
    """

    def __init__(self, wanted: Coverage, picks: int) -> None:
        """Raises `InfeasibleError` where the minimums need more items than there are, or more than ``picks``."""
        self.coverage, self.left = wanted, picks
        self.available = np.bincount(wanted.cell, minlength=wanted.cells)
        self.lacking = wanted.wanted.copy()
        self.fill = self._first_fill()
        self.closed = np.zeros(wanted.cells, dtype=bool)
        """Cells of which no item can be picked any more without breaking a minimum; they stay closed."""

    def admits(self, cell: int) -> bool:
        """Whether a pick from this cell leaves the minimums within reach; remembers a cell where it does not."""
        if self.left > self.fill.sum() or self.fill[cell] > 0:
            return True
        after = _smallest_fill(*self._after(cell), self.coverage.inside)
        if after is not None and after.sum() <= self.left - 1:
            self.fill = after
            self.fill[cell] += 1
            return True
        self.closed[cell] = True
        return False

    def pick(self, cell: int) -> tuple[str, ...]:
        """Record a pick; returns the names of the minimums it helps to reach."""
        helped = self.coverage.inside[:, cell] & (self.lacking > 0)
        self.lacking, self.available = self._after(cell)
        self.left -= 1
        self.fill[cell] = max(self.fill[cell] - 1, 0)
        return tuple(name for name, does in zip(self.coverage.names, helped, strict=True) if does)

    def _after(self, cell: int) -> tuple[Codes, Codes]:
        """Lacking and available after a pick from this cell."""
        available = self.available.copy()
        available[cell] -= 1
        return np.maximum(self.lacking - self.coverage.inside[:, cell], 0), available

    def _first_fill(self) -> Codes:
        have = self.coverage.inside @ self.available
        short = np.flatnonzero(have < self.lacking)
        if len(short):
            worst = short[np.argmax((self.lacking - have)[short])]
            more = f" (and {len(short) - 1} more groups)" if len(short) > 1 else ""
            raise InfeasibleError(
                f"group {self.coverage.names[worst]}: {self.lacking[worst]} wanted, {have[worst]} available{more}"
            )
        fill = _smallest_fill(self.lacking, self.available, self.coverage.inside)
        if fill is None or fill.sum() > self.left:
            each = ", ".join(f"{name}: {n}" for name, n in zip(self.coverage.names, self.lacking, strict=True))
            needed = "too many" if fill is None else f"{fill.sum()}"
            raise InfeasibleError(f"the minimums need {needed} items, {self.left} can be chosen ({each})")
        return fill


def _combinations(groups: pd.DataFrame) -> tuple[pd.DataFrame, Codes]:
    """The distinct rows in lexical order, and which of them each row is."""
    if groups.shape[1] == 0:
        return pd.DataFrame(index=range(1)), np.zeros(len(groups), dtype=np.int64)
    code: Codes = np.asarray(groups.groupby(list(groups.columns), sort=True).ngroup(), dtype=np.int64)
    return groups.assign(_code=code).drop_duplicates("_code").sort_values("_code").drop(columns="_code"), code


def _least(rules: Sequence[AtLeast], column: str, group: str, budget: int) -> int:
    def names(rule: AtLeast) -> bool:
        return (rule.column, rule.group) == (column, group)

    fitting = [rule for rule in rules if names(rule)]
    if not fitting and group != UNKNOWN:
        fitting = [rule for rule in rules if rule.column == column and rule.group is None]
        fitting = fitting or [rule for rule in rules if rule.column is None]
    return max((rule.items(budget) for rule in fitting), default=0)


def _smallest_fill(lacking: Codes, available: Codes, inside: NDArray[np.bool_]) -> Codes | None:
    """(cells,) the fewest items that leave nothing lacking; None if there are none such."""
    if not (lacking > 0).any():
        return np.zeros(len(available), dtype=np.int64)
    if (inside.sum(axis=0) <= 1).all() and (inside.sum(axis=1) == 1).all():  # one column: each group is a cell
        fill = lacking @ inside
        return fill if (fill <= available).all() else None
    program = IntegerProgram(available.astype(np.float64), 0)
    program.row([inside.astype(np.float64)], lacking.astype(np.float64), np.inf)
    found = program.minimise(np.ones(len(available)))
    return None if found is None else np.rint(found).astype(np.int64)
