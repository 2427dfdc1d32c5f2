"""The pool as strata: people of one cell at one price are interchangeable, so a plan needs one integer for each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rlhf_fair.annotators.population import Population
from rlhf_fair.errors import SettingsError
from rlhf_fair.tables import ATTRIBUTE_PREFIX, require_columns

MAX_TIERS = 8
"""More distinct costs than this are planned in quantile tiers at each tier's highest cost, so a budget still holds."""

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Strata:
    """Pool members grouped by cell of the population's attributes and by price.

    Attributes
    ----------
    table
        One row for each stratum: ``attr.*`` columns, price, available.
    code
        The stratum of each pool row; -1 where an attribute is missing or not in the population.
    cost
        Cost of each pool row.
    """

    table: pd.DataFrame
    code: NDArray[np.int64]
    cost: FloatArray

    @classmethod
    def of(cls, pool: pd.DataFrame, population: Population) -> Strata:
        """Group ``pool``, which needs the population's attributes as ``attr.*``; ``cost`` is 1 where absent."""
        columns = [ATTRIBUTE_PREFIX + name for name in population.attributes]
        require_columns(pool, columns, "pool")
        cost = pool["cost"].to_numpy(float) if "cost" in pool else np.ones(len(pool))
        if not np.all(np.isfinite(cost) & (cost >= 0)):
            raise SettingsError("pool: every 'cost' must be a number >= 0")
        known = np.ones(len(pool), dtype=bool)
        for name, column in zip(population.attributes, columns, strict=True):
            known &= pool[column].isin(population.levels(name)).to_numpy()
        placed = pool.loc[known, columns].assign(price=_tiers(cost[known]))
        grouped = placed.groupby([*columns, "price"], sort=True)
        code = np.full(len(pool), -1, dtype=np.int64)
        code[known] = grouped.ngroup().to_numpy()
        return cls(grouped.size().rename("available").reset_index(), code, cost)

    @property
    def available(self) -> FloatArray:
        """Persons in each stratum."""
        return self.table["available"].to_numpy(float)

    @property
    def price(self) -> FloatArray:
        """Planning price of one person in each stratum."""
        return self.table["price"].to_numpy(float)

    def draw(self, counts: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.bool_]:
        """Pool rows chosen: a simple random sample of ``counts[s]`` persons inside each stratum ``s``."""
        order = np.lexsort((rng.random(len(self.code)), self.code))
        order = order[self.code[order] >= 0]
        code = self.code[order]
        rank = np.arange(len(order)) - np.searchsorted(code, code)
        chosen = np.zeros(len(self.code), dtype=bool)
        chosen[order[rank < counts[code]]] = True
        return chosen

    def inclusion_probability(self, counts: NDArray[np.int64]) -> FloatArray:
        """Of each pool row: the share of its stratum drawn; 0 for rows without a stratum."""
        probability = np.append(counts / self.available, 0.0)
        return probability[self.code]


def _tiers(cost: FloatArray) -> FloatArray:
    """Each person's planning price: the cost itself, or the highest cost of its quantile tier."""
    if len(np.unique(cost)) <= MAX_TIERS:
        return cost
    edges = np.unique(np.quantile(cost, np.linspace(0, 1, MAX_TIERS + 1)[1:], method="higher"))
    return edges[np.searchsorted(edges, cost)]
