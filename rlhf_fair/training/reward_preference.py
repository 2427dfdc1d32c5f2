"""Preference pairs and the Bradley-Terry loss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from rlhf_fair.errors import RowError


def bradley_terry_loss(difference: torch.Tensor, p_a: torch.Tensor) -> torch.Tensor:
    """-p log sigmoid(d) - (1 - p) log sigmoid(-d), elementwise, for d = reward_a - reward_b; nats.

    ``p_a`` in [0, 1] is the share of judgements for a; .5 is a tie. d = 0 gives ln 2; the minimum over d is at
    logit(p_a). Bradley & Terry 1952; Stiennon et al. 2020.
    """
    return -p_a * F.logsigmoid(difference) - (1 - p_a) * F.logsigmoid(-difference)


@dataclass(frozen=True)
class PairData:
    """Two texts per row (prompt included), the share of judgements for ``text_a``, and a weight (None: equal)."""

    text_a: Sequence[str]
    text_b: Sequence[str]
    p_a: NDArray[np.float64]
    weight: NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        n = len(self.text_a)
        _same_length(n, text_b=self.text_b, p_a=self.p_a, weight=self.weight)
        if not np.all((np.asarray(self.p_a) >= 0) & (np.asarray(self.p_a) <= 1)):
            raise RowError("preference pairs: p_a must lie in [0, 1] and not be missing")

    @property
    def columns(self) -> tuple[Sequence[str], ...]:
        """The texts to score, one column per response."""
        return (self.text_a, self.text_b)

    def loss(self, rewards: torch.Tensor, rows: NDArray[np.int64]) -> tuple[torch.Tensor, dict[str, float]]:
        """Weighted mean loss of a batch; ``rewards``: (2, batch). Accuracy leaves out ties."""
        p_a, weight = (values[torch.from_numpy(rows)].to(rewards.device) for values in self._tensors)
        difference = rewards[0] - rewards[1]
        loss = (weight * bradley_terry_loss(difference, p_a)).mean()
        decided = p_a != 0.5
        agrees = ((difference > 0) == (p_a > 0.5))[decided].float()
        return loss, {"accuracy": float(agrees.mean()) if len(agrees) else float("nan")}

    @cached_property
    def _tensors(self) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.tensor(self.p_a, dtype=torch.float32), mean_one(self.weight, len(self.text_a))


def mean_one(weight: NDArray[np.float64] | None, n: int) -> torch.Tensor:
    """Weights rescaled to mean 1, so that a batch mean is unbiased for the weighted mean whatever the batches."""
    values = np.ones(n) if weight is None else np.asarray(weight, dtype=float)
    if not np.all(np.isfinite(values) & (values >= 0)) or (n and values.sum() == 0):
        raise RowError("training weights must be finite, at least 0, and not all 0")
    return torch.tensor(values / values.mean() if n else values, dtype=torch.float32)


def _same_length(n: int, **columns: Sequence[object] | NDArray[np.float64] | None) -> None:
    for name, column in columns.items():
        if column is not None and len(column) != n:
            raise RowError(f"training data: {name} has {len(column)} rows, expected {n}")
