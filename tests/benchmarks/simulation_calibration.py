"""Do simulated raters resemble real ones, where nobody told them to? Five public rating sets, one model fitted to each.

The model is fitted to shares of values, group means and variance components. Then 20 collections are simulated on the
set's own design (who rated what, in which group) and statistics that were not fitted are compared. A real value outside
all 20 simulated ones would happen in 2 of 21 cases if the model were true. Two variants add what cannot be fitted, at
values that were chosen by hand: lapses of attention, and raters who use the scale in their own way. No
text is read or printed.

    OMP_NUM_THREADS=1 python tests/benchmarks/simulation_calibration.py --data ../shared/data
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from rlhf_fair.annotators.aggregation_rules import RuleInputs, aggregate
from rlhf_fair.annotators.simulation_calibration import Calibration, calibrate
from rlhf_fair.annotators.simulation_design import Design
from rlhf_fair.annotators.simulation_feedback import simulate_feedback
from rlhf_fair.annotators.simulation_model import AnnotatorModel
from rlhf_fair.annotators.simulation_moments import VarianceComponents, variance_components
from rlhf_fair.annotators.simulation_power import PowerSettings, simulated_power
from rlhf_fair.audit.panel_feedback import input_files
from rlhf_fair.audit.panel_feedback_attributes import declared_attributes, label_ratings
from rlhf_fair.audit.panel_feedback_plan import load_feedback_plan
from rlhf_fair.audit.panel_feedback_table import read_ratings
from rlhf_fair.stats.agreement import Level, krippendorff_alpha
from rlhf_fair.stats.group_agreement import group_agreement

SETS = {
    "popquorn": "gender",
    "crehate": "country",
    "sap-attitudes": "politics",
    "perspective-taking": "gender",
    "gbv-attitudes": "gender",
}
"""Plan below audits/panel-feedback, and the attribute whose groups the model knows."""
GAPS = {"popquorn": (0.2, "Man"), "perspective-taking": (0.03, "Male"), "gbv-attitudes": (0.2, "male")}
"""Gap in the unit of the rating, and the reference group, for the comparison of simulated power with the formula."""
VARIANTS: dict[str, dict[str, dict[str, float]]] = {
    "as fitted": {},
    "lapses": {"careless": {"share": 1.0, "time": 0.03, "stretch": 1.1, "first_shown": 0, "straight_line": 0}},
    "use of the scale": {"raters": {"stretch_sd": 0.5}},
}
"""Sections of the model that are assumed besides what was fitted."""
SIMULATIONS = 20
SMALLEST = 15
"""Raters a group needs for a statistic of its own; in gbv-attitudes, with 43 raters, five."""


def read(name: str, attribute: str, data: Path) -> tuple[pd.DataFrame, pd.Series, Level, float]:
    """Feedback, groups by annotator, level of measurement, and the middle of the scale."""
    plan = load_feedback_plan(Path(__file__).parents[2] / "audits" / "panel-feedback" / f"{name}.toml")
    ratings = read_ratings(plan, *input_files(plan, None, data))
    attributes = [a for a in declared_attributes(plan, ratings) if a.name == attribute]
    records = label_ratings(ratings, attributes)
    table = records.rename(columns={"item": "item_id", "rater": "annotator_id"}).assign(kind="rating")
    table["annotator_id"], table["item_id"] = table["annotator_id"].astype("str"), table["item_id"].astype("str")
    groups = table.groupby("annotator_id")[attribute].first()
    middle = (ratings.low + ratings.high) / 2
    return table[["item_id", "annotator_id", "kind", "value"]], groups, plan.ratings.level, middle


def statistics(table: pd.DataFrame, groups: pd.Series, level: Level, middle: float) -> dict[str, float]:
    """What is compared; none of it was fitted but the first, which shows how a fitted one looks."""
    values, items, raters = table["value"], table["item_id"], table["annotator_id"]
    label = raters.map(groups)
    found = {"alpha, all raters (nearly fitted)": krippendorff_alpha(items, values, level=level).alpha}
    smallest = SMALLEST if len(groups) > 100 else 5
    of_group = group_agreement(items, raters, values, label, level=level, permutations=0, rng=np.random.default_rng(0))
    for g in of_group:
        if g.n_raters >= smallest and not g.group.startswith("("):
            found[f"alpha inside {g.group}"], found[f"GAI {g.group}"] = g.inside, g.ratio
            own = (label == g.group).to_numpy()
            found[f"rater ICC {g.group}"] = _components(table[own]).rater_icc
    by_item = values.groupby(items)
    several = by_item.size() >= 2
    found["share of unanimous items"] = float((by_item.nunique() == 1)[several].mean())
    by_rater = values.groupby(raters)
    ends = values.isin([values.min(), values.max()]).groupby(raters).mean()
    found["raters with one value only"] = float((by_rater.nunique() == 1).mean())
    if values.nunique() > 2:
        found["share of items with every value seen"] = float((by_item.nunique() == values.nunique())[several].mean())
        found["SD over raters of share at the ends"] = float(ends.std())
        found["SD over raters of their own SD"] = float(by_rater.std().std())
    found["skewness of item means"] = float(by_item.mean().skew())
    found["skewness of rater means"] = float(by_rater.mean().skew())
    found |= flip_shares(table, groups, middle)
    return found


def flip_shares(table: pd.DataFrame, groups: pd.Series, middle: float) -> dict[str, float]:
    """Share of items, decided by both, that another rule than the mean decides otherwise."""
    inputs = RuleInputs(groups=groups.astype("object"))
    sides = {}
    rules = ["mean", "group-balanced", "max-min"]
    if table["value"].nunique() > 2:  # of two values the majority is the side of the mean
        rules.append("majority")
    for rule in rules:
        result = aggregate(table, rule, inputs if rule in ("group-balanced", "max-min") else None)
        sides[rule] = np.sign((result.set_index("item_id")["value"] - middle).round(12))
    base = sides.pop("mean")
    found = {}
    for rule, side in sides.items():
        both = (side.reindex(base.index).fillna(0) != 0) & (base.fillna(0) != 0)
        found[f"flips, {rule} against mean"] = float((side.reindex(base.index) != base)[both].mean())
    return found


def _components(table: pd.DataFrame) -> VarianceComponents:
    item, rater = pd.factorize(table["item_id"])[0], pd.factorize(table["annotator_id"])[0]
    return variance_components(table["value"].to_numpy(float), item, rater, np.zeros(len(item), dtype=np.intp))


def compare(name: str, data: Path) -> tuple[pd.DataFrame, Calibration]:
    """One row for each variant and statistic, and the fitted model."""
    table, groups, level, middle = read(name, SETS[name], data)
    fitted = calibrate(table, groups, rng=np.random.default_rng(0))
    real = statistics(table, groups, level, middle)
    annotators = pd.DataFrame({"annotator_id": groups.index, "attr.group": groups.to_numpy()})
    rows = []
    for variant, sections in VARIANTS.items():
        content = fitted.model.model_dump(by_alias=True)
        content |= {section: content[section] | values for section, values in sections.items()}
        collections = _collections(AnnotatorModel.model_validate(content), table, annotators)
        simulated = pd.DataFrame([statistics(drawn, groups, level, middle) for drawn in collections])
        for statistic, value in real.items():
            draws = simulated[statistic]
            row = {"set": name, "variant": variant, "statistic": statistic, "real": value, "mean": draws.mean()}
            row |= {"low": draws.min(), "high": draws.max(), "fitted": "fitted" in statistic}
            rows.append(row | {"inside": bool(draws.min() <= value <= draws.max())})
    return pd.DataFrame(rows), fitted


def _collections(model: AnnotatorModel, table: pd.DataFrame, annotators: pd.DataFrame) -> Iterator[pd.DataFrame]:
    for seed in range(SIMULATIONS):
        rng = np.random.default_rng([20, seed])
        yield simulate_feedback(model, table, annotators, by=["attr.group"], rng=rng).feedback


def power(name: str, fitted: Calibration, data: Path) -> pd.DataFrame:
    """Power and false alarms on the set's own design, by simulation and by the formula."""
    gap, reference = GAPS[name]
    table, groups, _, _ = read(name, SETS[name], data)
    annotators = pd.DataFrame({"annotator_id": groups.index, "attr.group": groups.to_numpy()})
    design = Design.of(table, annotators, fitted.model, by=["attr.group"])
    settings = PowerSettings(gap, reference)
    found = simulated_power(fitted.model, design, settings, rng=np.random.default_rng(1))
    found.insert(0, "set", name)
    return found.assign(gap=gap, reference=reference)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("simulation"))
    parser.add_argument("--sets", nargs="*", default=list(SETS))
    options = parser.parse_args()
    tables, components, powers = [], [], []
    for name in options.sets:
        table, fitted = compare(name, options.data)
        tables.append(table)
        components.append(fitted.components.assign(set=name))
        if name in GAPS:
            powers.append(power(name, fitted, options.data))
        counts = table[~table["fitted"]].groupby("variant", sort=False)["inside"].agg(["sum", "size"])
        print(f"{name}: " + "; ".join(f"{v}, {inside} of {size} inside" for v, inside, size in counts.itertuples()))
        print(table[table["variant"] == "as fitted"].drop(columns=["set", "variant", "fitted"]).to_string(index=False))
    options.out.mkdir(exist_ok=True)
    files = {"statistics": tables, "components": components, "power": powers}
    for file, parts in files.items():
        if parts:
            rows = pd.concat(parts)
            rows.insert(0, "set", rows.pop("set"))
            rows.round(4).to_csv(options.out / f"{file}.csv", index=False, lineterminator="\n")


if __name__ == "__main__":
    main()
