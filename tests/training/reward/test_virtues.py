from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tiny import tiny_bert, tiny_tokenizer

from rlhf_fair.cli.train_reward import summary_lines
from rlhf_fair.errors import SettingsError
from rlhf_fair.models.reward_heads import RewardHeads
from rlhf_fair.models.reward_model import RewardModel
from rlhf_fair.training.reward.job import train_reward
from rlhf_fair.training.reward.quality import virtue_quality

START = """
title = "Two virtues"
model = "base"
objective = "{objective}"
{target}
[heads]
kind = "objectives"
weights = {weights}

[training]
epochs = 8
learning_rate = 5e-3
batch_size = 16
max_length = 16
dropout = 0.0
"""
RATINGS = """
[[sources]]
format = "ratings"
name = "{name}"
path = "{name}.csv"
scale = [-1, 1]
better = "high"
virtue = "{name}"
"""
PAIRS = """
[[sources]]
format = "pairs"
name = "{name} pairs"
path = "{name}-pairs.csv"
virtue = "{name}"
"""
LIKED = {"helpful": ("good", "bad"), "harmless": ("kind", "cruel")}


@pytest.fixture
def world(tmp_path: Path) -> Path:
    """Ratings and pairs for two virtues: helpful is "good" and not "bad", harmless is "kind" and not "cruel"."""
    tiny_bert().base_model.save_pretrained(tmp_path / "base")
    tiny_tokenizer().save_pretrained(tmp_path / "base")
    rng = np.random.default_rng(0)
    for name, words in LIKED.items():
        truth = rng.choice([0, 1], 120)
        rest = [" ".join(rng.choice(["day", "cat", "dog", "story", "hi", "friend"], 4)) for _ in truth]
        texts = [f"{words[1 - t]} {other}" for t, other in zip(truth, rest, strict=True)]
        ids = [f"{name} {number}" for number in range(120)]
        ratings = [
            {"item_id": i, "rater_id": 0, "rating": 2 * t - 1, "text": x}
            for i, t, x in zip(ids, truth, texts, strict=True)
        ]
        pd.DataFrame(ratings).to_csv(tmp_path / f"{name}.csv", index=False)
        order = [words[::1] if t else words[::-1] for t in truth]
        pairs = {
            "prompt": ids,
            "response_a": [f"{pair[0]} {other}" for pair, other in zip(order, rest, strict=True)],
            "response_b": [f"{pair[1]} {other}" for pair, other in zip(order, rest, strict=True)],
            "p_a": truth.astype(float),
        }
        pd.DataFrame(pairs).to_csv(tmp_path / f"{name}-pairs.csv", index=False)
    return tmp_path


def config(
    world: Path, sources: str, objective: str = "rating", weights: str = "{ harmless = 0.7, helpful = 0.3 }"
) -> Path:
    path = world / f"{objective}.toml"
    target = 'target = "within_source"' if objective == "rating" else ""
    path.write_text(
        START.format(objective=objective, weights=weights, target=target)
        + "".join(sources.format(name=name) for name in LIKED)
    )
    return path


@pytest.mark.parametrize(("objective", "measure"), [("rating", "pearson_r"), ("preference", "accuracy")])
def test_each_head_learns_its_virtue_and_the_reward_weighs_them(world: Path, objective: str, measure: str) -> None:
    sources = RATINGS if objective == "rating" else PAIRS
    job = train_reward(config(world, sources, objective), world, world / "out")
    virtues = job.metrics["test_by_virtue"]
    assert {name: virtue["weight"] for name, virtue in virtues.items()} == {"harmless": 0.7, "helpful": 0.3}
    for virtue in virtues.values():
        assert virtue["head"][measure]["estimate"] > 0.8
        assert virtue["combined_reward"][measure]["n"] == virtue["head"][measure]["n"] > 10

    model = RewardModel.load(world / "out")
    assert (model.heads.names, model.heads.weights) == (("harmless", "helpful"), (0.7, 0.3))
    texts = ["kind cat", "cruel cat", "good cat", "bad cat"]
    outputs = model.outputs(texts)
    assert outputs[0, 0] > outputs[1, 0]
    assert outputs[2, 1] > outputs[3, 1]
    assert model.score(texts) == pytest.approx(0.7 * outputs[:, 0] + 0.3 * outputs[:, 1])

    lines = summary_lines(job.metrics, world / "out", False)
    assert "reward = 0.7 harmless + 0.3 helpful (weights declared in the config)" in lines
    assert sum("of the own head" in line for line in lines) == 2


def test_weights_must_name_every_virtue(world: Path) -> None:
    with pytest.raises(SettingsError, match=r"must name each of \['harmless', 'helpful'\] once, names \['harmless'\]"):
        train_reward(config(world, RATINGS, weights="{ harmless = 1.0 }"), world, world / "out")


def held_out(virtue: str, head: list[float], rating: list[float]) -> pd.DataFrame:
    n = len(head)
    keys = [f"{virtue}{k}" for k in range(n)]
    rows = {"split": "test", "virtue": virtue, "source": virtue, "head": head, "rating": rating, "key": keys}
    return pd.DataFrame({**rows, "plain_rating": rating, "prediction": np.arange(n, 0.0, -1.0)})


def test_quality_by_virtue_by_hand() -> None:
    heads = RewardHeads(kind="objectives", names=("a", "b", "c"), combine="weighted", weights=(0.5, 0.25, 0.25))
    rows = pd.concat(
        [
            held_out(
                "a", [1.0, 2.0, 3.0, 4.0], [0.1, 0.2, 0.3, 0.4]
            ),  # the head is right, the reward (4 3 2 1) reversed
            held_out("b", [1.0, 2.0, 1.0, 2.0], [0.4, 0.4, 0.3, 0.3]),  # centred (- + - +) x (+ + - -): 0
        ]
    )
    found = virtue_quality(rows, heads)
    assert found["a"]["head"]["pearson_r"]["estimate"] == pytest.approx(1)
    assert found["a"]["combined_reward"]["pearson_r"]["estimate"] == pytest.approx(-1)
    assert found["b"]["head"]["pearson_r"]["estimate"] == pytest.approx(0, abs=1e-12)
    assert found["c"] == {"weight": 0.25, "reason": "no held-out text of this virtue"}
