"""PPO for a causal language model: roll out, shape the reward, update; readable in one go.

The reward is any callable; the fairness penalty is a second one, with a scorer of its own. Defaults follow Ziegler et
al. 2019 and Ouyang et al. 2022: gamma 1, lambda .95, clip .2, a KL price per token, advantages standardized over
the batch and rewards not.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from rlhf_fair.errors import RlhfFairError
from rlhf_fair.records import NAN, TrainingRun
from rlhf_fair.settings import Settings
from rlhf_fair.training.fairness import FairnessShaper
from rlhf_fair.training.ppo.advantages import generalized_advantage_estimate, masked_mean, standardize, token_rewards
from rlhf_fair.training.ppo.loss import ppo_loss
from rlhf_fair.training.ppo.policy import PolicyWithValue
from rlhf_fair.training.ppo.rollout import PromptBatch, RewardFunction, Rollout, roll_out

Scorer = Callable[[Sequence[str]], NDArray[np.float64]]


class PPOSettings(Settings):
    """One PPO run. Learning rate falls linearly to 0; lengths are in tokens, ``kl_coef`` in reward per nat."""

    steps: int = Field(50, ge=1)
    batch_size: int = Field(128, ge=2)
    minibatch_size: int = Field(64, ge=1)
    epochs: int = Field(2, ge=1)
    learning_rate: float = Field(1e-3, gt=0)
    max_new_tokens: int = Field(40, ge=1)
    temperature: float = Field(1.0, gt=0)
    kl_coef: float = Field(0.05, ge=0)
    gamma: float = Field(1.0, gt=0, le=1)
    gae_lambda: float = Field(0.95, ge=0, le=1)
    clip_range: float = Field(0.2, gt=0)
    value_clip_range: float = Field(0.2, gt=0)
    value_coef: float = Field(0.1, ge=0)
    missing_eos_penalty: float = Field(1.0, ge=0)
    max_grad_norm: float = Field(1.0, gt=0)


@dataclass
class Fairness:
    """The penalty's parts: the shaper with its running means, and the scorer that it is measured by in training."""

    shaper: FairnessShaper
    scorer: Scorer

    def groups(self, batch: PromptBatch) -> list[str]:
        """One label per prompt, intersections joined by ' & '."""
        columns = [batch.columns[name] for name in self.shaper.settings.group_by]
        return [" & ".join(map(str, values)) for values in zip(*columns, strict=True)]


class PPOTrainer:
    """Trains ``language_model`` in place against a frozen copy of itself."""

    def __init__(
        self,
        language_model: Any,
        tokenizer: Any,
        reward: RewardFunction,
        settings: PPOSettings,
        *,
        seed: int,
        fairness: Fairness | None = None,
    ) -> None:
        self.policy = PolicyWithValue(language_model).eval()  # dropout off: ratios start at exactly 1
        self.reference = copy.deepcopy(language_model).eval().requires_grad_(False)
        self.tokenizer = tokenizer
        self.reward = reward
        self.settings = settings
        self.fairness = fairness
        self.generator = torch.Generator().manual_seed(seed)
        self.optimizer = torch.optim.AdamW(
            self.policy.parameters(), lr=settings.learning_rate, eps=1e-5, weight_decay=0.0, foreach=True
        )
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer, lambda step: 1 - step / settings.steps)
        self.curve: list[dict[str, float]] = []

    def train(
        self,
        next_batch: Callable[[], PromptBatch],
        *,
        name: str = "ppo",
        on_step: Callable[[dict[str, float]], None] | None = None,
    ) -> TrainingRun:
        """Run all steps; ``next_batch`` supplies the prompts, ``on_step`` hears each row of the curve."""
        started = time.perf_counter()
        for _ in range(self.settings.steps):
            row = self.step(next_batch())
            if on_step is not None:
                on_step(row)
        return TrainingRun(
            name=name,
            kind="ppo",
            steps=len(self.curve),
            seconds=time.perf_counter() - started,
            kappa=tuple(row["kappa"] for row in self.curve),
            curve=tuple(self.curve),
        )

    def step(self, batch: PromptBatch) -> dict[str, float]:
        """One rollout and its update; returns the row of the curve."""
        s = self.settings
        rollout = roll_out(
            self.policy,
            self.reference,
            self.tokenizer,
            batch,
            max_new_tokens=s.max_new_tokens,
            temperature=s.temperature,
            generator=self.generator,
        )
        rewards = self._rewards(rollout)
        penalties, row = self._penalties(rollout)
        unfinished = np.array([not c.finished for c in rollout.completions])
        shaped = rewards - penalties - s.missing_eos_penalty * unfinished
        update = self._update(rollout, torch.from_numpy(shaped).float())
        kl = rollout.log_ratio.sum(-1).mean().item()
        self.curve.append(
            {"step": float(len(self.curve) + 1), "reward": float(rewards.mean()), "kl": kl, **row, **update}
            | {"length": float(np.mean([c.n_tokens for c in rollout.completions]))}
        )
        return self.curve[-1]

    def _rewards(self, rollout: Rollout) -> NDArray[np.float64]:
        batch, texts = rollout.batch, [completion.text for completion in rollout.completions]
        rewards = np.asarray(self.reward(batch.texts, texts, **batch.columns), dtype=float)
        if rewards.shape != (len(texts),):
            raise RlhfFairError(f"reward gave values of shape {rewards.shape}; one per completion is ({len(texts)},)")
        if not np.isfinite(rewards).all():
            example = texts[int(np.argmin(np.isfinite(rewards)))]
            raise RlhfFairError(f"reward gave no finite number for {example!r}; PPO needs one for every completion")
        return rewards

    def _penalties(self, rollout: Rollout) -> tuple[NDArray[np.float64], dict[str, float]]:
        if self.fairness is None:
            return np.zeros(len(rollout.completions)), {"kappa": 0.0, "gap": NAN}
        shaper = self.fairness.shaper
        groups = self.fairness.groups(rollout.batch)
        scores = self.fairness.scorer([completion.text for completion in rollout.completions])
        state = shaper.update(groups, scores)
        row = {"kappa": shaper.kappa(state), "gap": state.between_group_sd, "noise_floor": state.noise_floor}
        return shaper.penalties(groups, scores, state), row

    def _update(self, rollout: Rollout, scores: Tensor) -> dict[str, float]:
        s, mask = self.settings, rollout.response_mask
        rewards = token_rewards(scores, rollout.log_ratio, mask, kl_coef=s.kl_coef)
        advantages, returns = generalized_advantage_estimate(
            rewards, rollout.values, mask, gamma=s.gamma, gae_lambda=s.gae_lambda
        )
        advantages = standardize(advantages, mask)
        logged: list[dict[str, float]] = []
        for _ in range(s.epochs):
            order = torch.randperm(len(scores), generator=self.generator)
            for rows in order.split(s.minibatch_size):
                logged.append(self._minibatch(rollout, rows, advantages, returns))
        self.schedule.step()
        return {key: float(np.mean([entry[key] for entry in logged])) for key in logged[0]}

    def _minibatch(self, rollout: Rollout, rows: Tensor, advantages: Tensor, returns: Tensor) -> dict[str, float]:
        s, mask = self.settings, rollout.response_mask[rows]
        now = self.policy(rollout.sequence[rows], rollout.attention_mask[rows], rollout.responses[rows], s.temperature)
        loss = ppo_loss(
            now.logprobs,
            rollout.logprobs[rows],
            advantages[rows],
            now.values,
            rollout.values[rows],
            returns[rows],
            mask,
            clip_range=s.clip_range,
            value_clip_range=s.value_clip_range,
        )
        self.optimizer.zero_grad(set_to_none=True)
        (loss.policy + s.value_coef * loss.value).backward()
        nn.utils.clip_grad_norm_(self.policy.parameters(), s.max_grad_norm)
        self.optimizer.step()
        return {
            "policy_loss": loss.policy.item(),
            "value_loss": loss.value.item(),
            "clip_fraction": loss.clip_fraction.item(),
            "approx_kl": loss.approx_kl.item(),
            "entropy": masked_mean(now.entropy, mask).item(),
        }
