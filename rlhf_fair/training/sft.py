"""Supervised training of a causal language model: on whole documents, or on the answer part alone.

A stopped run goes on where it stood, to the bit: the randomness of a step depends on the seed and its number alone.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from rlhf_fair.errors import SettingsError
from rlhf_fair.models.selected_logits import input_device
from rlhf_fair.records import TrainingRun
from rlhf_fair.settings import Settings
from rlhf_fair.training.batches import epoch_batches
from rlhf_fair.training.learning_rate import rate_share
from rlhf_fair.training.reward.checkpoint import Progress, fingerprint, keep, restore, weight_digests

IGNORED = -100
Row = tuple[list[int], int]
"""Token ids of a text, and how many of them are its prompt's."""


class SFTSettings(Settings):
    """Optimisation of next-token prediction.

    ``micro_batch_size`` (None: all of a batch) texts pass through the model at once; the loss stays the mean over the
    answer tokens of the whole batch. ``precision``: bf16 runs matrix products in bfloat16, weights stay float32.
    ``checkpoint_steps``: where a checkpoint is kept, after so many steps.
    """

    epochs: int = Field(1, ge=1)
    batch_size: int = Field(64, ge=1)
    micro_batch_size: int | None = Field(None, ge=1)
    learning_rate: float = Field(2e-3, gt=0)
    warmup_share: float = Field(0.05, ge=0, lt=1)
    weight_decay: float = Field(0.0, ge=0)
    max_grad_norm: float = Field(1.0, gt=0)
    precision: Literal["no", "bf16"] = "no"
    checkpoint_steps: int = Field(200, ge=1)


def train_causal_lm(
    model: Any,
    tokenizer: Any,
    texts: Sequence[tuple[str, str]],
    settings: SFTSettings,
    *,
    seed: int,
    name: str = "sft",
    on_step: Callable[[int, int, float], None] | None = None,
    checkpoint: Path | None = None,
) -> TrainingRun:
    """Minimise the mean negative log-likelihood (nats per token) of each text's second part given its first.

    ``texts`` are (prompt, answer) pairs; an empty prompt trains on the whole answer. The end-of-sequence token is
    appended and learned. ``on_step(step, total, loss)`` reports progress, of a resumed run from where it stood. The
    model is changed in place; parameters that need no gradient stay. ``checkpoint``: a file that keeps the state;
    the same call on the untrained model goes on from it.
    """
    if not texts:
        raise SettingsError("sft needs at least one text; got 0")
    device = input_device(model)
    with torch.random.fork_rng(devices=None if device.type == "cuda" else []):
        run = _Run(model, tokenizer, encode_pairs(tokenizer, texts), settings, seed)
        run.restore(checkpoint)
        run.train(on_step, checkpoint)
    model.eval()
    p = run.progress
    return TrainingRun(name=name, kind="sft", steps=p.steps, seconds=p.seconds, curve=tuple(p.curve))


class _Run:
    """Model, optimiser and position of one run."""

    def __init__(self, model: Any, tokenizer: Any, rows: Sequence[Row], settings: SFTSettings, seed: int) -> None:
        self.model, self.rows, self.settings, self.seed = model, rows, settings, seed
        self.pad_token_id, self.device = tokenizer.pad_token_id, input_device(model)
        self.lengths = np.array([len(ids) for ids, _ in rows])
        self.per_epoch = math.ceil(len(rows) / settings.batch_size)
        self.n_steps = settings.epochs * self.per_epoch
        self.trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self.optimizer = torch.optim.AdamW(
            self.trained,
            lr=settings.learning_rate,
            betas=(0.9, 0.95),
            weight_decay=settings.weight_decay,
            foreach=True,
        )
        self.progress = Progress()
        self.identity = ""

    def restore(self, checkpoint: Path | None) -> None:
        """Take up an earlier run of the same data and settings, from the same weights."""
        if checkpoint is None:
            return
        shared = self.settings.model_copy(update={"checkpoint_steps": 1})  # changes nothing of what is learnt
        data = [[*ids, start] for ids, start in self.rows]
        self.identity = fingerprint(shared, self.seed, weight_digests(self.model), data)
        self.progress = restore(checkpoint, self.identity, {"model": self.model, "optimizer": self.optimizer})

    def train(self, on_step: Callable[[int, int, float], None] | None, checkpoint: Path | None) -> None:
        """All steps that are left."""
        started, before = time.perf_counter(), self.progress.seconds
        self.model.train()
        for epoch in range(self.progress.steps // self.per_epoch, self.settings.epochs):
            rng = np.random.default_rng([self.seed, epoch])
            batches = epoch_batches(self.lengths, self.settings.batch_size, rng)
            for chosen in batches[self.progress.steps - epoch * self.per_epoch :]:
                loss = self.step(chosen)
                self.progress.steps += 1
                self.progress.curve.append({"step": float(self.progress.steps), "loss": loss})
                self.progress.seconds = before + time.perf_counter() - started
                if on_step is not None:
                    on_step(self.progress.steps, self.n_steps, loss)
                due = self.progress.steps % self.settings.checkpoint_steps == 0
                if checkpoint and (due or self.progress.steps == self.n_steps):
                    parts = {"model": self.model, "optimizer": self.optimizer}
                    keep(checkpoint, self.identity, parts, self.progress)

    def step(self, chosen: NDArray[np.int64]) -> float:
        """One move of the optimiser; returns the loss of the batch, nats per answer token."""
        s, number = self.settings, self.progress.steps
        torch.manual_seed(int(np.random.SeedSequence([self.seed, number]).generate_state(1)[0]))
        for group in self.optimizer.param_groups:
            group["lr"] = s.learning_rate * rate_share(number, self.n_steps, s.warmup_share)
        self.optimizer.zero_grad(set_to_none=True)
        rows = [self.rows[index] for index in chosen]
        tokens = max(sum(_targets(row) for row in rows), 1)
        size = s.micro_batch_size or len(rows)
        total = 0.0
        for at in range(0, len(rows), size):
            loss = self._negative_log_likelihood(rows[at : at + size]) / tokens
            loss.backward()
            total += loss.item()
        if not math.isfinite(total):
            raise SettingsError(f"step {number + 1}: the loss is {total}; lower the learning rate ({s.learning_rate})")
        nn.utils.clip_grad_norm_(self.trained, s.max_grad_norm)
        self.optimizer.step()
        return total

    def _negative_log_likelihood(self, rows: Sequence[Row]) -> Tensor:
        """Sum over the answer tokens of some texts, nats."""
        longest = max(len(ids) for ids, _ in rows)
        ids = torch.full((len(rows), longest), self.pad_token_id, dtype=torch.long)
        labels = torch.full((len(rows), longest), IGNORED, dtype=torch.long)
        for index, (row, prompt_len) in enumerate(rows):
            ids[index, : len(row)] = torch.tensor(row)
            labels[index, prompt_len : len(row)] = ids[index, prompt_len : len(row)]
        # right padding under a causal mask: no real token can see a padded one, so no attention mask is needed
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.settings.precision == "bf16"):
            logits = self.model(input_ids=ids.to(self.device)).logits
        targets = labels[:, 1:].flatten().to(self.device)
        return nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1).float(), targets, reduction="sum")


def encode_pairs(tokenizer: Any, texts: Sequence[tuple[str, str]]) -> list[Row]:
    """Token ids of prompt, answer and end of sequence, and the number of prompt tokens, for each text."""
    prompts = tokenizer([prompt for prompt, _ in texts])["input_ids"]
    answers = tokenizer([answer for _, answer in texts], add_special_tokens=False)["input_ids"]
    return [(p + a + [tokenizer.eos_token_id], len(p)) for p, a in zip(prompts, answers, strict=True)]


def _targets(row: Row) -> int:
    """Tokens that are learnt: nothing comes before the first of all to predict it."""
    ids, prompt_len = row
    return len(ids) - max(prompt_len, 1)
