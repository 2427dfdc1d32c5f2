"""What a row of training data is, whatever is learnt from it: texts, a weight, a group, and the loss of its outputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from rlhf_fair.errors import RowError


class Objective(Protocol):
    """Rows of one kind of data, and their loss."""

    @property
    def columns(self) -> tuple[Sequence[str], ...]:
        """Texts to score, each column (n,): one for ratings, two for pairs."""

    @property
    def weight(self) -> NDArray[np.float64] | None:
        """(n,) >= 0, or None where all rows count the same."""

    @property
    def heads(self) -> int:
        """Outputs that one prediction takes: 1, or 2 for mean and log standard deviation, or one for each class."""

    def row_losses(self, outputs: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """(batch,) losses in nats or squared units, unweighted, of ``outputs`` (columns, batch, heads)."""

    def metrics(self, outputs: torch.Tensor, rows: torch.Tensor) -> dict[str, float]:
        """What a curve shows beside the loss."""

    def parameters(self) -> list[torch.nn.Parameter]:
        """Parameters that belong to the loss and not to the model, such as thresholds."""


def mean_one(weight: NDArray[np.float64] | None, n: int) -> torch.Tensor:
    """Weights rescaled to mean 1, so that a batch mean is unbiased for the weighted mean whatever the batches."""
    values = np.ones(n) if weight is None else np.asarray(weight, dtype=float)
    if not np.all(np.isfinite(values) & (values >= 0)) or (n and values.sum() == 0):
        raise RowError("training weights must be finite, at least 0, and not all 0")
    return torch.tensor(values / values.mean() if n else values, dtype=torch.float32)


def same_length(n: int, **columns: Sequence[object] | NDArray[Any] | None) -> None:
    """Raise `RowError` for the first column that has not ``n`` rows."""
    for name, column in columns.items():
        if column is not None and len(column) != n:
            raise RowError(f"training data: {name} has {len(column)} rows, expected {n}")
