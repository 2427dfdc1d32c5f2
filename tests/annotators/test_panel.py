"""Panel plans: every hard constraint holds or infeasibility is explained; draws have the probabilities they record."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlhf_fair.annotators.panel import convenience_panel, plan_panel
from rlhf_fair.annotators.population import Population
from rlhf_fair.annotators.quotas import Demand, Quotas
from rlhf_fair.annotators.strata import Strata
from rlhf_fair.errors import ColumnError, InfeasibleError, SettingsError

PEOPLE = Population.from_shares(
    {"gender": {"woman": 0.5, "man": 0.45, "nonbinary": 0.05}, "age": {"young": 0.3, "middle": 0.4, "old": 0.3}}
)


def make_pool(n: int, seed: int = 0, prices: tuple[float, ...] = (1.0,)) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "annotator_id": [f"p{i}" for i in range(n)],
            "attr.gender": rng.choice(["woman", "man", "nonbinary"], n, p=[0.3, 0.65, 0.05]),
            "attr.age": rng.choice(["young", "middle", "old"], n, p=[0.6, 0.3, 0.1]),
            "cost": rng.choice(prices, n),
        }
    )


def test_margins_are_met_from_a_skewed_pool() -> None:
    plan = plan_panel(make_pool(1000), PEOPLE, size=100, rng=np.random.default_rng(1))
    assert len(plan.members) == 100
    assert (plan.targets["slack"] == 0).all()
    assert (plan.targets["target"] - plan.targets["planned"]).abs().max() <= 1
    drawn = plan.members["attr.gender"].value_counts()
    planned = plan.targets[plan.targets["attribute"] == "gender"].set_index("level")["planned"]
    assert drawn.to_dict() == planned.to_dict()
    assert plan.certificate()["targets_met"] == 6


def test_joint_distribution_is_near_the_raked_one_not_a_corner() -> None:
    # gender and age are independent in pool and population, so 100 people want 50*.3 = 15 young women and so on
    plan = plan_panel(make_pool(5000), PEOPLE, size=100, rng=np.random.default_rng(1))
    joint = plan.members.groupby(["attr.gender", "attr.age"]).size()
    assert joint["woman", "young"] == pytest.approx(15, abs=2)
    assert joint["man", "old"] == pytest.approx(13.5, abs=2)


def test_least_cost_agrees_with_brute_force() -> None:
    population = Population.from_shares({"g": {"a": 1, "b": 1}, "h": {"x": 1, "y": 1}})
    for seed in range(5):
        rng = np.random.default_rng(seed)
        pool = pd.DataFrame(
            {
                "attr.g": rng.choice(["a", "b"], 9),
                "attr.h": rng.choice(["x", "y"], 9),
                "cost": rng.choice([1.0, 2.0, 4.0], 9),
            }
        )
        best = (np.inf, np.inf)
        for chosen in itertools.combinations(range(9), 4):
            rows = pool.iloc[list(chosen)]
            off = sum(2 * abs((rows[c] == v).sum() - 2) for c, v in (("attr.g", "a"), ("attr.h", "x")))
            best = min(best, (off, rows["cost"].sum()))
        plan = plan_panel(pool, population, size=4, tolerance=0, rng=rng)
        assert (plan.targets["slack"].abs().sum(), plan.cost) == best


def test_unmet_targets_show_as_slack_and_unplaced_people_are_counted() -> None:
    pool = make_pool(60)
    pool.loc[:4, "attr.age"] = None
    pool.loc[5:9, "attr.gender"] = "robot"
    pool.loc[pool["attr.age"] == "old", "attr.age"] = "young"
    plan = plan_panel(pool, PEOPLE, size=20, rng=np.random.default_rng(0))
    old = plan.targets.set_index("level").loc["old"]
    assert (old["target"], old["planned"], old["available"], old["slack"]) == (6, 0, 0, 5)
    assert plan.unplaced == 10
    assert plan.eligible == 50
    missed = plan.certificate()["missed"]
    assert isinstance(missed, list)
    assert {"attribute": "age", "level": "old"}.items() <= missed[-1].items()


def test_infeasible_demands_are_explained_with_numbers() -> None:
    pool = make_pool(100, prices=(2.0,))
    rng = np.random.default_rng(0)
    few = int((pool["attr.gender"] == "nonbinary").sum())
    with pytest.raises(InfeasibleError, match=r"pool holds 100 .* recruit 50 more, or ask for at most 100"):
        plan_panel(pool, PEOPLE, size=150, rng=rng)
    with pytest.raises(InfeasibleError, match=rf"gender=nonbinary {9 - few} short \({few} in the pool\).*to {few}"):
        plan_panel(pool, PEOPLE, size=50, minimum_per_cell=9, rng=rng)
    with pytest.raises(InfeasibleError, match="ask for more than 8 people"):
        plan_panel(pool, PEOPLE, size=8, minimum_per_cell=3, rng=rng)
    with pytest.raises(InfeasibleError, match=r"budget 50 is 10 short: the cheapest panel of 30 .* costs 60"):
        plan_panel(pool, PEOPLE, size=30, budget=50, rng=rng)
    with pytest.raises(InfeasibleError, match="pool holds 0 whom the population places"):
        plan_panel(pool.assign(**{"attr.age": "unheard of"}), PEOPLE, size=1, rng=rng)
    with pytest.raises(SettingsError, match="size = 0"):
        plan_panel(pool, PEOPLE, size=0, rng=rng)
    with pytest.raises(ColumnError, match=r"attr\.age"):
        plan_panel(pool.drop(columns="attr.age"), PEOPLE, size=5, rng=rng)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    n=st.integers(1, 60),
    size=st.integers(1, 40),
    minimum=st.integers(0, 4),
    budget=st.none() | st.floats(1, 150),
)
def test_hard_constraints_hold_or_infeasible_is_raised(
    seed: int, n: int, size: int, minimum: int, budget: float | None
) -> None:
    pool = make_pool(n, seed, prices=tuple(np.random.default_rng(seed).uniform(1, 5, 12)))
    rng = np.random.default_rng(seed)
    try:
        plan = plan_panel(pool, PEOPLE, size=size, minimum_per_cell=minimum, budget=budget, rng=rng)
    except InfeasibleError:
        scarce = min((pool[f"attr.{a}"] == v).sum() for a in PEOPLE.attributes for v in PEOPLE.levels(a)) < minimum
        assert size > n or scarce or 3 * minimum > size or budget is not None
        return
    assert plan.members["annotator_id"].is_unique
    assert len(plan.members) == size
    assert set(plan.members["annotator_id"]) <= set(pool["annotator_id"])
    assert (plan.targets["planned"] >= minimum).all()
    assert (plan.targets["planned"] <= plan.targets["available"]).all()
    assert budget is None or plan.cost <= budget * (1 + 1e-5)
    assert plan.members["inclusion_probability"].between(0, 1, inclusive="right").all()
    assert plan.targets.groupby("attribute")["target"].sum().tolist() == pytest.approx([size, size])


def test_recorded_probabilities_match_draws_and_horvitz_thompson_is_unbiased() -> None:
    pool = make_pool(80)
    pool["y"] = np.random.default_rng(5).normal(10, 3, 80) + 5 * (pool["attr.gender"] == "woman")
    strata = Strata.of(pool, PEOPLE)
    counts = Quotas(strata, PEOPLE, Demand(30)).solve()
    recorded = strata.inclusion_probability(counts)
    members = plan_panel(pool, PEOPLE, size=30, rng=np.random.default_rng(0)).members
    np.testing.assert_array_equal(
        members["inclusion_probability"], recorded[members["annotator_id"].str[1:].astype(int)]
    )
    draws, rng = 3000, np.random.default_rng(0)
    chosen = np.array([strata.draw(counts, rng) for _ in range(draws)])
    seen = chosen.sum(axis=0)
    reached = recorded > 0
    totals = chosen[:, reached] @ (pool["y"].to_numpy()[reached] / recorded[reached])
    z = (seen - draws * recorded) / np.sqrt(np.maximum(draws * recorded * (1 - recorded), 1e-9))
    assert np.abs(z[recorded < 1]).max() < 4.5
    assert (seen[recorded == 1] == draws).all()
    covered = pool["y"][reached].sum()
    assert np.mean(totals) == pytest.approx(covered, abs=4 * np.std(totals) / np.sqrt(draws))


def test_renaming_groups_changes_nothing() -> None:
    pool = make_pool(300, prices=(1.0, 2.0))
    names = {"woman": "z", "man": "a", "nonbinary": "m"}
    renamed = Population.from_shares(
        {"gender": {"z": 0.5, "a": 0.45, "m": 0.05}, "age": {"young": 0.3, "middle": 0.4, "old": 0.3}}
    )
    plan = plan_panel(pool, PEOPLE, size=60, rng=np.random.default_rng(0))
    other = plan_panel(
        pool.assign(**{"attr.gender": pool["attr.gender"].map(names)}), renamed, size=60, rng=np.random.default_rng(0)
    )
    assert plan.cost == other.cost
    assert plan.targets["slack"].abs().sum() == other.targets["slack"].abs().sum()


def test_convenience_panel_follows_availability() -> None:
    pool = pd.DataFrame({"annotator_id": list("abc"), "availability": [3.0, 1.0, 0.0]})
    rng = np.random.default_rng(0)
    first = [convenience_panel(pool, size=1, rng=rng)["annotator_id"].item() for _ in range(2000)]
    assert first.count("a") / 2000 == pytest.approx(0.75, abs=0.04)  # 3 / (3 + 1)
    assert "c" not in first
    with pytest.raises(InfeasibleError, match="holds 2 with availability"):
        convenience_panel(pool, size=3, rng=rng)
    with pytest.raises(ColumnError, match="availability"):
        convenience_panel(pool.drop(columns="availability"), size=1, rng=rng)
