"""The pool as strata: people of one cell at one price are interchangeable, so a plan needs one integer for each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rlhf_fair.annotators.multi_select import canonical_table
from rlhf_fair.annotators.population import Population
from rlhf_fair.errors import RowError
from rlhf_fair.tables import ATTRIBUTE_PREFIX, require_columns

MAX_TIERS = 8
"""More distinct costs than this are planned in quantile tiers at each tier's highest cost, so a budget still holds."""

RETENTION_TIERS = 4
"""More distinct probabilities of finishing than this form quantile tiers; each stratum counts with its own mean."""

MOST_COST = 1e9
"""Highest cost of one person: solvers add costs up with numbers of persons, and tell 1e-6 of either from nothing."""

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Strata:
    """Pool members grouped by cell of the population's attributes and by price (and, where people may leave, by that).

    Attributes
    ----------
    table
        One row for each stratum: ``attr.*`` columns, price, available.
    code
        The stratum of each pool row; -1 where an attribute is missing or not in the population, or who may not be
        asked.
    cost
        Cost of each pool row.
    retention
        (strata,) mean probability of finishing, so a stratum's expected finishers are its count times this.
    """

    table: pd.DataFrame
    code: NDArray[np.int64]
    cost: FloatArray
    retention: FloatArray

    @classmethod
    def of(
        cls,
        pool: pd.DataFrame,
        population: Population,
        *,
        allowed: NDArray[np.bool_] | None = None,
        retention: FloatArray | None = None,
    ) -> Strata:
        """Group ``pool``, which needs the population's attributes as ``attr.*``; ``cost`` is 1 where absent.

        ``allowed`` and ``retention`` are (n,): who may be asked (default all), and how probably each one finishes
        (default 1).
        """
        columns = [ATTRIBUTE_PREFIX + name for name in population.attributes]
        require_columns(pool, columns, "pool")
        cost = pool["cost"].to_numpy(float) if "cost" in pool else np.ones(len(pool))
        if len(wrong := np.flatnonzero(~((cost >= 0) & (cost <= MOST_COST)))):
            who = f"of {pool['annotator_id'].iloc[wrong[0]]}" if "annotator_id" in pool else f"in row {wrong[0] + 1}"
            raise RowError(f"pool: cost {cost[wrong[0]]:g} {who}; allowed: a number from 0 to {MOST_COST:g}")
        cells = canonical_table(pool, population)[columns]
        known = cells.notna().all(axis=1).to_numpy() & (True if allowed is None else allowed)
        placed = cells[known].astype("str").assign(price=_tiers(cost[known], MAX_TIERS))
        keys = [*columns, "price"]
        finishing = np.ones(len(pool)) if retention is None else retention
        if np.any(finishing[known] < 1):
            placed["retention"] = _tiers(finishing[known], RETENTION_TIERS)
            keys.append("retention")
        grouped = placed.groupby(keys, sort=True)
        code = np.full(len(pool), -1, dtype=np.int64)
        code[known] = grouped.ngroup().to_numpy()
        table = grouped.size().rename("available").reset_index().drop(columns="retention", errors="ignore")
        mean = np.bincount(code[known], finishing[known], minlength=len(table)) / table["available"].to_numpy()
        return cls(table, code, cost, mean)

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

    def inclusion_probability(self, counts: NDArray[np.int64] | FloatArray) -> FloatArray:
        """Of each pool row: the share of its stratum drawn (or expected to be); 0 for rows without a stratum."""
        probability = np.append(counts / self.available, 0.0)
        return probability[self.code]

    def left_empty(self, counts: NDArray[np.int64], expected: FloatArray) -> pd.DataFrame:
        """One row for each stratum that had a chance and of which nobody is taken: attr.*, price, available, …

        ``inclusion_probability``: of each of its persons, > 0.
        """
        empty = (counts == 0) & (expected > 0)
        probability = (expected / self.available)[empty]
        return pd.DataFrame(self.table[empty].assign(inclusion_probability=probability))

    def unreached_share(self, counts: NDArray[np.int64], expected: FloatArray) -> float:
        """Share of the eligible for whom a panel of ``counts`` cannot stand; 0 = nobody; range [0, 1].

        They had no chance, or nobody of their price is taken. Margins can be met by weighting; prices are in no margin,
        so who has a price that nobody in the panel has is missing from whatever the weights are applied to.
        """
        code, prices = pd.factorize(self.price)
        taken = np.bincount(code, counts, minlength=len(prices))
        missing = (expected == 0) | (taken[code] == 0)
        return float(self.available[missing].sum() / self.available.sum())


def _tiers(values: FloatArray, most: int) -> FloatArray:
    """Each value itself, or the highest of its quantile tier where there are more than ``most`` different ones."""
    if len(np.unique(values)) <= most:
        return values
    edges = np.unique(np.quantile(values, np.linspace(0, 1, most + 1)[1:], method="higher"))
    return edges[np.searchsorted(edges, values)]
