"""Running mean and standard deviation of feature vectors, so that a policy reads numbers of one size."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class RunningMoments(nn.Module):  # type: ignore[misc]
    """Mean and variance of everything seen, merged batch by batch (Chan, Golub & LeVeque 1979).

    Buffers, so that they travel in the state dict. Until two rows were seen, rows pass as they are.
    """

    def __init__(self, size: int, *, limit: float = 10.0) -> None:
        super().__init__()
        self.limit = limit
        self.register_buffer("count", torch.zeros((), dtype=torch.float64))
        self.register_buffer("mean", torch.zeros(size, dtype=torch.float64))
        self.register_buffer("squares", torch.zeros(size, dtype=torch.float64))

    @property
    def variance(self) -> Tensor:
        """(size,) mean squared deviation from the mean."""
        variance: Tensor = self.squares / self.count.clamp(min=1)
        return variance

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def update(self, rows: Tensor) -> None:
        """Take in ``rows`` (n, size)."""
        rows = rows.to(torch.float64)
        n, mean = len(rows), rows.mean(0)
        total = self.count + n
        shift = mean - self.mean
        self.squares += ((rows - mean) ** 2).sum(0) + shift**2 * self.count * n / total
        self.mean += shift * n / total
        self.count.copy_(total)

    def forward(self, rows: Tensor) -> Tensor:
        """(n, size): mean 0 and standard deviation 1 over what was seen, cut at ``limit`` on either side.

        A feature that never varied becomes 0: nothing is known of its scale.
        """
        if self.count < 2:
            return rows
        varies = self.variance > 0
        scale = torch.where(varies, self.variance.clamp(min=1e-300).rsqrt(), 0.0)
        centred = (rows - self.mean) * scale
        return centred.clamp(-self.limit, self.limit).to(rows.dtype)
