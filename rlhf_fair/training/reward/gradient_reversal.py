"""Gradient reversal: the head shall read nothing from which the group of a text can be told."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from rlhf_fair.errors import SettingsError
from rlhf_fair.training.reward.terms import Step, Tokenize


class _Reverse(torch.autograd.Function):  # type: ignore[misc]
    """The identity, whose gradient is multiplied by -scale."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, scale: float) -> torch.Tensor:
        ctx.scale = scale
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[torch.Tensor, None]:
        return -ctx.scale * grads[0], None


def reversal_scale(progress: float) -> float:
    """2 / (1 + exp(-10 p)) - 1: 0 at the start, when the adversary knows nothing, near 1 later. Ganin et al. 2016.

    >>> reversal_scale(0.0), round(reversal_scale(0.5), 3)
    (0.0, 0.987)
    """
    return 2 / (1 + math.exp(-10 * progress)) - 1


class GradientReversal:
    """An adversary learns to tell the group from the head's input; the trunk learns to make that impossible.

    Ganin et al. 2016, "Domain-adversarial training of neural networks". The adversary is a network of one hidden layer;
    its loss is the cross-entropy with every group weighing the same, ln(groups) where it can tell nothing.

    Parameters
    ----------
    groups
        (n,) code of each training row's group, -1 for rows that name none; those are not shown to the adversary.
    """

    needs_features = True

    def __init__(
        self, groups: NDArray[np.int64], names: tuple[str, ...], *, strength: float, hidden: int = 64, seed: int = 0
    ) -> None:
        counts = np.bincount(groups[groups >= 0], minlength=len(names))
        if len(names) < 2 or not counts.all():
            found = dict(zip(names, counts.tolist(), strict=True))
            raise SettingsError(f"gradient reversal needs two groups or more, each with rows; rows by group: {found}")
        self.groups, self.names, self.strength = torch.as_tensor(groups), names, strength
        self.hidden, self.seed = hidden, seed
        self._class_weight = torch.as_tensor(counts.sum() / (len(names) * counts), dtype=torch.float32)
        self._adversary: torch.nn.Module | None = None
        self._last = float("nan")

    def prepare(self, tokenize: Tokenize, width: int, device: torch.device) -> None:
        """Make the adversary for features of this width; the same on every device."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            self._adversary = torch.nn.Sequential(
                torch.nn.Linear(width, self.hidden), torch.nn.ReLU(), torch.nn.Linear(self.hidden, len(self.names))
            ).to(device)

    def loss(self, step: Step) -> torch.Tensor:
        """The adversary's loss; on its way to the trunk its gradient is turned around and scaled by ``strength``."""
        assert step.features is not None
        assert self._adversary is not None
        groups = self.groups[step.rows].repeat(len(step.features)).to(step.features.device)
        known = groups >= 0
        if not known.any():
            return step.features.sum() * 0.0
        features = _Reverse.apply(step.features.flatten(0, 1), self.strength * reversal_scale(step.progress))
        weight = self._class_weight.to(groups.device)
        loss = F.cross_entropy(self._adversary(features[known]), groups[known], weight=weight)
        self._last = float(loss.detach())
        return loss

    def after_step(self) -> None:
        """Nothing to move."""

    def parameters(self) -> list[torch.nn.Parameter]:
        """The adversary's."""
        return [] if self._adversary is None else list(self._adversary.parameters())

    def metrics(self) -> dict[str, float]:
        """The adversary's loss in nats; near ln(groups) it can tell nothing."""
        return {"adversary_loss": self._last}

    def state_dict(self) -> dict[str, Any]:
        """Empty: the adversary's weights are kept with the other parameters."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing to take up."""
