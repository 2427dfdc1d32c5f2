from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from tiny import WORDS, tiny_bert, tiny_llama, tiny_tokenizer

from rlhf_fair.errors import RowError, SettingsError
from rlhf_fair.models.reward_model import RewardModel
from rlhf_fair.training.batches import epoch_batches
from rlhf_fair.training.learning_rate import rate_share
from rlhf_fair.training.reward.checkpoint import weight_digests
from rlhf_fair.training.reward.head import init_reward_head, reward_head, set_dropout
from rlhf_fair.training.reward.preference import PairData
from rlhf_fair.training.reward.rating import RatingData
from rlhf_fair.training.reward.settings import LoRA, RewardSettings
from rlhf_fair.training.reward.trainer import train_reward_model

SETTINGS = RewardSettings(epochs=3, learning_rate=3e-3, batch_size=8, max_length=16, seed=3)


def sentences(n: int, seed: int = 0) -> list[str]:
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(WORDS, size=rng.integers(1, 12))) for _ in range(n)]


def rating_data(n: int = 40) -> RatingData:
    texts = sentences(n)
    return RatingData(texts, np.array([float("good" in t.split()) - float("bad" in t.split()) for t in texts]))


@given(st.lists(st.integers(1, 200), min_size=1, max_size=700), st.integers(1, 32), st.integers(0, 9))
def test_batches_hold_every_row_exactly_once(lengths: list[int], batch_size: int, seed: int) -> None:
    batches = epoch_batches(np.array(lengths), batch_size, np.random.default_rng(seed))
    assert sorted(np.concatenate(batches).tolist()) == list(range(len(lengths)))
    assert len(batches) == math.ceil(len(lengths) / batch_size)


def test_bucketing_pads_less_than_random_batches() -> None:
    lengths = np.random.default_rng(0).integers(1, 200, 2000)
    bucketed = epoch_batches(lengths, 16, np.random.default_rng(0))
    padded = sum(len(rows) * lengths[rows].max() for rows in bucketed)
    random = sum(16 * lengths[at : at + 16].max() for at in range(0, 2000, 16))
    assert padded < 1.15 * lengths.sum() < random


def test_rate_rises_then_falls_to_zero() -> None:
    shares = [rate_share(step, 100, 0.1) for step in range(101)]
    assert shares[0] == pytest.approx(0.1)
    assert max(shares) == shares[9] == shares[10] == 1.0
    assert shares[55] == pytest.approx(0.5)  # halfway down from 10 to 100
    assert shares[100] == 0.0
    assert rate_share(0, 1, 0.0) == 1.0


def test_head_has_the_published_spread() -> None:
    model = tiny_bert(hidden_size=2000, num_hidden_layers=1, num_attention_heads=1, intermediate_size=4)
    init_reward_head(model, torch.Generator().manual_seed(0))
    weight = reward_head(model).weight.detach()
    # 6 % is four standard errors of a standard deviation from 2000 draws
    assert float(weight.std()) == pytest.approx(1 / math.sqrt(2001), rel=0.06)
    assert float(reward_head(model).bias.detach()) == 0.0


@pytest.mark.parametrize("build", [tiny_bert, tiny_llama])
def test_learns_which_word_is_good_from_pairs(build: Callable[[], Any]) -> None:
    texts = sentences(60, seed=1)
    data = PairData([f"good {t}" for t in texts], [f"bad {t}" for t in texts], np.ones(60))
    model, tokenizer = build(), tiny_tokenizer()
    run = train_reward_model(model, tokenizer, data, SETTINGS)
    assert run.steps == 3 * 8  # 60 rows in batches of 8: 7.5, rounded up
    new = sentences(40, seed=2)
    rm = RewardModel(model, tokenizer)
    assert np.mean(rm.score([f"good {t}" for t in new]) > rm.score([f"bad {t}" for t in new])) > 0.9


def test_ties_leave_the_rewards_together() -> None:
    texts = sentences(60, seed=1)
    data = PairData([f"good {t}" for t in texts], [f"bad {t}" for t in texts], np.full(60, 0.5))
    model, tokenizer = tiny_bert(), tiny_tokenizer()
    run = train_reward_model(model, tokenizer, data, SETTINGS)
    assert run.curve[-1]["loss"] == pytest.approx(math.log(2), abs=0.02)
    assert math.isnan(run.curve[-1]["accuracy"])


def test_ratings_are_fitted_and_the_curve_is_heard() -> None:
    heard: list[dict[str, float]] = []
    settings = SETTINGS.model_copy(update={"epochs": 20, "dropout": 0.0})
    run = train_reward_model(tiny_bert(), tiny_tokenizer(), rating_data(), settings, on_step=heard.append)
    assert heard == run.curve
    assert np.mean([row["loss"] for row in run.curve[-5:]]) < 0.5 * np.mean([row["loss"] for row in run.curve[:5]])


def test_rows_of_weight_zero_change_nothing() -> None:
    data = rating_data(8)
    weight = np.array([1.0, 1, 1, 1, 0, 0, 0, 0])
    wrong = np.where(weight > 0, data.target, 99.0)
    results = []
    for target in (data.target, wrong):
        model = tiny_bert()
        train_reward_model(model, tiny_tokenizer(), RatingData(data.text, target, weight), SETTINGS)
        results.append(RewardModel(model, tiny_tokenizer()).score(data.text))
    assert np.array_equal(*results)


def test_same_seed_gives_equal_bits_and_leaves_the_callers_randomness_alone() -> None:
    scores = []
    torch.manual_seed(7)
    expected = torch.rand(1)
    for _ in range(2):
        model = tiny_llama()
        torch.manual_seed(7)
        train_reward_model(model, tiny_tokenizer(), rating_data(), SETTINGS)
        assert torch.equal(torch.rand(1), expected)
        scores.append(RewardModel(model, tiny_tokenizer()).score(rating_data().text))
    assert np.array_equal(*scores)


@pytest.mark.parametrize("build", [tiny_bert, tiny_llama])
def test_resumed_equals_uninterrupted(
    build: Callable[[], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, tokenizer = rating_data(), tiny_tokenizer()
    whole = build()
    run = train_reward_model(whole, tokenizer, data, SETTINGS, checkpoint=tmp_path / "whole.pt")

    def stop_in_epoch_two(row: dict[str, float]) -> None:
        if row["step"] == 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_reward_model(
            build(), tokenizer, data, SETTINGS, checkpoint=tmp_path / "part.pt", on_step=stop_in_epoch_two
        )
    resumed = build()
    again = train_reward_model(resumed, tokenizer, data, SETTINGS, checkpoint=tmp_path / "part.pt")
    assert again.resumed_steps == 5
    assert again.curve == run.curve
    for a, b in zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_a_finished_checkpoint_trains_no_further(tmp_path: Path) -> None:
    data, checkpoint = rating_data(), tmp_path / "state.pt"
    train_reward_model(tiny_bert(), tiny_tokenizer(), data, SETTINGS, checkpoint=checkpoint)
    heard: list[dict[str, float]] = []
    run = train_reward_model(tiny_bert(), tiny_tokenizer(), data, SETTINGS, checkpoint=checkpoint, on_step=heard.append)
    assert (heard, run.resumed_steps, run.steps) == ([], 15, 15)


def test_a_foreign_or_damaged_checkpoint_is_refused(tmp_path: Path) -> None:
    checkpoint = tmp_path / "state.pt"
    train_reward_model(tiny_bert(), tiny_tokenizer(), rating_data(), SETTINGS, checkpoint=checkpoint)
    other = SETTINGS.model_copy(update={"learning_rate": 1e-4})
    with pytest.raises(SettingsError, match="other data or settings"):
        train_reward_model(tiny_bert(), tiny_tokenizer(), rating_data(), other, checkpoint=checkpoint)
    checkpoint.write_bytes(b"not a checkpoint")
    with pytest.raises(SettingsError, match="cannot be read"):
        train_reward_model(tiny_bert(), tiny_tokenizer(), rating_data(), SETTINGS, checkpoint=checkpoint)


@pytest.mark.parametrize("lora", [None, LoRA(rank=2)])
def test_a_checkpoint_of_another_model_is_refused(tmp_path: Path, lora: LoRA | None) -> None:
    settings = SETTINGS.model_copy(update={"lora": lora})
    train_reward_model(tiny_bert(), tiny_tokenizer(), rating_data(), settings, checkpoint=tmp_path / "state.pt")
    with pytest.raises(SettingsError, match="a model that started from other weights"):
        train_reward_model(tiny_bert(1), tiny_tokenizer(), rating_data(), settings, checkpoint=tmp_path / "state.pt")


def test_digests_tell_weights_apart_that_sums_do_not() -> None:
    layer = torch.nn.Linear(3, 2).to(torch.bfloat16)
    layer.bias.data.copy_(torch.tensor([1.0, 2.0]))
    before = weight_digests(layer)
    layer.bias.data.copy_(torch.tensor([2.0, 1.0]))
    assert [a == b for a, b in zip(before, weight_digests(layer), strict=True)] == [True, False]
    assert weight_digests(layer.float())[0] != before[0]
    two_bytes_each = hashlib.sha256(b"\x00\x40\x80\x3f").hexdigest()  # 2 and 1: bfloat16 is float32's upper half
    assert weight_digests(layer.to(torch.bfloat16))[1] == f"bias (2,) torch.bfloat16 {two_bytes_each}"


@pytest.mark.parametrize("lora", [None, LoRA(rank=2)])
def test_a_model_trained_in_bfloat16_scores_as_it_does_once_saved(tmp_path: Path, lora: LoRA | None) -> None:
    model, tokenizer, data = tiny_bert(), tiny_tokenizer(), rating_data()
    train_reward_model(
        model, tokenizer, data, SETTINGS.model_copy(update={"precision": "bf16", "lora": lora, "device": "cpu"})
    )
    trained = RewardModel(model, tokenizer)
    trained.save(tmp_path)
    assert np.array_equal(trained.score(data.text), RewardModel.load(tmp_path).score(data.text))


def test_cut_texts_are_counted() -> None:
    data = RatingData(["good " * 30, "bad", "good " * 16], np.zeros(3))
    run = train_reward_model(tiny_bert(), tiny_tokenizer(), data, SETTINGS)
    assert run.truncated == 1  # 30 words; 16 fit exactly


def test_dropout_is_set_everywhere() -> None:
    llama = tiny_llama(attention_dropout=0.4)
    set_dropout(llama, 0.2)
    assert {m.attention_dropout for m in llama.modules() if hasattr(m, "attention_dropout")} == {0.2}
    bert = tiny_bert()
    set_dropout(bert, 0.0)
    assert {m.p for m in bert.modules() if isinstance(m, torch.nn.Dropout)} == {0.0}


@pytest.mark.parametrize(
    ("target", "weight"),
    [([0.0, math.nan], None), ([0.0], None), ([0.0, 1.0], [-1.0, 1.0]), ([0.0, 1.0], [0.0, 0.0])],
)
def test_unusable_ratings_are_refused(target: list[float], weight: list[float] | None) -> None:
    weights: NDArray[np.float64] | None = None if weight is None else np.array(weight)
    with pytest.raises(RowError):
        train_reward_model(tiny_bert(), tiny_tokenizer(), RatingData(["a", "b"], np.array(target), weights), SETTINGS)


def test_no_rows_is_an_error() -> None:
    with pytest.raises(RowError, match="no rows"):
        train_reward_model(tiny_bert(), tiny_tokenizer(), RatingData([], np.array([])), SETTINGS)
