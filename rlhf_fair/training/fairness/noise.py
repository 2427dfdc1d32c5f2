"""What running means can show of a disparity, from a sample before training: anything at all, and more than chance."""

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


def long_run(
    settings: FairnessSettings, before: GroupSnapshot | StratifiedSnapshot, batch_size: int
) -> StratifiedSnapshot:
    """``before`` with the effective samples that its cells will have in a training: each has its part of the batch."""
    if isinstance(before, GroupSnapshot):
        before = StratifiedSnapshot.unstratified(before)
    scored = effective_samples(1.0, settings.memory) * batch_size * before.pooled.measured_share
    parts = zip(before.within, before.weights.tolist(), strict=True)
    within = tuple(replace(part, counts=scored * weight * part.shares) for part, weight in parts)
    return replace(before, pooled=replace(before.pooled, counts=scored * before.pooled.shares), within=within)


def expected_noise(
    settings: FairnessSettings, before: GroupSnapshot | StratifiedSnapshot, batch_size: int
) -> dict[str, float]:
    """Disparity -> its noise in the long run of a training with such groups, in score units.

    ``before``: shares and spread as measured before training, within strata where the settings compare within them.
    Fewer samples than ``minimum_count`` give NaN.
    """
    return {d.name: d.noise for d in disparities(long_run(settings, before, batch_size), settings)}


def check_estimable(settings: FairnessSettings, before: GroupSnapshot | StratifiedSnapshot, batch_size: int) -> None:
    """Refuse a ``minimum_count`` beyond every disparity: the penalty would never do anything.

    Groups that are too small while others are not are left alone, as promised. Which groups come, and whether they
    score, one small sample does not tell; where it shows no disparity at all, nothing is refused.

    Raises
    ------
    SettingsError
        The count, and the most that a group will have.
    """
    later = long_run(settings, before, batch_size)
    anyhow = disparities(later, settings.model_copy(update={"minimum_count": 0.0}))
    most = max((float(within.counts.max(initial=0.0)) for within in later.within), default=0.0)
    if most == 0 or not any(d.estimable for d in anyhow):
        return
    enough = [bool(within.measured(settings.minimum_count).any()) for within in later.within]
    if not any(enough) or not any(d.estimable for d in disparities(later, settings)):
        raise SettingsError(
            f"minimum_count = {settings.minimum_count:g} leaves no disparity: with batches of {batch_size} and memory "
            f"{settings.memory:g} no group has more than {most:.3g} effective samples, or none that is compared has "
            "enough; allowed: a smaller count (a larger batch, a longer memory or fewer strata give more samples)"
        )


def check_tolerance(settings: FairnessSettings, before: GroupSnapshot | StratifiedSnapshot, batch_size: int) -> None:
    """Refuse a tolerance that the means can never resolve: the multiplier would answer to noise for ever.

    And, whatever the multiplier, a penalty that `check_estimable` refuses.

    Running means wander, so that even without a disparity they stay beyond a tolerance near the floor for many steps
    on end, while the multiplier climbs; at `RESOLVED` times the floor it hardly leaves 0.

    Raises
    ------
    SettingsError
        The tolerance, the noise floor, and the ways to lower it; or what `check_estimable` says.
    """
    check_estimable(settings, before, batch_size)  # what cannot be estimated stays within no tolerance
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
