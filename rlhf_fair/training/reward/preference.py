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
from rlhf_fair.training.reward.objectives import same_length


def bradley_terry_loss(difference: torch.Tensor, p_a: torch.Tensor, margin: torch.Tensor | float = 0.0) -> torch.Tensor:
    """-p log sigmoid(d - m) - (1 - p) log sigmoid(-d - m), elementwise, for d = reward_a - reward_b; nats.

    ``p_a`` in [0, 1] is the share of judgements for a; .5 is a tie. Without margin d = 0 gives ln 2, and the minimum
    over d is at logit(p_a). ``margin`` >= 0 asks the preferred answer to lead by so much, in the units of the reward
    (Touvron et al. 2023). Bradley & Terry 1952; Stiennon et al. 2020.
    """
    return -p_a * F.logsigmoid(difference - margin) - (1 - p_a) * F.logsigmoid(-difference - margin)


@dataclass(frozen=True)
class PairData:
    """Two texts per row (prompt included), the share of judgements for ``text_a``, a weight and a margin (None: 0)."""

    text_a: Sequence[str]
    text_b: Sequence[str]
    p_a: NDArray[np.float64]
    weight: NDArray[np.float64] | None = None
    margin: NDArray[np.float64] | None = None
    heads: int = 1

    def __post_init__(self) -> None:
        n = len(self.text_a)
        same_length(n, text_b=self.text_b, p_a=self.p_a, weight=self.weight, margin=self.margin)
        if not np.all((np.asarray(self.p_a) >= 0) & (np.asarray(self.p_a) <= 1)):
            raise RowError("preference pairs: p_a must lie in [0, 1] and not be missing")
        if self.margin is not None and not np.all(np.asarray(self.margin) >= 0):
            raise RowError("preference pairs: a margin must be at least 0 and not be missing")

    @property
    def columns(self) -> tuple[Sequence[str], ...]:
        """The texts to score, one column per response."""
        return (self.text_a, self.text_b)

    def row_losses(self, outputs: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """(batch,) nats; ``outputs``: (2, batch, 1)."""
        p_a, margin = (values[rows].to(outputs.device) for values in self._tensors)
        return bradley_terry_loss(outputs[0, :, 0] - outputs[1, :, 0], p_a, margin)

    def metrics(self, outputs: torch.Tensor, rows: torch.Tensor) -> dict[str, float]:
        """Accuracy: the share of decided pairs whose better side gets more, equal rewards being half right."""
        p_a = self._tensors[0][rows].to(outputs.device)
        difference = outputs[0, :, 0] - outputs[1, :, 0]
        decided = p_a != 0.5
        agrees = torch.where(difference == 0, 0.5, ((difference > 0) == (p_a > 0.5)).float())[decided]
        return {"accuracy": float(agrees.mean()) if len(agrees) else float("nan")}

    def parameters(self) -> list[torch.nn.Parameter]:
        """None."""
        return []

    @cached_property
    def _tensors(self) -> tuple[torch.Tensor, torch.Tensor]:
        margin = np.zeros(len(self.p_a)) if self.margin is None else self.margin
        return torch.tensor(self.p_a, dtype=torch.float32), torch.tensor(margin, dtype=torch.float32)
