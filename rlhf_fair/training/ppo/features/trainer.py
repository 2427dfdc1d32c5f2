"""PPO for policies on feature vectors: collect, estimate advantages, update; with exact resume.

The losses and the update are those of language models; a decision takes the place of a token.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from rlhf_fair.errors import RlhfFairError
from rlhf_fair.records import TrainingRun
from rlhf_fair.training.ppo.advantages import standardize
from rlhf_fair.training.ppo.features.advantages import episodic_advantage_estimate
from rlhf_fair.training.ppo.features.experience import Experience, ExperienceSource, Stream, step_seeds, torch_generator
from rlhf_fair.training.ppo.features.policy import FeaturePolicy
from rlhf_fair.training.ppo.loss import Episodes, Evaluation
from rlhf_fair.training.ppo.settings import UpdateSettings
from rlhf_fair.training.ppo.update import update
from rlhf_fair.training.reward.checkpoint import Progress, fingerprint, keep, restore

OnStep = Callable[[dict[str, float]], None]


class FeaturePPOSettings(UpdateSettings):
    """One PPO run on feature vectors. ``minibatch_size`` counts decisions.

    Learning rate and entropy bonus fall linearly to 0: at the end the policy may be as sure as its rewards make it.
    Values move freely by default: a clip in reward units suits one reward scale only. ``checkpoint_steps``: how often
    the state is written, where a file for it is named.
    """

    steps: int = Field(200, ge=1)
    epochs: int = Field(4, ge=1)
    minibatch_size: int = Field(256, ge=2)
    learning_rate: float = Field(1e-3, gt=0)
    gamma: float = Field(0.99, gt=0, le=1)
    gae_lambda: float = Field(0.95, ge=0, le=1)
    value_clip_range: float = Field(math.inf, gt=0)
    value_coef: float = Field(0.5, ge=0)
    max_grad_norm: float = Field(0.5, gt=0)
    checkpoint_steps: int = Field(20, ge=1)


class FeatureTrainer:
    """Trains ``policy`` in place on what ``source`` lets it live through."""

    def __init__(
        self, policy: FeaturePolicy, source: ExperienceSource, settings: FeaturePPOSettings, *, seed: int
    ) -> None:
        self.policy, self.source, self.settings, self.seed = policy, source, settings, seed
        self.optimizer = torch.optim.Adam(policy.parameters(), lr=settings.learning_rate, eps=1e-5, foreach=True)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer, lambda step: 1 - step / settings.steps)
        self.progress = Progress()

    @property
    def curve(self) -> list[dict[str, float]]:
        """One row of numbers for each step so far."""
        return self.progress.curve

    def train(self, *, name: str = "ppo", on_step: OnStep | None = None, checkpoint: Path | None = None) -> TrainingRun:
        """Run all steps that are left; ``on_step`` hears each row of the curve.

        ``checkpoint``: a file that is read if it is there, and written now and then and at the end. If a step fails,
        the state before it is written, so that the run can go on from there with the fault mended.

        Raises
        ------
        RlhfFairError
            A reward, a loss or a gradient is no finite number.
        """
        if checkpoint is not None:
            self.progress = restore(checkpoint, self._identity(), self._parts())
        while self.progress.steps < self.settings.steps:
            row = self._guarded_step(checkpoint)
            if on_step is not None:
                on_step(row)
        return TrainingRun(
            name=name,
            kind="ppo",
            steps=self.progress.steps,
            seconds=self.progress.seconds,
            kappa=tuple(row["kappa"] for row in self.curve if "kappa" in row),
            curve=tuple(self.curve),
        )

    def step(self) -> dict[str, float]:
        """One rollout and its update; returns the row of the curve."""
        s, step = self.settings, self.progress.steps
        experience = self.source.collect(self.policy, step)
        estimated = episodic_advantage_estimate(
            experience.rewards,
            experience.values,
            experience.next_values,
            experience.terminated,
            experience.truncated,
            gamma=s.gamma,
            gae_lambda=s.gae_lambda,
        )
        batch = _episodes(experience, estimated.advantages, estimated.returns)
        features, actions = experience.features.flatten(0, 1), experience.actions.flatten(0, 1)

        def evaluate(rows: Tensor) -> Evaluation:
            now = self.policy(features[rows], actions[rows])
            return Evaluation(*(values[:, None] for values in now))

        generator = torch_generator(step_seeds(self.seed, Stream.SHUFFLE, step))
        annealed = s.model_copy(update={"entropy_coef": s.entropy_coef * (1 - step / s.steps)})
        numbers = update(evaluate, batch, self.optimizer, annealed, generator=generator)
        self.schedule.step()
        self.policy.observe(features)  # after the update, in which ratios are to start at exactly 1
        return {"step": float(step), **experience.metrics, **numbers, "explained_variance": _explained(batch)}

    def _guarded_step(self, checkpoint: Path | None) -> dict[str, float]:
        before = None if checkpoint is None else self._snapshot()
        started = time.perf_counter()
        try:
            row = self.step()
        except RlhfFairError as error:
            where = f"step {self.progress.steps} of {self.settings.steps}"
            if checkpoint is None or before is None:
                raise RlhfFairError(f"{where}: {error}") from error
            keep(checkpoint, self._identity(), before, self.progress)
            raise RlhfFairError(f"{where}: {error} (the state before this step is in {checkpoint})") from error
        self.progress.seconds += time.perf_counter() - started
        self.progress.steps += 1
        self.curve.append(row)
        done = self.progress.steps
        if checkpoint is not None and (done % self.settings.checkpoint_steps == 0 or done == self.settings.steps):
            keep(checkpoint, self._identity(), self._parts(), self.progress)
        return row

    def _parts(self) -> dict[str, Any]:
        return {"policy": self.policy, "optimizer": self.optimizer, "schedule": self.schedule, "source": self.source}

    def _snapshot(self) -> dict[str, Any]:
        return {name: _State(copy.deepcopy(part.state_dict())) for name, part in self._parts().items()}

    def _identity(self) -> str:
        shape = {name: list(tensor.shape) for name, tensor in self.policy.state_dict().items()}
        return fingerprint(self.settings.model_dump_json(), self.seed, shape, self.source.identity())


class _State:
    """A part's state at one moment."""

    def __init__(self, state: dict[str, Any]) -> None:
        self._state = state

    def state_dict(self) -> dict[str, Any]:
        return self._state


def _episodes(experience: Experience, advantages: Tensor, returns: Tensor) -> Episodes:
    """One row for each decision: what links the steps of an episode is in the advantages already."""
    mask = torch.ones_like(advantages, dtype=torch.bool)
    columns = (experience.logprobs, experience.values, standardize(advantages, mask), returns, mask)
    return Episodes(*(column.reshape(-1, 1) for column in columns))


def _explained(batch: Episodes) -> float:
    """1 - Var(returns - values) / Var(returns): 1 = the critic knows all, 0 = no more than a mean."""
    variance = batch.returns.var(correction=0)
    return float(1 - (batch.returns - batch.values).var(correction=0) / variance) if variance > 0 else math.nan
