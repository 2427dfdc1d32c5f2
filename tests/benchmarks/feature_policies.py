"""Feature policies: does PPO solve CartPole, and what does a fair decider cost, on a world that is known and on data?

Games: CartPole-v1 and Pendulum-v1, each seed with its environment steps, CPU seconds and the mean return of 100 new
episodes. Lending: the world of tests/lending.py, where the best decider is known, with and without a limit on the gap
of selection rates; the price of unfairness is raised in training until the gap is within .02. Beside it fairlearn's
ExponentiatedGradient, with the same costs of wrong decisions. Data: the same on Adult and COMPAS, where a decision
earns 1 if it is right, beside ExponentiatedGradient and ThresholdOptimizer.

    OMP_NUM_THREADS=1 python tests/benchmarks/feature_policies.py --out tests/benchmarks/feature_policies
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import pandas as pd
import torch
from fairlearn.postprocessing import ThresholdOptimizer
from fairlearn.reductions import DemographicParity, ErrorRate, ExponentiatedGradient
from lending import FEATURES, GAIN, LOSS, MEAN, RESIDENCE_TELLS, SHARE_B, applicants, profit, selection_gap, utility
from paired import interval
from scipy.special import expit
from scipy.stats import norm
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, PolynomialFeatures, StandardScaler
from tabular import DATA

from rlhf_fair.metrics.by_group import mean_by_group
from rlhf_fair.training.fairness import FairnessSettings, FairnessShaper
from rlhf_fair.training.fairness.settings import MultiplierSettings
from rlhf_fair.training.ppo.features.contextual import (
    DeciderSettings,
    DecisionFairness,
    DecisionPPOSettings,
    favourable,
    train_decider,
)
from rlhf_fair.training.ppo.features.environments import Environments, episode_returns
from rlhf_fair.training.ppo.features.policy import FeatureNetworkSettings, FeaturePolicy
from rlhf_fair.training.ppo.features.trainer import FeaturePPOSettings, FeatureTrainer

TOLERANCE, MARGIN = 0.02, 0.05
"""In training, and what the interval of the gap on new people should lie within."""
DECIDER = DecisionPPOSettings(steps=200)
GAMES = {
    "CartPole-v1": FeaturePPOSettings(steps=100, epochs=10, minibatch_size=256),
    "Pendulum-v1": FeaturePPOSettings(steps=200, epochs=10, minibatch_size=256, gamma=0.9, gae_lambda=0.9),
}
GAME_SEEDS = 3


def play(game: str, seed: int) -> dict[str, object]:
    """Train on one game; returns of 100 episodes that training has not seen."""
    began = time.process_time()
    source = Environments(game, n=8, horizon=128, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    policy = FeaturePolicy(source.input_size, source.actions, FeatureNetworkSettings(), generator=generator)
    untrained = episode_returns(game, policy, seed=10_000 + seed).mean()
    settings = GAMES[game]
    FeatureTrainer(policy, source, settings, seed=seed).train()
    cpu = time.process_time() - began
    returns = episode_returns(game, policy, seed=20_000 + seed)
    return {
        "world": game,
        "method": "PPO",
        "seed": seed,
        "cpu": cpu,
        "steps": settings.steps * 8 * 128,
        "untrained": untrained,
        "return": returns.mean(),
        "lowest": returns.min(),
    }


DUAL = MultiplierSettings(kind="dual", tolerance=TOLERANCE, rate=0.1)
PID = MultiplierSettings(
    kind="pid", tolerance=TOLERANCE, proportional=2.0, integral=0.1, proportional_memory=0.5, derivative=0.0
)


def fairness(
    group: str, reference: str, *, among: str | None = None, multiplier: MultiplierSettings = PID
) -> DecisionFairness:
    asked = {"group_by": (group,), "objective": "contrast", "reference": reference, "multiplier": multiplier}
    settings = FairnessSettings.model_validate(asked | {"floor_strength": 0.0, "memory": 0.5})
    return DecisionFairness(FairnessShaper(settings), favourable("grant", among=among))


Chances = tuple[np.ndarray, np.ndarray]
"""Of new people: the chance with which each is chosen, and whether it is, if nothing is drawn."""


def ppo(
    train: pd.DataFrame,
    test: pd.DataFrame,
    features: tuple[str, ...],
    reward: Callable[[pd.DataFrame, np.ndarray], np.ndarray],
    fair: DecisionFairness | None,
    seed: int,
) -> Chances:
    settings = DeciderSettings(features=features, batch_size=2048, ppo=DECIDER)
    decider, _ = train_decider(train, reward, settings, seed=seed, fairness=fair)
    return decider.probabilities(test)["grant"].to_numpy(), (decider.decide(test) == "grant").astype(float)


def linear(table: pd.DataFrame) -> object:
    """A logistic regression on squares and products of numbers, and indicators of all else."""
    numbers = make_pipeline(StandardScaler(), PolynomialFeatures(2, include_bias=False))
    columns = make_column_transformer(
        (numbers, make_column_selector(dtype_include=["number", "bool"])),
        (OneHotEncoder(handle_unknown="ignore"), make_column_selector(dtype_exclude=["number", "bool"])),
    )
    return make_pipeline(columns, LogisticRegression(max_iter=2000)).set_output(transform="default")


def reductions(x: pd.DataFrame, y: pd.Series, group: pd.Series, new: pd.DataFrame, costs: dict[str, float]) -> Chances:
    found = ExponentiatedGradient(
        linear(x),
        constraints=DemographicParity(difference_bound=TOLERANCE / 2),  # of a group to all, not to the other group
        objective=ErrorRate(costs=costs),
        sample_weight_name="logisticregression__sample_weight",
    )
    found.fit(x, y.astype(int), sensitive_features=group)
    chance = found._pmf_predict(new)[:, 1]
    return chance, (chance > 0.5).astype(float)


def thresholds(x: pd.DataFrame, y: pd.Series, group: pd.Series, new: pd.DataFrame, new_group: pd.Series) -> Chances:
    """Sees the group of those it decides about, and one threshold for each."""
    found = ThresholdOptimizer(
        estimator=linear(x),
        constraints="demographic_parity",
        objective="accuracy_score",
        predict_method="predict_proba",
    )
    found.fit(x, y.astype(int), sensitive_features=group)
    chance = found._pmf_predict(new, sensitive_features=new_group)[:, 1]
    return chance, (chance > 0.5).astype(float)


class Known:
    """The best that any decider can do in the lending world, seeing what deciders see: expectations are exact.

    Both clues have equal noise, so their mean says all they say. Granting where utility exceeds ``price`` times the
    person's pull on the gap is best among all deciders with that gap (the Lagrangian of a linear problem).
    """

    def __init__(self, rows: pd.DataFrame) -> None:
        clue, noise = rows[["income", "history"]].mean(axis=1).to_numpy(), 0.5**2 / 2
        nodes, weights = np.polynomial.hermite_e.hermegauss(40)
        south = (rows["residence"] == "south").to_numpy()
        likelihood, chance = {}, {}
        for group, mean in MEAN.items():
            share = SHARE_B if group == "b" else 1 - SHARE_B
            at_home = RESIDENCE_TELLS if group == "b" else 1 - RESIDENCE_TELLS
            place = np.where(south, at_home, 1 - at_home)
            likelihood[group] = share * place * norm.pdf(clue, mean, np.sqrt(1 + noise))
            centre, sd = (noise * mean + clue) / (1 + noise), np.sqrt(noise / (1 + noise))
            chance[group] = expit(2 * (centre[:, None] + sd * nodes)) @ weights / weights.sum()
        in_b = likelihood["b"] / (likelihood["a"] + likelihood["b"])
        repays = (1 - in_b) * chance["a"] + in_b * chance["b"]
        self.rows, self.earned = rows, GAIN * repays - LOSS * (1 - repays)
        self.pull = (1 - in_b) / (1 - SHARE_B) - in_b / SHARE_B

    def decide(self, price: float) -> np.ndarray:
        return (self.earned > price * self.pull).astype(float)

    def at_gap(self, gap: float) -> np.ndarray:
        """The best decisions whose gap on these rows is at most ``gap``."""
        low, high = 0.0, 10.0
        for _ in range(50):
            middle = (low + high) / 2
            low, high = (middle, high) if selection_gap(self.rows, self.decide(middle)) > gap else (low, middle)
        return self.decide(high)


def lend(method: str, seed: int) -> dict[str, object]:
    rng = np.random.default_rng([seed, 0])
    train, test = applicants(20_000, rng), applicants(20_000, rng)
    known, features = Known(test), list(FEATURES)
    costs = {"fp": LOSS, "fn": GAIN}
    ways: dict[str, Callable[[], Chances]] = {
        "best possible": lambda: (known.decide(0.0),) * 2,
        "best possible, gap within .02": lambda: (known.at_gap(TOLERANCE),) * 2,
        "PPO": lambda: ppo(train, test, FEATURES, profit, None, seed),
        "fair PPO, selection rates": lambda: ppo(train, test, FEATURES, profit, fairness("group", "a"), seed),
        "fair PPO, dual ascent": lambda: ppo(
            train, test, FEATURES, profit, fairness("group", "a", multiplier=DUAL), seed
        ),
        "fair PPO, equal opportunity": lambda: ppo(
            train, test, FEATURES, profit, fairness("group", "a", among="repays"), seed
        ),
        "ExponentiatedGradient": lambda: reductions(
            train[features], train["repays"], train["group"], test[features], costs
        ),
    }
    row = measured(method, seed, ways[method], test, "group", "a", "repays")
    chance = row.pop("chance")
    gap = selection_gap(test, chance)
    row["utility"] = 100 * utility(test, chance)
    if "opportunity" not in method:  # who closes another gap is no rival in closing this one
        row["of possible"] = 100 * utility(test, chance) / utility(test, known.at_gap(max(gap, 0.0)))
    return {"world": "lending", **row}


def adult() -> tuple[pd.DataFrame, str, str]:
    table = pd.read_csv(DATA / "raw" / "adult.csv.gz")
    features = ["age", "education-num", "capital-gain", "capital-loss", "hours-per-week", "occupation", "workclass"]
    found = table[[*features, "sex"]].rename(columns={"sex": "group"})
    return found.assign(good=table["income-per-year"].str.contains(">50K")), "Male", "Adult"


def compas() -> tuple[pd.DataFrame, str, str]:
    table = pd.read_csv(DATA / "preprocessed" / "propublica-recidivism_original.csv")
    table = table[table["race"].isin(["African-American", "Caucasian"])].reset_index(drop=True)
    features = ["age", "priors_count", "juv_fel_count", "juv_misd_count", "c_charge_degree"]
    found = table[[*features, "race"]].rename(columns={"race": "group"})
    return found.assign(good=table["two_year_recid"] == 0), "Caucasian", "COMPAS"


def right(rows: pd.DataFrame, actions: np.ndarray) -> np.ndarray:
    """1 for a decision that turned out right."""
    return np.asarray((actions == "grant") == rows["good"].to_numpy(), dtype=float)


def decide_on_data(source: Callable[[], tuple[pd.DataFrame, str, str]], method: str, seed: int) -> dict[str, object]:
    """70 % of the rows teach, 30 % are decided on."""
    table, reference, name = source()
    order = np.random.default_rng([seed, 1]).permutation(len(table))
    cut = int(0.7 * len(table))
    train, test = (table.iloc[part].reset_index(drop=True) for part in (order[:cut], order[cut:]))
    features = tuple(column for column in table if column not in ("group", "good"))
    x, new = train[list(features)], test[list(features)]
    ways: dict[str, Callable[[], Chances]] = {
        "PPO": lambda: ppo(train, test, features, right, None, seed),
        "fair PPO, selection rates": lambda: ppo(train, test, features, right, fairness("group", reference), seed),
        "logistic regression": lambda: (linear(x).fit(x, train["good"]).predict(new).astype(float),) * 2,
        "ExponentiatedGradient": lambda: reductions(x, train["good"], train["group"], new, {"fp": 1.0, "fn": 1.0}),
        "ThresholdOptimizer": lambda: thresholds(x, train["good"], train["group"], new, test["group"]),
    }
    row = measured(method, seed, ways[method], test, "group", reference, "good")
    del row["chance"]
    return {"world": name, **row}


def measured(
    method: str, seed: int, way: Callable[[], Chances], test: pd.DataFrame, group: str, reference: str, good: str
) -> dict[str, object]:
    """Gaps (other group less reference), rates and accuracy in percent, on new people."""
    began = time.process_time()
    chance, decided = way()
    cpu = time.process_time() - began
    truth = test[good].to_numpy(dtype=bool)
    other = next(iter(set(test[group]) - {reference}))
    drawn, fixed = (mean_by_group(100 * x, test[group], reference=reference) for x in (chance, decided))
    chosen = mean_by_group(np.where(truth, 100 * chance, np.nan), test[group], reference=reference)
    gap, fixed_gap = drawn.gaps[other], fixed.gaps[other]
    return {
        "method": method,
        "seed": seed,
        "cpu": cpu,
        "gap": gap.estimate,
        "low": gap.ci_low,
        "high": gap.ci_high,
        "gap, nothing drawn": fixed_gap.estimate,
        "opportunity": chosen.gaps[other].estimate,
        "reference rate": drawn.estimates[reference].estimate,
        "other rate": drawn.estimates[other].estimate,
        "accuracy": 100 * float(np.where(truth, chance, 1 - chance).mean()),
        "chance": chance,
    }


LENDING = (
    "best possible",
    "PPO",
    "best possible, gap within .02",
    "fair PPO, selection rates",
    "fair PPO, dual ascent",
    "ExponentiatedGradient",
    "fair PPO, equal opportunity",
)
ON_DATA = (
    "logistic regression",
    "PPO",
    "fair PPO, selection rates",
    "ExponentiatedGradient",
    "ThresholdOptimizer",
)
Job = Callable[[], dict[str, object]]


def jobs(seeds: int) -> dict[tuple[str, str, int], Job]:
    found: dict[tuple[str, str, int], Job] = {}
    for seed in range(seeds):
        for game in GAMES:
            if seed < GAME_SEEDS:
                found[game, "PPO", seed] = partial(play, game, seed)
        for method in LENDING:
            found["lending", method, seed] = partial(lend, method, seed)
        for source, name in ((adult, "Adult"), (compas, "COMPAS")):
            for method in ON_DATA:
                found[name, method, seed] = partial(decide_on_data, source, method, seed)
    return found


def games_table(rows: pd.DataFrame) -> str:
    lines = ["| game | seed | environment steps | CPU s | untrained | mean return | lowest |", "|---" * 7 + "|"]
    for row in rows[rows["world"].isin(GAMES)].sort_values(["world", "seed"]).to_dict("records"):
        numbers = f"{row['steps']:.0f} | {row['cpu']:.0f} | {row['untrained']:.0f} | {row['return']:.1f}"
        lines.append(f"| {row['world']} | {row['seed']} | {numbers} | {row['lowest']:.0f} |")
    return "\n".join(lines)


def deciders_table(rows: pd.DataFrame, world: str, methods: tuple[str, ...]) -> str:
    part = rows[rows["world"] == world]
    lending = world == "lending"
    names = ["gap", "within ±5", "gap, nothing drawn", "opportunity gap", "rates", "accuracy", "CPU s"]
    names += ["utility", "% of possible at its gap"] if lending else []
    lines = ["| decider | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    for method in methods:
        own = part[part["method"] == method]
        inside = ((own["low"] > -100 * MARGIN) & (own["high"] < 100 * MARGIN)).sum()
        cells = [interval(own["gap"]), f"{inside} of {len(own)}"]
        cells += [interval(own["gap, nothing drawn"]), interval(own["opportunity"])]
        cells += [f"{own['reference rate'].mean():.1f} / {own['other rate'].mean():.1f}"]
        cells += [interval(own["accuracy"], ".1f"), f"{own['cpu'].mean():.0f}"]
        if lending:
            known = own["of possible"].notna().all()
            cells += [interval(own["utility"], ".2f"), interval(own["of possible"], ".1f") if known else ""]
        lines.append(f"| {method} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of rows.csv")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--only", default="", help="one world: a game, lending, Adult or COMPAS")
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / "rows.csv"
    rows = pd.read_csv(path) if path.is_file() else pd.DataFrame(columns=["world", "method", "seed"])
    done = set(rows[["world", "method", "seed"]].itertuples(index=False, name=None))
    for key, job in jobs(options.seeds).items():
        if key in done or options.only not in ("", key[0]):
            continue
        rows = pd.concat([rows, pd.DataFrame([job()])], ignore_index=True)
        rows.to_csv(path, index=False)
        print(*key, flush=True)
    print(games_table(rows))
    for world, methods in (("lending", LENDING), ("Adult", ON_DATA), ("COMPAS", ON_DATA)):
        if (rows["world"] == world).any():
            print(f"\n{world}\n\n{deciders_table(rows, world, methods)}")


if __name__ == "__main__":
    main()
