"""Reward models of the two panels, a judge who takes no part in training, and how well each predicts everybody."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd

from rlhf_fair.artifacts import read_json, write_json
from rlhf_fair.models.reward_scorer import open_reward
from rlhf_fair.training.reward.job import train_reward

CONFIGS = Path(__file__).parents[3] / "audits" / "reward-identity"
CONFIG = CONFIGS / "train-inoffensiveness.toml"
JUDGE = CONFIGS / "train-inoffensiveness-trees.toml"
"""Trees over frozen embeddings, taught by all raters with census weights."""


def without_panel(out: Path, seed: int) -> Path:
    """The shipped config without census weights, for a panel brings its own (or none), with another training seed."""
    text = CONFIG.read_text("utf-8")
    text = re.sub(r"\[panel\]\n(?:.+\n)+\n", "", text)
    text, changed = re.subn(r"(max_length = 128\n)seed = 0", rf"\1seed = {seed}", text)
    assert changed == 1
    assert "[panel]" not in text
    (out / "reward.toml").write_text(text, "utf-8")
    return out / "reward.toml"


def train(panel: str, panels: Path, data: Path, out: Path, *, seed: int) -> None:
    """The reward model of one panel."""
    out.mkdir(parents=True, exist_ok=True)
    config = without_panel(out.parent, seed)
    train_reward(config, data, out, members=panels / f"panel-{panel}.csv")


def train_judge(data: Path, out: Path) -> None:
    """The judge."""
    train_reward(JUDGE, data, out)


def set_scale(folder: Path, prompts: list[str], answers: list[str]) -> None:
    """Make the answers of the SFT policy the unit of the reward: mean 0, standard deviation 1."""
    texts = [prompt + answer for prompt, answer in zip(prompts, answers, strict=True)]
    scores = open_reward(folder).score(texts, batch_size=256)
    write_json(folder / "scale.json", {"mean": float(np.mean(scores)), "sd": float(np.std(scores))})


def quality(folders: dict[str, Path]) -> pd.DataFrame:
    """Held-out correlation with everybody's mean rating, one row per model and source."""
    rows = []
    for name, folder in folders.items():
        for source, found in read_json(folder / "metrics.json", "metrics")["test"].items():
            kept = {name: found["pearson_r"][name] for name in ("estimate", "ci_low", "ci_high", "n")}
            rows.append({"model": name, "source": source, **kept})
    return pd.DataFrame(rows)
