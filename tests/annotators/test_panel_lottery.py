"""A lottery over plans: everybody has a chance, it is the one recorded, every plan meets every demand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from rlhf_fair.annotators.minimums import Minimum
from rlhf_fair.annotators.panel import PanelPlan, plan_for
from rlhf_fair.annotators.population import Population
from rlhf_fair.annotators.quotas import Demand
from rlhf_fair.annotators.weights import Weighting, weigh_panel
from rlhf_fair.annotators.weights_replicates import replicate_estimate
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


# A world in which price tells what people say and no margin tells price: the dear half says half a standard deviation
# more. Weighting cannot mend a panel without them.
EVEN = Population.from_shares({"g": {"m": 1, "w": 1}, "a": {"y": 1, "o": 1}})


def dear_half(rng: np.random.Generator, n: int) -> tuple[pd.DataFrame, np.ndarray]:
    cells = np.arange(n) % 8
    pool = pd.DataFrame(
        {
            "annotator_id": np.arange(n).astype(str),
            "attr.g": np.where(cells % 2, "m", "w"),
            "attr.a": np.where(cells // 2 % 2, "y", "o"),
            "cost": np.where(cells // 4, 3.0, 1.0),
        }
    )
    return pool, rng.normal(size=n) + 0.5 * (pool["cost"] == 3).to_numpy()


def test_every_plan_holds_every_total_rounded_down_or_up() -> None:
    # 0.1 of an equal chance: 0.1 * 150 * 400/800 = 7.5 of the 150 are dear, 7.5 / 4 = 1.875 of each cell.
    pool, _ = dear_half(np.random.default_rng(0), 800)
    plan = planned(pool, Demand(150, least_chance=0.1), EVEN)
    dear = plan.quotas.price == 3
    assert plan.lottery.unlike == 0
    assert plan.lottery.expected[dear] == pytest.approx(1.875)
    assert set(plan.lottery.plans[:, dear].ravel()) == {1, 2}
    assert set(plan.lottery.plans[:, dear].sum(axis=1)) == {7, 8}
    assert np.ptp(plan.lottery.plans[:, ~dear], axis=0).max() <= 1
    found = plan.certificate()
    assert (found["strata_left_empty"], found["unreached_share"], found["persons_out_of_place"]) == ([], 0, 0)


def test_a_lottery_costs_the_precision_of_its_chances_and_no_more() -> None:
    # Half of an equal chance: 37.5 dear of 150. Strata of known shares have variance sum W^2 S^2/n (Cochran 1977, 5.9):
    # 1/4/37.5 + 1/4/112.5 = 8.9e-3 (S = 1), against 1.0625/150 = 7.1e-3 of a simple random sample (with what lies
    # between the halves, 0.25^2), both times 1 - n/N or so. Totals that are rounded at random add a little.
    pool, y = dear_half(np.random.default_rng(1), 800)
    plan = planned(pool, Demand(150, least_chance=0.5), EVEN)
    strata, lottery = plan.quotas.strata, plan.lottery
    chance, rng = strata.inclusion_probability(lottery.expected), np.random.default_rng(2)
    drawn = np.array([strata.draw(lottery.plans[lottery.draw(rng)], rng) for _ in range(4_000)])
    means = drawn @ (y / chance) / 800  # Horvitz and Thompson
    assert means.mean() == pytest.approx(y.mean(), abs=4 * means.std() / np.sqrt(len(means)))
    simple = y.var(ddof=1) / 150 * (1 - 150 / 800)
    assert means.var() < 1.5 * simple


def test_intervals_of_weighed_lottery_panels_cover() -> None:
    # At a tenth of an equal chance 7 or 8 people stand for the dear half, with weights twenty times the others'. Of 120
    # intervals of 95 %, 107 and more cover with probability .998.
    pool, y = dear_half(np.random.default_rng(3), 800)
    plan = planned(pool, Demand(150, least_chance=0.1), EVEN)
    strata, lottery = plan.quotas.strata, plan.lottery
    chance, covered, estimates = strata.inclusion_probability(lottery.expected), 0, []
    for seed in range(120):
        rng = np.random.default_rng(seed)
        drawn = strata.draw(lottery.plans[lottery.draw(rng)], rng)
        members = pool[drawn].assign(inclusion_probability=chance[drawn]).reset_index(drop=True)
        found = weigh_panel(members, EVEN, Weighting(trim=np.inf, replicates=20), rng=rng)
        own = pd.Series(y[drawn], index=found.weights.index)
        assert found.replicates is not None
        one = replicate_estimate(lambda w, y=own: float(y @ w / w.sum()), found.weights, found.replicates)
        covered += one.ci_low <= y.mean() <= one.ci_high
        estimates.append(one.estimate)
    assert covered >= 107
    assert np.mean(estimates) == pytest.approx(y.mean(), abs=4 * np.std(estimates) / np.sqrt(len(estimates)))


def test_a_price_too_rare_to_be_in_every_plan_is_said() -> None:
    # 0.1 * 10 * 400/800 = 0.5 dear people expected of 10: every other plan has none, and then nobody stands for them.
    pool, _ = dear_half(np.random.default_rng(4), 800)
    shares = set()
    for seed in range(12):
        plan = plan_for(pool, EVEN, Demand(10, least_chance=0.1), rng=np.random.default_rng(seed))
        dear = int((plan.members["cost"] == 3).sum())
        found = plan.certificate()
        assert dear in (0, 1)
        assert found["unreached_share"] == (0 if dear else 0.5)
        empty = pd.DataFrame(found["strata_left_empty"])
        assert (len(empty), empty["price"].unique().tolist()) == (4 - dear, [3.0])
        assert empty["inclusion_probability"].to_numpy() == pytest.approx(0.1 * 10 / 800)
        assert (plan.members["unreached_share"] == found["unreached_share"]).all()
        shares.add(found["unreached_share"])
    assert shares == {0, 0.5}
    cheapest = planned(pool, Demand(10), EVEN).certificate()
    assert (cheapest["never_drawn"], cheapest["unreached_share"], cheapest["strata_left_empty"]) == (400, 0.5, [])
