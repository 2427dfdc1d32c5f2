"""Raking: weights of members scaled until margins hold, one margin at a time (Deming and Stephan 1940).

Where everybody is in one cell of each margin this is iterative proportional fitting on rows. Where people name several
levels, each level is a constraint of its own (who names it, who does not). Both are the multiplicative case of
generalised raking (Deville and Särndal 1992): of all weights that meet the constraints, those nearest to the starting
weights in relative entropy, which do not depend on the order of the margins.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse
from scipy.optimize import linprog

from rlhf_fair.annotators.multi_select import canonical_table, membership
from rlhf_fair.annotators.population import CROSS, Margin, Population
from rlhf_fair.tables import ATTRIBUTE_PREFIX, require_columns

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

SWEEPS = 2000
MET = 1e-6
"""A share this near to its target meets it."""


@dataclass(frozen=True)
class Cells:
    """Where each member is within one margin, for `rake_rows`.

    ``inside``: (cells, n) 1 where a member counts in the cell. ``known``: (n,) whether the member can be placed at all.
    ``shares``: (cells,) targets as the population has them; ``aim``: (cells,) with the share of cells without members
    handed to others, see `collapse`. ``overlapping``: cells of a margin of which people may name several.
    """

    margin: Margin
    inside: FloatArray
    known: NDArray[np.bool_]
    shares: FloatArray
    aim: FloatArray

    @property
    def overlapping(self) -> bool:
        """Whether a member may be in several cells."""
        return self.margin.multi_select

    @property
    def labels(self) -> list[str]:
        """Each cell as ``woman*18-29``."""
        return [CROSS.join(level) for level in self.margin.levels()]

    @property
    def counts(self) -> FloatArray:
        """(cells,) members in each."""
        return np.asarray(self.inside.sum(axis=1))

    def weighted_shares(self, weights: FloatArray) -> FloatArray:
        """(cells,) share of each cell in the weight of the members who can be placed; 0 where they have none."""
        total = float(weights[self.known].sum())
        return np.asarray(self.inside @ weights / total) if total > 0 else np.zeros(len(self.shares))

    def constraints(self, base: FloatArray) -> list[tuple[IntArray, FloatArray]]:
        """(n,) codes and their target shares of everybody, for `rake_rows`.

        Whoever cannot be placed is a cell too, whose share stays that of its starting weight: nothing is known about
        the margin there, so nothing is changed on its account. Few members, many of them unknown, may be unable to
        keep that share and the margins too; then the order of the margins decides what gives way.
        """
        unknown = float(base[~self.known].sum() / base.sum())
        if not self.overlapping:
            return [(self.codes[0], np.append(self.aim * (1 - unknown), unknown))]
        aims = np.column_stack([1 - self.aim, self.aim]) * (1 - unknown)
        return [(code, np.append(aim, unknown)) for code, aim in zip(self.codes, aims, strict=True)]

    @cached_property
    def codes(self) -> list[IntArray]:
        """(n,) each: the cell a member is in, or for each overlapping cell 0 outside and 1 inside; last, unknown."""
        if not self.overlapping:
            return [np.where(self.known, self.inside.argmax(axis=0), len(self.aim)).astype(np.int64)]
        return [np.where(self.known, row, 2).astype(np.int64) for row in self.inside]


@dataclass(frozen=True)
class Raked:
    """``weights``: (n,) with the total of the starting weights; ``settled``: whether every share is within `MET`."""

    weights: FloatArray
    settled: bool


def margin_cells(members: pd.DataFrame, population: Population) -> list[Cells]:
    """The members' places in every margin. Who names several levels of a margin that does not overlap is unknown."""
    columns = [ATTRIBUTE_PREFIX + name for name in population.attributes]
    require_columns(members, columns, "panel")
    several = any(margin.multi_select for margin in population.margins)
    table = canonical_table(members, population) if several else members
    found = []
    for margin in population.margins:
        if margin.multi_select:
            inside = membership(table, margin).toarray()
            known = table[[ATTRIBUTE_PREFIX + name for name in margin.attributes]].notna().all(axis=1).to_numpy()
        else:
            code = margin_codes(members, margin)
            inside = (np.arange(len(margin.shares))[:, None] == code).astype(float)
            known = code >= 0
        shares = margin.shares.to_numpy(float)
        found.append(Cells(margin, inside, known, shares, collapse(margin, shares, inside.sum(axis=1))))
    return found


def collapse(margin: Margin, shares: FloatArray, counts: FloatArray) -> FloatArray:
    """Target shares with those of cells without members handed on.

    In a crossed margin they go, in proportion, to the cells that have the first attribute's level in common, so that
    the first attribute's own shares are kept; where there is none with members, and in a margin of one attribute, to
    all others. Overlapping cells hand on nothing, since their shares are not parts of a whole.
    """
    aim = np.where(counts > 0, shares, 0.0)
    if margin.multi_select or not aim.sum() > 0:
        return aim
    if len(margin.attributes) > 1:
        first = np.array([level[0] for level in margin.levels()], dtype=object)
        for level in dict.fromkeys(first):
            own = first == level
            if aim[own].sum() > 0:
                aim[own] *= shares[own].sum() / aim[own].sum()
    return np.asarray(aim / aim.sum() * shares.sum())


def rake_cells(base: FloatArray, cells: Sequence[Cells], *, sweeps: int = SWEEPS) -> Raked:
    """`rake_rows` on every margin's constraints, and whether that met them. Members alike in all are raked as one."""
    pairs = [pair for one in cells for pair in one.constraints(base)]
    alike = np.zeros(len(base), dtype=np.int64)
    for code, target in pairs:
        alike = pd.factorize(alike * len(target) + code)[0].astype(np.int64)
    first = np.flatnonzero(~pd.Series(alike).duplicated().to_numpy())  # codes are given in order of appearance
    together = np.bincount(alike, base, len(first)).astype(float)
    raked = rake_rows(together, [code[first] for code, _ in pairs], [target for _, target in pairs], sweeps=sweeps)
    factor = np.divide(raked, together, out=np.zeros_like(raked), where=together > 0)
    weights = base * factor[alike]
    return Raked(weights, largest_miss(weights, cells) <= MET)


def largest_miss(weights: FloatArray, cells: Sequence[Cells]) -> float:
    """Largest distance of a weighted share from what raking aims at, over the cells with weight; range [0, 1]."""
    misses = [np.abs(one.weighted_shares(weights) - one.aim)[one.inside @ weights > 0] for one in cells]
    return float(np.concatenate(misses).max(initial=0.0))


def margin_codes(table: pd.DataFrame, margin: Margin) -> IntArray:
    """The margin cell of each row, as a position in ``margin.shares``; -1 where it is unknown."""
    columns = [ATTRIBUTE_PREFIX + name for name in margin.attributes]
    require_columns(table, columns, "panel")
    if len(columns) == 1:  # ten times as fast as an index of one level
        levels = pd.Index([cell[0] for cell in margin.levels()], dtype="object")
        return np.asarray(levels.get_indexer(pd.Index(table[columns[0]].astype("object"))), dtype=np.int64)
    cells = pd.MultiIndex.from_tuples(margin.levels())
    wanted = pd.MultiIndex.from_frame(table[columns].astype("object"))
    return np.asarray(cells.get_indexer(wanted), dtype=np.int64)


def rake_rows(
    base: FloatArray, codes: Sequence[IntArray], targets: Sequence[FloatArray], *, sweeps: int = 500
) -> FloatArray:
    """Iterative proportional fitting on rows: scale ``base`` until each margin's cells hold their target shares.

    Parameters
    ----------
    base
        (n,) starting weights, >= 0.
    codes, targets
        For each margin, (n,) cell positions with -1 for unknown, and the cells' shares. The weight of a margin's
        unknown rows stays what it was; cells without rows are left out.
    sweeps
        At most this many; contradicting margins end near the last one, which the caller sees in the margins reached.
    """
    weights = np.array(base, dtype=float)
    knowns = [None if code.min(initial=0) >= 0 else code >= 0 for code in codes]  # None: all, and no copy is needed
    for _ in range(sweeps):
        change = 0.0
        for code, target, known in zip(codes, targets, knowns, strict=True):
            own, held = (code, weights) if known is None else (code[known], weights[known])
            sums = np.bincount(own, held, minlength=len(target))
            wanted = np.where(sums > 0, target, 0.0)
            if not wanted.sum() > 0:
                continue
            wanted *= sums.sum() / wanted.sum()
            factor = np.divide(wanted, sums, out=np.ones_like(wanted), where=sums > 0)
            change = max(change, float(np.max(np.abs(wanted - sums)) / sums.sum()))
            if known is None:
                weights *= factor[own]
            else:
                weights[known] *= factor[own]
        if change < 1e-10:
            break
    return weights


def out_of_reach(base: FloatArray, cells: Sequence[Cells]) -> list[str]:
    """The cells in the way of all others, and by how much: no weights >= 0 of these members meet all margins.

    Empty where some weights do. The misses are those with the least sum (a linear programme with elastic shares).
    """
    pairs = [pair for one in cells for pair in one.constraints(base)]
    names = [
        f"{one.margin.name}={'' if inside else 'not '}{label}"
        for one in cells
        for label, inside in _constraint_names(one)
    ]
    alive = base > 0
    rows = [np.where(code[alive] == cell, 1.0, 0.0) for code, target in pairs for cell in range(len(target))]
    goal = np.concatenate([target for _, target in pairs])
    patterns = np.unique(np.array(rows), axis=1)  # members alike in everything share one variable
    n, misses = patterns.shape[1], len(goal)
    equal: Any = sparse.hstack(
        [sparse.csr_array(patterns), sparse.eye_array(misses), -sparse.eye_array(misses)], format="csr"
    )
    cost = np.r_[np.zeros(n), np.ones(2 * misses)]
    solved = linprog(cost, A_eq=equal, b_eq=goal, method="highs")
    if solved.x is None:
        return []
    short = solved.x[n : n + misses] - solved.x[n + misses :]
    order = [i for i in np.argsort(-np.abs(short), kind="stable") if abs(short[i]) > MET]
    return [f"{names[i]} wants {goal[i]:.3f}, at best {goal[i] - short[i]:.3f}" for i in order]


def _constraint_names(cells: Cells) -> list[tuple[str, bool]]:
    """(label, whether inside) of each target in `Cells.constraints`."""
    if not cells.overlapping:
        return [(label, True) for label in [*cells.labels, "(unknown)"]]
    return [pair for label in cells.labels for pair in ((label, False), (label, True), (f"{label} (unknown)", True))]
