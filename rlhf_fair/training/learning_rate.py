"""How the learning rate moves over a training run."""

from __future__ import annotations

import math


def rate_share(step: int, n_steps: int, warmup_share: float) -> float:
    """Share of the peak learning rate at 0-based ``step``: linear up over the warm-up, then linear down to 0."""
    warmup = math.ceil(n_steps * warmup_share)
    if step < warmup:
        return (step + 1) / warmup
    return (n_steps - step) / max(n_steps - warmup, 1)
