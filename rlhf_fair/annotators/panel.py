"""Which annotators to recruit: quotas met at least cost, then a random draw with known inclusion probabilities."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from rlhf_fair.annotators.population import Population
from rlhf_fair.annotators.quotas import Demand, Quotas
from rlhf_fair.annotators.strata import Strata
from rlhf_fair.errors import InfeasibleError, SettingsError
from rlhf_fair.tables import require_columns


@dataclass(frozen=True)
class PanelPlan:
    """A drawn panel and what it can claim.

    Attributes
    ----------
    members
        Rows of the pool, in pool order, plus ``inclusion_probability`` in (0, 1]: the share of the stratum drawn.
    targets
        One row for each margin cell: attribute, level, target, planned, available, slack (persons beyond the
        tolerance: positive short, negative over).
    cost
        Sum of the members' costs.
    demand
        What was asked for.
    eligible, unplaced, never_drawn
        Pool members with all attributes known to the population; those without; those eligible whose inclusion
        probability is 0, whom no weighting can stand for.
    """

    members: pd.DataFrame
    targets: pd.DataFrame
    cost: float
    demand: Demand
    eligible: int
    unplaced: int
    never_drawn: int

    def certificate(self) -> dict[str, object]:
        """What was asked, what was reached and what was not; plain values, ready for JSON."""
        missed = self.targets[self.targets["slack"] != 0]
        return {
            "size": len(self.members),
            "cost": self.cost,
            "budget": self.demand.budget,
            "minimum_per_cell": self.demand.minimum_per_cell,
            "tolerance": self.demand.tolerance,
            "targets": len(self.targets),
            "targets_met": len(self.targets) - len(missed),
            "missed": missed.to_dict("records"),
            "eligible": self.eligible,
            "unplaced": self.unplaced,
            "never_drawn": self.never_drawn,
        }


def plan_panel(
    pool: pd.DataFrame,
    population: Population,
    *,
    size: int,
    minimum_per_cell: int = 0,
    budget: float | None = None,
    tolerance: float = 1.0,
    rng: np.random.Generator,
) -> PanelPlan:
    """Plan and draw a panel whose margins match the population's.

    Size, minimum and budget always hold. Then, in this order: as few persons as possible off target by more than
    ``tolerance``; least cost; a joint distribution near the population's (raked from the pool's own associations).
    The plan depends on the pool alone, so given the plan each stratum is a simple random sample.

    Parameters
    ----------
    pool
        Candidates with ``attr.*`` columns for the population's attributes, and ``cost`` (default 1 each).
    minimum_per_cell
        Least number of persons in every margin cell with a share above 0; the other targets shrink to make room.
    tolerance
        Persons by which a margin cell may miss its target without being called short.

    Raises
    ------
    InfeasibleError
        Size, minimum and budget cannot hold together; the message names the shortest targets and a repair.
    """
    if size < 1 or minimum_per_cell < 0 or not tolerance >= 0:
        raise SettingsError(
            f"panel: size = {size}, minimum_per_cell = {minimum_per_cell}, tolerance = {tolerance}; "
            "allowed: size >= 1, the others >= 0"
        )
    demand = Demand(size, minimum_per_cell, budget, tolerance)
    strata = Strata.of(pool, population)
    quotas = Quotas(strata, population, demand)
    counts = quotas.solve()
    chosen = strata.draw(counts, rng)
    probability = strata.inclusion_probability(counts)
    placed = strata.code >= 0
    return PanelPlan(
        members=pool[chosen].assign(inclusion_probability=probability[chosen]).reset_index(drop=True),
        targets=quotas.report(counts),
        cost=float(strata.cost[chosen].sum()),
        demand=demand,
        eligible=int(placed.sum()),
        unplaced=int((~placed).sum()),
        never_drawn=int((placed & (probability == 0)).sum()),
    )


def convenience_panel(pool: pd.DataFrame, *, size: int, rng: np.random.Generator) -> pd.DataFrame:
    """The first ``size`` to answer, where each person's rate of answering is ``availability`` (>= 0).

    What happens when nobody plans: successive sampling without replacement, so those with time to spare are
    over-represented and inclusion probabilities are not known (no such column is added). Rows stay in pool order.
    """
    require_columns(pool, ["availability"], "pool")
    availability = pool["availability"].to_numpy(float)
    if not np.all(availability >= 0):
        raise SettingsError("pool: every 'availability' must be a number >= 0")
    ready = np.count_nonzero(availability)
    if ready < size:
        raise InfeasibleError(f"panel of {size} asked for, but the pool holds {ready} with availability above 0")
    waiting = np.full(len(pool), np.inf)
    np.divide(rng.exponential(size=len(pool)), availability, out=waiting, where=availability > 0)
    first = np.sort(np.argsort(waiting, kind="stable")[:size])
    return pool.iloc[first].reset_index(drop=True)
