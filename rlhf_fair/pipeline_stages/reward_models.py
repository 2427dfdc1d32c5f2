"""Reward models: learnt from judged pairs, and read by policies in units of the SFT policy's spread."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rlhf_fair.artifacts import read_json, write_json
from rlhf_fair.models.loading import load_for_reward
from rlhf_fair.models.reward_model import RewardModel
from rlhf_fair.models.reward_scorer import open_reward
from rlhf_fair.pipeline_stages.feedback import ITEMS_NAME, PREFERENCES_NAME
from rlhf_fair.pipeline_stages.loop import Loop
from rlhf_fair.records import TrainingRun
from rlhf_fair.tables import read_table
from rlhf_fair.training.reward.preference import PairData
from rlhf_fair.training.reward.trainer import train_reward_model


@dataclass(frozen=True)
class Judged:
    """Items with p_a, the weight of each (None: 1), and the items whose response_a sets the scale of the reward."""

    items: pd.DataFrame
    scale: pd.DataFrame
    weight: NDArray[np.float64] | None = None


class PolicyReward:
    """A reward model's score of prompt and answer, in standard deviations over the answers of the SFT policy.

    Of several heads it is the reward that the folder declares, such as the most pessimistic of an ensemble.
    """

    def __init__(self, folder: Path) -> None:
        self.model: Any = open_reward(folder)
        reader: Any = getattr(self.model, "encoder", self.model)  # trees read by an encoder
        self.eos_token: str = reader.tokenizer.eos_token or ""
        scale = read_json(folder / "scale.json", "reward scale")
        self.mean, self.sd = float(scale["mean"]), float(scale["sd"])

    def __call__(self, prompts: list[str], answers: list[str], **columns: Any) -> NDArray[np.float64]:
        texts = reward_texts(prompts, answers, self.eos_token)
        scores: NDArray[np.float64] = self.model.score(texts, batch_size=256)
        return (scores - self.mean) / self.sd


def reward_texts(prompts: Sequence[str], answers: Sequence[str], eos_token: str) -> list[str]:
    """What a reward model reads: prompt, answer, end of sequence."""
    return [prompt + answer + eos_token for prompt, answer in zip(prompts, answers, strict=True)]


def train_reward(loop: Loop, panel: str, base: Path, pairs: Path, feedback: Path, out: Path) -> None:
    """The reward model of one panel's preferences."""
    items = read_table(pairs / ITEMS_NAME).merge(read_table(feedback / PREFERENCES_NAME), on="item_id")
    fit_reward(loop, f"reward-{panel}", panel, base, Judged(items, scale=items), out)


def fit_reward(loop: Loop, name: str, panel: str, base: Path, judged: Judged, out: Path) -> None:
    """A reward model from judged items, its scale, and the record of its training."""
    s, items = loop.settings, judged.items
    loaded = load_for_reward(base, seed=s.seed)
    eos = loaded.tokenizer.eos_token
    text_a, text_b, known = (
        reward_texts(table["prompt"].tolist(), table[side].tolist(), eos)
        for table, side in ((items, "response_a"), (items, "response_b"), (judged.scale, "response_a"))
    )
    shown_as = f"reward model, {name.removeprefix('reward-').replace('-', ' ')}"
    total = s.reward.epochs * -(-len(items) // s.reward.batch_size)
    run = train_reward_model(
        loaded.model,
        loaded.tokenizer,
        PairData(text_a, text_b, items["p_a"].to_numpy(dtype=float), judged.weight),
        s.reward.model_copy(update={"seed": s.seed}),
        on_step=lambda row: loop.progress(shown_as, int(row["step"]), total),
    )
    model = RewardModel(loaded.model, loaded.tokenizer, device=s.reward.device)
    model.save(out)
    scores = model.score(known, batch_size=256)
    write_json(out / "scale.json", {"mean": float(scores.mean()), "sd": float(scores.std())})
    shown = run.curve[:: max(1, run.steps // 100)]
    record = TrainingRun(
        name=name,
        kind="reward",
        panel=panel,
        steps=run.steps,
        seconds=run.seconds,
        curve=tuple({k: v for k, v in row.items() if k != "epoch"} for row in shown),
    )
    write_json(out / "training.json", record.model_dump(mode="json"))
