"""Plans against brute force: optimal where a panel exists, and else a minimal conflict with the cheapest repairs."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest

from rlhf_fair.annotators.conflict import ConflictError, Repair, minimal_conflict
from rlhf_fair.annotators.integer_program import IntegerProgram, UnsettledError
from rlhf_fair.annotators.limits import Limit, feasible
from rlhf_fair.annotators.minimums import Cell, Minimum
from rlhf_fair.annotators.panel import plan_for
from rlhf_fair.annotators.population import Population
from rlhf_fair.annotators.quotas import Demand
from rlhf_fair.annotators.recruits import recruit_cells
from rlhf_fair.errors import InfeasibleError, SettingsError

POPULATION = Population.from_shares({"g": {"a": 2, "b": 1}, "h": {"x": 1, "y": 1}})
CELLS = [("g", "a"), ("g", "b"), ("h", "x"), ("h", "y")]


@dataclass
class Panels:
    """All subsets of a small pool, one row each."""

    pool: pd.DataFrame
    demand: Demand

    def __post_init__(self) -> None:
        self.members = np.array(list(itertools.product([0, 1], repeat=len(self.pool))))
        inside = [self.pool[f"attr.{name}"] == level for name, level in CELLS]
        inside += [self.pool["attr.g"].eq("b") & self.pool["attr.h"].eq("y")]
        self.counts = self.members @ np.array(inside, dtype=int).T
        self.cost = self.members @ self.pool["cost"].to_numpy()
        self.size = self.members.sum(axis=1)
        self.least = np.array([self.demand.minimum_per_cell] * 4 + [self.demand.minimums[0].persons])

    def holding(self, name: str) -> np.ndarray:
        """Subsets that hold the demand of this name."""
        kind, _, _ = name.partition(" ")
        if kind == "size":
            return self.size == self.demand.size
        if kind == "budget":
            return self.cost <= self.demand.budget + 1e-9
        names = [*(f"{a}={b}" for a, b in CELLS), "g=b,h=y"]
        place = names.index(name.rpartition(": at least")[0])
        return self.counts[:, place] >= self.least[place]

    @property
    def feasible(self) -> np.ndarray:
        enough = (self.counts >= self.least).all(axis=1)
        return enough & (self.size == self.demand.size) & (self.cost <= self.demand.budget + 1e-9)


def instance(seed: int) -> Panels:
    rng = np.random.default_rng(seed)
    n, size = int(rng.integers(3, 9)), int(rng.integers(2, 6))
    pool = pd.DataFrame(
        {
            "annotator_id": [str(i) for i in range(n)],
            "attr.g": rng.choice(["a", "b"], n),
            "attr.h": rng.choice(["x", "y"], n),
            "cost": rng.choice([1.0, 2.0, 4.0], n),
        }
    )
    minimum = Minimum.parse(f"g=b,h=y:{rng.integers(0, 3)}")
    budget = float(rng.choice([size, 1.5 * size, 3 * size]))
    return Panels(pool, Demand(size, int(rng.integers(0, 3)), budget, tolerance=0, minimums=(minimum,)))


def check_best(panels: Panels) -> None:
    """The plan holds every demand, and no panel has less slack, or as little for less money."""
    plan = plan_for(panels.pool, POPULATION, panels.demand, rng=np.random.default_rng(0))
    row = panels.pool["annotator_id"].isin(plan.members["annotator_id"]).to_numpy(int)
    mine = np.flatnonzero((panels.members == row).all(axis=1)).item()
    assert panels.feasible[mine]
    slack = np.abs(panels.counts[:, :4] - plan.targets["target"].to_numpy()).sum(axis=1)
    best = min(zip(slack[panels.feasible].round(9), panels.cost[panels.feasible], strict=True))
    assert (plan.targets["slack"].abs().sum(), plan.cost) == pytest.approx(best)


def check_conflict(panels: Panels, error: ConflictError) -> None:
    """Together out of reach, without any one in reach; and the repairs are the smallest of their kind."""
    hold = [panels.holding(limit.name) for limit in error.conflict]
    assert hold
    assert not np.logical_and.reduce(hold).any()
    for left_out in range(len(hold)):
        rest = [held for place, held in enumerate(hold) if place != left_out]
        assert np.logical_and.reduce([*rest, np.ones(len(panels.size), dtype=bool)]).any()
    repairs = {repair.lever: repair for repair in error.repairs}
    enough = (panels.counts >= panels.least).all(axis=1)
    sized, paid = panels.size == panels.demand.size, panels.cost <= panels.demand.budget + 1e-9
    if (sized & enough).any():
        assert repairs["raise budget"].cost == pytest.approx(panels.cost[sized & enough].min())
    else:
        assert "raise budget" not in repairs
    if (sized & paid).any():
        lowered = np.maximum(panels.least - panels.counts, 0).sum(axis=1)[sized & paid]
        assert repairs["lower minimums"].persons == lowered.min()
    else:
        assert "lower minimums" not in repairs
    check_recruits(panels, repairs.get("recruit"))
    if (enough & paid).any():
        change = np.abs(panels.size - panels.demand.size)[enough & paid]
        assert repairs["change size"].persons == change.min()
    else:
        assert "change size" not in repairs


def check_recruits(panels: Panels, repair: Repair | None) -> None:
    """The fewest newcomers of any kinds with whom some of the pool make a panel, and the kinds named suffice."""
    kinds = list(itertools.product("ab", "xy"))
    fewest = None
    for fewer in range(panels.demand.size + 1):
        rest = panels.counts[panels.size == panels.demand.size - fewer]
        for newcomers in itertools.combinations_with_replacement(kinds, fewer):
            told = [sum(g == level or h == level for g, h in newcomers) for _, level in CELLS]
            told.append(newcomers.count(("b", "y")))
            if fewest is None and (rest + np.array(told) >= panels.least).all(axis=1).any():
                fewest = fewer
    if not fewest:  # no newcomers help, or nobody is missing: it is about money
        assert repair is None
        return
    assert repair is not None
    assert repair.persons == fewest
    hired = [change.partition(" more") for change in repair.changes if " more" in change]
    counted = np.zeros(5, dtype=int)
    for count, _, whom in hired:
        levels = set(whom.removeprefix(" with ").split(","))
        counted[:4] += [int(count) * (f"{a}={b}" in levels) for a, b in CELLS]
        counted[4] += int(count) * ({"g=b", "h=y"} <= levels)
    rest = panels.counts[panels.size == panels.demand.size - fewest]
    assert (rest + counted >= panels.least).all(axis=1).any()


@pytest.mark.parametrize("block", range(10))
def test_500_random_demands_are_met_at_best_or_refused_with_proof(block: int) -> None:
    outcomes = []
    for seed in range(50 * block, 50 * block + 50):
        panels = instance(seed)
        possible = bool(panels.feasible.any())
        outcomes.append(possible)
        if possible:
            check_best(panels)
        else:
            with pytest.raises(ConflictError) as caught:
                plan_for(panels.pool, POPULATION, panels.demand, rng=np.random.default_rng(0))
            check_conflict(panels, caught.value)
    assert 5 < sum(outcomes) < 45


def test_a_conflict_of_whole_persons_that_fractions_would_solve() -> None:
    # 2 x + 2 y = 3 has the solution x = y = 3/4, but none in whole persons; the third limit has no part in it.
    odd = Limit("size", "odd", np.array([2.0, 2.0]), 3, 3, 4)
    idle = Limit("minimum", "idle", np.array([1.0, 0.0]), 0, np.inf, 1)
    assert [limit.name for limit in minimal_conflict([idle, odd], np.ones(2))] == ["odd"]
    assert minimal_conflict([idle], np.ones(2)) == []
    assert feasible([], np.ones(2))


def test_recruits_are_the_fewest_that_mend() -> None:
    pool = pd.DataFrame(
        {"annotator_id": list("abcdef"), "attr.g": list("aaaaab"), "attr.h": list("xxxyyy"), "cost": [1.0] * 5 + [3.0]}
    )
    demand = Demand(5, minimums=(Minimum.parse("g=b:3"),))
    with pytest.raises(InfeasibleError, match="g=b 2 short") as caught:
        plan_for(pool, POPULATION, demand, rng=np.random.default_rng(0))
    assert isinstance(caught.value, ConflictError)
    recruit = next(repair for repair in caught.value.repairs if repair.lever == "recruit")
    # one of the pool's b at 3 and two recruits at the pool's dearest price 3, with two at 1
    assert (recruit.persons, recruit.cost, recruit.changes) == (2, 11, ("2 more with g=b",))
    record = caught.value.record()
    assert record["conflict"] == [{"kind": "minimum", "demand": "g=b: at least 3", "available": 1.0}]


def test_recruits_may_be_of_a_kind_the_pool_has_nobody_of() -> None:
    # Nobody in the pool is old, a woman and Black; three of six must be. Those who are two of the three do not help.
    people = Population.from_shares(
        {"sex": {"woman": 1, "man": 1}, "age": {"old": 1, "young": 1}, "race": {"Black": 1, "White": 3}}
    )
    rows = [("woman", "old", "White"), ("woman", "young", "Black"), ("man", "old", "Black")] * 4
    pool = pd.DataFrame(rows, columns=["attr.sex", "attr.age", "attr.race"])
    pool = pool.assign(annotator_id=[str(i) for i in range(12)])
    minimum = Minimum.parse("race=Black,age=old,sex=woman:3")
    with pytest.raises(ConflictError) as caught:
        plan_for(pool, people, Demand(6, minimums=(minimum,)), rng=np.random.default_rng(0))
    recruit = next(repair for repair in caught.value.repairs if repair.lever == "recruit")
    assert recruit.changes == ("3 more with sex=woman,age=old,race=Black",)


def test_one_recruit_may_serve_several_minimums() -> None:
    # Two people in all, two b and two y wanted, and the pool has b with x and y with a: only newcomers are both.
    pool = pd.DataFrame({"annotator_id": list("pqrs"), "attr.g": list("bbaa"), "attr.h": list("xxyy")})
    demand = Demand(2, minimums=(Minimum.parse("g=b:2"), Minimum.parse("h=y:2")))
    with pytest.raises(ConflictError) as caught:
        plan_for(pool, POPULATION, demand, rng=np.random.default_rng(0))
    recruit = next(repair for repair in caught.value.repairs if repair.lever == "recruit")
    assert (recruit.persons, recruit.changes) == (2, ("2 more with g=b,h=y",))


def test_nobody_is_proposed_whom_the_population_does_not_have() -> None:
    crossed = Population.from_shares({"g*h": {"a": {"x": 2, "y": 1}, "b": {"x": 1, "y": 0}}})
    limits = [
        Limit("minimum", text, np.ones(1), 1, np.inf, 0, Cell.parse(text)) for text in ("g=b", "h=y", "g=a", "h=x")
    ]
    names = {cell.name for cell in recruit_cells(limits, crossed)}
    assert names == {"", "g=a", "g=b", "h=x", "h=y", "g=a,h=x", "g=a,h=y", "g=b,h=x"}


def test_a_search_cut_short_proves_nothing() -> None:
    # Market split (Cornuejols and Dawande 1998): fractions solve it, and branching long finds neither answer.
    rows = np.random.default_rng(0).integers(0, 100, (4, 40)).astype(float)
    program = IntegerProgram(np.ones(40), continuous=0)
    program.row([rows], rows.sum(axis=1) // 2, rows.sum(axis=1) // 2)
    with pytest.raises(UnsettledError, match="neither a panel that meets all the demands nor a proof"):
        program.minimise(np.zeros(40), nodes=20)
    assert program.improved(np.zeros(40), nodes=20) is None
    impossible = IntegerProgram(np.ones(2), continuous=0)
    impossible.row([np.array([[2.0, 2.0]])], 3, 3)
    assert impossible.minimise(np.zeros(2)) is None
    assert impossible.least(np.zeros(2)) == (np.inf, True)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("g=b", "allowed: attribute=level,attribute=level:persons"),
        ("g:3", "allowed: attribute=level"),
        ("g=b,g=a:3", "twice"),
        ("z=b:3", "allowed attributes: g, h"),
        ("g=c:3", "allowed levels of g: a, b"),
    ],
)
def test_bad_minimums_are_one_clear_error(text: str, says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        Minimum.parse(text).cell.check(POPULATION)


def test_the_file_may_declare_minimums_and_the_caller_replace_them() -> None:
    declared = Population.from_shares({"g": {"a": 2, "b": 1}, "h": {"x": 1, "y": 1}}, minimums={"g=b,h=y": 2})
    pool = pd.DataFrame(
        {
            "annotator_id": [str(i) for i in range(40)],
            "attr.g": ["a"] * 30 + ["b"] * 10,
            "attr.h": (["x", "y"] * 20),
        }
    )
    rng = np.random.default_rng(0)
    plan = plan_for(pool, declared, Demand(4), rng=rng)
    assert plan.minimums()[["minimum", "planned"]].iloc[0].tolist() == [2, 2]
    replaced = plan_for(pool, declared, Demand(4, minimums=(Minimum(Cell.parse("h=y,g=b"), 1),)), rng=rng)
    assert replaced.minimums()["minimum"].tolist() == [1]
