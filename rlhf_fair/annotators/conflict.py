"""Why no panel can be had: a smallest set of demands that contradict each other, and what would mend it.

The conflict is irreducible: without any one of its demands the rest could hold. It is found by an elastic filter on
the relaxation and a deletion filter over whole persons (Chinneck and Dravnieks 1991). A problem may have several such
sets; one is shown, so after a repair another can appear. The repairs mend all of them at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rlhf_fair.annotators.integer_program import IntegerProgram
from rlhf_fair.annotators.limits import Limit, feasible
from rlhf_fair.annotators.minimums import Cell
from rlhf_fair.annotators.population import Population
from rlhf_fair.annotators.recruits import recruit_cells, recruit_row
from rlhf_fair.annotators.strata import Strata
from rlhf_fair.errors import InfeasibleError

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Repair:
    """One way out.

    ``lever``: what is changed (``recruit``, ``lower minimums``, ``change size``, ``raise budget``); ``persons``: by how
    many in all; ``cost``: of the cheapest panel then; ``over_budget``: the part of it beyond the budget, where there is
    one; ``changes``: in words.
    """

    lever: str
    persons: float
    cost: float
    over_budget: float
    changes: tuple[str, ...]

    def __str__(self) -> str:
        money = f", {self.over_budget:g} over budget" if self.over_budget > 1e-6 else ""
        return f"{self.lever}: {'; '.join(self.changes)} (panel costs {self.cost:g}{money})"


class ConflictError(InfeasibleError):
    """Demands that no panel can meet together: ``conflict`` is a smallest contradicting set, ``repairs`` ways out."""

    def __init__(self, summary: str, conflict: Sequence[Limit], repairs: Sequence[Repair]) -> None:
        self.summary, self.conflict, self.repairs = summary, tuple(conflict), tuple(repairs)
        lines = [summary, "smallest set of demands that contradict each other, given who is in the pool:"]
        lines += [f"  {limit.name} ({_whole_pool(limit)})" for limit in conflict]
        found = "each of these alone would mend everything:" if repairs else "no single change that mends all was found"
        lines.append(found)
        lines += [f"  {repair}" for repair in repairs]
        super().__init__("\n".join(lines))

    def record(self) -> dict[str, object]:
        """Plain values, ready for JSON."""
        return {
            "error": self.summary,
            "conflict": [
                {"kind": limit.kind, "demand": limit.name, "available": limit.available} for limit in self.conflict
            ],
            "repairs": [
                {
                    "lever": repair.lever,
                    "persons": repair.persons,
                    "cost": repair.cost,
                    "over_budget": repair.over_budget,
                    "changes": list(repair.changes),
                }
                for repair in self.repairs
            ],
        }


def explain_conflict(limits: Sequence[Limit], strata: Strata, population: Population, summary: str) -> ConflictError:
    """The error to raise where ``limits`` cannot hold together."""
    levers = [
        _Lever("raise budget", money=True),
        _Lever("lower minimums", lower=True),
        _Lever("change size", size=True),
    ]
    if len(strata.table):  # without anybody, nobody's price is known
        levers.insert(0, _Lever("recruit", recruits=tuple(recruit_cells(limits, population))))
    found = [repair for lever in levers if (repair := _repair(limits, strata, lever)) is not None]
    found.sort(key=lambda repair: (repair.over_budget > 1e-6, repair.persons, repair.cost))
    return ConflictError(summary, minimal_conflict(limits, strata.available), found)


def minimal_conflict(limits: Sequence[Limit], upper: FloatArray) -> list[Limit]:
    """A set of limits that cannot hold together, though they could without any one of them; [] if all can hold."""
    suspects = list(limits)
    if feasible(suspects, upper):
        return []
    filtered = _elastic_filter(limits, upper)
    if filtered and not feasible(filtered, upper):
        suspects = filtered
    for limit in list(suspects):
        without = [other for other in suspects if other is not limit]
        if not feasible(without, upper):
            suspects = without
    return suspects


def _elastic_filter(limits: Sequence[Limit], upper: FloatArray) -> list[Limit]:
    """Limits that, made to hold one round after another, leave the relaxation no solution; [] if it has one."""
    held: list[int] = []
    while len(held) < len(limits):
        program = IntegerProgram(upper, continuous=2 * len(limits))
        for place, limit in enumerate(limits):
            stretch = np.zeros((1, 2 * len(limits)))
            if place not in held:
                stretch[0, [place, len(limits) + place]] = 1, -1
            program.row([limit.row[None, :], stretch], limit.low, limit.high)
        solved = program.relaxed(np.r_[np.zeros(len(upper)), np.ones(2 * len(limits))])
        if solved is None:
            return [limits[place] for place in held]
        stretched = solved[0][len(upper) :].reshape(2, -1).sum(axis=0) > 1e-7
        if not stretched.any():
            return []
        held += [int(place) for place in np.flatnonzero(stretched)]
    return [limits[place] for place in held]


@dataclass(frozen=True)
class _Lever:
    """What a repair may change; the rest holds, but ``recruits`` (cells to find people in) may break the budget."""

    name: str
    recruits: tuple[Cell, ...] = ()
    lower: bool = False
    size: bool = False
    money: bool = False


def _repair(limits: Sequence[Limit], strata: Strata, lever: _Lever) -> Repair | None:
    """Fewest persons changed, then recruits from the widest cells, then least cost; None where no way was found."""
    cells, here = lever.recruits, len(strata.table)
    program = IntegerProgram(np.r_[strata.available, np.full(len(cells), np.inf)], continuous=2 * len(limits))
    dearest = strata.price.max(initial=0.0)
    price = np.r_[strata.price, np.full(len(cells), dearest)]
    for place, limit in enumerate(limits):
        give = np.zeros((1, 2 * len(limits)))
        if (lever.lower and limit.kind == "minimum") or (lever.size and limit.kind == "size"):
            give[0, place] = 1
            give[0, len(limits) + place] = -1 if limit.kind == "size" else 0
        row = np.r_[limit.row, recruit_row(limit, cells, strata, dearest)]
        free = limit.kind == "budget" and (lever.money or bool(cells))
        program.row([row[None, :], give], -np.inf if free else limit.low, np.inf if free else limit.high)
    changed = np.r_[np.zeros(here), np.ones(len(cells) + 2 * len(limits))]
    named = np.r_[np.zeros(here), [len(cell.levels) for cell in cells], np.zeros(2 * len(limits))]
    solution = program.improved(changed)
    if solution is None:
        return None
    persons = float(changed @ solution)
    for reached, objective in ((changed, named), (named, price)) if cells else ((changed, price),):
        program.at_most(reached, float(reached @ solution))
        better = program.improved(objective)
        solution = solution if better is None else better
    cost = float(price @ solution[: len(price)])
    budget = next((limit.high for limit in limits if limit.kind == "budget"), np.inf)
    recruited = solution[here:][: len(cells)]
    changes = _recruited(cells, recruited) + _given(limits, solution[here + len(cells) :]) + _paid(cost - budget)
    if not changes or (cells and not recruited.round().any()):
        return None  # nobody to recruit: raising the budget is a lever of its own
    return Repair(lever.name, round(persons, 6), cost, max(cost - budget, 0.0), tuple(changes))


def _recruited(cells: Sequence[Cell], persons: FloatArray) -> list[str]:
    return [
        f"{count:.0f} more with {cell.name}" if cell.levels else f"{count:.0f} more, whoever they are"
        for cell, count in zip(cells, persons.tolist(), strict=True)
        if count > 0.5
    ]


def _given(limits: Sequence[Limit], stretched: FloatArray) -> list[str]:
    """Limits lowered and raised, by the persons in each half of ``stretched``, (2 * limits,)."""
    lines = []
    for limit, down, up in zip(limits, *stretched.reshape(2, -1), strict=True):
        name, old = limit.name.rpartition(" ")[0].removesuffix(" ="), f"instead of {limit.low:g}"
        if down > 1e-4:
            lines.append(f"{name} {_short(limit.low - down)} {old}")
        elif up > 1e-4:
            lines.append(f"{name} {_short(limit.high + up)} {old}")
    return lines


def _paid(over: float) -> list[str]:
    return [f"raise the budget by {over:g}"] if over > 1e-6 else []


def _whole_pool(limit: Limit) -> str:
    return f"the whole pool {'costs' if limit.kind == 'budget' else 'has'} {limit.available:g}"


def _short(number: float) -> str:
    return f"{round(number, 2):g}"
