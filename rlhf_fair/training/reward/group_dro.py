"""Group distributionally robust optimisation: the worse a group fares, the more it counts."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from rlhf_fair.errors import SettingsError
from rlhf_fair.training.reward.objectives import mean_one
from rlhf_fair.training.reward.weighting import Across


class GroupDRO:
    """Minimise sum_g q_g loss_g while q moves towards the groups that fare worst (Sagawa et al. 2020, algorithm 1).

    A batch need not hold every group, and rare groups are in few batches. What a batch of n rows says of group g is
    therefore ``loss_g = sum over its rows in g of weight x loss / (n share_g)``, with share_g the group's part of all
    weight: its mean over batches is the group's own mean loss, however rare the group. After each step of the
    optimiser ``q_g <- q_g exp(step_size (loss_g + adjustment / sqrt(n_g)))``, and q is divided by its sum.
    Micro-batches and processes add up to the same. Rows of unknown group (code -1) keep their share with plain weights.
    """

    def __init__(
        self,
        groups: NDArray[np.int64],
        names: tuple[str, ...],
        weight: NDArray[np.float64] | None,
        *,
        step_size: float = 0.01,
        adjustment: float = 0.0,
    ) -> None:
        counts = np.bincount(groups[groups >= 0], minlength=len(names))
        if empty := [name for name, count in zip(names, counts, strict=True) if count == 0]:
            raise SettingsError(f"group {empty[0]!r} has no training row")
        self.groups, self.names = torch.as_tensor(groups), names
        self.weight = mean_one(weight, len(groups))
        known = groups >= 0
        sums = np.bincount(groups[known], np.asarray(self.weight)[known], minlength=len(names))
        self.share = torch.as_tensor(np.maximum(sums, 1e-12) / len(groups), dtype=torch.float32)
        self.step_size = step_size
        self.adjustment = adjustment / torch.as_tensor(counts, dtype=torch.float32).sqrt()
        self.q = torch.full((len(names),), 1 / len(names))
        self._seen = torch.zeros(len(names) + 1)

    def reduce(self, losses: torch.Tensor, rows: torch.Tensor, across: Across) -> torch.Tensor:
        """The batch's loss under q, which moves afterwards and is not differentiated."""
        groups = self.groups[rows].to(losses.device)
        weighted = self.weight[rows].to(losses.device) * losses
        known = groups >= 0
        member = torch.nn.functional.one_hot(groups.clamp(min=0), len(self.names)).to(losses.dtype) * known[:, None]
        sums = weighted @ member
        self._seen += across(torch.cat([sums.detach(), sums.new_tensor([float(len(rows))])])).cpu()
        share = self.share.to(losses.device)
        by_group = sums / (len(rows) * share)
        return share.sum() * (self.q.to(losses.device) * by_group).sum() + (weighted * ~known).mean()

    def after_step(self) -> None:
        """Move q by what was seen since the last move."""
        group_loss = self._seen[:-1] / (self._seen[-1].clamp(min=1) * self.share)
        raised = self.q * torch.exp(self.step_size * (group_loss + self.adjustment))
        self.q = raised / raised.sum()
        self._seen = torch.zeros_like(self._seen)

    def metrics(self) -> dict[str, float]:
        """q of each group."""
        return {f"q[{name}]": float(q) for name, q in zip(self.names, self.q, strict=True)}

    def state_dict(self) -> dict[str, Any]:
        """q."""
        return {"q": self.q.clone()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from an earlier q."""
        self.q = state["q"].clone()
