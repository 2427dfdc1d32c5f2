"""The gaps that an audit with early stopping watches: a confidence sequence for each comparison of its plan."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from rlhf_fair.audit.generation import GenerationPlan
from rlhf_fair.audit.generation_gaps import Comparison, comparisons
from rlhf_fair.errors import SettingsError
from rlhf_fair.metrics.gaps import group_labels
from rlhf_fair.stats.gap_sequence import Design, GapSequence

TARGET_SHARES = (16, 4, 1)
"""Bets are aimed at a 16th, a quarter and the whole of the contrasts that the plan allows."""


@dataclass(frozen=True)
class Watched:
    """A comparison, its sequence, and how many contrasts the plan allows."""

    compared: Comparison
    gaps: GapSequence
    planned: int


def watch(plan: GenerationPlan, prompts: pd.DataFrame, bounds: tuple[float, float]) -> list[Watched]:
    compared = comparisons(prompts, plan)
    n_claims = sum(c.role == "claim" for c in compared)
    if not n_claims:
        raise SettingsError(f"{plan.prompts}: no group to compare with a reference, so there is nothing to decide")
    watched = []
    for c in compared:
        design, units, reference_units = _design(plan, prompts, c)
        ratio = (max(1, units // reference_units), max(1, reference_units // units)) if design == "nested" else (1, 1)
        planned = min(units // ratio[0], reference_units // ratio[1])
        gaps = GapSequence(
            c.group,
            c.reference,
            bounds=bounds,
            design=design,
            per_contrast=ratio,
            alpha=plan.policy.alpha / (n_claims if c.role == "claim" else 1),
            targets=_targets(planned),
        )
        watched.append(Watched(c, gaps, planned))
    return watched


def _targets(planned: int) -> tuple[int, ...]:
    return tuple(sorted({max(1, planned // share) for share in TARGET_SHARES}))


def _design(plan: GenerationPlan, prompts: pd.DataFrame, c: Comparison) -> tuple[Design, int, int]:
    """How units hold the two groups, by the list of prompts alone, and how many units hold each."""
    unit, labels = prompts[plan.sequential.unit].astype(str), group_labels(prompts, c.attribute)
    of_group, of_reference = set(unit[labels == c.group]), set(unit[labels == c.reference])
    if not of_reference:
        raise SettingsError(f"{plan.prompts}: no prompt has {c.attribute} = {c.reference!r}, the plan's reference")
    shared = of_group & of_reference
    if not shared:
        return "nested", len(of_group), len(of_reference)
    if of_group == of_reference:
        return "crossed", len(shared), len(shared)
    raise SettingsError(
        f"sequential.unit = {plan.sequential.unit!r}: {len(shared)} units hold both {c.group!r} and {c.reference!r}, "
        f"{len(of_group ^ of_reference)} only one of them; a unit must hold both everywhere or nowhere"
    )
