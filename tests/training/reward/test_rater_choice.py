"""A reward model of some raters only: it learns what they want, and is judged by everybody."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tiny import WORDS, tiny_bert, tiny_tokenizer

from rlhf_fair.errors import ColumnError, RlhfFairError, RowError, SettingsError
from rlhf_fair.training.reward.job import train_reward
from rlhf_fair.training.reward.rater_choice import as_judged_by, read_members
from rlhf_fair.training.reward.sources import Source

CONFIG = """
title = "Kindness"
model = "base"
objective = "rating"

[groups.side]
of = "raters"
attributes = ["side"]

[training]
epochs = 8
learning_rate = 5e-3
batch_size = 16
max_length = 16
dropout = 0.0

[[sources]]
format = "ratings"
name = "words"
path = "ratings.csv"
scale = [-2, 2]
better = "high"

[sources.attributes.side]
column = "side"
"""


@pytest.fixture
def world(tmp_path: Path) -> Path:
    """Two on the left who like a word, one on the right who likes its opposite; the right saw half of the texts."""
    tiny_bert().base_model.save_pretrained(tmp_path / "base")
    tiny_tokenizer().save_pretrained(tmp_path / "base")
    rng = np.random.default_rng(0)
    rows = []
    for item in range(240):
        truth = rng.choice([-1.0, 1.0])
        text = " ".join(["good" if truth > 0 else "bad", *rng.choice(WORDS, 6)])
        for rater, side, liking in ((0, "left", 1.0), (1, "left", 1.0), (2, "right", -1.0)):
            if side == "left" or item % 2:
                rating = float(np.clip(liking * truth + 0.2 * rng.standard_normal(), -2, 2))
                rows.append({"item_id": item, "rater_id": rater, "rating": rating, "text": text, "side": side})
    pd.DataFrame(rows).to_csv(tmp_path / "ratings.csv", index=False)
    (tmp_path / "config.toml").write_text(CONFIG)
    return tmp_path


def test_each_model_serves_those_whom_it_learnt_from(world: Path) -> None:
    found = {}
    for side in ("left", "right"):
        job = train_reward(world / "config.toml", world, world / side, only={"side": [side]})
        found[side] = {k: v["pearson_r"]["estimate"] for k, v in job.metrics["test_by_group"]["side"].items()}
        assert job.metrics["raters"]["only"] == {"side": [side]}
    assert found["left"]["left"] > 0.8
    assert found["left"]["right"] < -0.8
    assert found["right"]["right"] > 0.8
    assert found["right"]["left"] < -0.8
    # of 240 texts 48 are the test; the right judged every second one, so about half of the other 192 are left out
    left_out = job.metrics["raters"]["items_that_none_of_them_judged"]
    assert 70 <= left_out <= 122
    with pytest.raises(SettingsError, match="another config"):
        train_reward(world / "config.toml", world, world / "right", only={"side": ["left"]})


def test_the_config_says_the_same_as_the_argument(world: Path) -> None:
    short = CONFIG.replace("epochs = 8", "epochs = 1")
    (world / "config.toml").write_text(short)
    train_reward(world / "config.toml", world, world / "by-argument", only={"side": ["right"]})
    (world / "config.toml").write_text(short.replace("[training]", '[raters]\nonly = { side = ["right"] }\n[training]'))
    train_reward(world / "config.toml", world, world / "by-config")
    weights = [(world / name / "model.safetensors").read_bytes() for name in ("by-argument", "by-config")]
    assert weights[0] == weights[1]


@pytest.mark.parametrize(
    ("only", "error", "says"),
    [
        ({"side": ["middle"]}, RowError, "no rater has side = 'middle'; levels: left, right"),
        ({"height": ["tall"]}, ColumnError, "attr.height"),
    ],
)
def test_raters_that_are_not_there(
    world: Path, only: dict[str, list[str]], error: type[RlhfFairError], says: str
) -> None:
    with pytest.raises(error, match=says):
        train_reward(world / "config.toml", world, world / "out", only=only)


def test_ratings_are_those_of_the_chosen_and_test_items_stay() -> None:
    items = pd.DataFrame(
        {"source": "s", "item_id": ["1", "2", "3"], "split": ["train", "train", "test"], "rating": [0.5, 0.5, 0.5]}
    )
    ratings = pd.DataFrame(
        [("1", "a", 1.0, 1.0, "x"), ("1", "b", 0.0, 3.0, "x"), ("1", "c", 0.0, 1.0, "y"), ("2", "c", 1.0, 1.0, "y")],
        columns=["item_id", "rater_id", "value", "weight", "attr.g"],
    )
    source = Source("s", items, pd.DataFrame(), 4, ratings)
    found, _, left_out = as_judged_by({"g": ["x"]}, items, [source])
    # item 1: (1 x 1 + 0 x 3) / 4; item 2 was judged by y alone
    assert found.set_index("item_id")["rating"].to_dict() == {"1": 0.25, "3": 0.5}
    assert left_out == 1


def test_a_panel_is_heard_with_its_weights(world: Path) -> None:
    items = pd.DataFrame({"source": "s", "item_id": ["1", "2"], "split": "train", "rating": [0.5, 0.5]})
    ratings = pd.DataFrame(
        [("1", 7, 1.0, 1.0), ("1", 8, 0.0, 1.0), ("1", 9, 0.0, 1.0), ("2", 9, 1.0, 1.0)],
        columns=["item_id", "rater_id", "value", "weight"],
    )
    source = Source("s", items, pd.DataFrame(), 4, ratings)
    (world / "panel.csv").write_text("annotator_id,source,weight\n7,s,3\n8,s,1\n9,other,5\n")
    found, (kept,), left_out = as_judged_by({}, items, [source], read_members(world / "panel.csv"))
    # item 1: (3 x 1 + 1 x 0) / 4; item 2 was judged by 9 alone, who is a member in another source
    assert found.set_index("item_id")["rating"].to_dict() == {"1": 0.75}
    assert left_out == 1
    assert kept.ratings["rater_id"].tolist() == [7, 8]


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ("annotator_id,weight\n0,1\n0,2\n", "row 2, column 'annotator_id': '0' repeats"),
        ("annotator_id,weight\n0,-1\n", "row 1, column 'weight'"),
        ("annotator_id\nnobody\n", "none of the panel's 1 members rated it"),
        ("rater\n0\n", "annotator_id"),
    ],
)
def test_a_panel_that_cannot_be_heard(world: Path, table: str, says: str) -> None:
    (world / "panel.csv").write_text(table)
    with pytest.raises(RlhfFairError, match=says):
        train_reward(world / "config.toml", world, world / "out", members=world / "panel.csv")


def test_a_panel_of_one_side_learns_as_its_side_does(world: Path) -> None:
    (world / "config.toml").write_text(CONFIG.replace("epochs = 8", "epochs = 1"))
    (world / "panel.csv").write_text("annotator_id\n2\n")
    by_side = train_reward(world / "config.toml", world, world / "by-side", only={"side": ["right"]})
    by_name = train_reward(world / "config.toml", world, world / "by-name", members=world / "panel.csv")
    weights = [(job.folder / "model.safetensors").read_bytes() for job in (by_side, by_name)]
    assert weights[0] == weights[1]
    assert by_name.metrics["raters"]["people"] == {"words": 1}
    assert by_name.metrics["raters"]["members"] == "panel.csv"
