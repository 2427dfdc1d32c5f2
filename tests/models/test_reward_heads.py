from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tiny import tiny_bert, tiny_tokenizer
from transformers import AutoModelForSequenceClassification

from rlhf_fair.errors import ModelLoadError, SettingsError
from rlhf_fair.models.reward_heads import CONFIG_KEY, RewardHeads, declare_heads
from rlhf_fair.models.reward_model import RewardModel

OUTPUTS = np.array([[1.0, 3.0], [4.0, 0.0]])


@pytest.mark.parametrize(
    ("heads", "expected"),
    [
        (RewardHeads(kind="ensemble", names=("x", "y"), combine="mean"), [2.0, 2.0]),
        (RewardHeads(kind="ensemble", names=("x", "y"), combine="min"), [1.0, 0.0]),
        # variances over two heads, divided by 2: 1 and 4
        (RewardHeads(kind="ensemble", names=("x", "y"), combine="mean_less_variance", penalty=0.5), [1.5, 0.0]),
        (RewardHeads(kind="groups", names=("x", "y"), combine="weighted", weights=(0.25, 0.75)), [2.5, 1.0]),
        (RewardHeads(kind="distribution", names=("mean", "log_sd"), combine="first"), [1.0, 4.0]),
        # sd e^3 and e^0
        (
            RewardHeads(kind="distribution", names=("mean", "log_sd"), combine="mean_less_variance", penalty=1.0),
            [1 - np.exp(6.0), 3.0],
        ),
        # odds e^2 : 1 and 1 : e^4 for a class of value 1 against one of value 0
        (
            RewardHeads(kind="classes", names=("0", "1"), combine="expected", weights=(0.0, 1.0)),
            [np.exp(2) / (1 + np.exp(2)), 1 / (1 + np.exp(4))],
        ),
    ],
)
def test_rewards_by_hand(heads: RewardHeads, expected: list[float]) -> None:
    assert heads.reward(OUTPUTS) == pytest.approx(expected)


def test_uncertainty_is_the_spread_of_heads_or_the_learnt_one() -> None:
    ensemble = RewardHeads(kind="ensemble", names=("x", "y"), combine="mean")
    assert ensemble.uncertainty(OUTPUTS).tolist() == [1.0, 2.0]
    spread = RewardHeads(kind="distribution", names=("mean", "log_sd"), combine="first")
    assert spread.uncertainty(OUTPUTS) == pytest.approx([np.exp(3), 1.0])
    assert np.isnan(RewardHeads().uncertainty(OUTPUTS[:, :1])).all()


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "ensemble", "names": ("x", "y"), "combine": "weighted", "weights": (1, 1)},
        {"kind": "groups", "names": ("x", "x"), "combine": "min"},
        {"kind": "objectives", "names": ("x", "y"), "combine": "weighted", "weights": (1,)},
    ],
)
def test_heads_that_make_no_sense_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"fit|different|weights"):
        RewardHeads.model_validate(wrong)


def test_a_folder_with_several_heads_is_an_ordinary_classifier(tmp_path: Path) -> None:
    model = tiny_bert(num_labels=3)
    heads = RewardHeads(kind="groups", names=("man", "woman", "other"), combine="min")
    declare_heads(model.config, heads)
    RewardModel(model, tiny_tokenizer()).save(tmp_path)
    plain = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    assert plain.config.id2label == {0: "man", 1: "woman", 2: "other"}
    loaded = RewardModel.load(tmp_path)
    assert loaded.heads == heads
    texts = ["good day", "bad cat !"]
    assert loaded.outputs(texts).shape == (2, 3)
    assert loaded.score(texts).tolist() == loaded.outputs(texts).min(axis=1).tolist()


def test_undeclared_or_wrongly_declared_heads_are_one_clear_error(tmp_path: Path) -> None:
    model = tiny_bert(num_labels=3)
    with pytest.raises(SettingsError, match="3 outputs for 1 heads"):
        declare_heads(model.config, RewardHeads())
    setattr(model.config, CONFIG_KEY, {"kind": "ensemble", "names": ["a", "b", "c"], "combine": "best"})
    model.save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    with pytest.raises(ModelLoadError, match=r"config\.json, reward_heads: combine = 'best'"):
        RewardModel.load(tmp_path)
