"""500 random demands on pools too large to enumerate: every promise is kept, or a program over persons proves none can.

The plans come from counts of strata. Here each person of the pool is a variable of their own, and the panel is counted
from its members alone, so an error in strata, limits or rounding shows.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
import pandas as pd
import pytest
from scipy import optimize

from rlhf_fair.annotators.conflict import ConflictError
from rlhf_fair.annotators.minimums import Minimum
from rlhf_fair.annotators.panel import PanelPlan, plan_for
from rlhf_fair.annotators.population import Population
from rlhf_fair.annotators.quotas import Demand

PEOPLE = Population.from_shares({"g": {"a": 5, "b": 4, "c": 1}, "h": {"x": 3, "y": 2}})
MARGINS = [f"g={g}" for g in "abc"] + [f"h={h}" for h in "xy"]
CELLS = MARGINS + [f"g={g},h={h}" for g in "abc" for h in "xy"]


def instance(rng: np.random.Generator) -> tuple[pd.DataFrame, Demand]:
    n = int(rng.integers(15, 60))
    pool = pd.DataFrame(
        {
            "annotator_id": [f"p{i}" for i in range(n)],
            "attr.g": rng.choice(["a", "b", "c", None, "prefer_not_to_say"], n, p=[0.55, 0.25, 0.1, 0.05, 0.05]),
            "attr.h": rng.choice(["x", "y"], n, p=[0.7, 0.3]),
            "cost": rng.choice([1.0, 2.0, 5.0], n),
            "consent": rng.choice(["yes", "no"], n, p=[0.9, 0.1]),
        }
    )
    size = int(rng.integers(6, 16))
    named = tuple(
        Minimum.parse(f"{cell}:{rng.integers(0, 5)}") for cell in rng.choice(CELLS, rng.integers(0, 3), replace=False)
    )
    budget = float(rng.choice([1.3, 2.0, 4.0]) * size) if rng.random() < 0.6 else None
    least = 0.1 * (rng.random() < 0.05)
    return pool, Demand(size, int(rng.integers(0, 3)), budget, minimums=named, least_chance=least)


def inside(people: pd.DataFrame, cell: str) -> np.ndarray:
    pairs = (part.split("=") for part in cell.split(","))
    return np.logical_and.reduce([(people[f"attr.{name}"] == level).to_numpy() for name, level in pairs])


def least_of_each(demand: Demand) -> Counter[str]:
    """Persons that every cell must hold: the same cell may be named twice, and the larger number holds."""
    least = Counter(dict.fromkeys(MARGINS, demand.minimum_per_cell))
    for minimum in demand.minimums:
        least[minimum.cell.name] = max(least[minimum.cell.name], minimum.persons)
    return least


def can_hold(pool: pd.DataFrame, demand: Demand, names: list[str]) -> bool:
    """Whether some panel of whole persons holds these demands, by one 0/1 variable for each person who may be asked."""
    able = pool[(pool["consent"] == "yes") & pool["attr.g"].isin(list("abc"))]
    rows, low, high = [np.zeros(len(able))], [0.0], [0.0]
    for name in names:
        cell, found, least = name.partition(": at least ")
        if found:
            bounds = (inside(able, cell), float(least), np.inf)
        elif name.startswith("budget"):
            bounds = (able["cost"].to_numpy(), -np.inf, demand.budget)
        else:
            bounds = (np.ones(len(able)), demand.size, demand.size)
        for entries, value in zip((rows, low, high), bounds, strict=True):
            entries.append(value)
    found = optimize.milp(
        np.zeros(len(able)),
        integrality=np.ones(len(able)),
        bounds=optimize.Bounds(0, 1),
        constraints=optimize.LinearConstraint(np.array(rows, dtype=float), low, high),
    )
    assert found.status in (0, 2)  # solved or proved infeasible
    return found.status == 0


def check_promises(pool: pd.DataFrame, demand: Demand, plan: PanelPlan) -> None:
    members = plan.members
    assert len(members) == demand.size
    assert members["annotator_id"].is_unique
    asked = pool.set_index("annotator_id").loc[members["annotator_id"]]
    assert (asked["consent"] == "yes").all()
    assert asked["attr.g"].isin(list("abc")).all()
    for cell, least in least_of_each(demand).items():
        assert inside(members, cell).sum() >= least
    assert demand.budget is None or asked["cost"].sum() <= demand.budget + 1e-9
    placed = (pool["consent"] == "yes") & pool["attr.g"].isin(list("abc"))
    assert plan.eligible == placed.sum()
    assert plan.eligible + plan.unplaced + sum(plan.ineligible.values()) == len(pool)
    assert sum(plan.unplaced_by.values()) == plan.unplaced
    assert set(plan.unplaced_by) <= {"g is empty", "g=prefer_not_to_say"}
    empty = {cell for cell in MARGINS if not inside(members, cell).any()}
    named = plan.without_anybody()
    assert set(named["attribute"] + "=" + named["level"]) == empty


@pytest.mark.parametrize("block", range(5))
def test_500_random_demands_are_kept_or_a_program_over_persons_proves_that_none_can(block: int) -> None:
    planned = 0
    for seed in range(100 * block, 100 * block + 100):
        pool, demand = instance(np.random.default_rng(seed))
        try:
            plan = plan_for(pool, PEOPLE, demand, rng=np.random.default_rng(seed))
        except ConflictError as error:
            conflict = [limit.name for limit in error.conflict]
            assert not can_hold(pool, demand, conflict)
            for place in range(len(conflict)):
                assert can_hold(pool, demand, conflict[:place] + conflict[place + 1 :])
        else:
            planned += 1
            check_promises(pool, demand, plan)
    assert 20 < planned < 90  # both outcomes are common
