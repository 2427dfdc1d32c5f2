from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import lightgbm
import numpy as np
import pytest
from tiny import WORDS, tiny_bert, tiny_tokenizer

from rlhf_fair.errors import ModelLoadError, SettingsError
from rlhf_fair.models.cache import model_digest
from rlhf_fair.models.reward_heads import RewardHeads
from rlhf_fair.models.reward_model import RewardModel
from rlhf_fair.models.reward_scorer import open_reward
from rlhf_fair.models.tree_reward import TreeFacts, TreeReward, load_encoder

RNG = np.random.default_rng(0)
TEXTS = [" ".join(RNG.choice(WORDS, size=RNG.integers(1, 9))) for _ in range(60)]


@pytest.fixture
def model(tmp_path: Path) -> TreeReward:
    """Trees that learnt the length of a text, saved as ``tmp_path / rm`` beside their encoder ``tmp_path / base``."""
    base = tmp_path / "base"
    tiny_bert().base_model.save_pretrained(base)
    tiny_tokenizer().save_pretrained(base)
    encoder = load_encoder(str(base), max_length=32)
    lengths = [float(len(text.split())) for text in TEXTS]
    data = lightgbm.Dataset(encoder.embeddings(TEXTS), label=lengths)
    booster = lightgbm.train({"min_data_in_leaf": 2, "verbosity": -1, "num_threads": 1}, data, num_boost_round=30)
    facts = TreeFacts(encoder=str(base), encoder_sha256=model_digest(base), max_length=32, best_round=20)
    made = TreeReward(booster, encoder, facts)
    made.save(tmp_path / "rm")
    return made


def test_saved_and_opened_gives_equal_scores(model: TreeReward, tmp_path: Path) -> None:
    again = open_reward(tmp_path / "rm")
    assert isinstance(again, TreeReward)
    assert again.score(TEXTS) == pytest.approx(model.score(TEXTS), abs=1e-9)
    assert again.booster.num_trees() == 20  # what lies behind the best round is not kept
    assert not list(tmp_path.glob("rm/*.bin")) + list(tmp_path.glob("rm/*.safetensors"))


def test_a_text_keeps_its_score_in_any_order(model: TreeReward) -> None:
    whole = model.score(TEXTS)
    order = np.random.default_rng(1).permutation(len(TEXTS))
    heard: list[int] = []
    assert model.score([TEXTS[k] for k in order], on_batch=heard.append) == pytest.approx(whole[order])
    assert heard[-1] == len(set(TEXTS))
    assert model.score([]).shape == (0,)
    assert np.ptp(whole) > 1


def test_model_and_encoder_move_together(model: TreeReward, tmp_path: Path) -> None:
    shutil.move(tmp_path / "rm", tmp_path / "elsewhere" / "rm")
    shutil.move(tmp_path / "base", tmp_path / "elsewhere" / "base")
    assert open_reward(tmp_path / "elsewhere" / "rm").score(TEXTS) == pytest.approx(model.score(TEXTS), abs=1e-9)
    facts = json.loads((tmp_path / "elsewhere" / "rm" / "tree_reward.json").read_text())
    assert facts["encoder"] == "../base"


def test_classes_are_worth_what_they_declare(tmp_path: Path) -> None:
    class Booster:
        def predict(self, vectors: object, **options: object) -> object:
            return np.log([[0.5, 0.25, 0.25]])

    class Constant:
        def embeddings(self, texts: object, **options: object) -> object:
            return np.zeros((1, 2), dtype=np.float32)

    heads = RewardHeads(kind="classes", names=("0", "0.5", "1"), combine="expected", weights=(0.0, 0.5, 1.0))
    facts = TreeFacts(encoder="e", encoder_sha256="0", max_length=8, best_round=1, heads=heads)
    scored = TreeReward(Booster(), Constant(), facts).score(["a", "a"])  # type: ignore[arg-type]
    assert scored == pytest.approx([0.375, 0.375])  # .25 * .5 + .25 * 1


def test_any_other_folder_is_opened_as_a_network(tmp_path: Path) -> None:
    RewardModel(tiny_bert(), tiny_tokenizer()).save(tmp_path / "network")
    assert isinstance(open_reward(tmp_path / "network"), RewardModel)
    with pytest.raises(ModelLoadError, match="no such folder"):
        open_reward(tmp_path / "absent folder")


def test_another_encoder_is_refused(model: TreeReward, tmp_path: Path) -> None:
    tiny_bert(seed=1).base_model.save_pretrained(tmp_path / "base")
    with pytest.raises(ModelLoadError, match="not the one its trees were grown on"):
        open_reward(tmp_path / "rm")
    shutil.rmtree(tmp_path / "base")
    with pytest.raises(ModelLoadError, match="no such folder"):
        open_reward(tmp_path / "rm")


@pytest.mark.parametrize(
    ("name", "content", "error", "says"),
    [
        ("trees.txt", None, ModelLoadError, "lacks trees.txt"),
        ("trees.txt", "not trees", ModelLoadError, "trees.txt cannot be read"),
        ("tree_reward.json", "{", SettingsError, "is not JSON"),
        ("tree_reward.json", "{}", ModelLoadError, "missing key 'encoder'"),
    ],
)
def test_a_damaged_folder_is_one_clear_error(
    model: TreeReward, tmp_path: Path, name: str, content: str | None, error: type[Exception], says: str
) -> None:
    (tmp_path / "rm" / name).unlink()
    if content is not None:
        (tmp_path / "rm" / name).write_text(content)
    with pytest.raises(error, match=says):
        open_reward(tmp_path / "rm")


def test_without_lightgbm_the_extra_is_named(
    model: TreeReward, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "lightgbm", None)
    with pytest.raises(SettingsError, match=r"rlhf-fair\[trees\]"):
        open_reward(tmp_path / "rm")
