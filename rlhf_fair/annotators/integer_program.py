"""Mixed-integer programs over counts of persons, solved by HiGHS."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, sparse

from rlhf_fair.errors import InfeasibleError

NODE_LIMIT = 2_000
"""Branch-and-bound nodes for one solve: a limit that, unlike seconds, gives the same plan on every machine."""

EXACT = 1e-6
"""Relative distance from the best there may be at which a solve stops."""

INFEASIBLE = 2
"""Status of a solve that proved that there is no solution."""

FloatArray = NDArray[np.float64]


class UnsettledError(InfeasibleError):
    """Neither found nor ruled out: the search was cut short."""


class IntegerProgram:
    """First the integer counts in [0, upper], then continuous variables >= 0; rows are added one block at a time."""

    def __init__(self, upper: FloatArray, continuous: int) -> None:
        self.width = len(upper) + continuous
        self.upper = np.r_[upper, np.full(continuous, np.inf)]
        self.integrality = np.r_[np.ones(len(upper)), np.zeros(continuous)]
        self._blocks: list[tuple[int, int, sparse.coo_array]] = []  # first row, first column, entries
        self._low: list[FloatArray] = []
        self._high: list[FloatArray] = []
        self._height = 0
        self._built: optimize.LinearConstraint | None = None

    def row(self, blocks: list[Any], low: float | FloatArray, high: float | FloatArray) -> None:
        """Blocks side by side, filled up with zeros to the program's width."""
        height, first = blocks[0].shape[0], 0
        for block in blocks:
            self._blocks.append((self._height, first, sparse.coo_array(block)))
            first += block.shape[1]
        self._low.append(np.broadcast_to(np.asarray(low, dtype=float), height))
        self._high.append(np.broadcast_to(np.asarray(high, dtype=float), height))
        self._height += height
        self._built = None

    @property
    def constraint(self) -> optimize.LinearConstraint:
        """All rows as one, put together once: building each by itself takes longer than most solves."""
        if self._built is None:
            entries = [(below + block.row, first + block.col, block.data) for below, first, block in self._blocks]
            row, column, data = (np.concatenate(part) for part in zip(*entries, strict=True))
            matrix = sparse.csr_array((data.astype(float), (row, column)), shape=(self._height, self.width))
            self._built = optimize.LinearConstraint(matrix, np.concatenate(self._low), np.concatenate(self._high))
        return self._built

    def at_most(self, weights: FloatArray, value: float) -> None:
        """Keep ``weights @ x`` at ``value``, give or take rounding."""
        self.row([weights[None, :]], -np.inf, value + 1e-6 * max(1.0, abs(value)))

    def minimise(self, weights: FloatArray, *, gap: float = EXACT, nodes: int = NODE_LIMIT) -> FloatArray | None:
        """The best solution found (within ``gap`` of the best there is, unless nodes run out), None if there is none.

        ``weights`` may be shorter than the program is wide: the variables beyond are free of charge.

        Raises
        ------
        UnsettledError
            Nodes ran out with neither a solution nor a proof that there is none.
        """
        if self.width == 0:
            return None
        result = self._solve(weights, gap, nodes)
        if result.x is None and result.status != INFEASIBLE and self.relaxed(weights) is not None:
            raise UnsettledError(
                f"after {nodes} branches neither a panel that meets all the demands nor a proof that there is none; "
                "ask for fewer minimums, or minimums further from what the pool has"
            )
        return None if result.x is None else np.asarray(result.x, dtype=float)

    def improved(self, weights: FloatArray, *, gap: float = EXACT, nodes: int = NODE_LIMIT) -> FloatArray | None:
        """As `minimise`, but None also where nodes ran out: for whoever has another answer to fall back on."""
        try:
            return self.minimise(weights, gap=gap, nodes=nodes)
        except UnsettledError:
            return None

    def least(self, weights: FloatArray) -> tuple[float, bool]:
        """Least ``weights @ x`` found (inf where none was) and whether it is proved the least."""
        result = self._solve(weights, EXACT, NODE_LIMIT)
        if result.x is None:
            return np.inf, result.status == INFEASIBLE
        return float(result.fun), bool(result.mip_gap <= 2 * EXACT)

    def _solve(self, weights: FloatArray, gap: float, nodes: int) -> Any:
        """One solve, and where HiGHS gives up (with presolve it does at times: "Solve error"), one without it."""
        for presolve in (True, False):
            result = optimize.milp(
                np.r_[weights, np.zeros(self.width - len(weights))],
                integrality=self.integrality,
                bounds=optimize.Bounds(0, self.upper),
                constraints=self.constraint if self._blocks else None,
                options={"mip_rel_gap": gap, "node_limit": nodes, "presolve": presolve},
            )
            if result.x is not None or result.status == INFEASIBLE:
                break
        return result

    def relaxed(self, weights: FloatArray) -> tuple[FloatArray, FloatArray] | None:
        """Solution with fractions of persons allowed, and what raising each row's active limit by one would cost.

        The second array has one entry for each row, in the order added: the derivative of the least ``weights @ x``
        in that row's active limit, 0 where none is active. None if there is no solution.
        """
        rows: Any = self.constraint
        stacked, low, high = rows.A, rows.lb, rows.ub
        below, above = np.isfinite(high), np.isfinite(low)
        result = optimize.linprog(
            np.r_[weights, np.zeros(self.width - len(weights))],
            A_ub=sparse.vstack([stacked[below], -stacked[above]], format="csr"),
            b_ub=np.r_[high[below], -low[above]],
            bounds=np.c_[np.zeros(self.width), self.upper],
            method="highs",
        )
        if result.x is None:
            return None
        marginal = np.zeros(len(low))
        marginal[below] += result.ineqlin.marginals[: below.sum()]
        marginal[above] -= result.ineqlin.marginals[below.sum() :]
        return np.asarray(result.x, dtype=float), marginal
