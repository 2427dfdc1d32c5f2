"""Texts with a class, each of which has a declared value: the reward is the value to be expected."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from rlhf_fair.errors import RowError
from rlhf_fair.training.reward.objectives import same_length


@dataclass(frozen=True)
class ClassData:
    """One text per row and its class 0..``classes``-1; one head for each class."""

    text: Sequence[str]
    label: NDArray[np.int64]
    classes: int
    weight: NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        same_length(len(self.text), label=self.label, weight=self.weight)
        label = np.asarray(self.label)
        if self.classes < 2 or not np.all((label >= 0) & (label < self.classes)):
            raise RowError(f"classification data: every label must lie in 0..{self.classes - 1}")

    @property
    def columns(self) -> tuple[Sequence[str], ...]:
        """The texts to score: one column."""
        return (self.text,)

    @property
    def heads(self) -> int:
        """One for each class."""
        return self.classes

    def row_losses(self, outputs: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """(batch,) cross-entropies in nats; ``outputs``: (1, batch, classes)."""
        return F.cross_entropy(outputs[0], self._label(rows, outputs.device), reduction="none")

    def metrics(self, outputs: torch.Tensor, rows: torch.Tensor) -> dict[str, float]:
        """Share of texts whose most probable class is the one given."""
        right = outputs.detach()[0].argmax(dim=1) == self._label(rows, outputs.device)
        return {"accuracy": float(right.float().mean())}

    def parameters(self) -> list[torch.nn.Parameter]:
        """None."""
        return []

    def _label(self, rows: torch.Tensor, device: torch.device) -> torch.Tensor:
        return torch.as_tensor(np.asarray(self.label))[rows].to(device)
