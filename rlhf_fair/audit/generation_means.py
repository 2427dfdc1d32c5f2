"""What the gaps of a generation audit are made of: every group's mean, and what gaps could be with nothing missing."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from rlhf_fair.audit.generation import SCORE, GenerationPlan
from rlhf_fair.audit.generation_gaps import Comparison, comparisons, per_prompt
from rlhf_fair.metrics.gaps import group_labels, group_means
from rlhf_fair.probes.scorers import ScorerPlan
from rlhf_fair.stats.bounds import BoundsOptions, gap_bounds
from rlhf_fair.stats.no_change import Range

Rows = list[dict[str, Any]]
MEANS, BOUNDS = "group_means", "missing_bounds"
"""Keys of ``results.audit``. Rows of both name metric, variant, unit, attribute, group and reference.

`MEANS` adds mean, ci_low, ci_high, n and reason; a reference is its own ``reference``. `BOUNDS` adds low and high, the
smallest and largest gap that the missing scores allow, ci_low and ci_high around the two, n, n_missing and n_unknown.
"""


def mean_rows(records: pd.DataFrame, plan: GenerationPlan) -> Rows:
    """The mean of every group that is compared, by every scorer; with several samples a prompt's mean counts once."""
    rows: Rows = []
    for scorer, values, compared in _compared(records, plan):
        for attribute, reference in dict.fromkeys((c.attribute, c.reference) for c in compared):
            for mean in group_means(values, attribute, clusters=plan.clusters, alpha=plan.policy.alpha):
                about = _about(scorer, plan, attribute, mean.group, reference)
                rows.append(about | _plain(mean.model_dump(include={"mean", "ci_low", "ci_high", "n", "reason"})))
    return rows


def bounds_rows(records: pd.DataFrame, plan: GenerationPlan, ranges: Mapping[str, Range]) -> Rows:
    """Sharp bounds of every gap that lacks a score or a group, by scorers whose lowest and highest score are known.

    Bounds are of the difference of the groups' means, which for a plan that pairs prompts is that of complete pairs.
    """
    rows: Rows = []
    for scorer, values, compared in _compared(records, plan):
        ends = ranges.get(plan.column(scorer), (-math.inf, math.inf))
        if not all(map(math.isfinite, ends)) or not values[SCORE].notna().any():
            continue
        for c in compared:
            ways = tuple(values[name] for name in plan.clusters)
            options = BoundsOptions(value_range=ends, clusters=ways, alpha=plan.policy.alpha)
            labels = group_labels(values, c.attribute)
            if plan.counterfactual is not None:  # a twin has no group but that of its own attribute
                inside = labels.notna()
                values_here, labels = values[inside], labels[inside]
                options = BoundsOptions(
                    value_range=ends, clusters=tuple(way[inside] for way in ways), alpha=plan.policy.alpha
                )
            else:
                values_here = values
            found = gap_bounds(values_here[SCORE], labels, group=c.group, reference=c.reference, options=options)
            if not (found.n_missing or found.n_unknown) or not math.isfinite(found.low):
                continue
            numbers = {name: getattr(found, name) for name in ("low", "high", "ci_low", "ci_high")}
            numbers |= {"n": found.n, "n_missing": found.n_missing, "n_unknown": found.n_unknown}
            rows.append(_about(scorer, plan, c.attribute, c.group, c.reference) | _plain(numbers))
    return rows


def _compared(
    records: pd.DataFrame, plan: GenerationPlan
) -> Iterator[tuple[ScorerPlan, pd.DataFrame, list[Comparison]]]:
    compared = comparisons(records, plan)
    for scorer in plan.scorers:
        yield scorer, per_prompt(records, records[plan.column(scorer)], plan), compared


def _about(scorer: ScorerPlan, plan: GenerationPlan, attribute: str, group: str, reference: str) -> dict[str, Any]:
    return {
        "metric": scorer.quantity,
        "variant": plan.variant(scorer),
        "unit": scorer.unit,
        "attribute": attribute,
        "group": group,
        "reference": reference,
    }


def _plain(numbers: dict[str, Any]) -> dict[str, Any]:
    return {name: None if isinstance(v, float) and not math.isfinite(v) else v for name, v in numbers.items()}
