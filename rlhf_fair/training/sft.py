"""Supervised training of a causal language model: on whole documents, or on the answer part alone."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from rlhf_fair.errors import SettingsError
from rlhf_fair.records import TrainingRun
from rlhf_fair.settings import Settings
from rlhf_fair.training.batches import epoch_batches
from rlhf_fair.training.learning_rate import rate_share

IGNORED = -100


class SFTSettings(Settings):
    """Optimisation of next-token prediction."""

    epochs: int = Field(1, ge=1)
    batch_size: int = Field(64, ge=1)
    learning_rate: float = Field(2e-3, gt=0)
    warmup_share: float = Field(0.05, ge=0, lt=1)
    weight_decay: float = Field(0.0, ge=0)
    max_grad_norm: float = Field(1.0, gt=0)


def train_causal_lm(
    model: Any,
    tokenizer: Any,
    texts: Sequence[tuple[str, str]],
    settings: SFTSettings,
    *,
    seed: int,
    name: str = "sft",
    on_step: Callable[[int, int, float], None] | None = None,
) -> TrainingRun:
    """Minimise the mean negative log-likelihood (nats per token) of each text's second part given its first.

    ``texts`` are (prompt, answer) pairs; an empty prompt trains on the whole answer. The end-of-sequence token is
    appended and learned. ``on_step(step, total, loss)`` reports progress. The model is changed in place.
    """
    if not texts:
        raise SettingsError("sft needs at least one text; got 0")
    started = time.perf_counter()
    rows = _encode(tokenizer, texts)
    lengths = np.array([len(ids) for ids, _ in rows])
    total = settings.epochs * math.ceil(len(rows) / settings.batch_size)
    optimizer = torch.optim.AdamW(
        model.parameters(),
        lr=settings.learning_rate,
        betas=(0.9, 0.95),
        weight_decay=settings.weight_decay,
        foreach=True,
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: rate_share(step, total, settings.warmup_share))
    model.train()
    curve: list[dict[str, float]] = []
    for epoch in range(settings.epochs):
        for chosen in epoch_batches(lengths, settings.batch_size, np.random.default_rng([seed, epoch])):
            loss = _loss(model, [rows[index] for index in chosen], tokenizer.pad_token_id)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), settings.max_grad_norm)
            optimizer.step()
            schedule.step()
            curve.append({"step": float(len(curve)), "loss": loss.item()})
            if on_step is not None:
                on_step(len(curve), total, loss.item())
    model.eval()
    return TrainingRun(
        name=name, kind="sft", steps=len(curve), seconds=time.perf_counter() - started, curve=tuple(curve)
    )


def _encode(tokenizer: Any, texts: Sequence[tuple[str, str]]) -> list[tuple[list[int], int]]:
    """(token ids, number of prompt tokens) per text."""
    prompts = tokenizer([prompt for prompt, _ in texts])["input_ids"]
    answers = tokenizer([answer for _, answer in texts], add_special_tokens=False)["input_ids"]
    return [(p + a + [tokenizer.eos_token_id], len(p)) for p, a in zip(prompts, answers, strict=True)]


def _loss(model: Any, rows: list[tuple[list[int], int]], pad_token_id: int) -> Tensor:
    longest = max(len(ids) for ids, _ in rows)
    ids = torch.full((len(rows), longest), pad_token_id, dtype=torch.long)
    labels = torch.full((len(rows), longest), IGNORED, dtype=torch.long)
    for index, (row, prompt_len) in enumerate(rows):
        ids[index, : len(row)] = torch.tensor(row)
        labels[index, prompt_len : len(row)] = ids[index, prompt_len : len(row)]
    # right padding under a causal mask: no real token can see a padded one, so no attention mask is needed
    logits = model(input_ids=ids).logits
    return nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1).float(), labels[:, 1:].flatten())
