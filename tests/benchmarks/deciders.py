"""Fair deciders on three public tables: PPO with a priced gap beside fairlearn, on the same splits.

Each seed shuffles a table (Adult: 12,000 rows drawn from it) and cuts it: 60 % teach, 20 % choose the strength, 20 %
judge. A decision earns 1 if it is right and -1 if it is wrong; the gap is the selection rate of the other group less
that of the reference. Fair PPO has three strengths, ExponentiatedGradient two bounds, and one rule chooses for both:
of those whose gap on the validation rows is within .03 the most accurate, and where none is, the smallest gap. No
decider but ThresholdOptimizer sees the group of those it decides about. Gap and accuracy are expectations over a
decider's own draws; "nothing drawn" takes the likelier decision. Tolerance and rule were fixed before the first run,
the grids before the five seeds reported.

    OMP_NUM_THREADS=1 python tests/benchmarks/deciders.py --data ../shared/data --out tests/benchmarks/deciders
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from fairlearn.postprocessing import ThresholdOptimizer
from fairlearn.reductions import DemographicParity, ExponentiatedGradient
from feature_policies import linear
from paired import interval

from rlhf_fair.metrics.by_group import mean_by_group
from rlhf_fair.training.fairness import FairnessSettings, FairnessShaper
from rlhf_fair.training.ppo.features.contextual import (
    DeciderSettings,
    DecisionFairness,
    DecisionPPOSettings,
    favourable,
    train_decider,
)

TOLERANCE = 0.03
STRENGTHS = (10.0, 30.0, 90.0)
BOUNDS = (0.005, 0.015)
"""Of a group's rate to that of all; the gap between two groups is at most twice as large."""
PPO = DecisionPPOSettings(steps=50)


@dataclass(frozen=True)
class Table:
    """Rows with the columns ``group`` and ``good`` (the favourable outcome); the other columns are features."""

    rows: pd.DataFrame
    reference: str
    other: str

    @property
    def features(self) -> list[str]:
        return [name for name in self.rows if name not in ("group", "good")]

    def split(self, seed: int, largest: int = 12_000) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
        """To train on, to choose by, to judge by: 60, 20 and 20 %."""
        order = np.random.default_rng([seed, 2]).permutation(len(self.rows))[:largest]
        first, second = int(0.6 * len(order)), int(0.8 * len(order))
        parts = order[:first], order[first:second], order[second:]
        train, choose, judge = (self.rows.iloc[part].reset_index(drop=True) for part in parts)
        return train, _as_known(choose, train), _as_known(judge, train)


def _as_known(rows: pd.DataFrame, train: pd.DataFrame) -> pd.DataFrame:
    """A category that no training row has becomes the most frequent one of those: our decider refuses it otherwise."""
    found = rows.copy()
    for name in train.drop(columns=["group", "good"]).select_dtypes(exclude=["number", "bool"]):
        found[name] = rows[name].where(rows[name].isin(train[name]), train[name].mode().iloc[0])
    return found


def without_rare(features: pd.DataFrame, fewest: int = 30) -> pd.DataFrame:
    """Categories of fewer rows become one, which fewer splits leave without training rows."""
    found = features.copy()
    for name in features.select_dtypes(exclude=["number", "bool"]):
        count = features[name].map(features[name].value_counts())
        found[name] = features[name].where(count >= fewest, "rare")
    return found


def adult(path: Path) -> Table:
    """Columns that name the sex in all but word (relationship, marital status) are left out."""
    found = pd.read_csv(path / "raw" / "adult.csv.gz")
    features = ["age", "education-num", "capital-gain", "capital-loss", "hours-per-week", "occupation", "workclass"]
    rows = without_rare(found[features]).assign(group=found["sex"], good=found["income-per-year"].str.contains(">50K"))
    return Table(rows, "Male", "Female")


def german(path: Path) -> Table:
    """A92 and A95 are women; the column that says so is no feature."""
    found = pd.read_csv(path / "raw" / "german.csv")
    group = np.where(found["personal_status"].isin(["A92", "A95"]), "Female", "Male")
    rows = without_rare(found.drop(columns=["personal_status", "credit"]))
    return Table(rows.assign(group=group, good=found["credit"] == 1), "Male", "Female")


def compas(path: Path) -> Table:
    """The favourable outcome is no new charge within two years; two of six groups are large enough to compare."""
    found = pd.read_csv(path / "preprocessed" / "propublica-recidivism_original.csv")
    found = found[found["race"].isin(["African-American", "Caucasian"])]
    features = ["age", "priors_count", "juv_fel_count", "juv_misd_count", "c_charge_degree"]
    return Table(
        found[features].assign(group=found["race"], good=found["two_year_recid"] == 0), "Caucasian", "African-American"
    )


TABLES: Mapping[str, Callable[[Path], Table]] = {"Adult": adult, "German": german, "COMPAS": compas}


class Judged(NamedTuple):
    """A decider on rows it has not seen. Gaps are other less reference, in [-1, 1]; 0 is parity."""

    gap: float
    low: float
    high: float
    fixed_gap: float
    accuracy: float
    balanced: float


Chances = Callable[[pd.DataFrame], np.ndarray]
"""``f(rows) -> (n,)``: the chance with which each is chosen."""


def judged(table: Table, chances: Chances, rows: pd.DataFrame) -> Judged:
    """With a 95 % interval of the gap over people: each is one row, so rows are the clusters."""
    chance, good = chances(rows), rows["good"].to_numpy(dtype=bool)
    gap, fixed = (
        mean_by_group(values, rows["group"], reference=table.reference).gaps[table.other]
        for values in (chance, (chance > 0.5).astype(float))
    )
    right = np.where(good, chance, 1 - chance)
    balanced = (right[good].mean() + right[~good].mean()) / 2
    return Judged(gap.estimate, gap.ci_low, gap.ci_high, fixed.estimate, float(right.mean()), float(balanced))


def earned(rows: pd.DataFrame, actions: np.ndarray) -> np.ndarray:
    """1 for a decision that turned out right, -1 for another."""
    return np.where((actions == "grant") == rows["good"].to_numpy(), 1.0, -1.0)


def ppo(table: Table, train: pd.DataFrame, seed: int, strength: float) -> Chances:
    """Strength 0 is plain PPO."""
    asked = {"group_by": ("group",), "objective": "contrast", "reference": table.reference, "strength": strength}
    parity = FairnessShaper(FairnessSettings.model_validate(asked | {"floor_strength": 0.0, "memory": 0.5}))
    fair = DecisionFairness(parity, favourable("grant")) if strength else None
    settings = DeciderSettings(features=tuple(table.features), ppo=PPO)
    decider, _ = train_decider(train, earned, settings, seed=seed, fairness=fair)
    return lambda rows: decider.probabilities(rows)["grant"].to_numpy()


def regression(table: Table, train: pd.DataFrame, seed: int, strength: float) -> Chances:
    found = linear(train[table.features]).fit(train[table.features], train["good"].astype(int))
    return lambda rows: found.predict(rows[table.features]).astype(float)


def reductions(table: Table, train: pd.DataFrame, seed: int, bound: float) -> Chances:
    found = ExponentiatedGradient(
        linear(train[table.features]),
        constraints=DemographicParity(difference_bound=bound),
        sample_weight_name="logisticregression__sample_weight",
    )
    found.fit(train[table.features], train["good"].astype(int), sensitive_features=train["group"])
    return lambda rows: found._pmf_predict(rows[table.features])[:, 1]


def thresholds(table: Table, train: pd.DataFrame, seed: int, strength: float) -> Chances:
    found = ThresholdOptimizer(
        estimator=linear(train[table.features]),
        constraints="demographic_parity",
        objective="accuracy_score",
        predict_method="predict_proba",
    )
    found.fit(train[table.features], train["good"].astype(int), sensitive_features=train["group"])
    return lambda rows: found._pmf_predict(rows[table.features], sensitive_features=rows["group"])[:, 1]


Train = Callable[[Table, pd.DataFrame, int, float], Chances]
METHODS: Mapping[str, tuple[Train, tuple[float, ...]]] = {
    "logistic regression": (regression, (0.0,)),
    "plain PPO": (ppo, (0.0,)),
    "fair PPO": (ppo, STRENGTHS),
    "ExponentiatedGradient": (reductions, BOUNDS),
    "ThresholdOptimizer": (thresholds, (0.0,)),
}


@dataclass(frozen=True)
class Candidate:
    """One decider of those a method may choose among; ``cpu``: seconds of training."""

    strength: float
    cpu: float
    chances: Chances
    validation: Judged


def chosen(candidates: list[Candidate]) -> Candidate:
    """The most accurate within the tolerance on validation rows, or else the one of the smallest gap."""
    within = [c for c in candidates if abs(c.validation.gap) <= TOLERANCE]
    if within:
        return max(within, key=lambda c: c.validation.accuracy)
    return min(candidates, key=lambda c: abs(c.validation.gap))


def run(name: str, table: Table, method: str, seed: int) -> dict[str, object]:
    train, choose, judge = table.split(seed)
    way, strengths = METHODS[method]
    candidates = []
    for strength in strengths:
        began = time.process_time()
        chances = way(table, train, seed, strength)
        cpu = time.process_time() - began
        candidates.append(Candidate(strength, cpu, chances, judged(table, chances, choose)))
    best = chosen(candidates)
    costs = {"strength": best.strength, "cpu": best.cpu, "cpu_of_all": sum(c.cpu for c in candidates)}
    known = {"validation_gap": best.validation.gap, "n_train": len(train), "n_test": len(judge)}
    named = {"table": name, "method": method, "seed": seed}
    return named | costs | known | judged(table, best.chances, judge)._asdict()


def results_table(rows: pd.DataFrame, name: str) -> str:
    """Means over seeds with 95 % t limits; percent and percentage points."""
    heads = ("decider", "gap", "gap's size", "within 3", "gap, nothing drawn", "accuracy", "balanced accuracy")
    lines = ["| " + " | ".join((*heads, "CPU s: one, all tried", "strengths chosen")) + " |", "|---" * 9 + "|"]
    for method in METHODS:
        own = rows[(rows["table"] == name) & (rows["method"] == method)]
        numbers = 100 * own[["gap", "fixed_gap", "accuracy", "balanced"]]
        cells = [interval(numbers["gap"]), interval(numbers["gap"].abs(), ".1f")]
        cells += [f"{(own['gap'].abs() <= TOLERANCE).sum()} of {len(own)}", interval(numbers["fixed_gap"])]
        cells += [interval(numbers["accuracy"], ".1f"), interval(numbers["balanced"], ".1f")]
        cells += [f"{own['cpu'].mean():.1f}, {own['cpu_of_all'].mean():.1f}"]
        cells += [", ".join(f"{s:g}" for s in own["strength"]) if len(METHODS[method][1]) > 1 else ""]
        lines.append(f"| {method} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def differences_table(rows: pd.DataFrame) -> str:
    """Fair PPO less ExponentiatedGradient, paired by seed."""
    lines = ["| table | gap's size | accuracy | balanced accuracy | CPU s, one |", "|---" * 5 + "|"]
    rows = rows.assign(size=rows["gap"].abs())
    for name in rows["table"].unique():
        of = rows[rows["table"] == name].pivot(index="seed", columns="method")
        less = {k: of[k, "fair PPO"] - of[k, "ExponentiatedGradient"] for k in ("size", "accuracy", "balanced", "cpu")}
        cells = [interval(100 * less[k]) for k in ("size", "accuracy", "balanced")] + [interval(less["cpu"])]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder that holds tabular/")
    parser.add_argument("--out", type=Path, required=True, help="folder of rows.csv; what it has is not run again")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / "rows.csv"
    rows = pd.read_csv(path) if path.is_file() else pd.DataFrame(columns=["table", "method", "seed"])
    done = set(rows[["table", "method", "seed"]].itertuples(index=False, name=None))
    for seed in range(options.first_seed, options.first_seed + options.seeds):
        for name, source in TABLES.items():
            table = source(options.data / "tabular")
            for method in METHODS:
                if (name, method, seed) in done:
                    continue
                rows = pd.concat([rows, pd.DataFrame([run(name, table, method, seed)])], ignore_index=True)
                rows.to_csv(path, index=False)
    for name in TABLES:
        print(f"## {name}\n\n{results_table(rows, name)}\n")
    print(f"## Fair PPO less ExponentiatedGradient\n\n{differences_table(rows)}")


if __name__ == "__main__":
    main()
