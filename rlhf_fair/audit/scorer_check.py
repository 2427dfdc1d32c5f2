"""Is a plan's ruler straight? Each scorer reads sentences in which nothing but the word for the group changes.

A gap that is measured with a scorer holds the scorer's own shift. So the shifts stand in every report of a generation
audit: as controls, which decide no exit code, in a table, and in words among the limits.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from rlhf_fair.audit.findings import Measurement
from rlhf_fair.audit.generation import SHIFT, Attribute, GenerationPlan
from rlhf_fair.audit.scorer_check_wording import said_of
from rlhf_fair.metrics.gaps import group_labels, group_names
from rlhf_fair.models.lexicon import LexiconScorer
from rlhf_fair.models.requests import ScoresQuality
from rlhf_fair.probes.measured import Measured
from rlhf_fair.probes.scorer_bias import (
    LIMIT,
    ROUNDING,
    SLOT,
    TEMPLATES,
    scorer_bias_items,
    scorer_bias_measured,
    scorer_bias_records,
)
from rlhf_fair.probes.scorer_bias_words import Terms, own_words, scorer_bias_words
from rlhf_fair.probes.scorers import ScorerPlan

PROBE = "scorer_bias"
"""Takes the probe's place in the findings of the check."""

TABLE = "What the rulers do when only the group changes"
MOST_PHRASES = len(TEMPLATES)

Row = dict[str, Any]


@dataclass(frozen=True)
class ScorerCheck:
    """Controls for `build_findings`, the table's rows, and what to say among an audit's limits."""

    measurements: tuple[Measurement, ...]
    rows: tuple[Row, ...]
    limits: tuple[str, ...]


def check_scorers(
    plan: GenerationPlan, prompts: pd.DataFrame, scorers: Mapping[str, ScoresQuality], stage: str
) -> ScorerCheck:
    """Every scorer of the plan (column -> scorer) for every attribute whose groups there are words for."""
    measurements: list[Measurement] = []
    rows: list[Row] = []
    limits: list[str] = []
    words = {attribute: matched_words(plan, prompts, attribute) for attribute in plan.attributes}
    for attribute in (a for a, found in words.items() if not found):
        limits.append(
            f"Whether the rulers move with {attribute.column} alone was not checked: there are no words for its groups."
        )
    spoken = {word for found in words.values() for column in found.values() for word in column}
    if plan.scorer_check.words:
        spoken |= set(prompts[plan.scorer_check.words].dropna().astype(str))
    for planned in plan.scorers:
        scorer = scorers[plan.column(planned)]
        templates = sentences(scorer, spoken)
        shifts = [
            shift
            for attribute, found in words.items()
            if found
            for shift in _shifts(scorer, found, attribute, templates, plan.policy.alpha)
        ]
        rows += [_row(planned, shift) for shift in shifts]
        measurements += [_control(shift.mean, planned, plan, stage) for shift in shifts]
        margin = plan.judging.limits(planned.quantity + SHIFT).margin
        who = planned.quantity if planned.name == planned.quantity else f"{planned.quantity} by {planned.name}"
        limits += said_of(who, [replace(shift.mean, unit=planned.unit) for shift in shifts], margin=margin)
    return ScorerCheck(tuple(measurements), tuple(rows), (*limits, *([LIMIT] if rows else [])))


def matched_words(plan: GenerationPlan, prompts: pd.DataFrame, attribute: Attribute) -> Terms:
    """Group -> words, the k-th words of all groups matched; the reference first; empty where there are none.

    The plan's own (``[scorer_check] words``), else the first names that suggest the attribute, else words that say it:
    see `rlhf_fair.probes.scorer_bias_words`.
    """
    groups, check = group_names(group_labels(prompts, attribute.column)), plan.scorer_check
    if attribute.reference not in groups or len(groups) < 2:
        return {}
    groups.sort(key=lambda group: group != attribute.reference)
    if check.words:
        others = [column for column in plan.columns if column != attribute.column]
        return own_words(prompts, check.words, attribute.column, others, groups, pairs=check.pairs)
    known = scorer_bias_words(attribute.column, groups, pairs=check.pairs)
    return known.get("names") or known.get("words", {})


def sentences(scorer: ScoresQuality, words: Iterable[str] = ()) -> Sequence[str]:
    """Templates that the scorer can read: a lexicon reads no sentence without one of its phrases, so it gets those.

    Of its phrases an even selection by level, without those that stand in the ``words`` that say a group.
    """
    if not isinstance(scorer, LexiconScorer):
        return TEMPLATES
    spoken = [f" {word.lower()} " for word in words]
    others = [phrase for phrase in scorer.phrases if not any(f" {phrase} " in word for word in spoken)]
    phrases = sorted(others or scorer.phrases, key=lambda phrase: (scorer.phrases[phrase], phrase))
    even = np.unique(np.linspace(0, len(phrases) - 1, min(MOST_PHRASES, len(phrases))).round().astype(int))
    return [f"About {SLOT}: {phrases[k]}." for k in even]


@dataclass(frozen=True)
class _Shift:
    """Of one group: the mean shift, its mean size, the change of the share above 0.5, and the words that move most."""

    mean: Measured
    size: Measured
    share: Measured
    strongest: str


def _shifts(
    scorer: ScoresQuality,
    words: Mapping[str, Sequence[str]],
    attribute: Attribute,
    templates: Sequence[str],
    alpha: float,
) -> list[_Shift]:
    records = scorer_bias_records(scorer_bias_items(words, templates), scorer)
    measured = scorer_bias_measured(records, attribute.column, attribute.reference, alpha=alpha)
    ends = ("scorer_shift", "absolute_shift", "above_0.5_shift")
    kinds = [[m for m in measured if m.metric.endswith(end)] for end in ends]
    return [
        _Shift(_reasoned(mean), size, share, _strongest(records, words, mean.group, mean.reference))
        for mean, size, share in zip(*kinds, strict=True)
    ]


def _strongest(records: pd.DataFrame, words: Mapping[str, Sequence[str]], group: str, reference: str) -> str:
    """The pair of words with the largest mean shift, such as "Precious for Abigail (+0.4)"; "" where none moves."""
    scores = records.pivot(index=["template", "pair"], columns="group", values="score")
    by_pair = (scores[group] - scores[reference]).groupby(level="pair").mean().dropna()
    if by_pair.empty or by_pair.abs().max() < ROUNDING:
        return ""
    pair = str(by_pair.abs().idxmax())
    return f"{words[group][int(pair)]} for {words[reference][int(pair)]} ({by_pair[pair]:+.2g})"


def _reasoned(m: Measured) -> Measured:
    """The reason for an interval that is missing since every sentence says the same, in words that fit the check."""
    e = m.estimate
    if not math.isfinite(e.estimate) or math.isfinite(e.ci_low) or e.n_clusters < 2:
        return m
    reason = f"the same shift, {e.estimate:.2g}, in all {e.n:,} pairs of sentences: no spread to make an interval of"
    return replace(m, estimate=e.model_copy(update={"reason": reason}))


def _control(m: Measured, planned: ScorerPlan, plan: GenerationPlan, stage: str) -> Measurement:
    return Measurement(
        estimate=m.estimate,
        stage=stage,
        probe=PROBE,
        metric=planned.quantity + SHIFT,
        attribute=m.attribute,
        group=m.group,
        reference=m.reference,
        role="control",
        variant=plan.variant(planned),
        unit=planned.unit,
        parse_rate=m.parse_rate,
    )


def _row(planned: ScorerPlan, shift: _Shift) -> Row:
    m, e = shift.mean, shift.mean.estimate
    numbers = {
        "shift": e.estimate,
        "ci_low": e.ci_low,
        "ci_high": e.ci_high,
        "mean size of the shift": shift.size.estimate.estimate,
        "change of the share above 0.5": shift.share.estimate.estimate,
        "scored": m.parse_rate,
    }
    return {
        **{"quantity": planned.quantity, "ruler": planned.name},
        **{"attribute": m.attribute, "group": m.group, "reference": m.reference},
        **{name: value if math.isfinite(value) else None for name, value in numbers.items()},
        "pairs of sentences": e.n,
        "moves most with": shift.strongest,
    }
