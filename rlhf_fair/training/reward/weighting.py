"""How much each row of a batch counts: the plain weighted mean, and the interface of those that look at groups."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from rlhf_fair.training.reward.objectives import mean_one

Across = Callable[[torch.Tensor], torch.Tensor]
"""Sums a tensor over all processes that train together; with one process it returns what it gets."""


class Weighting(Protocol):
    """From the losses of rows to the loss of a batch."""

    def reduce(self, losses: torch.Tensor, rows: torch.Tensor, across: Across) -> torch.Tensor:
        """Scalar, of ``losses`` (batch,) of ``rows`` (batch,)."""

    def after_step(self) -> None:
        """Called when the optimiser has moved."""

    def metrics(self) -> dict[str, float]:
        """What a curve shows of it."""

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up what `state_dict` gave."""


class WeightedMean:
    """Mean of weight x loss, the weights having mean 1 over all rows."""

    def __init__(self, weight: NDArray[np.float64] | None, n: int) -> None:
        self.weight = mean_one(weight, n)

    def reduce(self, losses: torch.Tensor, rows: torch.Tensor, across: Across) -> torch.Tensor:
        """Unbiased for the weighted mean over all rows."""
        return (self.weight[rows].to(losses.device) * losses).mean()

    def after_step(self) -> None:
        """Nothing to move."""

    def metrics(self) -> dict[str, float]:
        """None."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """Empty."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing to take up."""
