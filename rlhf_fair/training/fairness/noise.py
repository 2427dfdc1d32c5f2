"""How small a tolerance can be: the disparity that running means show by chance alone."""

from __future__ import annotations

import numpy as np

from rlhf_fair.errors import SettingsError
from rlhf_fair.training.fairness.disparities import disparities
from rlhf_fair.training.fairness.settings import FairnessSettings
from rlhf_fair.training.fairness.snapshot import GroupSnapshot, StratifiedSnapshot


def effective_samples(per_batch: float, memory: float) -> float:
    """Kish's effective samples behind a running mean in the long run, with ``per_batch`` new samples a step.

    Weights memory^k of the batch k steps ago: n (sum w)^2 / sum w^2 = n (1 + memory) / (1 - memory).
    """
    return per_batch * (1 + memory) / (1 - memory)


def expected_noise(settings: FairnessSettings, before: GroupSnapshot, batch_size: int) -> dict[str, float]:
    """Disparity -> its noise in the long run of a training with such groups, in score units.

    ``before``: shares and spread as measured before training. Fewer samples than ``minimum_count`` give NaN.
    """
    counts = effective_samples(1.0, settings.memory) * before.shares * batch_size
    later = GroupSnapshot(before.groups, before.shares, before.means, counts, before.score_sd)
    return {d.name: d.noise for d in disparities(StratifiedSnapshot.unstratified(later), settings)}


def check_tolerance(settings: FairnessSettings, before: GroupSnapshot, batch_size: int) -> None:
    """Refuse a tolerance that the means can never resolve: the multiplier would answer to noise for ever.

    Raises
    ------
    SettingsError
        The tolerance, the noise floor, and the ways to lower it.
    """
    multiplier = settings.multiplier
    if multiplier.kind == "fixed":
        return
    noise = {name: value for name, value in expected_noise(settings, before, batch_size).items() if np.isfinite(value)}
    worst = max(noise, key=lambda name: noise[name], default=None)
    if worst is not None and multiplier.tolerance <= noise[worst]:
        raise SettingsError(
            f"multiplier.tolerance = {multiplier.tolerance:g} lies below the noise floor {noise[worst]:.3g} of "
            f"{worst!r} with batches of {batch_size} and memory {settings.memory:g}; allowed: above it (a larger batch "
            "or a longer memory lowers it)"
        )
