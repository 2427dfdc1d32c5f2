"""How long a panel plan takes: a pool of 100,000 people, 245 targets, with and without a chance for everybody."""

from __future__ import annotations

import argparse
import time

import numpy as np
import pandas as pd

from rlhf_fair.annotators.panel import PanelPlan, plan_for
from rlhf_fair.annotators.population import Population
from rlhf_fair.annotators.quotas import Demand

LEVELS = {"gender": 3, "age": 6, "race": 6, "region": 10}
PAIRS = ("gender*age", "gender*race", "gender*region", "age*race", "age*region", "race*region")
MARGINS = (*LEVELS, *PAIRS)  # 247 cells
PRICES = (1.0, 2.0, 4.0)


def world(people: int, seed: int) -> tuple[pd.DataFrame, Population]:
    """A pool whose shares are not the population's."""
    rng = np.random.default_rng(seed)
    names = {attribute: np.array([f"{attribute}{k}" for k in range(n)]) for attribute, n in LEVELS.items()}
    columns = {f"attr.{a}": rng.choice(v, people, p=rng.dirichlet(np.full(len(v), 3.0))) for a, v in names.items()}
    ids = np.arange(people).astype(str)
    pool = pd.DataFrame({"annotator_id": ids, **columns, "cost": rng.choice(PRICES, people)})
    shares = {
        a: dict(zip(v.tolist(), rng.dirichlet(np.full(len(v), 5.0)).tolist(), strict=True)) for a, v in names.items()
    }

    def margin(name: str) -> dict[str, object]:
        first, _, second = name.partition("*")
        if not second:
            return dict(shares[first])
        return {x: {y: p * q for y, q in shares[second].items()} for x, p in shares[first].items()}

    return pool, Population.from_shares({name: margin(name) for name in MARGINS})


def show(title: str, plan: PanelPlan, wall: float, cpu: float) -> None:
    found = plan.certificate()
    print(
        f"{title:<34}{wall:>8.1f}{cpu:>8.1f}{len(plan.quotas.strata.table):>8}{found['targets_met']:>7}/"
        f"{found['targets']}{found['plans_in_lottery']:>7}{found['never_drawn']:>9}"
        f"{found['expected_planning_cost']:>10.1f}{found['least_planning_cost']:>9.1f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--people", type=int, default=100_000)
    parser.add_argument("--sizes", type=int, nargs="+", default=[300, 1_000, 3_000])
    parser.add_argument("--draw-all", type=float, nargs="*", default=[0.0])
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    pool, population = world(chosen.people, chosen.seed)
    print(
        f"{'':<34}{'wall s':>8}{'CPU s':>8}{'strata':>8}{'targets':>11}{'plans':>7}{'chance 0':>9}{'cost':>10}"
        f"{'least':>9}"
    )
    for size in chosen.sizes:
        for chance in chosen.draw_all:
            began, cpu = time.perf_counter(), time.process_time()
            demand = Demand(size, least_chance=chance)
            plan = plan_for(pool, population, demand, rng=np.random.default_rng(chosen.seed))
            show(f"n = {size}, least chance {chance:g}", plan, time.perf_counter() - began, time.process_time() - cpu)


if __name__ == "__main__":
    main()
