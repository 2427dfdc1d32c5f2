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

    After each batch ``q_g <- q_g exp(step_size (loss_g + adjustment / sqrt(n_g)))`` for the groups in it, then q is
    divided by its sum. ``loss_g`` is the batch's weighted mean over the group's rows; a group that a batch lacks adds
    nothing and keeps its q up to the division. Rows of unknown group (code -1) keep their share of the batch with
    plain weights.
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
        self.step_size = step_size
        self.adjustment = adjustment / torch.as_tensor(counts, dtype=torch.float32).sqrt()
        self.q = torch.full((len(names),), 1 / len(names))

    def reduce(self, losses: torch.Tensor, rows: torch.Tensor, across: Across) -> torch.Tensor:
        """The batch's loss under the new q; q itself is not differentiated."""
        groups = self.groups[rows].to(losses.device)
        weight = self.weight[rows].to(losses.device)
        known = groups >= 0
        member = torch.nn.functional.one_hot(groups.clamp(min=0), len(self.names)).to(losses.dtype) * known[:, None]
        own_sums, own_weights = (weight * losses) @ member, weight @ member
        totals = across(torch.stack([own_sums.detach(), own_weights]))
        present = totals[1] > 0
        self._update(torch.where(present, totals[0] / totals[1].clamp(min=1e-12), 0.0).cpu(), present.cpu())
        q = self.q.to(losses.device)
        mean = torch.where(own_weights > 0, own_sums / own_weights.clamp(min=1e-12), 0.0)
        unknown = (weight * losses * ~known).mean()
        return known.to(losses.dtype).mean() * (q * mean).sum() + unknown

    def _update(self, group_loss: torch.Tensor, present: torch.Tensor) -> None:
        raised = self.q * torch.exp(self.step_size * (group_loss + self.adjustment) * present)
        self.q = raised / raised.sum()

    def metrics(self) -> dict[str, float]:
        """q of each group."""
        return {f"q[{name}]": float(q) for name, q in zip(self.names, self.q, strict=True)}

    def state_dict(self) -> dict[str, Any]:
        """q."""
        return {"q": self.q.clone()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from an earlier q."""
        self.q = state["q"].clone()
