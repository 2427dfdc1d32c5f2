"""Train a reward model; a stopped run goes on where it stood, to the bit."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from rlhf_fair.errors import RowError, SettingsError
from rlhf_fair.models.loading import position_limit
from rlhf_fair.models.reward_model import encode, pad
from rlhf_fair.training.batches import epoch_batches, share_of
from rlhf_fair.training.learning_rate import rate_share
from rlhf_fair.training.reward.checkpoint import Progress, fingerprint, keep, restore, weight_digests
from rlhf_fair.training.reward.devices import open_accelerator
from rlhf_fair.training.reward.head import FeatureTap, freeze_trunk, init_reward_head, reward_head, set_dropout
from rlhf_fair.training.reward.lora import add_lora, merge_lora
from rlhf_fair.training.reward.objectives import Objective
from rlhf_fair.training.reward.scheme import HeadScheme, OneScheme
from rlhf_fair.training.reward.settings import RewardSettings
from rlhf_fair.training.reward.terms import Step, Term
from rlhf_fair.training.reward.weighting import WeightedMean, Weighting


@dataclass(frozen=True)
class RewardTask:
    """What is to be learnt: from which rows, by which heads, with which weight of groups, and under which penalties."""

    objective: Objective
    scheme: HeadScheme = field(default_factory=OneScheme)
    weighting: Weighting | None = None
    terms: tuple[Term, ...] = ()


@dataclass(frozen=True)
class RewardRun:
    """What happened: one dict per step (step, epoch, loss, learning_rate, and what the task measures), and totals.

    ``truncated`` counts texts cut at ``max_length``; ``resumed_steps`` were read from the checkpoint.
    """

    curve: list[dict[str, float]]
    seconds: float
    steps: int
    truncated: int
    resumed_steps: int = 0


def train_reward_model(
    model: Any,
    tokenizer: Any,
    task: RewardTask | Objective,
    settings: RewardSettings,
    *,
    on_step: Callable[[dict[str, float]], None] | None = None,
    checkpoint: Path | None = None,
) -> RewardRun:
    """Optimise ``model`` in place and leave it in evaluation mode.

    With ``checkpoint`` (a file) the state is kept as ``settings`` say, and the same call on the untrained model resumes
    with bit-equal results: the randomness of a step depends on the seed and its number alone. ``on_step`` hears each
    row of the curve.
    """
    task = task if isinstance(task, RewardTask) else RewardTask(task)
    accelerator = open_accelerator(settings, checkpoint.parent if checkpoint else None)
    with torch.random.fork_rng(devices=None if accelerator.device.type == "cuda" else []):
        run = _Run(model, tokenizer, task, settings, accelerator)
        run.restore(checkpoint)
        resumed = run.progress.steps
        run.train(on_step, checkpoint)
    # else the autocast of training stays on ``forward``, and the model scores otherwise than it does once saved
    trained = accelerator.unwrap_model(run.model, keep_fp32_wrapper=False)
    if settings.lora is not None:
        merge_lora(trained)
    if settings.trackers:
        accelerator.end_training()
    model.eval()
    return RewardRun(run.progress.curve, run.progress.seconds, run.progress.steps, run.truncated, resumed)


def steps_of(n: int, settings: RewardSettings, processes: int = 1) -> int:
    """Optimiser steps of a whole run over ``n`` rows."""
    return settings.epochs * math.ceil(math.ceil(n / settings.batch_size) / processes)


class _Run:
    """Model, optimiser and position of one run."""

    def __init__(self, model: Any, tokenizer: Any, task: RewardTask, settings: RewardSettings, accelerator: Any):
        self.task, self.settings, self.tokenizer, self.accelerator = task, settings, tokenizer, accelerator
        if (limit := position_limit(model)) is not None and settings.max_length > limit:
            raise SettingsError(f"training.max_length = {settings.max_length}: the model reads at most {limit} tokens")
        self.tokens, self.truncated = _tokens(tokenizer, task.objective.columns, settings.max_length)
        self.lengths = np.array([max(map(len, rows)) for rows in zip(*self.tokens, strict=True)], dtype=np.int64)
        self.weighting = task.weighting or WeightedMean(task.objective.weight, len(self.lengths))
        self.progress = Progress()
        if settings.head_init == "normal":
            init_reward_head(model, torch.Generator().manual_seed(settings.seed))
        if settings.dropout is not None:
            set_dropout(model, settings.dropout)
        if settings.trainable == "head":
            freeze_trunk(model)
        if settings.lora is not None:
            torch.manual_seed(settings.seed)
            model = add_lora(model, settings.lora)
        self.tap = FeatureTap(model) if any(term.needs_features for term in task.terms) else None
        for term in task.terms:
            term.prepare(
                lambda texts: encode(tokenizer, texts, settings.max_length),
                reward_head(model).in_features,
                accelerator.device,
            )
        optimizer = torch.optim.AdamW(_parameter_groups(model, task, settings), lr=settings.learning_rate)
        self.model, self.optimizer = accelerator.prepare(model, optimizer)
        self.n_steps = steps_of(len(self.lengths), settings, accelerator.num_processes)

    @property
    def _own(self) -> list[torch.nn.Parameter]:
        """What is trained beside the model: the objective's and the terms' parameters."""
        return [*self.task.objective.parameters(), *(p for term in self.task.terms for p in term.parameters())]

    @property
    def parts(self) -> dict[str, Any]:
        """Everything with a state."""
        parts = {"model": self.accelerator.unwrap_model(self.model), "optimizer": self.optimizer}
        parts |= {"weighting": self.weighting, "extra": torch.nn.ParameterList(self._own)}
        if self.accelerator.scaler is not None:
            parts["scaler"] = self.accelerator.scaler
        return parts | {f"term {number}": term for number, term in enumerate(self.task.terms)}

    def restore(self, checkpoint: Path | None) -> None:
        """Take up an earlier run of the same data and settings, from the same weights."""
        if checkpoint is None:
            self.identity = ""
            return
        shared = self.settings.model_copy(update={"trackers": (), "checkpoint_steps": 1})  # teach nothing
        weights, processes = weight_digests(self.parts["model"]), self.accelerator.num_processes
        self.identity = fingerprint(shared, weights, processes, self.task, self.weighting)
        self.progress = restore(checkpoint, self.identity, self.parts)

    def train(self, on_step: Callable[[dict[str, float]], None] | None, checkpoint: Path | None) -> None:
        """All steps that are left."""
        started, before = time.perf_counter(), self.progress.seconds
        self.model.train()
        per_epoch = self.n_steps // self.settings.epochs
        for epoch in range(self.progress.steps // per_epoch, self.settings.epochs):
            rng = np.random.default_rng([self.settings.seed, epoch])
            batches = epoch_batches(self.lengths, self.settings.batch_size, rng)
            batches = share_of(batches, self.accelerator.process_index, self.accelerator.num_processes)
            for rows in batches[self.progress.steps - epoch * per_epoch :]:
                row = {"step": self.progress.steps + 1.0, "epoch": epoch + 1.0, **self.step(rows)}
                self.progress.steps += 1
                self.progress.seconds = before + time.perf_counter() - started
                self.progress.curve.append(row)
                if self.settings.trackers:
                    self.accelerator.log(row, step=self.progress.steps)
                if on_step is not None:
                    on_step(row)
                due = self.progress.steps % self.settings.checkpoint_steps == 0
                if checkpoint and (due or self.progress.steps % per_epoch == 0):
                    self.keep(checkpoint)

    def keep(self, checkpoint: Path) -> None:
        """Write a checkpoint; of several processes the first does."""
        if self.accelerator.is_main_process:
            keep(checkpoint, self.identity, self.parts, self.progress)

    def step(self, rows: NDArray[np.int64]) -> dict[str, float]:
        """One move of the optimiser on ``rows``, in micro-batches; returns its row of the curve."""
        s, number = self.settings, self.progress.steps
        stream = [s.seed, number, self.accelerator.process_index]
        torch.manual_seed(int(np.random.SeedSequence(stream).generate_state(1)[0]))
        rate = s.learning_rate * rate_share(number, self.n_steps, s.warmup_share)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad(set_to_none=True)
        size = s.micro_batch_size or len(rows)
        parts = [rows[at : at + size] for at in range(0, len(rows), size)]
        rng = np.random.default_rng([*stream, 1])
        total, metrics = 0.0, dict[str, list[float]]()
        for place, part in enumerate(parts):
            with self.accelerator.no_sync(self.model) if place + 1 < len(parts) else nullcontext():
                loss, found = self._loss(part, rng)
                loss = loss * (len(part) / len(rows))
                self.accelerator.backward(loss)
            total += float(loss.detach())
            for name, value in found.items():
                metrics.setdefault(name, []).append(value)
        if not math.isfinite(total):
            raise SettingsError(f"step {number + 1}: the loss is {total}; lower the learning rate ({s.learning_rate})")
        self.accelerator.clip_grad_norm_(self.model.parameters(), s.clip_norm)
        self._share_gradients()
        self.optimizer.step()
        self.weighting.after_step()
        for term in self.task.terms:
            term.after_step()
        means = {name: float(np.mean(values)) for name, values in metrics.items()}
        return {"loss": total, "learning_rate": rate, **means, **self.weighting.metrics()}

    def _share_gradients(self) -> None:
        """Thresholds and adversaries live outside the model, whose gradients alone are averaged over processes."""
        n = self.accelerator.num_processes
        for parameter in self._own if n > 1 else ():
            mine = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            parameter.grad = (self._across(mine.to(self.accelerator.device)) / n).to(parameter.device)

    def _loss(self, rows: NDArray[np.int64], rng: np.random.Generator) -> tuple[torch.Tensor, dict[str, float]]:
        task, columns = self.task, len(self.tokens)
        outputs, features = self._forward([column[row] for column in self.tokens for row in rows])
        outputs = outputs.view(columns, len(rows), -1)
        picked = torch.from_numpy(rows)
        losses = task.scheme.row_losses(task.objective, outputs, picked)
        loss = self.weighting.reduce(losses, picked, self._across)
        with torch.no_grad():
            metrics = task.objective.metrics(task.scheme.prediction(outputs, picked), picked)
        if task.terms:
            step = Step(
                outputs=outputs,
                features=None if features is None else features.view(columns, len(rows), -1),
                rows=picked,
                score=lambda tokens: self._forward(tokens)[0],
                rng=rng,
                progress=self.progress.steps / self.n_steps,
                across=self._across,
            )
            loss = loss + sum(term.loss(step) for term in task.terms)
            metrics |= {name: value for term in task.terms for name, value in term.metrics().items()}
        return loss, metrics

    def _forward(self, tokens: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor | None]:
        batch = pad(tokens, self.tokenizer.pad_token_id, str(self.accelerator.device))
        outputs = self.model(**batch).logits.float()
        return outputs, None if self.tap is None else self.tap.features(batch["attention_mask"])

    def _across(self, values: torch.Tensor) -> torch.Tensor:
        if self.accelerator.num_processes == 1:
            return values
        summed: torch.Tensor = self.accelerator.reduce(values, reduction="sum")
        return summed


def _tokens(tokenizer: Any, columns: Sequence[Sequence[str]], max_length: int) -> tuple[list[list[list[int]]], int]:
    """Token ids by column and row, and how many texts were cut."""
    if not len(columns[0]):
        raise RowError("training data: no rows")
    longer = [encode(tokenizer, column, max_length + 1) for column in columns]
    truncated = sum(len(row) > max_length for column in longer for row in column)
    if not truncated:
        return longer, 0
    return [encode(tokenizer, column, max_length) for column in columns], truncated


def _parameter_groups(model: Any, task: RewardTask, settings: RewardSettings) -> list[dict[str, Any]]:
    """Weight decay on the model's matrices only: not on biases, norms and what belongs to losses."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    own = [*task.objective.parameters(), *(p for term in task.terms for p in term.parameters())]
    groups = [
        {"params": [p for p in trained if p.dim() > 1], "weight_decay": settings.weight_decay},
        {"params": [p for p in trained if p.dim() <= 1], "weight_decay": 0.0},
    ]
    return [*groups, {"params": own, "weight_decay": 0.0}] if own else groups
