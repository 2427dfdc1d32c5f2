from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny import tiny_bert, tiny_language_model, tiny_llama, tiny_tokenizer

from rlhf_fair.errors import ModelLoadError
from rlhf_fair.models.reward_heads import RewardHeads, declare_heads
from rlhf_fair.models.reward_model import RewardModel
from rlhf_fair.training.ppo.critic import RewardCritic
from rlhf_fair.training.ppo.rollout import PromptBatch
from rlhf_fair.training.ppo.trainer import PPOSettings, PPOTrainer

TEXTS = ["good cat", "a bad dog is not nice", "hello"]


def saved(folder: Path, model: Any, heads: RewardHeads | None = None) -> Path:
    if heads is not None:
        declare_heads(model.config, heads)
    RewardModel(model, tiny_tokenizer(), device="cpu").save(folder)
    return folder


@pytest.mark.parametrize("left_padded", [False, True])
def test_at_the_last_token_the_critic_says_what_the_reward_model_says(tmp_path: Path, left_padded: bool) -> None:
    tokenizer = tiny_tokenizer()
    folder = saved(tmp_path / "reward", tiny_llama(initializer_range=0.3))
    critic = RewardCritic.load(folder, tokenizer, mean=0.5, sd=2.0).eval()
    rewards = (RewardModel.load(folder, device="cpu").score(TEXTS) - 0.5) / 2.0
    for text, reward in zip(TEXTS, rewards, strict=True):
        ids = torch.tensor([tokenizer(text)["input_ids"]])
        mask = torch.ones_like(ids)
        if left_padded:
            ids, mask = (torch.nn.functional.pad(x, (3, 0)) for x in (ids, mask))
        # a value stands before a token: one more token lets the last word be read
        ids, mask = (torch.nn.functional.pad(x, (0, 1), value=1) for x in (ids, mask))
        assert critic(ids, mask, 1).item() == pytest.approx(reward, abs=1e-5)


def test_an_ensemble_starts_from_the_mean_of_its_heads(tmp_path: Path) -> None:
    heads = RewardHeads(kind="ensemble", names=("1", "2", "3"), combine="min")
    folder = saved(tmp_path / "reward", tiny_llama(num_labels=3, initializer_range=0.3), heads)
    outputs = RewardModel.load(folder, device="cpu").outputs(TEXTS[:1])
    ids = torch.tensor([[*tiny_tokenizer()(TEXTS[0])["input_ids"], 1]])
    value = RewardCritic.load(folder, tiny_tokenizer())(ids, torch.ones_like(ids), 1).item()
    assert value == pytest.approx(outputs.mean(), abs=1e-5)


@pytest.mark.parametrize(
    ("kind", "combine", "weights"),
    [("groups", "weighted", (0.5, 0.2, 0.1)), ("objectives", "weighted", (2.0, -1.0, 0.5)), ("ensemble", "mean", ())],
)
def test_a_combination_of_heads_starts_from_its_reward_offsets_included(
    tmp_path: Path, kind: Any, combine: Any, weights: tuple[float, ...]
) -> None:
    heads = RewardHeads(kind=kind, names=("1", "2", "3"), combine=combine, weights=weights, offsets=(1.0, -2.0, 4.0))
    folder = saved(tmp_path / "reward", tiny_llama(num_labels=3, initializer_range=0.3), heads)
    reward = (RewardModel.load(folder, device="cpu").score(TEXTS[:1])[0] - 0.5) / 2.0
    ids = torch.tensor([[*tiny_tokenizer()(TEXTS[0])["input_ids"], 1]])
    value = RewardCritic.load(folder, tiny_tokenizer(), mean=0.5, sd=2.0)(ids, torch.ones_like(ids), 1).item()
    assert value == pytest.approx(reward, abs=1e-5)


def test_streams_besides_the_reward_start_at_zero(tmp_path: Path) -> None:
    folder = saved(tmp_path / "reward", tiny_llama(initializer_range=0.3))
    ids = torch.tensor([[4, 5, 6, 7]])
    one = RewardCritic.load(folder, tiny_tokenizer())(ids, torch.ones_like(ids), 2)
    two = RewardCritic.load(folder, tiny_tokenizer(), streams=2)(ids, torch.ones_like(ids), 2)
    torch.testing.assert_close(two[..., 0], one)
    assert (two[..., 1] == 0).all()


def test_an_encoder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelLoadError, match="an encoder"):
        RewardCritic.load(saved(tmp_path / "reward", tiny_bert(initializer_range=0.3)), tiny_tokenizer())


def test_other_tokens_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelLoadError, match="tokens are not those of the policy"):
        RewardCritic.load(saved(tmp_path / "reward", tiny_llama()), tiny_tokenizer(["other", "words"]))


def test_classes_have_no_linear_value(tmp_path: Path) -> None:
    heads = RewardHeads(kind="classes", names=("no", "yes"), combine="expected", weights=(0.0, 1.0))
    with pytest.raises(ModelLoadError, match="no linear function"):
        RewardCritic.load(saved(tmp_path / "reward", tiny_llama(num_labels=2), heads), tiny_tokenizer())


def test_ppo_trains_the_critic_apart_and_its_values_are_used(tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer()
    critic = RewardCritic.load(saved(tmp_path / "reward", tiny_llama(initializer_range=0.3)), tokenizer)
    before = [p.detach().clone() for p in critic.parameters()]
    settings = PPOSettings(steps=12, batch_size=16, minibatch_size=16, max_new_tokens=4, learning_rate=1e-2)
    settings = settings.model_copy(update={"missing_eos_penalty": 0.0, "kl_coef": 0.0, "value_coef": 1.0})
    model = tiny_language_model(tokenizer, initializer_range=0.3).eval()
    trainer = PPOTrainer(model, tokenizer, lambda p, c, **_: np.ones(len(c)), settings, seed=1, critic=critic)
    run = trainer.train(lambda step: PromptBatch(["good cat"] * 16, {}))
    assert any(not torch.equal(p, old) for p, old in zip(critic.parameters(), before, strict=True))
    # every answer earns 1, so a value function has nothing to do but to say so
    assert run.curve[-1]["value_loss"] < run.curve[0]["value_loss"] / 4
