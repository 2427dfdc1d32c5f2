from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch

from rlhf_fair.errors import RlhfFairError
from rlhf_fair.training.fairness import FairnessSettings, FairnessShaper
from rlhf_fair.training.ppo.rollout import PromptBatch
from rlhf_fair.training.ppo.trainer import Fairness, PPOSettings, PPOTrainer

PROMPTS = ["w1 w2", "w3", "w4 w5 w6", "w7 w8"] * 8
SETTINGS = PPOSettings(
    steps=25,
    batch_size=32,
    minibatch_size=16,
    epochs=2,
    learning_rate=1e-2,
    max_new_tokens=6,
    kl_coef=0.01,
    missing_eos_penalty=0.0,
)


def share_of_w5(texts: Sequence[str]) -> np.ndarray:
    return np.array([text.split().count("w5") / max(len(text.split()), 1) for text in texts])


def pay_w5(prompts: Sequence[str], completions: Sequence[str], **columns: Any) -> np.ndarray:
    return share_of_w5(completions)


def batch(step: int = 0) -> PromptBatch:
    return PromptBatch(PROMPTS, {"gender": ["woman", "man"] * 16, "ethnicity": ["Black"] * 16 + ["White"] * 16})


def trainer(model: Any, tokenizer: Any, reward: Callable[..., Any] = pay_w5, **changes: Any) -> PPOTrainer:
    fairness = changes.pop("fairness", None)
    settings = SETTINGS.model_copy(update=changes)
    return PPOTrainer(model, tokenizer, reward, settings, seed=7, fairness=fairness)


def test_a_token_that_is_paid_for_becomes_frequent_and_the_reference_stays(language_model: Any, tokenizer: Any) -> None:
    before = copy.deepcopy(language_model.state_dict())
    job = trainer(language_model, tokenizer)
    heard: list[dict[str, float]] = []
    run = job.train(batch, name="plain", on_step=heard.append)
    reward = [row["reward"] for row in run.curve]
    assert np.mean(reward[-5:]) > np.mean(reward[:5]) + 0.3
    assert run.curve[-1]["kl"] > run.curve[0]["kl"]
    assert all(torch.equal(before[name], tensor) for name, tensor in job.reference.model.state_dict().items())
    assert (run.name, run.kind, run.steps, len(heard)) == ("plain", "ppo", 25, 25)
    assert run.kappa == (0.0,) * 25


def test_the_first_rollout_has_no_kl_and_the_first_minibatch_no_clipping(language_model: Any, tokenizer: Any) -> None:
    row = trainer(language_model, tokenizer, minibatch_size=32, epochs=1).step(batch())
    assert row["kl"] == pytest.approx(0, abs=1e-5)
    assert row["approx_kl"] == pytest.approx(0, abs=1e-6)
    assert row["clip_fraction"] == 0
    assert row["reward"] > 0
    assert row["policy_loss"] == pytest.approx(0, abs=1e-6)  # whitened advantages have mean 0


def test_the_same_seed_gives_the_same_curve(language_model: Any, tokenizer: Any) -> None:
    curves = [trainer(copy.deepcopy(language_model), tokenizer, steps=3).train(batch).curve for _ in range(2)]
    assert curves[0] == curves[1]


def test_the_reward_receives_prompts_texts_and_all_columns(language_model: Any, tokenizer: Any) -> None:
    received: dict[str, Any] = {}

    def reward(prompts: Sequence[str], completions: Sequence[str], **columns: Any) -> list[float]:
        received.update(columns, prompts=list(prompts), completions=list(completions))
        return [0.0] * len(prompts)

    trainer(language_model, tokenizer, reward).step(batch())
    assert received["prompts"] == PROMPTS
    assert received["gender"] == batch().columns["gender"]
    assert received["ethnicity"] == batch().columns["ethnicity"]
    assert len(received["completions"]) == 32
    assert all(isinstance(text, str) for text in received["completions"])


@pytest.mark.parametrize("bad", [np.full(32, np.nan), np.zeros(31), np.zeros((32, 1))])
def test_a_reward_that_is_no_number_per_answer_is_refused(language_model: Any, tokenizer: Any, bad: np.ndarray) -> None:
    before = copy.deepcopy(language_model.state_dict())
    with pytest.raises(RlhfFairError, match="reward"):
        trainer(language_model, tokenizer, lambda *_, **__: bad).step(batch())
    assert all(torch.equal(before[name], tensor) for name, tensor in language_model.state_dict().items())


def test_answers_cut_off_are_charged(language_model: Any, tokenizer: Any) -> None:
    def nothing(prompts: Sequence[str], completions: Sequence[str], **columns: Any) -> np.ndarray:
        return np.zeros(len(prompts))

    job = trainer(language_model, tokenizer, nothing, missing_eos_penalty=1.0, kl_coef=0.0)
    run = job.train(batch)
    assert run.curve[-1]["length"] < run.curve[0]["length"]


def test_groups_are_intersections_of_the_named_columns() -> None:
    shaper = FairnessShaper(FairnessSettings(group_by=("gender", "ethnicity")))
    groups = Fairness(shaper, share_of_w5).groups(batch())
    assert groups[0] == "woman & Black"
    assert groups[-1] == "man & White"
    assert len(set(groups)) == 4


def test_the_penalty_closes_a_gap_that_the_reward_opens(language_model: Any, tokenizer: Any) -> None:
    """The reward pays w5 for men only; the penalty, on the same score, works against it."""
    prompts = PromptBatch(["w1 w2", "w7 w8"] * 32, {"gender": ["woman", "man"] * 32})

    def pay_men(_: Sequence[str], completions: Sequence[str], *, gender: Sequence[str]) -> np.ndarray:
        return share_of_w5(completions) * (np.array(gender) == "man")

    def gap(strength: float) -> float:
        settings = FairnessSettings(group_by=("gender",), strength=strength, floor_strength=0.0)
        fairness = Fairness(FairnessShaper(settings), share_of_w5)
        job = trainer(copy.deepcopy(language_model), tokenizer, pay_men, steps=30, fairness=fairness)
        run = job.train(lambda step: prompts)
        assert all((kappa > 0) == (strength > 0) for kappa in run.kappa)
        return float(np.mean([row["gap"] for row in run.curve[-5:]]))

    assert gap(10.0) < gap(0.0) / 2
