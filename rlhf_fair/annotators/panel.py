"""Which annotators to recruit: quotas met at least cost, then a random draw with known inclusion probabilities."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from rlhf_fair.annotators.attrition import chance_below
from rlhf_fair.annotators.eligibility import eligibility
from rlhf_fair.annotators.lottery import Lottery, spread
from rlhf_fair.annotators.multi_select import canonical_table, membership
from rlhf_fair.annotators.population import Population
from rlhf_fair.annotators.prices import marginal_prices
from rlhf_fair.annotators.quotas import Demand, Quotas
from rlhf_fair.annotators.strata import Strata
from rlhf_fair.errors import InfeasibleError, SettingsError
from rlhf_fair.tables import ATTRIBUTE_PREFIX, require_columns

IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class PanelPlan:
    """A drawn panel and what it can claim.

    Attributes
    ----------
    members
        Rows of the pool, in pool order, plus ``inclusion_probability`` in (0, 1]: the expected share of the stratum
        drawn; and, the same in every row, ``unreached_share`` (`Strata.unreached_share`). Where drop-out is expected
        also ``retention``, the probability of finishing.
    targets
        One row for each margin cell: attribute, level, target, planned, available, slack (persons beyond the
        tolerance: positive short, negative over). Where drop-out is expected, planned persons are those invited, slack
        is that of the expected finishers, and ``expected`` and ``chance_short`` (that fewer finish than target less
        tolerance) stand beside it.
    cost
        Sum of the members' costs.
    demand
        What was asked for.
    eligible, unplaced, never_drawn
        Pool members who may be asked and have all attributes known to the population; those who may be asked without;
        those eligible whose inclusion probability is 0, whom no weighting can stand for.
    ineligible
        How many may not be asked, by reason.
    unplaced_by
        How many of the unplaced for each attribute and what it says, each under the first one that does not place them.
    lottery
        The plans one of which was drawn; a single one unless ``least_chance`` was asked for.
    quotas, counts
        The program behind it, and the persons taken from each stratum.
    """

    members: pd.DataFrame
    targets: pd.DataFrame
    cost: float
    demand: Demand
    eligible: int
    unplaced: int
    never_drawn: int
    ineligible: dict[str, int]
    lottery: Lottery
    quotas: Quotas
    counts: IntArray
    unplaced_by: dict[str, int] = field(default_factory=dict)

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
            "without_anybody": self.without_anybody().to_dict("records"),
            "minimums": self.minimums().to_dict("records"),
            "eligible": self.eligible,
            "unplaced": self.unplaced,
            "unplaced_by": self.unplaced_by,
            "ineligible": self.ineligible,
            "never_drawn": self.never_drawn,
            **self._chances(),
            **self._finishing(),
        }

    def minimums(self) -> pd.DataFrame:
        """One row for each named minimum: cell, minimum, planned, available (and chance_below with drop-out)."""
        rows = []
        named = canonical_table(self.members, self.quotas.population)
        for minimum in self.quotas.minimums:
            inside = minimum.cell.holds(named)
            row = {
                "cell": minimum.cell.name,
                "minimum": minimum.persons,
                "planned": int(inside.sum()),
                "available": int(minimum.cell.holds(self.quotas.strata.table) @ self.quotas.strata.available),
            }
            if self.quotas.leaving:
                retention = self.members["retention"].to_numpy(float)[inside]
                row |= {"expected": float(retention.sum()), "chance_below": chance_below(retention, minimum.persons)}
            rows.append(row)
        return pd.DataFrame(rows)

    def without_anybody(self) -> pd.DataFrame:
        """Margin cells of the population that hold nobody, within the tolerance or not: attribute, level, target, …"""
        empty = (self.targets["target"] > 0) & (self.targets["planned"] == 0)
        return self.targets.loc[empty, ["attribute", "level", "target", "available"]]

    def prices(self) -> pd.DataFrame:
        """What one more person of each cell would cost, see `prices.marginal_prices`."""
        return marginal_prices(self.quotas, self.counts)

    def _chances(self) -> dict[str, object]:
        """Of being drawn, and what spreading them costs."""
        probability = self.lottery.expected / self.quotas.strata.available
        drawn = probability[probability > 0]
        price = self.quotas.price
        return {
            "least_chance": self.demand.least_chance,
            "plans_in_lottery": len(self.lottery.chance),
            "least_inclusion_probability": float(drawn.min()),
            "greatest_inclusion_probability": float(drawn.max()),
            "expected_planning_cost": float(price @ self.lottery.expected),
            "least_planning_cost": float(price @ self.quotas.cheapest),
            "chance_shortfall": self.lottery.shortfall,
            "lottery_settled": self.lottery.settled,
            "persons_out_of_place": self.lottery.unlike,
            "strata": len(self.counts),
            "strata_left_empty": self.quotas.strata.left_empty(self.counts, self.lottery.expected).to_dict("records"),
            "unreached_share": self.quotas.strata.unreached_share(self.counts, self.lottery.expected),
        }

    def _finishing(self) -> dict[str, object]:
        """Expected finishers and the chance of too few, where anybody is expected to leave."""
        if not self.quotas.leaving:
            return {}
        retention = self.members["retention"].to_numpy(float)
        return {
            "wanted_finishers": self.demand.size,
            "expected_finishers": float(retention.sum()),
            "expected_cost": float(self.members.get("cost", pd.Series(1.0, self.members.index)) @ retention),
            "chance_of_fewer_finishers": chance_below(retention, self.demand.size),
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
    """Plan and draw a panel whose margins match the population's, at least cost; see `plan_for`, which can more.

    Parameters
    ----------
    minimum_per_cell
        Least number of persons in every margin cell with a share above 0; the other targets shrink to make room.
    tolerance
        Persons by which a margin cell may miss its target without being called short.
    """
    return plan_for(pool, population, Demand(size, minimum_per_cell, budget, tolerance), rng=rng)


def plan_for(pool: pd.DataFrame, population: Population, demand: Demand, *, rng: np.random.Generator) -> PanelPlan:
    """Plan and draw a panel that meets ``demand`` and whose margins match the population's.

    Size, minimums and budget always hold. Then, in this order: as few persons as possible off target by more than the
    tolerance; least cost; a joint distribution near the population's (raked from the pool's own associations).
    The plan depends on the pool alone, so given the plan each stratum is a simple random sample.

    Parameters
    ----------
    pool
        Candidates with ``attr.*`` columns for the population's attributes, and optionally ``cost`` (default 1 each),
        ``consent``, ``capacity``, ``languages``, ``skills`` (see `eligibility`) and ``dropout`` (see `attrition`).

    Raises
    ------
    ConflictError
        Size, minimums and budget cannot hold together; an `InfeasibleError` that names a smallest contradicting set
        and the repairs.
    """
    able = eligibility(pool, demand.needs)
    for cell, _ in demand.dropout.cells:
        cell.check(population)
    retention = demand.dropout.retention(canonical_table(pool, population))
    strata = Strata.of(pool, population, allowed=able.allowed, retention=retention)
    quotas = Quotas(strata, population, demand)
    lottery = spread(quotas, quotas.solve())
    counts = lottery.plans[lottery.draw(rng)]
    chosen = strata.draw(counts, rng)
    probability = strata.inclusion_probability(lottery.expected)
    placed = strata.code >= 0
    unreached = strata.unreached_share(counts, lottery.expected)
    members = pool[chosen].assign(inclusion_probability=probability[chosen], unreached_share=unreached)
    if quotas.leaving:
        members["retention"] = retention[chosen]
    members = members.reset_index(drop=True)
    return PanelPlan(
        members=members,
        targets=_with_finishers(quotas.report(counts), quotas, population, members),
        cost=float(strata.cost[chosen].sum()),
        demand=demand,
        eligible=int(placed.sum()),
        unplaced=int((able.allowed & ~placed).sum()),
        never_drawn=int((placed & (probability == 0)).sum()),
        ineligible=able.reasons,
        lottery=lottery,
        quotas=quotas,
        counts=counts,
        unplaced_by=_unplaced(pool[able.allowed], population),
    )


def _unplaced(pool: pd.DataFrame, population: Population) -> dict[str, int]:
    """Who cannot be placed, by the first attribute that is empty or that the population does not know, and its cell."""
    found: dict[str, int] = {}
    places = canonical_table(pool, population)
    left = np.ones(len(pool), dtype=bool)
    for name in population.attributes:
        column = ATTRIBUTE_PREFIX + name
        lost = left & places[column].isna().to_numpy()
        if not lost.any():
            continue
        said = (name + "=" + pool.loc[lost, column].astype("str")).fillna(f"{name} is empty")
        found |= {str(cell): int(count) for cell, count in said.value_counts().items()}
        left &= ~lost
    return found


def _with_finishers(
    targets: pd.DataFrame, quotas: Quotas, population: Population, members: pd.DataFrame
) -> pd.DataFrame:
    """Expected finishers of each margin cell and the chance of too few, where anybody is expected to leave."""
    if not quotas.leaving:
        return targets
    retention = members["retention"].to_numpy(float)
    named = canonical_table(members, population)
    inside = sparse.vstack([membership(named, margin) for margin in population.margins], format="csr").toarray() > 0
    floor = targets["target"].to_numpy(float) - quotas.demand.tolerance
    return targets.assign(
        expected=inside @ retention,
        chance_short=[chance_below(retention[row], low) for row, low in zip(inside, floor, strict=True)],
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
