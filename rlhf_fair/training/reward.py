"""Train a scalar reward model on preference pairs or ratings; a stopped run goes on where it stood."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field

from rlhf_fair.artifacts import atomic_path, canonical_json
from rlhf_fair.errors import RowError, SettingsError
from rlhf_fair.models.reward_model import encode, pad, pick_device
from rlhf_fair.settings import Settings
from rlhf_fair.training.reward_preference import PairData
from rlhf_fair.training.reward_rating import RatingData

__all__ = ["PairData", "RatingData", "RewardRun", "RewardSettings", "train_reward_model"]

CHUNK_BATCHES = 16
"""Rows are sorted by length within shuffled chunks of this many batches: little padding, still random batches."""


class RewardSettings(Settings):
    """How a reward model is optimised. ``dropout`` None keeps the model's own; ``max_length`` is in tokens."""

    epochs: int = Field(3, ge=1)
    learning_rate: float = Field(5e-5, gt=0)
    batch_size: int = Field(32, ge=1)
    max_length: int = Field(128, ge=1)
    warmup_share: float = Field(0.1, ge=0, lt=1)
    weight_decay: float = Field(0.01, ge=0)
    clip_norm: float = Field(1.0, gt=0)
    dropout: float | None = Field(None, ge=0, lt=1)
    head_init: Literal["normal", "keep"] = "normal"
    seed: int = 0
    device: str = "auto"


class TrainingData(Protocol):
    """What the trainer needs of an objective: texts in columns, and the loss of their rewards."""

    @property
    def columns(self) -> tuple[Sequence[str], ...]:
        """Texts to score, each column (n,)."""

    def loss(self, rewards: torch.Tensor, rows: NDArray[np.int64]) -> tuple[torch.Tensor, dict[str, float]]:
        """Batch loss and metrics for ``rewards`` (columns, batch) of ``rows`` (batch,)."""


@dataclass(frozen=True)
class RewardRun:
    """What happened: one dict per step (step, epoch, loss, learning_rate, accuracy or error), and totals.

    ``truncated`` counts texts cut at ``max_length``; ``resumed_epochs`` were read from the checkpoint.
    """

    curve: list[dict[str, float]]
    seconds: float
    steps: int
    truncated: int
    resumed_epochs: int = 0


@dataclass
class _State:
    epochs: int = 0
    seconds: float = 0.0
    curve: list[dict[str, float]] = field(default_factory=list)


def train_reward_model(
    model: Any,
    tokenizer: Any,
    data: TrainingData,
    settings: RewardSettings,
    *,
    on_step: Callable[[dict[str, float]], None] | None = None,
    checkpoint: Path | None = None,
) -> RewardRun:
    """Optimise ``model`` in place and leave it in evaluation mode.

    With ``checkpoint`` (a file) the state is kept after every epoch, and the same call resumes with bit-equal results:
    the randomness of an epoch depends on the seed and its number alone. ``on_step`` hears each row of the curve.
    """
    device = pick_device(settings.device)
    tokens, truncated = _tokens(tokenizer, data, settings.max_length)
    lengths = np.array([max(map(len, rows)) for rows in zip(*tokens, strict=True)], dtype=np.int64)
    n_steps = settings.epochs * math.ceil(len(lengths) / settings.batch_size)
    with torch.random.fork_rng(devices=[] if device == "cpu" else None):
        _prepare(model.to(device), settings)
        optimizer = torch.optim.AdamW(_parameter_groups(model, settings), lr=settings.learning_rate)
        identity = _identity(model, data, settings) if checkpoint else ""
        state = _restore(checkpoint, identity, model, optimizer) if checkpoint else _State()
        resumed = state.epochs
        for epoch in range(resumed, settings.epochs):
            started = time.perf_counter()
            torch.manual_seed(_epoch_seed(settings.seed, epoch))
            model.train()
            for rows in epoch_batches(lengths, settings.batch_size, np.random.default_rng([settings.seed, epoch])):
                step = len(state.curve)
                for group in optimizer.param_groups:
                    group["lr"] = settings.learning_rate * rate_share(step, n_steps, settings.warmup_share)
                row = _step(model, tokenizer, data, tokens, rows, optimizer, settings)
                state.curve.append({"step": step + 1.0, "epoch": epoch + 1.0, **row})
                if on_step is not None:
                    on_step(state.curve[-1])
            state.epochs, state.seconds = epoch + 1, state.seconds + time.perf_counter() - started
            if checkpoint:
                _keep(checkpoint, identity, model, optimizer, state)
    model.eval()
    return RewardRun(state.curve, state.seconds, len(state.curve), truncated, resumed)


def epoch_batches(lengths: NDArray[np.int64], batch_size: int, rng: np.random.Generator) -> list[NDArray[np.int64]]:
    """Every row exactly once, in batches of similar length and random order."""
    order = rng.permutation(len(lengths))
    size = batch_size * CHUNK_BATCHES
    batches = []
    for start in range(0, len(order), size):
        chunk = order[start : start + size]
        chunk = chunk[np.argsort(lengths[chunk], kind="stable")]
        batches += [chunk[at : at + batch_size] for at in range(0, len(chunk), batch_size)]
    return [batches[index] for index in rng.permutation(len(batches))]


def rate_share(step: int, n_steps: int, warmup_share: float) -> float:
    """Share of the peak learning rate at 0-based ``step``: linear up over the warm-up, then linear down to 0."""
    warmup = math.ceil(n_steps * warmup_share)
    if step < warmup:
        return (step + 1) / warmup
    return (n_steps - step) / max(n_steps - warmup, 1)


def reward_head(model: Any) -> torch.nn.Linear:
    """The last linear layer with one output."""
    heads = [module for module in model.modules() if isinstance(module, torch.nn.Linear) and module.out_features == 1]
    if not heads:
        raise SettingsError(f"{type(model).__name__} has no linear layer with one output to serve as the reward head")
    return heads[-1]


def init_reward_head(model: Any, generator: torch.Generator) -> None:
    """Weights N(0, 1/sqrt(d + 1)) as standard deviation, bias 0; d is the hidden size. Stiennon et al. 2020."""
    head = reward_head(model)
    with torch.no_grad():
        drawn = torch.randn(head.weight.shape, generator=generator) / math.sqrt(head.in_features + 1)
        head.weight.copy_(drawn)
        if head.bias is not None:
            head.bias.zero_()


def set_dropout(model: Any, probability: float) -> None:
    """Set every dropout of the model, those that attention keeps as a number included."""
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = probability
        elif isinstance(getattr(module, "attention_dropout", None), float):
            module.attention_dropout = probability


def _tokens(tokenizer: Any, data: TrainingData, max_length: int) -> tuple[list[list[list[int]]], int]:
    """Token ids by column and row, and how many texts were cut."""
    if not len(data.columns[0]):
        raise RowError("training data: no rows")
    longer = [encode(tokenizer, column, max_length + 1) for column in data.columns]
    truncated = sum(len(row) > max_length for column in longer for row in column)
    return [encode(tokenizer, column, max_length) for column in data.columns], truncated


def _prepare(model: Any, settings: RewardSettings) -> None:
    if settings.head_init == "normal":
        init_reward_head(model, torch.Generator().manual_seed(settings.seed))
    if settings.dropout is not None:
        set_dropout(model, settings.dropout)


def _parameter_groups(model: Any, settings: RewardSettings) -> list[dict[str, Any]]:
    """Weight decay on matrices only: not on biases and norms."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return [
        {"params": [p for p in trained if p.dim() > 1], "weight_decay": settings.weight_decay},
        {"params": [p for p in trained if p.dim() <= 1], "weight_decay": 0.0},
    ]


def _step(
    model: Any,
    tokenizer: Any,
    data: TrainingData,
    tokens: list[list[list[int]]],
    rows: NDArray[np.int64],
    optimizer: torch.optim.Optimizer,
    settings: RewardSettings,
) -> dict[str, float]:
    batch = pad([column[row] for column in tokens for row in rows], tokenizer.pad_token_id, str(model.device))
    rewards = model(**batch).logits[:, 0].float().view(len(tokens), len(rows))
    loss, metrics = data.loss(rewards, rows)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), settings.clip_norm)
    optimizer.step()
    return {"loss": float(loss.detach()), "learning_rate": float(optimizer.param_groups[0]["lr"]), **metrics}


def _epoch_seed(seed: int, epoch: int) -> int:
    return int(np.random.SeedSequence([seed, epoch]).generate_state(1)[0])


def _identity(model: Any, data: TrainingData, settings: RewardSettings) -> str:
    """Hash of settings, model shape, texts and targets: a checkpoint of another run is never continued."""
    digest = hashlib.sha256(canonical_json(settings.model_dump(mode="json")))
    digest.update(canonical_json([[name, list(p.shape)] for name, p in model.named_parameters()]))
    for column in data.columns:
        digest.update(canonical_json(list(map(str, column))))
    for name in ("target", "p_a", "weight"):
        values = getattr(data, name, None)
        digest.update(b"" if values is None else np.asarray(values, dtype=float).tobytes())
    return digest.hexdigest()


def _keep(path: Path, identity: str, model: Any, optimizer: torch.optim.Optimizer, state: _State) -> None:
    content = {"identity": identity, "model": model.state_dict(), "optimizer": optimizer.state_dict(), **vars(state)}
    with atomic_path(path) as temporary:
        torch.save(content, temporary)


def _restore(path: Path, identity: str, model: Any, optimizer: torch.optim.Optimizer) -> _State:
    if not path.is_file():
        return _State()
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for a damaged file
        raise SettingsError(f"checkpoint {path} cannot be read; delete it to start again") from error
    if content["identity"] != identity:
        raise SettingsError(f"checkpoint {path} belongs to other data or settings; delete it or choose another folder")
    model.load_state_dict(content["model"])
    optimizer.load_state_dict(content["optimizer"])
    return _State(content["epochs"], content["seconds"], content["curve"])
