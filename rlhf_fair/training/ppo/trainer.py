"""PPO for a causal language model: roll out, shape the reward, update; readable in one go.

The reward is any callable; the fairness penalty is a second one, with a scorer of its own. Defaults follow Ziegler et
al. 2019 and Ouyang et al. 2022: gamma 1, lambda .95, clip .2, a KL price per token, advantages standardized over
the batch and rewards not. All randomness of a step comes from the seed and the step's number, so that a run that was
stopped goes on as if nothing had happened.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from rlhf_fair.errors import RlhfFairError, RowError, SettingsError
from rlhf_fair.models.onednn_linear import use_torch
from rlhf_fair.records import NAN, TrainingRun
from rlhf_fair.training.ppo.advantages import Total, generalized_advantage_estimate, standardize, token_rewards
from rlhf_fair.training.ppo.checkpoint import RunState, TrainedWeights, fingerprint, weight_digests
from rlhf_fair.training.ppo.devices import Devices, hasten
from rlhf_fair.training.ppo.fairness import Fairness, Scorer
from rlhf_fair.training.ppo.kl import AdaptiveKL, FixedKL
from rlhf_fair.training.ppo.loss import Episodes
from rlhf_fair.training.ppo.policy import PolicyWithValue, ValueHead
from rlhf_fair.training.ppo.reference import Reference
from rlhf_fair.training.ppo.rollout import PromptBatch, RewardFunction, Rollout, roll_out
from rlhf_fair.training.ppo.settings import PPOSettings
from rlhf_fair.training.ppo.update import update
from rlhf_fair.training.reward.lora import add_lora, merge_lora

__all__ = ["Fairness", "PPOSettings", "PPOTrainer", "PromptBatch", "Scorer", "episodes"]

Floats = NDArray[np.float64]
Prompts = Callable[[int], PromptBatch]
"""``prompts(step)``: the prompts of the 0-based step, by its number alone."""


class PPOTrainer:
    """Trains ``language_model`` in place against what it was before.

    ``critic`` is a network apart in place of a value head on the policy's trunk; see `rlhf_fair.training.ppo.critic`.
    """

    def __init__(
        self,
        language_model: Any,
        tokenizer: Any,
        reward: RewardFunction,
        settings: PPOSettings,
        *,
        seed: int,
        fairness: Fairness | None = None,
        critic: nn.Module | None = None,
    ) -> None:
        self.tokenizer, self.reward, self.settings = tokenizer, reward, settings
        self.seed, self.fairness = seed, fairness
        self.devices = Devices(settings)
        language_model.to(self.devices.device)
        if settings.lora is not None:
            with torch.random.fork_rng():
                torch.manual_seed(seed)
                language_model = add_lora(language_model, settings.lora, task="CAUSAL_LM")
        if settings.kernels == "fast":
            for network in (language_model, critic):
                if network is not None:
                    hasten(network, self.devices.device.type)
        self.reference = Reference(language_model, additions=settings.lora is not None)
        streams = 2 if settings.separate_fairness_critic else 1
        if critic is not None and getattr(critic, "streams", 1) != streams:
            raise SettingsError(f"separate_fairness_critic = {streams == 2} needs a critic of {streams} streams")
        self.policy = PolicyWithValue(language_model, streams=streams, critic=critic)
        self.policy.to(self.devices.device).eval()  # dropout off: ratios start at exactly 1
        trained = [parameter for parameter in self.policy.parameters() if parameter.requires_grad]
        optimizer = torch.optim.AdamW(trained, lr=settings.learning_rate, eps=1e-5, weight_decay=0.0, fused=True)
        self.model, self.optimizer = self.devices.prepare(self.policy, optimizer)
        target = settings.kl_target
        self.kl = (
            FixedKL(settings.kl_coef)
            if target is None
            else AdaptiveKL(settings.kl_coef, target=target, horizon=settings.kl_horizon)
        )
        self.curve: list[dict[str, float]] = []
        self._checked = False

    def train(
        self,
        prompts: Prompts,
        *,
        name: str = "ppo",
        on_step: Callable[[dict[str, float]], None] | None = None,
        checkpoint: Path | None = None,
    ) -> TrainingRun:
        """Run the steps that are left; ``on_step`` hears each row of the curve.

        With ``checkpoint`` (a file) the state is kept every ``checkpoint_steps`` and at the end, and the same call on
        the untrained model resumes with bit-equal results. A step that fails leaves the state at its start there; the
        run may go on from it with another ``learning_rate`` or ``max_grad_norm``.
        """
        state = self._run_state(checkpoint, prompts)
        progress = state.restore()
        self.curve = progress.curve
        started, before = time.perf_counter(), progress.seconds
        while progress.steps < self.settings.steps:
            state.begin_step()
            try:
                row = self.step(prompts(progress.steps))
            except RlhfFairError:
                state.keep_last_good(progress)
                raise
            progress.steps += 1
            progress.seconds = before + time.perf_counter() - started
            if progress.steps % self.settings.checkpoint_steps == 0 or progress.steps == self.settings.steps:
                state.keep(progress)
            if on_step is not None:
                on_step(row)
        if self.settings.lora is not None:
            merge_lora(self.policy.language_model)
        use_torch(self.policy)
        return TrainingRun(
            name=name,
            kind="ppo",
            steps=len(self.curve),
            seconds=progress.seconds,
            kappa=tuple(row["kappa"] for row in self.curve),
            curve=tuple(self.curve),
        )

    def step(self, batch: PromptBatch) -> dict[str, float]:
        """One rollout and its update; returns the row of the curve."""
        s, number = self.settings, len(self.curve)
        if len(batch.texts) % self.devices.count:
            raise RowError(
                f"step {number + 1}: {len(batch.texts)} prompts do not divide by {self.devices.count} processes"
            )
        generator = torch.Generator().manual_seed(_stream(self.seed, number))
        uniforms = torch.rand((len(batch.texts), s.max_new_tokens), generator=generator)
        mine = self.devices.share(len(batch.texts))
        with self.devices.precision():
            rollout = roll_out(
                self.policy,
                self.reference,
                self.tokenizer,
                batch.part(mine),
                uniforms[mine],
                s,
                check=not self._checked,
            )
        self._checked = True
        scores, row = self._scores(rollout, batch, mine)
        rate = s.learning_rate * (1 - number / s.steps)
        for group in self.optimizer.param_groups:  # set anew at each step: the state of an optimiser holds a rate too
            group["lr"] = rate
        if number == 0 and self.policy.value_head is not None:
            rollout = self._start_values(self.policy.value_head, rollout, scores)
        rows = s.rows_at_once(rollout.sequence.shape[1], self.devices.device.type)
        learned = update(
            lambda some: rollout.evaluate(self.model, some, s.temperature, entropy=s.entropy_coef > 0),
            episodes(rollout, scores, s, kl_coef=self.kl.coefficient, total=self.devices.total),
            self.optimizer,
            s.model_copy(update={"micro_batch_size": rows}),
            generator=generator,
            processes=self.devices,
        )
        row = {"step": number + 1.0, **row, **learned, **self._account(rollout), "learning_rate": rate}
        self.kl.update(row["kl"], len(batch.texts))
        self.curve.append(row)
        return row

    def _start_values(self, head: ValueHead, rollout: Rollout, scores: Tensor) -> Rollout:
        """Let the head's values begin at the mean return over all tokens, each stream at its own.

        From 0, a reward with an offset would be learned by its offset alone: it is in every advantage, the more the
        nearer a token is to the end (``gae_lambda``), until the critic has crept up to it.
        """
        mask = rollout.response_mask
        free = replace(rollout, values=torch.zeros_like(rollout.values))
        plain = self.settings.model_copy(update={"gae_lambda": 1.0})  # advantages to a value of 0 are the returns
        returns = episodes(free, scores, plain, kl_coef=self.kl.coefficient, total=self.devices.total).returns
        returns = returns.view(*mask.shape, -1) * mask[..., None]
        sums = torch.cat([returns.double().sum((0, 1)), mask.sum().double()[None]])
        *totals, count = self.devices.total(sums).unbind()
        means = torch.stack(totals) / count
        with torch.no_grad():
            head.linear.bias.copy_(means)
        values = means.to(rollout.values).expand(*mask.shape, -1) * mask[..., None]
        return replace(rollout, values=values.reshape(rollout.values.shape))

    def _run_state(self, path: Path | None, prompts: Prompts) -> RunState:
        """Everything with a state, and the identity of the run that it belongs to."""
        weights = {"policy": TrainedWeights(self.policy), "optimizer": self.optimizer}
        running: dict[str, Any] = {"kl": self.kl}
        if self.fairness is not None:
            running["fairness"] = self.fairness.shaper
        if path is None:
            return RunState(None, "", weights, running)
        shaper = None if self.fairness is None else self.fairness.shaper
        rule = [] if shaper is None else [shaper.settings, sorted(shaper.reference_means.items())]
        first = prompts(0)
        data = [list(first.texts), sorted(first.columns)]
        identity = fingerprint(
            self.settings.of_the_run(), self.seed, self.devices.count, weight_digests(self.policy), rule, data
        )
        return RunState(path, identity, weights, running, writes=self.devices.first)

    def _scores(self, rollout: Rollout, batch: PromptBatch, mine: slice) -> tuple[Tensor, dict[str, float]]:
        """(n, streams) what each response earns at its end, and the row of the curve that explains it."""
        s = self.settings
        rewards = self.devices.gather(self._rewards(rollout))
        penalties, row = np.zeros(len(rewards)), {"kappa": 0.0, "gap": NAN}
        if self.fairness is not None:
            penalties, row = self.fairness.penalties(batch, rollout.completions, rewards, self.devices.gather)
        unfinished = np.array([not completion.finished for completion in rollout.completions])
        earned = rewards[mine] - s.missing_eos_penalty * unfinished
        streams = [earned, -penalties[mine]] if s.separate_fairness_critic else [earned - penalties[mine]]
        scores = torch.from_numpy(np.stack(streams, axis=1)).float().to(rollout.logprobs.device)
        return scores, {"reward": float(rewards.mean()), **row}

    def _rewards(self, rollout: Rollout) -> Floats:
        batch, texts = rollout.batch, [completion.text for completion in rollout.completions]
        rewards = np.asarray(self.reward(batch.texts, texts, **batch.columns), dtype=float)
        if rewards.shape != (len(texts),):
            raise RlhfFairError(f"reward gave values of shape {rewards.shape}; one per completion is ({len(texts)},)")
        if not np.isfinite(rewards).all():
            example = texts[int(np.argmin(np.isfinite(rewards)))]
            raise RlhfFairError(f"reward gave no finite number for {example!r}; PPO needs one for every completion")
        return rewards

    def _account(self, rollout: Rollout) -> dict[str, float]:
        """KL (nats per response), entropy (nats per token, estimated from the sampled tokens), lengths and endings."""
        mask = rollout.response_mask
        finished = torch.tensor(sum(c.finished for c in rollout.completions), device=mask.device)
        sums = torch.stack(
            [rollout.log_ratio.sum().double(), -rollout.logprobs.sum().double(), mask.sum().double(), finished.double()]
        )
        kl, surprise, tokens, finished_all = self.devices.total(sums).tolist()
        n = len(rollout.completions) * self.devices.count
        account = {"kl": kl / n, "kl_coef": self.kl.coefficient, "entropy": surprise / tokens}
        return account | {"length": tokens / n, "finished": finished_all / n}


def episodes(rollout: Rollout, scores: Tensor, settings: PPOSettings, *, kl_coef: float, total: Total) -> Episodes:
    """Advantages and returns of a rollout. scores: (batch, streams), paid at the last token of each response.

    Every stream has returns of its own; the KL divergence is priced in the first. Their advantages add up before they
    are standardized over the batch, so that a penalty keeps its size beside the reward.
    """
    mask, values = rollout.response_mask, rollout.values.reshape(*rollout.response_mask.shape, -1)
    advantages, returns = torch.zeros_like(rollout.logprobs), []
    for stream, score in enumerate(scores.unbind(-1)):
        price = kl_coef if stream == 0 else 0.0
        found = generalized_advantage_estimate(
            token_rewards(score, rollout.log_ratio, mask, kl_coef=price),
            values[..., stream],
            mask,
            gamma=settings.gamma,
            gae_lambda=settings.gae_lambda,
        )
        advantages = advantages + found.advantages
        returns.append(found.returns)
    targets = torch.stack(returns, -1).view_as(rollout.values)
    return Episodes(rollout.logprobs, rollout.values, standardize(advantages, mask, total=total), targets, mask)


def _stream(seed: int, step: int) -> int:
    return int(np.random.SeedSequence([seed, step]).generate_state(1)[0])
