"""Whom the selection of pairs must not forget."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tiny import tiny_llama, tiny_tokenizer

from rlhf_fair.models.reward_model import RewardModel
from rlhf_fair.rounds.selection import select_pairs
from rlhf_fair.rounds.settings import SelectionSettings


@pytest.fixture(scope="module")
def reward_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reward")
    RewardModel(tiny_llama(num_labels=1, initializer_range=0.3), tiny_tokenizer(), device="cpu").save(folder)
    return folder


def items(n: int, rng: np.random.Generator, *, prefix: str, rare: int) -> pd.DataFrame:
    """``n`` pairs of random words, the last ``rare`` of them about group r."""
    words = np.array(["good", "bad", "nice", "awful", "day", "cat", "dog"])
    said = [[" ".join(rng.choice(words, 5)) for _ in range(n)] for _ in range(3)]
    table = pd.DataFrame({"item_id": [f"{prefix}{i}" for i in range(n)], "prompt": said[0]})
    return table.assign(response_a=said[1], response_b=said[2], group=["c"] * (n - rare) + ["r"] * rare)


@pytest.mark.parametrize("strategy", ["fisher", "disagreement", "random"])
def test_selection_honours_minimums(reward_folder: Path, strategy: str) -> None:
    rng = np.random.default_rng(0)
    settings = SelectionSettings.model_validate(
        {"candidates": 80, "budget": 20, "strategy": strategy, "groups": ("group",), "at_least": ("group=r:6",)}
        | {"members": 4}
        | ({} if strategy == "random" else {"explore": 0.2})
    )
    judged = items(12, rng, prefix="old", rare=0).assign(p_a=rng.random(12))
    chosen = select_pairs(
        items(80, rng, prefix="new", rare=7), judged, reward_folder, settings, rng=rng, progress=lambda *_: None
    )
    assert len(chosen.items) == 20 == chosen.items["item_id"].nunique()
    assert (chosen.items["group"] == "r").sum() >= 6  # 7 of 80 by chance alone: 1.75 expected
    assert set(chosen.items["item_id"]).isdisjoint(judged["item_id"])
    assert chosen.coverage.set_index("group").loc["r", "at_least"] == 6
    assert chosen.account["item_id"].tolist() == chosen.items["item_id"].tolist()


def test_copies_are_judged_once_and_a_short_list_is_taken_whole(reward_folder: Path) -> None:
    rng = np.random.default_rng(0)
    written = items(10, rng, prefix="new", rare=2)
    twice = pd.concat([written, written.assign(item_id=written["item_id"] + "'")], ignore_index=True)
    settings = SelectionSettings(candidates=20, budget=15, strategy="random", groups=(), at_least=())
    judged = items(3, rng, prefix="old", rare=0).assign(p_a=0.5)
    chosen = select_pairs(twice, judged, reward_folder, settings, rng=rng, progress=lambda *_: None)
    assert len(chosen.items) == 10
