from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from tiny import WORDS, tiny_bert, tiny_tokenizer
from transformers import AutoModelForSequenceClassification

from rlhf_fair.artifacts import verify_manifest
from rlhf_fair.errors import MissingFileError, ModelLoadError, RowError, SettingsError
from rlhf_fair.models.reward_model import RewardModel
from rlhf_fair.settings import read_toml
from rlhf_fair.training.reward import job as reward_job
from rlhf_fair.training.reward.config import RewardConfig
from rlhf_fair.training.reward.job import in_chat_form, split_items, train_reward
from rlhf_fair.training.reward.sources import Source, read_pairs
from rlhf_fair.training.reward.task import prepare

CONFIG = """
title = "Kindness"
model = "base"
objective = "rating"

[training]
epochs = 6
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
"""


@pytest.fixture
def world(tmp_path: Path) -> Path:
    """Texts rated by three people who like one word and dislike another."""
    tiny_bert().base_model.save_pretrained(tmp_path / "base")
    tiny_tokenizer().save_pretrained(tmp_path / "base")
    rng = np.random.default_rng(0)
    rows = []
    for item in range(150):
        truth = rng.choice([-1.0, 1.0])
        words = ["good" if truth > 0 else "bad", *rng.choice(WORDS, 6)]
        for rater in range(3):
            rating = float(np.clip(truth + 0.2 * rng.standard_normal(), -2, 2))
            rows.append({"item_id": item, "rater_id": rater, "rating": rating, "text": " ".join(words)})
    pd.DataFrame(rows).to_csv(tmp_path / "ratings.csv", index=False)
    (tmp_path / "config.toml").write_text(CONFIG)
    return tmp_path


def test_the_whole_job(world: Path) -> None:
    out = world / "out"
    heard: list[tuple[str, int, int]] = []
    job = train_reward(world / "config.toml", world, out, progress=lambda *args: heard.append(args))
    assert not job.already_done
    assert job.metrics["items"]["words"] == {"test": 30, "train": 105, "validation": 15}
    assert job.metrics["test"]["pooled"]["pearson_r"]["estimate"] > 0.5
    assert 0.9 < job.metrics["noise_ceiling"]["words"]["pearson_r"] <= 1.0
    # one source: nothing lies between sources
    pooled = job.metrics["test"]["pooled"]
    assert pooled["pearson_r_within_source"]["estimate"] == pytest.approx(pooled["pearson_r"]["estimate"])
    assert pooled["pearson_r_of_source_means"]["estimate"] is None
    assert heard[-1][0] == "scoring held-out texts"
    assert ("training", 42, 42) in heard  # 105 texts in batches of 16: 7 a pass
    verify_manifest(out)
    assert not (out / "checkpoint.pt").exists()

    held_out = pd.read_parquet(out / "held_out.parquet")
    assert "text" not in held_out.columns
    ratings = pd.read_csv(world / "ratings.csv").drop_duplicates("item_id").set_index("item_id")["text"]
    scores = RewardModel.load(out).score([ratings[int(item)] for item in held_out["item_id"]])
    assert scores == pytest.approx(held_out["prediction"].to_numpy(), abs=1e-5)
    assert AutoModelForSequenceClassification.from_pretrained(out).config.num_labels == 1

    again = train_reward(world / "config.toml", world, out)
    assert again.already_done
    assert again.metrics == job.metrics
    (world / "config.toml").write_text(CONFIG.replace("epochs = 6", "epochs = 1"))
    with pytest.raises(SettingsError, match="holds a run of another config"):
        train_reward(world / "config.toml", world, out)


def two_sources() -> RewardConfig:
    source = {"format": "ratings", "path": "x.csv", "scale": (0, 1), "better": "high"}
    return RewardConfig.model_validate(
        {
            "title": "t",
            "model": "m",
            "objective": "rating",
            "sources": [source | {"name": n} for n in ("mild", "harsh")],
        }
    )


def rated(name: str, ratings: list[float]) -> Source:
    ids = [f"{name} {n}" for n in range(len(ratings))]
    items = pd.DataFrame({"source": name, "item_id": ids, "key": ids, "text": ids, "rating": ratings})
    return Source(name, items, pd.DataFrame(), len(ids))


def test_on_the_common_scale_a_worse_source_stays_worse() -> None:
    rng = np.random.default_rng(0)
    sources = [rated("mild", list(rng.uniform(0.6, 1.0, 100))), rated("harsh", list(rng.uniform(0.0, 0.4, 100)))]
    config = two_sources()
    items, _ = split_items(sources, config)
    train = items[items["split"] == "train"]
    assert (train["target"].mean(), train["target"].std()) == (pytest.approx(0, abs=1e-9), pytest.approx(1))
    assert items["target"].rank().tolist() == items["rating"].rank().tolist()

    items, _ = split_items(sources, config.model_copy(update={"target": "within_source"}))
    for _, part in items[items["split"] == "train"].groupby("source"):
        assert (part["target"].mean(), part["target"].std()) == (pytest.approx(0, abs=1e-9), pytest.approx(1))


def test_a_constant_source_teaches_its_level_only_on_the_common_scale() -> None:
    sources = [rated("mild", [0.9] * 50), rated("harsh", [0.1] * 50)]
    items, _ = split_items(sources, two_sources())
    assert (items.groupby("source")["target"].mean()["mild"]) > 0
    with pytest.raises(RowError, match="harsh: the training items all have the same rating"):
        split_items(sources, two_sources().model_copy(update={"target": "within_source"}))


def test_stopped_and_resumed_gives_the_same_files(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (world / "config.toml").write_text(CONFIG.replace("epochs = 6", "epochs = 2"))
    train_reward(world / "config.toml", world, world / "whole")

    def stop(what: str, done: int, total: int) -> None:
        if done == 10:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_reward(world / "config.toml", world, world / "part", progress=stop)
    assert (world / "part" / reward_job.CHECKPOINT_NAME).is_file()
    train_reward(world / "config.toml", world, world / "part")
    for name in ("model.safetensors", "held_out.parquet"):
        assert (world / "whole" / name).read_bytes() == (world / "part" / name).read_bytes()


@pytest.mark.skipif(
    torch.version.cuda is not None and not torch.cuda.is_available(),
    reason="PyTorch built with CUDA asks the driver, so that a GPU cannot be feigned on a machine without one",
)
def test_a_gpu_that_the_config_leaves_alone_is_left_alone(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    (world / "config.toml").write_text(CONFIG.replace("epochs = 6", 'epochs = 1\ndevice = "cpu"'))
    job = train_reward(world / "config.toml", world, world / "out")
    assert job.metrics["steps"] > 0


def test_preferences(world: Path) -> None:
    rng = np.random.default_rng(0)
    lines = []
    for _ in range(80):
        prompt, rest = " ".join(rng.choice(WORDS, 3)), " ".join(rng.choice(WORDS, 3))
        start = f"\n\nHuman: {prompt}\n\nAssistant:"
        lines.append(json.dumps({"chosen": f"{start} good {rest}", "rejected": f"{start} bad {rest}"}))
    (world / "pairs.jsonl").write_text("\n".join(lines))
    config = (
        CONFIG.replace('"rating"', '"preference"')
        .replace('"ratings"', '"hh_rlhf"')
        .replace("ratings.csv", "pairs.jsonl")
    )
    (world / "config.toml").write_text(config.replace('scale = [-2, 2]\nbetter = "high"', ""))
    job = train_reward(world / "config.toml", world, world / "out")
    assert job.metrics["test"]["pooled"]["accuracy"]["estimate"] > 0.9
    held_out = pd.read_parquet(world / "out" / "held_out.parquet")
    assert sorted(held_out["side"].unique()) == ["a", "b"]


def test_a_source_that_holds_nothing_out_leaks_nothing(world: Path) -> None:
    copy = CONFIG[CONFIG.index("[[sources]]") :].replace('"words"', '"copy"') + "held_out = false\n"
    (world / "config.toml").write_text(CONFIG.replace("epochs = 6", "epochs = 1") + copy)
    job = train_reward(world / "config.toml", world, world / "out")
    assert job.metrics["left_out_same_text_as_held_out"] == 45
    assert job.metrics["items"]["copy"]["train"] == 105


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        (("epochs = 6", "epoch = 6"), SettingsError, "unknown key 'training.epoch'"),
        (("ratings.csv", "absent.csv"), MissingFileError, "absent.csv"),
        (('"base"', '"package:absent"'), ModelLoadError, "no installed package"),
        (('objective = "rating"', 'objective = "preference"'), SettingsError, "does not fit 'preference'"),
        (('better = "high"', 'better = "high"\nheld_out = false'), SettingsError, "no source holds texts out"),
        (("max_length = 16", "max_length = 4096"), SettingsError, r"max_length = 4096: the model reads at most \d+"),
        (("epochs = 6", 'epochs = 6\ndevice = "toaster"'), SettingsError, "device 'toaster' is not on this machine"),
        (("epochs = 6", "epochs = 6\nseed = -1"), SettingsError, "training.seed = -1"),
        (('"rating"', '"rating"\nchat = "yes"'), SettingsError, "ratings are of texts"),
        (("[training]", '[panel]\ncensus = "c.csv"\n[training]'), SettingsError, "a source of ratings with attributes"),
        (("[training]", "[heads]\nsize = 3\n[training]"), SettingsError, "size means nothing for heads of kind 'one'"),
        (
            ('"rating"\n', '"classification"\n[heads]\nkind = "ensemble"\n'),
            SettingsError,
            "'ensemble' do not fit objective 'classification'",
        ),
    ],
)
def test_user_faults(world: Path, change: tuple[str, str], error: type[Exception], says: str) -> None:
    (world / "config.toml").write_text(CONFIG.replace(*change))
    with pytest.raises(error, match=says):
        train_reward(world / "config.toml", world, world / "out")
    assert not (world / "out" / "manifest.json").exists()


MORE = """
[groups.side]
attributes = ["side"]

[heads]
kind = "ensemble"
size = 3
combine = "mean_less_variance"

[sources.attributes.side]
column = "side"
"""


def test_uncertainty_and_quality_are_told_by_rater_group(world: Path) -> None:
    ratings = pd.read_csv(world / "ratings.csv")
    ratings["side"] = ratings["rater_id"].map({0: "left", 1: "left", 2: "right"})
    ratings.to_csv(world / "ratings.csv", index=False)
    groups, source = MORE.split("[sources.attributes.side]")
    content = CONFIG.replace("[training]", groups + "\n[training]") + "\n[sources.attributes.side]" + source
    (world / "config.toml").write_text(content)
    job = train_reward(world / "config.toml", world, world / "out")
    by_side = job.metrics["test_by_group"]["side"]
    assert set(by_side) == {"left", "right"}
    for quality in by_side.values():
        assert quality["pearson_r"]["n"] == 30
        assert quality["uncertainty"]["estimate"] > 0
    # both groups judged the same items, so their mean uncertainty is the same
    assert by_side["left"]["uncertainty"]["estimate"] == pytest.approx(by_side["right"]["uncertainty"]["estimate"])
    model = RewardModel.load(world / "out")
    assert model.heads.combine == "mean_less_variance"
    rows = pd.read_parquet(world / "out" / "held_out_by_group.parquet")
    # each side's own mean rating, not that of all
    own = ratings.assign(unit=(ratings["rating"] + 2) / 4).groupby(["item_id", "side"])["unit"].mean()
    found = rows.set_index(["item_id", "group.side"])["rating"]
    found.index = pd.MultiIndex.from_tuples([(int(item), side) for item, side in found.index])
    assert found.to_numpy() == pytest.approx(own.loc[found.index].to_numpy())


@pytest.mark.parametrize("heads", ["ensemble", "groups"])
def test_heads_that_learn_preferences_are_brought_to_one_level(world: Path, heads: str) -> None:
    """Bradley-Terry fixes each head up to a constant; the min must not be that of the head that lies lowest."""
    rng = np.random.default_rng(0)
    rows = []
    for _ in range(60):
        a, b = (" ".join(rng.choice(WORDS, 4)) for _ in range(2))
        rows.append({"prompt": " ".join(rng.choice(WORDS, 3)), "response_a": a, "response_b": b, "p_a": 0.9})
    pd.DataFrame(rows).to_csv(world / "pairs.csv", index=False)
    groups = '[groups.from]\nof = "sources"\nat_least = 5\n' if heads == "groups" else ""
    chosen = f'{groups}[heads]\nkind = "{heads}"\ncombine = "min"\n' + ('groups = "from"\n' if groups else "")
    second = '[[sources]]\nformat = "pairs"\nname = "q"\npath = "more.csv"\n' if groups else ""
    pd.DataFrame(rows).assign(p_a=0.1, prompt="tea").to_csv(world / "more.csv", index=False)
    (world / "config.toml").write_text(PAIRS_CONFIG.replace("[training]", f"{chosen}[training]") + second)
    train_reward(world / "config.toml", world, world / "out")
    model = RewardModel.load(world / "out")
    assert len(model.heads.offsets) == len(model.heads.names)
    assert sum(model.heads.offsets) == pytest.approx(0, abs=1e-6)
    outputs = np.array([[5.0, 1.0], [2.0, 4.0]])
    level = model.heads.model_copy(update={"names": ("1", "2"), "offsets": (3.0, -3.0)})
    assert level.reward(outputs).tolist() == [2.0, -1.0]  # min of (2, 4) and of (-1, 7)


def test_margins_of_a_table_reach_the_loss(world: Path) -> None:
    rows = [
        {"prompt": f"p{k}", "response_a": "good", "response_b": "bad", "p_a": 1.0, "margin": k % 2} for k in range(40)
    ]
    pd.DataFrame(rows).to_csv(world / "pairs.csv", index=False)
    (world / "config.toml").write_text(PAIRS_CONFIG)
    config = read_toml(world / "config.toml", RewardConfig)
    source = read_pairs(config.sources[0], world)  # type: ignore[arg-type]
    items, _ = split_items([source], config)
    objective = prepare(items[items["split"] == "train"], config, lambda name: world / name).task.objective
    loss = objective.row_losses(torch.zeros(2, 4, 1), torch.arange(4))
    lead = items.loc[items["split"] == "train", "margin"].to_numpy()[:4]
    # equal rewards: ln 2 without a margin, ln(1 + e) where the better answer should lead by 1
    assert loss.tolist() == pytest.approx(np.log1p(np.exp(lead)).tolist())


PAIRS_CONFIG = """
title = "Pairs"
model = "base"
objective = "preference"
[training]
epochs = 1
max_length = 16
[[sources]]
format = "pairs"
name = "p"
path = "pairs.csv"
"""


def test_pairs_are_put_into_the_models_chat_template(tmp_path: Path) -> None:
    tiny_bert().base_model.save_pretrained(tmp_path / "base")
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = "{% for m in messages %}{{ m['role'] }} : {{ m['content'] }} {% endfor %}"
    tokenizer.save_pretrained(tmp_path / "base")
    content = [{"prompt": f"hello {k}", "response_a": "good", "response_b": "bad", "p_a": 1.0} for k in range(20)]
    pd.DataFrame(content).to_csv(tmp_path / "pairs.csv", index=False)
    (tmp_path / "config.toml").write_text(PAIRS_CONFIG)
    config = read_toml(tmp_path / "config.toml", RewardConfig)
    items, _ = split_items([read_pairs(config.sources[0], tmp_path)], config)  # type: ignore[arg-type]
    assert items["text_b"][3] == "hello 3\nbad"
    chat = in_chat_form(items, config, tmp_path)
    assert chat["text_b"][3] == "user : hello 3 assistant : bad "
    assert in_chat_form(items, config.model_copy(update={"chat": "no"}), tmp_path)["text_b"][3] == "hello 3\nbad"
    job = train_reward(tmp_path / "config.toml", tmp_path, tmp_path / "out")
    assert {"prompt", "response_a", "text_a"}.isdisjoint(pd.read_parquet(job.folder / "held_out.parquet"))

    tokenizer.chat_template = None
    tokenizer.save_pretrained(tmp_path / "plain")
    tiny_bert().base_model.save_pretrained(tmp_path / "plain")
    wants = config.model_copy(update={"chat": "yes", "model": "plain"})
    with pytest.raises(SettingsError, match="has no chat template"):
        in_chat_form(items, wants, tmp_path)


def test_of_a_long_dialogue_the_answer_is_what_stays(tmp_path: Path) -> None:
    tiny_bert().base_model.save_pretrained(tmp_path / "base")
    tiny_tokenizer().save_pretrained(tmp_path / "base")
    long = "the cat is old . " * 5
    content = [
        {"prompt": long, "response_a": f"good {word}", "response_b": f"bad {word}", "p_a": 1.0} for word in WORDS
    ]
    pd.DataFrame(content).assign(prompt=lambda t: [f"{word} {long}" for word in WORDS]).to_csv(
        tmp_path / "pairs.csv", index=False
    )
    right = PAIRS_CONFIG.replace("max_length = 16", "max_length = 16\nlearning_rate = 5e-3\ndropout = 0.0").replace(
        "epochs = 1", "epochs = 20"
    )
    (tmp_path / "left.toml").write_text(right)
    job = train_reward(tmp_path / "left.toml", tmp_path, tmp_path / "left")
    assert job.metrics["test"]["pooled"]["accuracy"]["estimate"] > 0.9
    saved = RewardModel.load(tmp_path / "left")
    assert saved.tokenizer.truncation_side == "left"
    assert saved.score([f"{long} good"])[0] > saved.score([f"{long} bad"])[0]

    (tmp_path / "right.toml").write_text(right.replace("dropout = 0.0", 'dropout = 0.0\ntruncation_side = "right"'))
    job = train_reward(tmp_path / "right.toml", tmp_path, tmp_path / "right")
    assert job.metrics["truncated_texts"] > 0
    assert job.metrics["test"]["pooled"]["accuracy"]["estimate"] == 0.5  # both sides were cut to the same text
