"""Texts with a grade of an ordered scale: the cumulative-logit model with one reward and learnt thresholds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from rlhf_fair.errors import RowError
from rlhf_fair.training.reward.objectives import same_length


def cumulative_logit_loss(reward: torch.Tensor, grade: torch.Tensor, thresholds: torch.Tensor) -> torch.Tensor:
    """-log P(grade) with P(grade <= k) = sigmoid(threshold_k - reward); nats, elementwise.

    ``grade``: (batch,) integers 0..K-1, ``thresholds``: (K - 1,) rising. The reward orders texts, and how far apart
    the grades lie is learnt: nothing is assumed about the distance of a 1 from a 2. McCullagh 1980.
    """
    edge = torch.full((1,), torch.inf, device=thresholds.device, dtype=thresholds.dtype)
    bounds = torch.cat([-edge, thresholds, edge])
    upper, lower = bounds[grade + 1] - reward, bounds[grade] - reward
    # log(sigmoid(u) - sigmoid(l)) = logsigmoid(u) + logsigmoid(-l) + log(1 - exp(l - u)), exact in both tails
    gap = torch.where(torch.isinf(upper) | torch.isinf(lower), torch.full_like(reward, -torch.inf), lower - upper)
    return -(F.logsigmoid(upper) + F.logsigmoid(-lower) + torch.log1p(-torch.exp(gap)))


@dataclass(frozen=True)
class OrdinalData:
    """One text per row and its grade 0..``grades``-1, the highest being the best."""

    text: Sequence[str]
    grade: NDArray[np.int64]
    grades: int
    weight: NDArray[np.float64] | None = None
    heads: int = 1
    spacing: torch.nn.Parameter = field(init=False, repr=False)
    """(grades - 1,): the first threshold, then the logs of the steps between them, so that they always rise."""

    def __post_init__(self) -> None:
        same_length(len(self.text), grade=self.grade, weight=self.weight)
        grade = np.asarray(self.grade)
        if self.grades < 2 or not np.all((grade >= 0) & (grade < self.grades)):
            raise RowError(f"ordinal data: every grade must lie in 0..{self.grades - 1}")
        object.__setattr__(self, "spacing", torch.nn.Parameter(self._start(grade)))

    @property
    def columns(self) -> tuple[Sequence[str], ...]:
        """The texts to score: one column."""
        return (self.text,)

    @property
    def thresholds(self) -> torch.Tensor:
        """(grades - 1,), rising, in units of the reward."""
        return torch.cat([self.spacing[:1], self.spacing[1:].exp()]).cumsum(0)

    def row_losses(self, outputs: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """(batch,) nats; ``outputs``: (1, batch, 1)."""
        grade = torch.as_tensor(np.asarray(self.grade))[rows].to(outputs.device)
        return cumulative_logit_loss(outputs[0, :, 0], grade, self.thresholds.to(outputs.device))

    def metrics(self, outputs: torch.Tensor, rows: torch.Tensor) -> dict[str, float]:
        """Share of texts whose most probable grade is the one given."""
        grade = torch.as_tensor(np.asarray(self.grade))[rows]
        below = torch.sigmoid(self.thresholds.detach()[None] - outputs.detach()[0, :, :1].cpu())
        zero, one = torch.zeros(len(rows), 1), torch.ones(len(rows), 1)
        likely = torch.diff(torch.cat([zero, below, one], dim=1), dim=1).argmax(dim=1)
        return {"accuracy": float((likely == grade).float().mean())}

    def parameters(self) -> list[torch.nn.Parameter]:
        """The thresholds."""
        return [self.spacing]

    def _start(self, grade: NDArray[np.int64]) -> torch.Tensor:
        """Thresholds at which a reward of 0 gives the grades' own shares (each counted once more, so none is 0)."""
        shares = np.bincount(grade, minlength=self.grades) + 1.0
        at = np.cumsum(shares)[:-1] / shares.sum()
        thresholds = np.log(at / (1 - at))
        return torch.tensor([thresholds[0], *np.log(np.diff(thresholds))], dtype=torch.float32)
