"""The integer program behind a panel: how many persons to take from each stratum.

Variables: a count for each stratum; for each margin cell the persons below and above its target band; for each joint
cell those below and above its wanted count. Solved by HiGHS three times, each keeping what the one before reached:
least slack, least cost, nearest to the joint distribution.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import optimize, sparse

from rlhf_fair.annotators.population import CROSS, Population
from rlhf_fair.annotators.strata import Strata
from rlhf_fair.annotators.weights import margin_codes, rake_rows
from rlhf_fair.errors import InfeasibleError
from rlhf_fair.tables import attribute_columns

NODE_LIMIT = 2_000
"""Branch-and-bound nodes for one solve: a limit that, unlike seconds, gives the same plan on every machine."""

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Demand:
    """What a panel must have (size, minimum, budget) and how near its margins should come (tolerance, in persons)."""

    size: int
    minimum_per_cell: int = 0
    budget: float | None = None
    tolerance: float = 1.0


class Quotas:
    """Margin targets over strata, and the counts that serve them best."""

    def __init__(self, strata: Strata, population: Population, demand: Demand) -> None:
        self.strata, self.demand = strata, demand
        codes = [margin_codes(strata.table, margin) for margin in population.margins]
        self.cells = [(m.name, CROSS.join(level)) for m in population.margins for level in m.levels()]
        self.membership = sparse.vstack(
            [_indicator(code, len(m.shares)) for code, m in zip(codes, population.margins, strict=True)], format="csr"
        )
        shares = [margin.shares.to_numpy(float) for margin in population.margins]
        self.targets = np.concatenate([_targets(s, demand.size, demand.minimum_per_cell) for s in shares])
        self.floor = np.where(np.concatenate(shares) > 0, float(demand.minimum_per_cell), 0.0)
        joint = strata.table.groupby(attribute_columns(strata.table), sort=False).ngroup().to_numpy(np.int64)
        self.joint = _indicator(joint, int(joint.max(initial=-1)) + 1)
        wanted = rake_rows(strata.available, codes, shares)  # keeps the pool's own associations
        self.joint_targets = self.joint @ wanted * (demand.size / wanted.sum()) if len(wanted) else np.zeros(0)

    def solve(self) -> NDArray[np.int64]:
        """Counts for each stratum; raises `InfeasibleError` where size, minimum and budget cannot hold together."""
        program = self._program()
        persons, cells, joint = len(self.strata.table), len(self.cells), len(self.joint_targets)
        slack = np.r_[np.zeros(persons), np.ones(2 * cells), np.zeros(2 * joint)]
        cost = np.r_[self.strata.price, np.zeros(2 * cells + 2 * joint)]
        distance = np.r_[np.zeros(persons + 2 * cells), np.ones(2 * joint)]
        solution = program.minimise(slack)
        if solution is None:
            raise InfeasibleError(self._why())
        for previous, objective in ((slack, cost), (cost, distance)):
            program.at_most(previous, float(previous @ solution))
            better = program.minimise(objective)
            solution = solution if better is None else better
        return np.rint(solution[:persons]).astype(np.int64)

    def report(self, counts: NDArray[np.int64]) -> pd.DataFrame:
        """One row for each margin cell, see `panel.PanelPlan.targets`."""
        planned = np.rint(self.membership @ counts).astype(np.int64)
        miss = self.targets - planned
        beyond = np.abs(miss) - self.demand.tolerance
        return pd.DataFrame(
            {
                "attribute": [name for name, _ in self.cells],
                "level": [level for _, level in self.cells],
                "target": self.targets,
                "planned": planned,
                "available": np.rint(self.membership @ self.strata.available).astype(np.int64),
                "slack": np.where(beyond > 1e-9, np.sign(miss) * beyond, 0.0),
            }
        )

    def _program(self) -> _Program:
        """All variables and the rows that every stage keeps."""
        cells, joint = len(self.cells), len(self.joint_targets)
        program = _Program(self.strata.available, continuous=2 * cells + 2 * joint)
        self._hard(program)
        eye, none = sparse.eye_array(cells), sparse.csr_array((cells, 2 * joint))
        band = self.demand.tolerance
        program.row([self.membership, eye, -eye, none], self.targets - band, self.targets + band)
        eye, none = sparse.eye_array(joint), sparse.csr_array((joint, 2 * cells))
        program.row([self.joint, none, eye, -eye], self.joint_targets, self.joint_targets)
        return program

    def _hard(self, program: _Program) -> None:
        program.row([np.ones((1, len(self.strata.table)))], self.demand.size, self.demand.size)
        if self.demand.minimum_per_cell:
            program.row([self.membership], self.floor, np.inf)
        if self.demand.budget is not None:
            program.row([self.strata.price[None, :]], -np.inf, self.demand.budget)

    def _why(self) -> str:
        """Which hard demand fails, by how much, and the least that would mend it."""
        size, minimum, budget = self.demand.size, self.demand.minimum_per_cell, self.demand.budget
        eligible = int(self.strata.available.sum())
        if eligible < size:
            return (
                f"panel of {size} asked for, but the pool holds {eligible} whom the population places; "
                f"recruit {size - eligible} more, or ask for at most {eligible}"
            )
        shortage = self._shortage()
        if shortage.sum() > 0:
            return self._explain_shortage(shortage)
        program = _Program(self.strata.available, continuous=0)
        program.row([np.ones((1, len(self.strata.table)))], size, size)
        program.row([self.membership], self.floor, np.inf)
        cheapest = program.minimise(self.strata.price)
        assert cheapest is not None  # size and minimum hold, so only the budget is left to fail
        assert budget is not None
        cost = float(self.strata.price @ cheapest)
        return (
            f"budget {budget:g} is {cost - budget:g} short: the cheapest panel of {size} with at least {minimum} in "
            f"each cell costs {cost:g}; raise the budget to that, or ask for fewer people"
        )

    def _shortage(self) -> FloatArray:
        """Fewest persons missing from each margin cell's minimum when the size holds and money does not matter."""
        persons, cells = len(self.strata.table), len(self.cells)
        program = _Program(self.strata.available, continuous=cells)
        program.row([np.ones((1, persons))], self.demand.size, self.demand.size)
        program.row([self.membership, sparse.eye_array(cells)], self.floor, np.inf)
        best = program.minimise(np.r_[np.zeros(persons), np.ones(cells)])
        assert best is not None
        return np.rint(best[persons:])

    def _explain_shortage(self, shortage: FloatArray) -> str:
        minimum, size = self.demand.minimum_per_cell, self.demand.size
        available = self.membership @ self.strata.available
        order = [i for i in np.argsort(-shortage, kind="stable") if shortage[i] > 0]
        short = [f"{'='.join(self.cells[i])} {shortage[i]:.0f} short ({available[i]:.0f} in the pool)" for i in order]
        scarce = [i for i in order if available[i] < minimum]
        if scarce:
            recruits = [f"{minimum - available[i]:.0f} more with {'='.join(self.cells[i])}" for i in scarce[:5]]
            repair = f"recruit {', '.join(recruits)}, or lower the minimum to {min(available[i] for i in scarce):.0f}"
        else:
            repair = f"ask for more than {size} people, or lower the minimum"
        more = f", and {len(short) - 5} more cells" if len(short) > 5 else ""
        worst = ", ".join(short[:5])
        return f"at least {minimum} in each cell of a panel of {size} is out of reach: {worst}{more}; {repair}"


class _Program:
    """A mixed-integer program: first the integer counts in [0, upper], then continuous variables >= 0."""

    def __init__(self, upper: FloatArray, continuous: int) -> None:
        self.width = len(upper) + continuous
        self.upper = np.r_[upper, np.full(continuous, np.inf)]
        self.integrality = np.r_[np.ones(len(upper)), np.zeros(continuous)]
        self.rows: list[optimize.LinearConstraint] = []

    def row(self, blocks: list[Any], low: float | FloatArray, high: float | FloatArray) -> None:
        """Blocks side by side, filled up with zeros to the program's width."""
        used = sum(block.shape[1] for block in blocks)
        blank = sparse.csr_array((blocks[0].shape[0], self.width - used))
        matrix: Any = sparse.hstack([*(sparse.csr_array(block) for block in blocks), blank], format="csr")
        self.rows.append(optimize.LinearConstraint(matrix, low, high))

    def at_most(self, weights: FloatArray, value: float) -> None:
        self.row([weights[None, :]], -np.inf, value + 1e-6 * max(1.0, abs(value)))

    def minimise(self, weights: FloatArray) -> FloatArray | None:
        """The best solution found, or None where there is none."""
        if self.width == 0:
            return None
        result = optimize.milp(
            weights,
            integrality=self.integrality,
            bounds=optimize.Bounds(0, self.upper),
            constraints=self.rows,
            options={"mip_rel_gap": 1e-6, "node_limit": NODE_LIMIT},
        )
        return None if result.x is None else np.asarray(result.x, dtype=float)


def _indicator(code: NDArray[np.integer[Any]], levels: int) -> sparse.csr_array:
    """(levels, n) with a 1 where column i has code i; codes of -1 have none."""
    known = np.flatnonzero(code >= 0)
    return sparse.csr_array((np.ones(len(known)), (code[known], known)), shape=(levels, len(code)))


def _targets(shares: FloatArray, size: int, minimum: int) -> FloatArray:
    """Persons wanted in each cell: size × share, lifted to the minimum with the rest shrunk to make room."""
    targets = size * shares
    lifted = np.zeros(len(shares), dtype=bool)
    while minimum and np.any(low := (targets < minimum) & (shares > 0) & ~lifted):
        lifted |= low
        room = max(size - minimum * int(lifted.sum()), 0)
        rest = float(shares[~lifted].sum())
        targets = np.where(lifted, minimum, room * shares / rest if rest > 0 else 0.0)
    return targets
