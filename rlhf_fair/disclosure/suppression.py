"""Which cells of a count table to leave out, so that nobody can show that one of them holds only a few people.

Leaving out the cells with fewer than k people (primary suppression) is not enough: a margin minus the other cells of
its row gives the missing one. So companion cells are left out too (complementary suppression; Fischetti and Salazar
2001) until no reader can show that any cell has between 1 and k - 1 people.

The reader is taken to know every published number, to know that a cell left out is not empty (empty cells are shown as
0), and to reason in whole people. A small cell is protected if some table that fits all of this has
k or more people in it. The companions are chosen greedily, the smallest first; what is promised is checked for every
small cell by an integer programme, not by the way they were chosen.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_matrix

SOLVER_SECONDS = 20.0
"""A cell that the solver cannot decide in this time counts as unprotected."""

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


def with_margins(counts: Ints) -> Ints:
    """``counts`` with a last index on every axis that holds the sum over it."""
    for axis in range(counts.ndim):
        counts = np.concatenate([counts, counts.sum(axis=axis, keepdims=True)], axis=axis)
    return counts


def hidden_cells(counts: Ints, k: int) -> Bools | None:
    """True for the cells (margins included, see `with_margins`) to leave out; None if no choice of cells is enough."""
    if counts.sum() < k:
        return None
    table = _Table(counts, k)
    small = table.small_cells()
    for cell in small:
        while not table.protected(cell):
            companion = table.companion(cell)
            if companion is None:
                return None
            table.hidden[companion] = True
    # a later companion often makes an earlier one needless, and one that can be worked out hides nothing: the largest
    # are given back first
    for cell in table.companions():
        table.hidden[cell] = False
        table.hidden[cell] = not table.all_protected()
    return table.hidden


Cell = tuple[int, ...]


class _Table:
    """A table with margins, and which of its cells are hidden so far."""

    def __init__(self, counts: Ints, k: int) -> None:
        self.full, self.k = with_margins(counts), k
        self.hidden: Bools = (self.full > 0) & (self.full < k)
        self.inner = tuple(slice(0, size) for size in counts.shape)
        self.small: Bools = self.hidden.copy()
        self.witnesses: Ints = np.zeros((0, self.full.size), dtype=np.int64)
        # row: a cell or margin, column: an inner cell, 1 where the second is part of the first
        steps = [np.vstack([np.eye(size), np.ones((1, size))]) for size in counts.shape]
        parts: NDArray[np.float64] = np.eye(1)
        for step in steps:
            parts = np.asarray(np.kron(parts, step))
        self.parts = csr_matrix(parts)

    def small_cells(self) -> list[Cell]:
        """Inner cells first: a margin can hold k people as soon as a cell in it can."""
        cells = [tuple(int(i) for i in cell) for cell in np.argwhere(self.small)]
        return sorted(cells, key=lambda cell: (self._margins(cell), int(self.full[cell]), cell))

    def companions(self) -> list[Cell]:
        """Hidden cells of k people and more, margins first, then the largest first."""
        cells = [tuple(int(i) for i in cell) for cell in np.argwhere(self.hidden & ~self.small)]
        return sorted(cells, key=lambda cell: (-self._margins(cell), -int(self.full[cell]), cell))

    def all_protected(self) -> bool:
        """`protected` of every small cell."""
        return all(self._witnessed() | ~self.small.ravel()) or all(map(self.protected, self.small_cells()))

    def protected(self, cell: Cell) -> bool:
        """Does a table that fits everything published have k people or more in ``cell``?"""
        here = int(np.ravel_multi_index(cell, self.full.shape))
        enough = self.witnesses[self.witnesses[:, here] >= self.k]
        told = ~self.hidden.ravel()
        if (enough[:, told] == self.full.ravel()[told]).all(axis=1).any():
            return True
        witness = self._fitting_table(here)
        if witness is None:
            return False
        self.witnesses = np.vstack([self.witnesses, witness])
        return True

    def _witnessed(self) -> Bools:
        """Cells (flat) in which some table found before has k people or more and fits what is published now."""
        told = ~self.hidden.ravel()
        fits = (self.witnesses[:, told] == self.full.ravel()[told]).all(axis=1)
        return np.asarray((self.witnesses[fits] >= self.k).any(axis=0))

    def _fitting_table(self, here: int) -> Ints | None:
        """A table that fits everything published, with at least k in the cell of flat index ``here``."""
        hidden, counts = self.hidden[self.inner].ravel(), self.full[self.inner].ravel()
        inside, known = self.parts[:, hidden], self.parts[:, ~hidden] @ counts[~hidden]
        if inside[[here]].nnz == 0:
            return None
        told = np.flatnonzero(~self.hidden.ravel() & (np.diff(inside.indptr) > 0))
        rows = [LinearConstraint(inside[[here]], lb=self.k - known[here])]
        if len(told):
            rest = self.full.ravel()[told] - known[told]
            rows.append(LinearConstraint(inside[told], lb=rest, ub=rest))
        n = inside.shape[1]
        found = milp(
            np.zeros(n),
            integrality=np.ones(n, dtype=np.int64),
            bounds=Bounds(1, np.inf),
            constraints=rows,
            options={"time_limit": SOLVER_SECONDS},
        )
        if found.status != 0 or found.x is None:
            return None
        return np.asarray(known + inside @ np.round(found.x)).astype(np.int64)

    def companion(self, cell: Cell) -> Cell | None:
        """The published cell to hide next, of the sums that hold ``cell`` down: its smallest sibling, else the sum."""
        sums = sorted(self._sums(cell), key=lambda entry: entry[0])
        tight = [entry for entry in sums if entry[0] < self.k]
        for group in (tight, sums):
            siblings = [sibling for _, _, open_siblings in group for sibling in open_siblings]
            if siblings:
                return min(siblings, key=lambda sibling: (int(self.full[sibling]), sibling))
        total = tuple(size - 1 for size in self.full.shape)
        parents = [parent for _, parent, _ in sums if not self.hidden[parent] and parent != total]
        if parents:
            return min(parents, key=lambda parent: (int(self.full[parent]), parent))
        # nothing near: a sum further away holds it down through other hidden cells
        rest = np.argwhere(~self.hidden & (self.full > 0))
        others = [other for other in (tuple(int(i) for i in row) for row in rest) if other != total]
        return min(others, key=lambda other: (self._margins(other), int(self.full[other]), other), default=None)

    def _sums(self, cell: Cell) -> list[tuple[int, Cell, list[Cell]]]:
        """For each sum that ``cell`` is a term of: the most it lets ``cell`` be, the sum, its published other terms."""
        found = []
        for axis, position in enumerate(cell):
            last = self.full.shape[axis] - 1
            if position == last:
                continue
            line = [(*cell[:axis], i, *cell[axis + 1 :]) for i in range(last) if i != position]
            parent = (*cell[:axis], last, *cell[axis + 1 :])
            open_ = [other for other in line if not self.hidden[other] and self.full[other] > 0]
            n_hidden = sum(bool(self.hidden[other]) for other in line)
            room = int(self.full[parent]) - sum(int(self.full[other]) for other in open_) - n_hidden
            found.append((self.k if self.hidden[parent] else room, parent, open_))
        return found

    def _margins(self, cell: Cell) -> int:
        return sum(position == size - 1 for position, size in zip(cell, self.full.shape, strict=True))
