"""A reward that is a distribution over people: its mean, and how far they are apart."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from rlhf_fair.models.reward_heads import LOG_SD_RANGE
from rlhf_fair.training.reward.preference import PairData
from rlhf_fair.training.reward.rating import RatingData


def gaussian_loss(mean: torch.Tensor, log_sd: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """-log N(target; mean, sd) without the constant: log sd + (target - mean)² / (2 sd²); nats, elementwise."""
    log_sd = log_sd.clamp(*LOG_SD_RANGE)
    return log_sd + (target - mean).square() * torch.exp(-2 * log_sd) / 2


def probit_preference_loss(
    mean: torch.Tensor, log_sd: torch.Tensor, p_a: torch.Tensor, margin: torch.Tensor
) -> torch.Tensor:
    """Cross-entropy of ``p_a`` with P(a over b) = Φ((mean_a - mean_b) / sqrt(sd_a² + sd_b²)); nats.

    ``mean``, ``log_sd``: (2, batch). What people disagree about gets a wide reward instead of one between two camps:
    Siththaranjan, Laidlaw & Hadfield-Menell 2024, "Distributional preference learning" (Thurstone 1927, case III).
    """
    spread = torch.exp(2 * log_sd.clamp(*LOG_SD_RANGE)).sum(dim=0).sqrt()
    difference = mean[0] - mean[1]
    log_a = torch.special.log_ndtr((difference - margin) / spread)
    log_b = torch.special.log_ndtr((-difference - margin) / spread)
    return -p_a * log_a - (1 - p_a) * log_b


@dataclass(frozen=True)
class DistributionalRatings(RatingData):
    """Single ratings, one person's each: two heads, the mean over people and the log of their standard deviation."""

    heads: int = 2

    def row_losses(self, outputs: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """(batch,) nats; ``outputs``: (1, batch, 2)."""
        return gaussian_loss(outputs[0, :, 0], outputs[0, :, 1], self._target[rows].to(outputs.device))


@dataclass(frozen=True)
class DistributionalPairs(PairData):
    """Preference pairs with two heads for each answer, mean and log standard deviation over people."""

    heads: int = 2

    def row_losses(self, outputs: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """(batch,) nats; ``outputs``: (2, batch, 2)."""
        p_a, margin = (values[rows].to(outputs.device) for values in self._tensors)
        return probit_preference_loss(outputs[:, :, 0], outputs[:, :, 1], p_a, margin)
