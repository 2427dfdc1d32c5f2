"""Which head learns from which row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from rlhf_fair.errors import RowError, SettingsError
from rlhf_fair.training.reward.objectives import Objective


class HeadScheme(Protocol):
    """From the outputs of all heads to one loss for each row."""

    def row_losses(self, objective: Objective, outputs: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """(batch,) of ``outputs`` (columns, batch, heads)."""

    def prediction(self, outputs: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """What the objective's metrics look at, (columns, batch, the objective's heads)."""


@dataclass(frozen=True)
class OneScheme:
    """Every row teaches the same output (or outputs, where one prediction takes several)."""

    def row_losses(self, objective: Objective, outputs: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """The objective's own."""
        return objective.row_losses(outputs, rows)

    def prediction(self, outputs: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """The outputs."""
        return outputs


@dataclass(frozen=True)
class HeadOfRow:
    """Every row teaches one head, that of its rater group or of the virtue that was judged; the trunk is shared.

    ``head``: (n,) number of the head of each row.
    """

    head: NDArray[np.int64]
    heads: int

    def __post_init__(self) -> None:
        head = np.asarray(self.head)
        if len(head) and not (head.min() >= 0 and head.max() < self.heads):
            raise RowError(f"every row needs a head 0..{self.heads - 1}; a row of unknown group teaches none, drop it")
        if empty := sorted(set(range(self.heads)) - set(head.tolist())):
            raise SettingsError(f"head {empty[0]} has no training row")

    def row_losses(self, objective: Objective, outputs: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """The objective's loss of the row's own head."""
        return objective.row_losses(self.prediction(outputs, rows), rows)

    def prediction(self, outputs: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """(columns, batch, 1): the output of the row's own head."""
        own = torch.as_tensor(np.asarray(self.head))[rows].to(outputs.device)
        return outputs.gather(2, own[None, :, None].expand(len(outputs), -1, 1))


@dataclass(frozen=True)
class BootstrapHeads:
    """Every head learns the same from a bootstrap of its own: row i counts ``counts[i, k]`` times for head k.

    The heads start from different weights and share the trunk, so their spread shows what the data leave open about
    the head; it understates what they leave open about the trunk. Osband et al. 2016.
    """

    counts: NDArray[np.int64]

    @classmethod
    def draw(cls, clusters: NDArray[np.int64], heads: int, rng: np.random.Generator) -> BootstrapHeads:
        """Poisson(1) counts, one draw for all rows of a cluster (a text, a prompt), heads drawn independently."""
        counts = rng.poisson(1.0, size=(int(clusters.max()) + 1, heads))
        if np.any(counts[clusters].sum(axis=0) == 0):
            raise SettingsError(f"too few rows for {heads} bootstrap heads: one of them would see no row")
        return cls(counts[clusters])

    def row_losses(self, objective: Objective, outputs: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """Mean over heads of count x loss."""
        counts = torch.as_tensor(np.asarray(self.counts))[rows].to(outputs.device)
        losses = [
            counts[:, head] * objective.row_losses(outputs[:, :, head : head + 1], rows)
            for head in range(outputs.shape[2])
        ]
        return torch.stack(losses).mean(dim=0)

    def prediction(self, outputs: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """(columns, batch, 1): the mean head."""
        return outputs.mean(dim=2, keepdim=True)
