"""The integer program behind a panel: how many persons to take from each stratum.

Variables: a count for each stratum; for each margin cell the persons below and above its target band; for each joint
cell those below and above its wanted count. Solved by HiGHS three times, each keeping what the one before reached:
least slack, least cost, nearest to the joint distribution.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from rlhf_fair.annotators.attrition import DropOut
from rlhf_fair.annotators.conflict import explain_conflict
from rlhf_fair.annotators.eligibility import Needs
from rlhf_fair.annotators.integer_program import EXACT, NODE_LIMIT, IntegerProgram
from rlhf_fair.annotators.limits import Limit
from rlhf_fair.annotators.minimums import EVERYBODY, Cell, Minimum, merged
from rlhf_fair.annotators.multi_select import has_several, membership, yes_no_margins
from rlhf_fair.annotators.population import CROSS, Population
from rlhf_fair.annotators.strata import Strata
from rlhf_fair.annotators.weights import margin_codes, rake_rows
from rlhf_fair.errors import SettingsError
from rlhf_fair.tables import attribute_columns

WIDE = 2_000
"""Strata from which the last stage, a tie-break, stops within `NEARLY` of the best instead of searching on."""

NEARLY, FEW_NODES = 0.02, 100

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class Demand:
    """What a panel must have (size, minimums, budget) and how near its margins should come (tolerance, in persons).

    Where people may drop out, size, minimums and targets are in expected finishers; the budget covers all invited.

    Attributes
    ----------
    minimum_per_cell, minimums
        Least persons in every margin cell with a share above 0, and in named cells.
    least_chance
        0: the cheapest panels alone, so dearer people may have no chance. Above 0, up to 1: everybody whom some panel
        can hold is drawn with at least this share of an equal chance (size / eligible).
    needs, dropout
        Who may be asked, and who is expected to leave.
    """

    size: int
    minimum_per_cell: int = 0
    budget: float | None = None
    tolerance: float = 1.0
    minimums: tuple[Minimum, ...] = ()
    least_chance: float = 0.0
    needs: Needs = field(default_factory=Needs)
    dropout: DropOut = field(default_factory=DropOut)

    def __post_init__(self) -> None:
        if self.size < 1 or self.minimum_per_cell < 0 or not 0 <= self.tolerance < np.inf:
            raise SettingsError(
                f"panel: size = {self.size}, minimum_per_cell = {self.minimum_per_cell}, tolerance = {self.tolerance}; "
                "allowed: size >= 1, the others finite and >= 0"
            )
        if self.budget is not None and not 0 <= self.budget < np.inf:
            raise SettingsError(f"panel: budget = {self.budget}; allowed: a finite number >= 0, or none")
        if not 0 <= self.least_chance <= 1:
            raise SettingsError(f"panel: least_chance = {self.least_chance}; allowed: 0 to 1")


class Quotas:
    """Margin targets over strata, and the counts that serve them best."""

    def __init__(self, strata: Strata, population: Population, demand: Demand) -> None:
        self.strata, self.population, self.demand = strata, population, demand
        self.cells = [(m.name, CROSS.join(level)) for m in population.margins for level in m.levels()]
        inside = [membership(strata.table, margin) for margin in population.margins]
        self.membership: Any = sparse.vstack(inside, format="csr")
        self.finishers: Any = self.membership @ sparse.diags_array(strata.retention)
        shares = [margin.shares.to_numpy(float) for margin in population.margins]
        self.targets = np.concatenate([_targets(s, demand.size, demand.minimum_per_cell) for s in shares])
        self.floor = np.where(np.concatenate(shares) > 0, float(demand.minimum_per_cell), 0.0)
        self.minimums = merged(dict(population.minimums), demand.minimums)
        for minimum in self.minimums:
            minimum.cell.check(population)
        joint = strata.table.groupby(attribute_columns(strata.table), sort=False).ngroup().to_numpy(np.int64)
        self.joint = _indicator(joint, int(joint.max(initial=-1)) + 1)
        wanted = rake_rows(
            strata.available, *_raking(strata.table, population, inside)
        )  # keeps the pool's associations
        self.joint_targets = self.joint @ wanted * (demand.size / wanted.sum()) if len(wanted) else np.zeros(0)

    def solve(self) -> NDArray[np.int64]:
        """Counts for each stratum; raises `InfeasibleError` where size, minimum and budget cannot hold together."""
        program, wide = self.program(), len(self.strata.table) > WIDE
        stages = [(self.shortfall, self.price), (self.price, self.distance)]
        solution = self._on_target() if wide else None
        if solution is not None:
            program.at_most(self._full(self.shortfall), 0.0)
            stages = stages[1:]
        else:
            solution = program.minimise(self.shortfall)
        if solution is None:
            raise explain_conflict(self.limits(), self.strata, self.population, self._why())
        for previous, objective in stages:
            program.at_most(self._full(previous), float(previous @ solution[: len(previous)]))
            tie_break = len(objective) == program.width
            hurry = (NEARLY, FEW_NODES) if tie_break and wide else (EXACT, NODE_LIMIT)
            better = program.improved(objective, gap=hurry[0], nodes=hurry[1])
            solution = solution if better is None else better
        self.solution = solution
        self.cheapest = np.rint(solution[: len(self.strata.table)]).astype(np.int64)
        return self.cheapest

    def _on_target(self) -> FloatArray | None:
        """The cheapest panel without any slack, None where none was found; two stages in one where fractions allow it.

        To search for a panel with no slack, whatever its price, takes several times as long as for the cheapest one.
        """
        program = self.program()
        least = program.relaxed(self.shortfall)
        if least is None or self.shortfall @ least[0][: len(self.shortfall)] > 1e-9:
            return None
        program.at_most(self._full(self.shortfall), 0.0)
        return program.improved(self.price)

    @property
    def price(self) -> FloatArray:
        """Objective: money."""
        return np.asarray(self.strata.price)

    @property
    def shortfall(self) -> FloatArray:
        """Objective: persons beyond the tolerance, over all margin cells."""
        return np.asarray(np.r_[np.zeros(len(self.strata.table)), np.ones(2 * len(self.cells))])

    @property
    def distance(self) -> FloatArray:
        """Objective: persons to move between joint cells to reach the wanted joint distribution, twice."""
        return np.asarray(np.r_[np.zeros(len(self.shortfall)), np.ones(2 * len(self.joint_targets))])

    def report(self, counts: NDArray[np.int64]) -> pd.DataFrame:
        """One row for each margin cell, see `panel.PanelPlan.targets`."""
        planned = np.rint(self.membership @ counts).astype(np.int64)
        miss = self.targets - (self.finishers @ counts if self.leaving else planned)
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

    @property
    def leaving(self) -> bool:
        """Whether anybody is expected to drop out."""
        return bool(np.any(self.strata.retention < 1))

    def limits(self) -> list[Limit]:
        """The constraints that always hold, in the order declared."""
        available, finishing = self.strata.available, self.strata.retention
        # People come whole, so the expected finishers cannot always equal the size; one more is room enough.
        most = self.demand.size + (1.0 if self.leaving else 0.0)
        size = "expected finishers" if self.leaving else "size"
        found = [("size", f"{size} = {self.demand.size}", finishing, float(self.demand.size), most, EVERYBODY)]
        least = self.demand.minimum_per_cell
        cells = self.finishers.toarray() if least else ()
        levels = (zip(m.attributes, level, strict=True) for m in self.population.margins for level in m.levels())
        for named, row, floor in zip(levels, cells, self.floor, strict=False):
            if floor > 0:
                cell = Cell(tuple(named))
                found.append(("minimum", f"{cell.name}: at least {least}", row, floor, np.inf, cell))
        for minimum in self.minimums:
            row = minimum.cell.holds(self.strata.table) * finishing
            name = f"{minimum.cell.name}: at least {minimum.persons}"
            found.append(("minimum", name, row, float(minimum.persons), np.inf, minimum.cell))
        if self.demand.budget is not None:
            name = f"budget {self.demand.budget:g}"
            found.append(("budget", name, self.price, -np.inf, self.demand.budget, EVERYBODY))
        return [
            Limit(kind, name, row, low, high, float(row @ available), cell)
            for kind, name, row, low, high, cell in found
        ]

    def program(self, *, spare: int = 0) -> IntegerProgram:
        """All variables and the rows that every stage keeps; ``spare``: continuous variables beyond, in no row yet."""
        cells, joint = len(self.cells), len(self.joint_targets)
        program = IntegerProgram(self.strata.available, continuous=2 * cells + 2 * joint + spare)
        for limit in self.limits():
            program.row([limit.row[None, :]], limit.low, limit.high)
        eye, none = sparse.eye_array(cells), sparse.csr_array((cells, 2 * joint))
        band = self.demand.tolerance
        program.row([self.finishers, eye, -eye, none], self.targets - band, self.targets + band)
        eye, none = sparse.eye_array(joint), sparse.csr_array((joint, 2 * cells))
        joint_finishers = self.joint @ sparse.diags_array(self.strata.retention)
        program.row([joint_finishers, none, eye, -eye], self.joint_targets, self.joint_targets)
        return program

    def _full(self, weights: FloatArray) -> FloatArray:
        return np.asarray(np.r_[weights, np.zeros(len(self.distance) - len(weights))])

    def _why(self) -> str:
        """In one sentence, which demand fails, by how much, and the least that would mend it."""
        size, minimum, budget = self.demand.size, self.demand.minimum_per_cell, self.demand.budget
        eligible = int(
            self.strata.available.sum() if not self.leaving else self.strata.available @ self.strata.retention
        )
        if eligible < size:
            return (
                f"panel of {size} asked for, but the pool holds {eligible} whom the population places; "
                f"recruit {size - eligible} more, or ask for at most {eligible}"
            )
        limits = [limit for limit in self.limits() if limit.kind == "minimum"]
        if limits and (shortage := self._shortage(limits)).sum() > 1e-6:
            return self._explain_shortage(limits, shortage)
        program = IntegerProgram(self.strata.available, continuous=0)
        for limit in self.limits():
            if limit.kind != "budget":
                program.row([limit.row[None, :]], limit.low, limit.high)
        cheapest = program.improved(self.price)
        if cheapest is None or budget is None:
            return f"no panel of {size} meets all the demands"
        cost = float(self.price @ cheapest)
        count = len(self.minimums)
        named = f" and {count} named minimum{'s' if count > 1 else ''}" if count else ""
        return (
            f"budget {budget:g} is {cost - budget:g} short: the cheapest panel of {size} with at least {minimum} in "
            f"each cell{named} costs {cost:g}; raise the budget to that, or ask for fewer people"
        )

    def _shortage(self, limits: list[Limit]) -> FloatArray:
        """Fewest persons missing from each minimum when the size holds and money does not matter."""
        persons = len(self.strata.table)
        program = IntegerProgram(self.strata.available, continuous=len(limits))
        size = self.limits()[0]
        program.row([size.row[None, :]], size.low, size.high)
        rows = np.array([limit.row for limit in limits])
        program.row([rows, sparse.eye_array(len(limits))], np.array([limit.low for limit in limits]), np.inf)
        best = program.improved(np.r_[np.zeros(persons), np.ones(len(limits))])
        return np.zeros(len(limits)) if best is None else np.ceil(np.round(best[persons:], 6))

    def _explain_shortage(self, limits: list[Limit], shortage: FloatArray) -> str:
        minimum, size = self.demand.minimum_per_cell, self.demand.size
        order = [i for i in np.argsort(-shortage, kind="stable") if shortage[i] > 0]
        cell = [limit.name.rpartition(": at least")[0] for limit in limits]
        short = [f"{cell[i]} {shortage[i]:.0f} short ({limits[i].available:.0f} in the pool)" for i in order]
        scarce = [i for i in order if limits[i].available < limits[i].low]
        least = f"at least {minimum} in each cell" if not self.minimums else "every minimum"
        if scarce:
            recruits = [f"{limits[i].low - limits[i].available:.0f} more with {cell[i]}" for i in scarce[:5]]
            lowest = min(limits[i].available for i in scarce)
            repair = f"recruit {', '.join(recruits)}, or lower the minimum to {lowest:.0f}"
        else:
            repair = f"ask for more than {size} people, or lower the minimum"
        more = f", and {len(short) - 5} more cells" if len(short) > 5 else ""
        return f"{least} of a panel of {size} is out of reach: {', '.join(short[:5])}{more}; {repair}"


def _raking(
    table: pd.DataFrame, population: Population, inside: Sequence[sparse.csr_array]
) -> tuple[list[IntArray], list[FloatArray]]:
    """Codes and shares of all margins for `rake_rows`; overlapping cells become a margin each."""
    codes: list[IntArray] = []
    shares: list[FloatArray] = []
    for margin, cells in zip(population.margins, inside, strict=True):
        share = margin.shares.to_numpy(float)
        if margin.multi_select or has_several(table, margin):
            more, parts = yes_no_margins(cells, share)
            codes += more
            shares += parts
        else:
            codes.append(margin_codes(table, margin))
            shares.append(share)
    return codes, shares


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
