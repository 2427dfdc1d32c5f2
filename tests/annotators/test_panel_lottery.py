"""A lottery over plans: everybody has a chance, it is the one recorded, every plan meets every demand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from rlhf_fair.annotators.minimums import Minimum
from rlhf_fair.annotators.panel import PanelPlan, plan_for
from rlhf_fair.annotators.population import Population
from rlhf_fair.annotators.quotas import Demand
from rlhf_fair.errors import SettingsError
from tests.annotators.test_panel import PEOPLE, make_pool


def planned(pool: pd.DataFrame, demand: Demand, population: Population = PEOPLE) -> PanelPlan:
    return plan_for(pool, population, demand, rng=np.random.default_rng(0))


def test_the_least_cost_of_a_chance_by_hand() -> None:
    # One cell, four people at 1 and four at 3, two wanted. An equal chance is 2/8; half of it is 1/8 each, so the four
    # dear ones are 4/8 = 0.5 expected persons: cost 2 + 0.5 * (3 - 1) = 3 instead of 2. Cheap: (2 - 0.5) / 4 = 3/8.
    pool = pd.DataFrame({"annotator_id": list("abcdefgh"), "attr.g": "x", "cost": [1.0] * 4 + [3.0] * 4})
    one = Population.from_shares({"g": {"x": 1}})
    found = planned(pool, Demand(2, least_chance=0.5), one).certificate()
    assert found["expected_planning_cost"] == pytest.approx(3)
    assert found["least_planning_cost"] == pytest.approx(2)
    assert found["least_inclusion_probability"] == pytest.approx(1 / 8)
    assert found["greatest_inclusion_probability"] == pytest.approx(3 / 8)
    assert found["lottery_settled"]
    cheapest = planned(pool, Demand(2), one)
    assert (cheapest.never_drawn, cheapest.cost) == (4, 2)


def test_everybody_has_the_promised_chance_and_every_plan_meets_every_demand() -> None:
    pool = make_pool(300, 3, prices=(1.0, 2.0, 5.0))
    demand = Demand(40, 2, 120.0, minimums=(Minimum.parse("gender=woman,age=old:4"),), least_chance=0.2)
    plan = planned(pool, demand)
    assert plan.never_drawn == 0
    assert plan.lottery.shortfall == 0
    probability = plan.lottery.expected / plan.quotas.strata.available
    assert probability.min() >= 0.2 * 40 / 300 - 1e-9
    for counts in plan.lottery.plans:
        assert counts.sum() == 40
        assert plan.quotas.price @ counts <= 120 + 1e-6
        targets = plan.quotas.report(counts)
        assert (targets["slack"] == 0).all()
        assert (targets["planned"] >= 2).all()
        assert plan.quotas.minimums[0].cell.holds(plan.quotas.strata.table) @ counts >= 4
        assert np.all(counts <= plan.quotas.strata.available)


def test_a_larger_promise_never_costs_less_and_the_largest_is_shared_fairly() -> None:
    pool = make_pool(200, 1, prices=(1.0, 2.0, 4.0))
    certificates = [planned(pool, Demand(30, least_chance=chance)).certificate() for chance in (0.0, 0.1, 0.4, 1.0)]
    costs = np.array([found["expected_planning_cost"] for found in certificates], dtype=float)
    assert np.all(np.diff(costs) > -1e-6)
    assert costs[1] > costs[0]
    # The pool's young are twice their share, so equal chances and the targets contradict each other.
    assert 0 < certificates[-1]["chance_shortfall"] < 1  # type: ignore[operator]
    assert certificates[-1]["never_drawn"] == 0


def test_recorded_probabilities_match_10k_draws_and_horvitz_thompson_is_unbiased() -> None:
    pool = make_pool(80, prices=(1.0, 2.0))
    y = np.random.default_rng(5).normal(10, 3, 80) + 5 * (pool["attr.gender"] == "woman") + 4 * pool["cost"]
    plan = planned(pool, Demand(30, least_chance=0.3))
    strata, lottery = plan.quotas.strata, plan.lottery
    recorded = strata.inclusion_probability(lottery.expected)
    assert plan.never_drawn == 0
    assert len(lottery.chance) > 1
    draws, rng = 10_000, np.random.default_rng(1)
    chosen = np.array([strata.draw(lottery.plans[lottery.draw(rng)], rng) for _ in range(draws)])
    z = (chosen.sum(axis=0) - draws * recorded) / np.sqrt(np.maximum(draws * recorded * (1 - recorded), 1e-9))
    assert np.abs(z[recorded < 1 - 1e-9]).max() < 4.5
    totals = chosen @ (y.to_numpy() / recorded)
    assert np.mean(totals) == pytest.approx(y.sum(), abs=4 * np.std(totals) / np.sqrt(draws))


def test_who_cannot_be_in_any_panel_is_counted() -> None:
    pool = make_pool(100, prices=(1.0,))
    pool.loc[:4, "cost"] = 1000.0
    plan = planned(pool, Demand(20, budget=50.0, least_chance=0.1))
    assert plan.never_drawn == 5
    assert plan.lottery.shortfall == 0


def test_a_chance_is_a_share() -> None:
    with pytest.raises(SettingsError, match=r"least_chance = 1\.5; allowed: 0 to 1"):
        Demand(3, least_chance=1.5)
