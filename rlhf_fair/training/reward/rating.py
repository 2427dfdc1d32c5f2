"""Texts with a rating, and the squared-error loss that makes the reward predict it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

from rlhf_fair.errors import RowError
from rlhf_fair.training.reward.objectives import same_length


@dataclass(frozen=True)
class RatingData:
    """One text per row, its target (higher is better; best near mean 0 and SD 1), and a weight (None: equal)."""

    text: Sequence[str]
    target: NDArray[np.float64]
    weight: NDArray[np.float64] | None = None
    heads: int = 1

    def __post_init__(self) -> None:
        same_length(len(self.text), target=self.target, weight=self.weight)
        if not np.all(np.isfinite(np.asarray(self.target, dtype=float))):
            raise RowError("training data: a target is missing or infinite")

    @property
    def columns(self) -> tuple[Sequence[str], ...]:
        """The texts to score: one column."""
        return (self.text,)

    def row_losses(self, outputs: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """(batch,) squared errors; ``outputs``: (1, batch, 1)."""
        return (outputs[0, :, 0] - self._target[rows].to(outputs.device)).square()

    def metrics(self, outputs: torch.Tensor, rows: torch.Tensor) -> dict[str, float]:
        """The mean absolute error, in units of the target."""
        error = outputs[0, :, 0] - self._target[rows].to(outputs.device)
        return {"mean_absolute_error": float(error.detach().abs().mean())}

    def parameters(self) -> list[torch.nn.Parameter]:
        """None."""
        return []

    @cached_property
    def _target(self) -> torch.Tensor:
        return torch.tensor(self.target, dtype=torch.float32)
