"""Whom to look for outside the pool: cells of the target population in which recruits count towards minimums.

A recruit of whom only the cell is known counts for certain in every minimum whose levels the cell names, and in no
other. So the cells that minimums name, alone or several joined in one person, are all that need be looked at: any
person of the population does what the join of the minimums that count them does. Whether the pool has such people
does not matter.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rlhf_fair.annotators.limits import Limit
from rlhf_fair.annotators.minimums import Cell
from rlhf_fair.annotators.population import Population
from rlhf_fair.annotators.strata import Strata

MOST_CELLS = 3_000
"""Cells looked at, the most general first; a join of more minimums than fit is not proposed."""

FloatArray = NDArray[np.float64]
Levels = frozenset[tuple[str, str]]


def recruit_cells(limits: Sequence[Limit], population: Population) -> list[Cell]:
    """Anybody (no levels), the minimums' cells and their joins that one person of the population can fill.

    >>> one_way = Population.from_shares({"g": {"a": 1, "b": 1}, "h": {"x": 1, "y": 1}})
    >>> least = [Limit("minimum", "", np.ones(1), 1, 9, 0, Cell.parse(text)) for text in ("g=a", "g=b", "h=x")]
    >>> [cell.name for cell in recruit_cells(least, one_way)]
    ['', 'g=a', 'g=b', 'h=x', 'g=a,h=x', 'g=b,h=x']
    """
    minimums: list[Levels] = list(
        dict.fromkeys(frozenset(limit.cell.levels) for limit in limits if limit.kind == "minimum")
    )
    exists = _Existence(population)
    found: dict[Levels, None] = {frozenset(): None}
    edge: list[Levels] = list(found)
    while edge and len(found) < MOST_CELLS:
        joined = dict.fromkeys(cell | minimum for cell in edge for minimum in minimums if not minimum <= cell)
        edge = [cell for cell in joined if cell not in found and (cell in minimums or exists(cell))]
        found |= dict.fromkeys(edge[: MOST_CELLS - len(found)])
    place = {
        pair: number
        for number, pair in enumerate(
            (name, level) for name in population.attributes for level in population.levels(name)
        )
    }
    return [Cell(tuple(sorted(levels, key=lambda pair: place[pair]))) for levels in found]


def recruit_row(limit: Limit, cells: Sequence[Cell], strata: Strata, price: float) -> FloatArray:
    """(cells,) what one recruit of each cell adds to a limit: expected finishers, or money."""
    if limit.kind == "budget":
        return np.full(len(cells), price)
    counts = [set(limit.cell.levels) <= set(cell.levels) for cell in cells]
    return np.where(counts, [_retention(strata, cell) for cell in cells] if np.any(strata.retention < 1) else 1.0, 0.0)


def _retention(strata: Strata, cell: Cell) -> float:
    """Mean probability of finishing of the pool's people in the cell, or of the whole pool where it has none."""
    people = strata.available * cell.holds(strata.table)
    return float(np.average(strata.retention, weights=people if people.any() else strata.available))


class _Existence:
    """Whether one person of the population can be in a cell: one level of an attribute, of a share above 0.

    Attributes of which people name several levels may have several.
    """

    def __init__(self, population: Population) -> None:
        self.several = {name for margin in population.margins if margin.multi_select for name in margin.attributes}
        self.margins = [
            (margin.attributes, dict(zip(margin.levels(), margin.shares.to_numpy(float), strict=True)))
            for margin in population.margins
        ]

    def __call__(self, levels: Levels) -> bool:
        named: dict[str, str] = {}
        for attribute, level in levels:
            if attribute in named and attribute not in self.several:
                return False
            named[attribute] = level
        return all(
            shares.get(tuple(named[name] for name in attributes), 0.0) > 0
            for attributes, shares in self.margins
            if named.keys() >= set(attributes) and self.several.isdisjoint(attributes)
        )
