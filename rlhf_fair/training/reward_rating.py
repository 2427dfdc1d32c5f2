"""Texts with a rating, and the squared-error loss that makes the reward predict it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

from rlhf_fair.errors import RowError
from rlhf_fair.training.reward_preference import mean_one


@dataclass(frozen=True)
class RatingData:
    """One text per row, its target (higher is better; best near mean 0 and SD 1), and a weight (None: equal)."""

    text: Sequence[str]
    target: NDArray[np.float64]
    weight: NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        n = len(self.text)
        if len(self.target) != n or (self.weight is not None and len(self.weight) != n):
            raise RowError(f"training data: text, target and weight must have equal length ({n} texts)")
        if not np.all(np.isfinite(np.asarray(self.target, dtype=float))):
            raise RowError("training data: a target is missing or infinite")

    @property
    def columns(self) -> tuple[Sequence[str], ...]:
        """The texts to score: one column."""
        return (self.text,)

    def loss(self, rewards: torch.Tensor, rows: NDArray[np.int64]) -> tuple[torch.Tensor, dict[str, float]]:
        """Weighted mean squared error of a batch; ``rewards``: (1, batch)."""
        target, weight = (values[torch.from_numpy(rows)].to(rewards.device) for values in self._tensors)
        error = rewards[0] - target
        return (weight * error.square()).mean(), {"mean_absolute_error": float(error.detach().abs().mean())}

    @cached_property
    def _tensors(self) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.tensor(self.target, dtype=torch.float32), mean_one(self.weight, len(self.text))
