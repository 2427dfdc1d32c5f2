"""A constraint on the reward gap between groups, with a multiplier that rises while it is broken."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from rlhf_fair.training.reward.counterfactual import CounterfactualConsistency
from rlhf_fair.training.reward.terms import Step, Tokenize


class GapConstraint:
    """Keep |mean reward of group texts - mean reward of their counterparts| at or below ``tolerance``.

    For each pair (text of the group, counterpart) the signed gap is smoothed over batches; the Lagrange multiplier
    moves with it: ``m <- m + rate (gap - tolerance)`` above the tolerance, ``m + rate (gap + tolerance)`` below
    -tolerance, and shrinks towards 0 by ``rate * tolerance`` within. The penalty is ``m * gap``: linear, so it moves
    the mean and leaves single texts alone, unlike counterfactual consistency. Cotter et al. 2019 (proxy Lagrangian).

    ``tolerance`` and gaps are in units of the reward; one multiplier for each group named.
    """

    needs_features = False

    def __init__(
        self,
        pairs: Mapping[str, Sequence[tuple[str, str]]],
        *,
        tolerance: float,
        rate: float = 0.05,
        memory: float = 0.9,
        batch_size: int = 16,
    ) -> None:
        self.tolerance, self.rate, self.memory = tolerance, rate, memory
        self.parts = {
            name: CounterfactualConsistency(rows, strength=0.0, batch_size=batch_size) for name, rows in pairs.items()
        }
        self.multipliers = dict.fromkeys(pairs, 0.0)
        self.gaps: dict[str, float] = {}

    def prepare(self, tokenize: Tokenize, width: int, device: torch.device) -> None:
        """Tokenise both sides once."""
        for part in self.parts.values():
            part.prepare(tokenize, width, device)

    def loss(self, step: Step) -> torch.Tensor:
        """Sum over groups of multiplier x the batch's gap."""
        total = step.outputs.sum() * 0.0
        for name, part in self.parts.items():
            gap = part.differences(step).mean()
            sums = step.across(torch.stack([gap.detach(), torch.ones_like(gap)]))
            found = float(sums[0] / sums[1])
            self.gaps[name] = self.memory * self.gaps.get(name, found) + (1 - self.memory) * found
            total = total + self.multipliers[name] * gap
        return total

    def after_step(self) -> None:
        """Move the multipliers."""
        for name, gap in self.gaps.items():
            m = self.multipliers[name]
            if abs(gap) > self.tolerance:
                beyond = gap - self.tolerance if gap > 0 else gap + self.tolerance
                self.multipliers[name] = m + self.rate * beyond
            else:
                shrunk = max(abs(m) - self.rate * self.tolerance, 0.0)
                self.multipliers[name] = shrunk if m > 0 else -shrunk

    def parameters(self) -> list[torch.nn.Parameter]:
        """None: the multipliers are moved by rule."""
        return []

    def metrics(self) -> dict[str, float]:
        """Smoothed gap and multiplier of each group."""
        gaps = {f"gap[{name}]": gap for name, gap in self.gaps.items()}
        return gaps | {f"multiplier[{name}]": m for name, m in self.multipliers.items()}

    def state_dict(self) -> dict[str, Any]:
        """Multipliers and smoothed gaps."""
        return {"multipliers": dict(self.multipliers), "gaps": dict(self.gaps)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from earlier ones."""
        self.multipliers, self.gaps = dict(state["multipliers"]), dict(state["gaps"])
