"""How small a tolerance can be: the disparity that running means show by chance alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from rlhf_fair.errors import SettingsError
from rlhf_fair.training.fairness.disparities import disparities
from rlhf_fair.training.fairness.settings import FairnessSettings
from rlhf_fair.training.fairness.snapshot import GroupSnapshot, StratifiedSnapshot

RESOLVED = 2.0
"""Noise floors that a tolerance must hold at the least."""


def effective_samples(per_batch: float, memory: float) -> float:
    """Kish's effective samples behind a running mean in the long run, with ``per_batch`` new samples a step.

    Weights memory^k of the batch k steps ago: n (sum w)^2 / sum w^2 = n (1 + memory) / (1 - memory).
    """
    return per_batch * (1 + memory) / (1 - memory)


def expected_noise(
    settings: FairnessSettings, before: GroupSnapshot | StratifiedSnapshot, batch_size: int
) -> dict[str, float]:
    """Disparity -> its noise in the long run of a training with such groups, in score units.

    ``before``: shares and spread as measured before training, within strata where the settings compare within them:
    each cell has its part of the batch alone. Fewer samples than ``minimum_count`` give NaN.
    """
    if isinstance(before, GroupSnapshot):
        before = StratifiedSnapshot.unstratified(before)
    scored = effective_samples(1.0, settings.memory) * batch_size * before.pooled.measured_share
    parts = zip(before.within, before.weights.tolist(), strict=True)
    within = tuple(replace(part, counts=scored * weight * part.shares) for part, weight in parts)
    later = replace(before, pooled=replace(before.pooled, counts=scored * before.pooled.shares), within=within)
    return {d.name: d.noise for d in disparities(later, settings)}


def check_tolerance(settings: FairnessSettings, before: GroupSnapshot | StratifiedSnapshot, batch_size: int) -> None:
    """Refuse a tolerance that the means can never resolve: the multiplier would answer to noise for ever.

    Running means wander, so that even without a disparity they stay beyond a tolerance near the floor for many steps
    on end, while the multiplier climbs; at `RESOLVED` times the floor it hardly leaves 0.

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
    if worst is not None and multiplier.tolerance < RESOLVED * noise[worst]:
        where = "below" if multiplier.tolerance <= noise[worst] else "too close to"
        raise SettingsError(
            f"multiplier.tolerance = {multiplier.tolerance:g} lies {where} the noise floor {noise[worst]:.3g} of "
            f"{worst!r} with batches of {batch_size} and memory {settings.memory:g}; allowed: {RESOLVED:g} times the "
            f"floor, {RESOLVED * noise[worst]:.3g}, or more (a larger batch, a longer memory or fewer strata lower it)"
        )
