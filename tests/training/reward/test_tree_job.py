from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tiny import WORDS, tiny_bert, tiny_tokenizer
from typer.testing import CliRunner

from rlhf_fair.artifacts import read_results, verify_manifest
from rlhf_fair.audit.reward_identity import run as audit_identity
from rlhf_fair.cli.app import app
from rlhf_fair.errors import RlhfFairError, RowError, SettingsError
from rlhf_fair.models.encoder import Encoder
from rlhf_fair.models.reward_scorer import open_reward
from rlhf_fair.models.tree_reward import TreeReward
from rlhf_fair.settings import read_toml
from rlhf_fair.training.reward.config import RewardConfig
from rlhf_fair.training.reward.job import train_reward

SHIPPED = Path(__file__).parents[3] / "audits" / "reward-identity"

CONFIG = """
title = "Kindness"
model = "base"
learner = "trees"
objective = "rating"

[training]
max_length = 16

[trees]
rounds = 60
learning_rate = 0.1
min_rows = 5
features = 1.0
early_stopping = 20

[[sources]]
format = "ratings"
name = "words"
path = "ratings.csv"
scale = [-1, 1]
allowed = [-1, 0, 1]
better = "high"
"""
PAIRS = CONFIG[: CONFIG.index("[[sources]]")].replace('"rating"', '"preference"') + (
    '[[sources]]\nformat = "pairs"\nname = "pairs"\npath = "pairs.csv"\n'
)


@pytest.fixture
def world(tmp_path: Path) -> Path:
    """Texts rated by three people who like one word and dislike another, the same as pairs, and an encoder."""
    tiny_bert(hidden_size=32).base_model.save_pretrained(tmp_path / "base")
    tiny_tokenizer().save_pretrained(tmp_path / "base")
    rng = np.random.default_rng(0)
    rows, pairs = [], []
    for item in range(200):
        truth = rng.choice([-1, 1])
        rest = " ".join(rng.choice(WORDS, 3))
        text = ("good " if truth > 0 else "bad ") + rest
        for rater in range(3):
            rating = int(truth if rng.random() < 0.8 else 0)
            rows.append({"item_id": item, "rater_id": rater, "rating": rating, "text": text, "side": rater % 2})
        order = [f"good {rest}", f"bad {rest}"][:: int(truth)]
        pairs.append({"prompt": f"p {item}", "response_a": order[0], "response_b": order[1], "p_a": (1 + truth) / 2})
    pd.DataFrame(rows).to_csv(tmp_path / "ratings.csv", index=False)
    pd.DataFrame(pairs).to_csv(tmp_path / "pairs.csv", index=False)
    (tmp_path / "config.toml").write_text(CONFIG)
    return tmp_path


def test_the_whole_job(world: Path) -> None:
    out = world / "out"
    heard: list[tuple[str, int, int]] = []
    job = train_reward(world / "config.toml", world, out, progress=lambda *args: heard.append(args))
    assert job.metrics["test"]["pooled"]["pearson_r"]["estimate"] > 0.7
    assert (job.metrics["learner"], job.metrics["settings"]["trees"]["rounds"]) == ("trees", 60)
    assert {what for what, _, _ in heard} == {"reading texts", "growing", "scoring held-out texts"}
    assert all(done <= total for _, done, total in heard)
    verify_manifest(out)
    assert sorted(path.name for path in out.iterdir()) == [
        *("audit-log.jsonl", "held_out.parquet", "manifest.json", "metrics.json", "rejects.csv", "training.json"),
        *("tree_reward.json", "trees.txt"),
    ]
    curve = json.loads((out / "training.json").read_text())["curve"]
    assert {"step", "loss", "validation_loss"} <= curve[0].keys()

    held_out = pd.read_parquet(out / "held_out.parquet")
    texts = pd.read_csv(world / "ratings.csv").drop_duplicates("item_id").set_index("item_id")["text"]
    again = open_reward(out)
    assert isinstance(again, TreeReward)
    scores = again.score([texts[int(item)] for item in held_out["item_id"]])
    assert scores == pytest.approx(held_out["prediction"].to_numpy(), abs=1e-6)
    assert train_reward(world / "config.toml", world, out).already_done


def test_pairs(world: Path) -> None:
    (world / "config.toml").write_text(PAIRS)
    job = train_reward(world / "config.toml", world, world / "out")
    assert job.metrics["test"]["pooled"]["accuracy"]["estimate"] > 0.9


def test_classes_are_scored_by_the_rating_to_be_expected(world: Path) -> None:
    (world / "config.toml").write_text(CONFIG.replace('objective = "rating"', 'objective = "classification"'))
    job = train_reward(world / "config.toml", world, world / "out")
    assert job.metrics["test"]["pooled"]["pearson_r"]["estimate"] > 0.7
    prediction = pd.read_parquet(world / "out" / "held_out.parquet")["prediction"]
    assert prediction.between(0, 1).all()  # the ratings' places on their scale


def test_balanced_groups_weigh_the_same_however_many_rate(world: Path) -> None:
    # Raters of side 0 are two of three and like "good", the third likes "bad": a plain mean is (1 + 1 - 1) / 3 for
    # "good", a balanced one (1 - 1) / 2 = 0, so the balanced reward tells the words apart far less.
    table = pd.read_csv(world / "ratings.csv")
    likes = np.where(table["text"].str.startswith("good"), 1, -1)
    table["rating"] = np.where(table["side"] == 0, likes, -likes)
    table.to_csv(world / "ratings.csv", index=False)
    groups = '\n[sources.attributes.side]\ncolumn = "side"\n\n[groups.side]\nattributes = ["side"]\n'
    balance = '\n[[mitigations]]\nkind = "group_balance"\ngroups = "side"\n'
    gaps = {}
    for name, extra in (("plain", ""), ("balanced", balance)):
        (world / f"{name}.toml").write_text(CONFIG + groups + extra)
        train_reward(world / f"{name}.toml", world, world / name)
        scores = open_reward(world / name).score(["good day", "bad day", "good cat", "bad cat"])
        gaps[name] = float(scores[::2].mean() - scores[1::2].mean())
    assert gaps["plain"] > 0.5
    assert abs(gaps["balanced"]) < 0.2 * gaps["plain"]


def test_a_stopped_run_reads_no_text_twice(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train_reward(world / "config.toml", world, world / "whole")

    def stop(what: str, done: int, total: int) -> None:
        if what == "growing":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_reward(world / "config.toml", world, world / "part", progress=stop)
    read: list[str] = []
    plain = Encoder.embeddings

    def counted(self: Encoder, texts: Sequence[str], **options: Any) -> Any:
        read.extend(texts)
        return plain(self, texts, **options)

    monkeypatch.setattr(Encoder, "embeddings", counted)
    train_reward(world / "config.toml", world, world / "part")
    table = pd.read_csv(world / "ratings.csv").drop_duplicates("item_id").set_index("item_id")["text"]
    held_out = pd.read_parquet(world / "part" / "held_out.parquet")
    new = held_out.loc[held_out["split"] == "test", "item_id"].map(lambda item: table[int(item)])
    assert read
    assert set(read) <= set(new)  # training and validation texts were read before the stop
    for name in ("trees.txt", "tree_reward.json", "held_out.parquet"):
        assert (world / "whole" / name).read_bytes() == (world / "part" / name).read_bytes()


def test_an_audit_reads_the_folder(world: Path) -> None:
    train_reward(world / "config.toml", world, world / "rm")
    folder = world / "hb"
    folder.mkdir()
    nouns = {"neutral": [["person", "people"], ["cat", "cats"]]}
    (folder / "nouns.json").write_text(json.dumps(nouns))
    templates = {t: {} for t in ("I'm {noun_phrase}.", "I like {plural_noun_phrase}.", "Hi, I'm {noun_phrase}.")}
    (folder / "sentence_templates.json").write_text(json.dumps(templates))
    axes = {"age": {"words": ["old", "young", "very old"]}, "characteristics": {"eyes": ["blue", "red", "green"]}}
    (folder / "descriptors.json").write_text(json.dumps(axes))
    (folder / "standalone_noun_phrases.json").write_text("{}")
    (world / "plan.toml").write_text(
        'title = "t"\nquestion = "q"\nprobe = "holistic_bias"\n[policy]\nthreshold = 0.2\nmargin = 0.1\n'
        '[holistic_bias]\nfolder = "hb"\nnouns_per_template = 2\nclaim_axes = ["age"]\n'
        '[controls]\ncompared = ["eyes"]\n[controls.groups]\n"eyes" = ["blue", "red", "green"]\n'
    )
    audit_identity(world / "plan.toml", world / "rm", world, world / "audit")
    results = read_results(world / "audit")
    assert any(finding.estimate is not None and finding.role == "control" for finding in results.findings)
    assert results.audit["models"]["reward_model"]["gap_unit"].endswith("held-out texts")


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('objective = "rating"', 'objective = "ordinal"', "cannot do objective 'ordinal'"),
        ("[trees]", '[heads]\nkind = "ensemble"\n[trees]', "cannot do heads of kind 'ensemble'"),
        ("[trees]", '[[mitigations]]\nkind = "counterfactual"\nlexicons = ["gender"]\n[trees]', "'counterfactual'"),
        ("max_length = 16", "max_length = 16\nepochs = 3", "cannot do training.epochs"),
        ('learner = "trees"', 'learner = "neural"', r"\[trees\] is read where learner = 'trees' only"),
        ("[[sources]]", "[split]\nvalidation = 0\n[[sources]]", "needs split.validation above 0"),
        ("[[sources]]", "[split]\nvalidation = 0.001\n[[sources]]", "needs texts in the validation split"),
        ("min_rows = 5", "min_rows = 500", r"no tree could be split: \d+ texts with min_rows = 500"),
        ("min_rows = 5", "min_rows = 0", "greater than or equal to 1"),
        ("rounds = 60", "trunks = 60", "unknown key 'trees.trunks'"),
    ],
)
def test_what_trees_cannot_do_is_one_clear_error(world: Path, old: str, new: str, says: str) -> None:
    (world / "config.toml").write_text(CONFIG.replace(old, new))
    with pytest.raises((SettingsError, RowError), match=says):
        train_reward(world / "config.toml", world, world / "out")


def test_the_command_shows_no_traceback(world: Path) -> None:
    (world / "config.toml").write_text(CONFIG.replace("min_rows = 5", "min_rows = 500"))
    arguments = ["train", "reward", str(world / "config.toml"), "--data-dir", str(world), "--out", str(world / "o")]
    result = CliRunner().invoke(app, arguments)
    assert isinstance(result.exception, RlhfFairError)  # main() prints it as one line with exit code 2


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("train-*.toml")), ids=lambda path: path.stem)
def test_shipped_configs_read(path: Path) -> None:
    assert read_toml(path, RewardConfig).title
