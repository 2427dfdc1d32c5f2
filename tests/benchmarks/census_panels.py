"""Panels for two public census tables (United States, United Kingdom): plans of several sizes, a conflict, its repair.

The pools are simulated: young men are over-represented and cheap, as on crowd platforms. Needs ``census-margins`` in
the folder given.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import pandas as pd

from rlhf_fair.annotators.conflict import ConflictError
from rlhf_fair.annotators.minimums import Minimum
from rlhf_fair.annotators.panel import PanelPlan, plan_for
from rlhf_fair.annotators.population import Population
from rlhf_fair.annotators.quotas import Demand

SIZES = (100, 500, 2_000)
BANDS = {"18-34": (18, 35), "35-54": (35, 55), "55+": (55, 200)}


def united_states(folder: Path) -> pd.DataFrame:
    """Adults by age band, race and gender: columns age, race, gender, share."""
    table = pd.read_csv(folder / "us_census_aggregate.csv").set_index("age_category").drop(index="All Ages")
    cells = [column for column in table if column.count("_") == 1 and not column.startswith("All")]
    long = table[cells].stack().rename("share").reset_index()
    long[["race", "gender"]] = long["level_1"].str.split("_", expand=True)
    return long.assign(age=long["age_category"].str.removesuffix(" years old"))[["age", "race", "gender", "share"]]


def united_kingdom(folder: Path) -> pd.DataFrame:
    """Adults of 2021 by age band, broad ethnic group and gender."""
    table = pd.read_csv(folder / "uk.csv", encoding="utf-8-sig")
    years = pd.to_numeric(table["Age"].astype(str).str.extract(r"(\d+)")[0])
    rows = []
    for column in table.columns[table.columns.str.endswith("2021 (number)")]:
        ethnicity, gender = column.removesuffix(" 2021 (number)").rsplit(", ", 1)
        counts = pd.to_numeric(table[column].astype(str).str.replace(",", ""), errors="coerce").fillna(0)
        for band, (low, high) in BANDS.items():
            group = ethnicity.partition(":")[0].partition("/")[0].partition(" ")[0]
            rows.append((band, group, gender, counts[(years >= low) & (years < high)].sum()))
    long = pd.DataFrame(rows, columns=["age", "race", "gender", "share"])
    return long.groupby(["age", "race", "gender"], as_index=False, sort=False)["share"].sum()


def population(cells: pd.DataFrame) -> Population:
    """One-way margins and race by gender."""
    margins: dict[str, dict[str, object]] = {
        name: cells.groupby(name, sort=False)["share"].sum().to_dict() for name in ("age", "race", "gender")
    }
    crossed = cells.pivot_table(index="race", columns="gender", values="share", aggfunc="sum", sort=False)
    margins["race*gender"] = {race: row.to_dict() for race, row in crossed.iterrows()}
    return Population.from_shares(margins)


def pool(cells: pd.DataFrame, people: int, rng: np.random.Generator) -> pd.DataFrame:
    """Candidates: the young twice, men 1.5 times as often as in the population; others cost more, some twice."""
    young = cells["age"].isin(list(dict.fromkeys(cells["age"]))[:2])
    man = cells["gender"] == "Male"
    weight = cells["share"] * np.where(young, 2.0, 1.0) * np.where(man, 1.5, 1.0)
    row = rng.choice(len(cells), people, p=weight / weight.sum())
    drawn = cells.iloc[row][["age", "race", "gender"]].add_prefix("attr.").reset_index(drop=True)
    cost = 1 + 0.5 * (~young.to_numpy()[row]) + 0.5 * (~man.to_numpy()[row])
    cost *= rng.choice([1.0, 2.0], people, p=[0.7, 0.3])
    said = rng.random(people)  # one in fifty keeps their race to themselves, one in a hundred leaves the age empty
    drawn.loc[said < 0.02, "attr.race"] = "prefer_not_to_say"
    drawn.loc[said > 0.99, "attr.age"] = None
    return drawn.assign(annotator_id=np.arange(people).astype(str), cost=cost)


def show(title: str, plan: PanelPlan, cells: pd.DataFrame, seconds: float) -> None:
    found = plan.certificate()
    nobody = "; ".join(f"{c['level']} ({c['target']:.1f} wanted, {c['available']} in the pool)" for c in
                       found["without_anybody"]) or "none"  # fmt: skip
    print(
        f"\n{title}: {found['targets_met']} of {found['targets']} targets met, cost {plan.cost:g}, "
        f"expected {found['expected_planning_cost']:.1f} against {found['least_planning_cost']:.1f} for the cheapest "
        f"plan; inclusion probability {found['least_inclusion_probability']:.2g} to "
        f"{found['greatest_inclusion_probability']:.2g}, {found['never_drawn']} without a chance; {seconds:.1f} s\n"
        f"  cells without anybody, tolerance or not: {nobody}\n"
        f"  not placed, so never drawn: {found['unplaced_by'] or 'nobody'}"
    )
    wanted = cells.groupby(["race", "gender"])["share"].sum()
    wanted = wanted / wanted.sum() * plan.demand.size
    drawn = plan.members.groupby(["attr.race", "attr.gender", "attr.age"]).size().unstack(fill_value=0)
    drawn = drawn.reindex(index=wanted.index, columns=list(dict.fromkeys(cells["age"])), fill_value=0)
    drawn.insert(0, "wanted", [round(wanted[key], 1) for key in drawn.index])
    drawn.insert(1, "planned", drawn.iloc[:, 1:].sum(axis=1))
    drawn.index.names, drawn.columns.name = ["race", "gender"], None
    print(drawn.to_string())


def conflict(candidates: pd.DataFrame, people: Population) -> None:
    """More of a rare cell than the pool and the money allow."""
    rarest = people.levels("race")[-1]
    have = int(((candidates["attr.race"] == rarest) & (candidates["attr.gender"] == "Female")).sum())
    minimum = Minimum.parse(f"race={rarest},gender=Female:{have + 8}")
    old = Minimum.parse(f"age={people.levels('age')[-1]},gender=Female:40")
    for title, minimums, budget in (("too few in the pool", (minimum,), None), ("too little money", (old,), 110.0)):
        try:
            plan_for(candidates, people, Demand(100, 2, budget, minimums=minimums), rng=np.random.default_rng(0))
        except ConflictError as error:
            print(f"\nn = 100, {title}:\n{error}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="folder census_data of census-margins")
    parser.add_argument("--people", type=int, default=20_000)
    parser.add_argument("--least-chance", type=float, default=0.1)
    chosen = parser.parse_args()
    for name, cells in (("US", united_states(chosen.folder)), ("UK", united_kingdom(chosen.folder))):
        people, candidates = population(cells), pool(cells, chosen.people, np.random.default_rng(0))
        for size in SIZES:
            began = time.perf_counter()
            demand = Demand(size, least_chance=chosen.least_chance)
            plan = plan_for(candidates, people, demand, rng=np.random.default_rng(0))
            show(f"{name}, n = {size}", plan, cells, time.perf_counter() - began)
        conflict(candidates.sample(600, random_state=0), people)


if __name__ == "__main__":
    main()
