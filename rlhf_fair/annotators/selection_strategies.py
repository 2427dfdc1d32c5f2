"""From features and labels so far to a design: what a label of each candidate would tell, by one of two measures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit

from rlhf_fair.annotators.selection_design import GreedyDesign
from rlhf_fair.annotators.selection_heads import (
    HeadSettings,
    Labels,
    bootstrap_heads,
    disagreement_vectors,
    fisher_vectors,
    fit_head,
    mutual_information,
    posterior_precision,
    typical_length,
)
from rlhf_fair.errors import RowError, SettingsError

Floats = NDArray[np.float64]

EVERYBODY = "(all)"
"""The head of all raters together."""


@dataclass(frozen=True)
class View:
    """The candidates as one head, or ensemble of heads, sees them.

    ``p_a``: (n,) predicted P(a preferred). ``disagreement``: (n,) `mutual_information` of a label of this pair alone,
    nats; NaN where a single head knows of none.
    """

    design: GreedyDesign
    p_a: Floats
    disagreement: Floats


def fisher_view(candidates: Floats, labels: Labels, anchor: Floats, settings: HeadSettings) -> View:
    """Information of labels about the last layer, given that of the labels so far. ``candidates``: (n, d)."""
    head = fit_head(labels, anchor, settings.logit_sd)
    precision = posterior_precision(labels, head, settings.logit_sd)
    design = GreedyDesign(fisher_vectors(candidates, head), precision)
    return View(design, np.asarray(expit(candidates @ head)), np.full(len(candidates), np.nan))


def disagreement_view(
    candidates: Floats, labels: Labels, anchor: Floats, settings: HeadSettings, *, rng: np.random.Generator
) -> View:
    """How far heads that fit the labels so far disagree. ``candidates``: (n, d)."""
    heads = bootstrap_heads(labels, anchor, settings, rng=rng)
    return ensemble_view(candidates @ heads.T)


def ensemble_view(logits: Floats) -> View:
    """``logits``: (n, k), each member's reward of a minus that of b, k >= 2."""
    if logits.shape[1] < 2:
        raise SettingsError(f"an ensemble of {logits.shape[1]}; disagreement needs at least 2 members")
    p_a = np.asarray(expit(logits))
    return View(GreedyDesign(disagreement_vectors(p_a)), p_a.mean(axis=1), mutual_information(p_a))


@dataclass(frozen=True)
class Known:
    """Features of pairs. ``differences``: by item_id, a minus b, one column for each feature. ``head``: (d,) what the
    prior of all heads is centred on, such as a reward model's own last layer; zeros: no preference."""

    differences: pd.DataFrame
    head: Floats

    def scaled(self) -> Known:
        """The same with a typical difference of length 1; raises `RowError` where all are zero."""
        length = typical_length(self.differences.to_numpy(dtype=float))
        if not length > 0:
            raise RowError("the features of a and b are equal in all items: there is nothing to choose by")
        return Known(self.differences / length, self.head * length)

    def labels(self, shares: pd.Series) -> Labels:
        """``shares`` that prefer a, by item_id, with the features of those items that have some."""
        known = shares[shares.index.isin(self.differences.index)].dropna()
        return Labels(self.differences.loc[known.index].to_numpy(dtype=float), known.to_numpy(dtype=float))


def views(
    strategy: str,
    known: Known,
    item_ids: Sequence[str],
    shares: Mapping[str, pd.Series],
    settings: HeadSettings,
    *,
    rng: np.random.Generator,
) -> dict[str, View]:
    """The items ``item_ids`` as one head sees them, or as each rater group's own does.

    Parameters
    ----------
    strategy
        ``fisher`` or ``disagreement``.
    shares
        `selection_pool.label_shares`: of `EVERYBODY`, empty where nothing is labelled yet. With further groups there is
        one view for each of these, its prior centred on everybody's head: a group that said little is taken to think
        like the others, and to be little known.
    """
    features = known.scaled()
    labels = {name: features.labels(own) for name, own in shares.items()}
    everybody = labels.pop(EVERYBODY, Labels.none(len(features.head)))
    anchor = fit_head(everybody, features.head, settings.logit_sd) if labels else features.head
    rows = features.differences.loc[list(item_ids)].to_numpy(dtype=float)
    heads = labels or {EVERYBODY: everybody}
    if strategy == "fisher":
        return {name: fisher_view(rows, own, anchor, settings) for name, own in heads.items()}
    return {name: disagreement_view(rows, own, anchor, settings, rng=rng) for name, own in heads.items()}
