"""Preferences by group: who wins against a baseline, and whose preferences a reward model gets right.

Rows are preference pairs. ``groups`` may be the annotator's group (whose judgement is served?) or the group a text is
about (who is judged?). Pairs share prompts, texts and annotators: pass each as one of ``clusters``.

Labels may be soft: ``agreement`` is the share of judgements for the chosen answer, in [0, 1]. To let contested pairs
count less, pass ``weights=certainty(agreement)``; evenly split pairs have none and must be left out first.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit, log_expit

from rlhf_fair.metrics.by_group import ByGroup, mean_by_group
from rlhf_fair.stats.columns import check_lengths, check_shares, numbers
from rlhf_fair.stats.sample import UNKNOWN, Floats, encode

INDIFFERENCE = float(np.log(2))
"""Log-loss of a margin of 0, in nats: the model has no opinion."""


@dataclass(frozen=True)
class PreferenceQuality:
    """How well margins predict preferences, by group: share right, log-loss in nats, Brier score."""

    accuracy: ByGroup
    log_loss: ByGroup
    brier: ByGroup


def wins(scores: ArrayLike, baseline_scores: ArrayLike) -> Floats:
    """(n,) 1 where the score beats the baseline's, 0 where it loses, 1/2 for a tie; NaN where either is missing.

    >>> wins([2, 1, 0], [1, 1, 1]).tolist()
    [1.0, 0.5, 0.0]
    """
    score, baseline = numbers("scores", scores), numbers("baseline_scores", baseline_scores)
    check_lengths({"baseline_scores": baseline}, len(score), "scores")
    return preferred(score - baseline)


def preferred(margins: ArrayLike) -> Floats:
    """(n,) 1 where a margin is positive, 0 where negative, 1/2 at 0; NaN stays NaN."""
    return np.asarray((1 + np.sign(np.asarray(margins, dtype=float))) / 2)


def win_rates(
    outcomes: ArrayLike,
    groups: Any,
    *,
    reference: Hashable = None,
    clusters: Sequence[ArrayLike] = (),
    weights: ArrayLike | None = None,
    alpha: float = 0.05,
) -> ByGroup:
    """Win rate against a baseline by group, ties half; range [0, 1]; null value 0.5; of a gap 0 = parity.

    ``outcomes``: (n,) 1 win, 0 loss, 1/2 tie, as `wins` makes them from scores. ``clusters``, ``weights``: as in
    `contrast_estimate`.
    """
    return mean_by_group(
        _shares(outcomes, "outcomes"),
        groups,
        reference=reference,
        null=0.5,
        clusters=clusters,
        weights=weights,
        alpha=alpha,
    )


def preference_quality(
    margins: ArrayLike,
    groups: Any,
    *,
    agreement: ArrayLike | None = None,
    reference: Hashable = None,
    clusters: Sequence[ArrayLike] = (),
    weights: ArrayLike | None = None,
    alpha: float = 0.05,
) -> PreferenceQuality:
    """Accuracy, log-loss and Brier score of a reward model's ``margins`` (n,), reward of chosen less of rejected.

    The model's probability that the chosen answer is preferred is 1 / (1 + exp(-margin)) (Bradley & Terry 1952).

    * accuracy: share of judgements on the model's side, ties half; range [0, 1], 0.5 = guessing, high is better. With
      soft labels even a perfect model stays below 1.
    * log-loss: range [0, inf), log 2 = no opinion, low is better.
    * Brier: range [0, 1], 0.25 = no opinion, low is better.

    ``agreement``: (n,) share of judgements for the chosen answer, default 1. Gaps are group less reference.
    ``clusters``, ``weights``: as in `contrast_estimate`.
    """
    m = numbers("margins", margins)
    share = np.ones(m.shape) if agreement is None else _shares(agreement, "agreement")
    check_lengths({"agreement": share}, len(m), "margins")

    def by_group(values: Floats, null: float) -> ByGroup:
        return mean_by_group(
            values, groups, reference=reference, null=null, clusters=clusters, weights=weights, alpha=alpha
        )

    return PreferenceQuality(
        accuracy=by_group(share * preferred(m) + (1 - share) * (1 - preferred(m)), 0.5),
        log_loss=by_group(preference_log_loss(m, share), INDIFFERENCE),
        brier=by_group(preference_brier(m, share), 0.25),
    )


def preference_log_loss(margins: Floats, agreement: Floats) -> Floats:
    """(n,) nats: ``-(q log σ(m) + (1 - q) log σ(-m))`` for margin m and share of judgements q; stable for any m."""
    return np.asarray(-(agreement * log_expit(margins) + (1 - agreement) * log_expit(-margins)))


def preference_brier(margins: Floats, agreement: Floats) -> Floats:
    """(n,) mean over judgements of ``(σ(m) - judgement)**2``: ``q (1 - σ(m))**2 + (1 - q) σ(m)**2``; range [0, 1]."""
    return np.asarray(agreement * expit(-margins) ** 2 + (1 - agreement) * expit(margins) ** 2)


def certainty(agreement: ArrayLike) -> Floats:
    """(n,) weight of a pair: ``|2q - 1|`` for a share q of judgements; range [0, 1], 0 = evenly split."""
    return np.asarray(np.abs(2 * _shares(agreement, "agreement") - 1))


def within_prompt_sd(rewards: ArrayLike, prompts: ArrayLike) -> float:
    """Pooled SD of rewards around their prompt's mean: the unit in which rewards of different models compare.

    ``sqrt(sum (r - mean of prompt)**2 / (n - number of prompts))``, over prompts with two or more answers; range
    [0, inf); NaN where no prompt has two. A reward model's offset and scale are arbitrary, and so is what it adds to
    all answers to one prompt; what is left is what training can act on.
    """
    deviations, spare = _within_prompt(rewards, prompts)
    used = np.isfinite(deviations)
    return float(np.sqrt(np.square(deviations[used]).sum() / spare)) if spare > 0 else float("nan")


def in_within_prompt_sds(rewards: ArrayLike, prompts: ArrayLike) -> Floats:
    """(n,) rewards less their prompt's mean, in units of `within_prompt_sd`; NaN for a prompt with one answer.

    Unchanged by any offset per prompt and by any positive scale.
    """
    deviations, _ = _within_prompt(rewards, prompts)
    sd = within_prompt_sd(rewards, prompts)
    return deviations / sd if sd > 0 else np.full_like(deviations, np.nan)


def _within_prompt(rewards: ArrayLike, prompts: ArrayLike) -> tuple[Floats, int]:
    """Deviations from the prompt's mean, NaN where it has one answer, and their degrees of freedom."""
    r = numbers("rewards", rewards)
    check_lengths({"prompts": prompts}, len(r), "rewards")
    codes, names = encode(prompts)
    used = np.isfinite(r) & (codes != UNKNOWN)
    counts = np.bincount(codes[used], minlength=len(names))
    sums = np.bincount(codes[used], r[used], len(names))
    used[used] = counts[codes[used]] > 1
    deviations = np.full(r.shape, np.nan)
    deviations[used] = r[used] - (sums / np.maximum(counts, 1))[codes[used]]
    return deviations, int((counts[counts > 1] - 1).sum())


def _shares(values: ArrayLike, name: str) -> Floats:
    shares = numbers(name, values)
    check_shares(name, shares)
    return shares
