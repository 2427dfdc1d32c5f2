"""Attributions of many pairs summed up: which words carry the gap, what carries it as a whole, and how far to trust it.

All amounts are in SD of reward; 0 = carries nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from rlhf_fair.probes.word_attribution_pairs import BETWEEN, DIFFERENCE, EXCHANGED, SHARED, Floats, Pair
from rlhf_fair.records import NAN, Estimate
from rlhf_fair.stats.contrasts import mean_estimate
from rlhf_fair.stats.corrections import benjamini_hochberg
from rlhf_fair.stats.correlation import correlation_estimate

METHODS = (BETWEEN, DIFFERENCE)
WHOLE, N_TOKENS, RESIDUE = "whole gap", "number of tokens", "residue"
PARTS = {WHOLE: "gap", EXCHANGED: "exchanged", SHARED: "shared", N_TOKENS: "n_tokens", RESIDUE: "residue"}
"""Part of the gap -> its column in the table of pairs."""

WORD_COLUMNS = (
    *("kind", "method", "role", "side", "word", "contribution", "ci_low", "ci_high", "p_value", "p_adjusted", "share"),
    *("occlusion", "n_pairs", "n_clusters", "reason"),
)
PART_COLUMNS = (
    "kind",
    "method",
    "part",
    "estimate",
    "ci_low",
    "ci_high",
    "p_value",
    "share",
    "n",
    "n_clusters",
    "reason",
)
KEY = ["kind", "method", "role", "side", "word"]
CONTRADICTED = "leaving the word out points the other way"
FEWEST_RANKS = 3
"""Two words agree or disagree altogether: ranks begin to say something with three."""


@dataclass(frozen=True)
class Completeness:
    """How well paths add up. ``largest``: the largest error of a sum, in SD of reward; 0 = all complete.

    ``n_within`` of ``n`` paths are within ``tolerance`` (SD of reward). steps: the median and the most that were taken.
    """

    tolerance: float
    n: int
    n_within: int
    largest: float
    median_steps: float
    most_steps: int


@dataclass(frozen=True)
class OcclusionAgreement:
    """Spearman's rank correlations of attributions with leaving words out; 1 = the same order, 0 = chance.

    texts: over the words of a text, mean over texts. gaps: over the words' contributions to a pair's gap, mean over
    pairs. words: over the rows of the table of words.
    """

    texts: Estimate
    gaps: Estimate
    words: Estimate


def word_table(contributions: pd.DataFrame, pairs: pd.DataFrame) -> pd.DataFrame:
    """One row for each kind, method, role, side and word (lower case), the largest share of its kind's gap first.

    contribution: mean over the ``n_pairs`` pairs that have the word (all its places summed up), with a t interval
        clustered by ``cluster``; positive: it raises the reward of a above that of b.
    p_adjusted: Benjamini-Hochberg over all words of a method. occlusion: the same mean by leaving the word out.
    reason: why a number is missing, and where contribution and occlusion have opposite signs.
    share: of the whole gap of the kind's pairs for which there is the method, summed over all of them; shares can be
        negative or above 1 where words pull both ways. NaN where that gap cannot be told from 0.
    """
    rows = list(_word_rows(contributions, pairs)) if len(contributions) else []
    table = pd.DataFrame(rows, columns=[*WORD_COLUMNS, "total"])
    for _, part in table.groupby("method"):
        table.loc[part.index, "p_adjusted"] = benjamini_hochberg(part["p_value"])
    order = table["total"].abs().sort_values(ascending=False, kind="stable").index
    table = table.loc[order].sort_values(["kind", "method"], kind="stable", ignore_index=True)
    return table.drop(columns="total")


def _word_rows(contributions: pd.DataFrame, pairs: pd.DataFrame) -> Iterator[dict[str, Any]]:
    wholes = {
        (str(kind), method): whole_gap(rows, method) for kind, rows in pairs.groupby("kind") for method in METHODS
    }
    per_pair = contributions.groupby([*KEY, "id"], sort=True, dropna=False)
    summed = per_pair.agg(
        contribution=("contribution", "sum"),
        occlusion=("occlusion", lambda values: values.sum(skipna=False)),
        cluster=("cluster", "first"),
    ).reset_index()
    for key, rows in summed.groupby(KEY, sort=True):
        labels = dict(zip(KEY, key, strict=True))
        e = mean_estimate(rows["contribution"], clusters=[rows["cluster"]], rates=False)
        whole = wholes[str(labels["kind"]), str(labels["method"])]
        share, why = _share(float(rows["contribution"].sum()), whole)
        occlusion = float(rows["occlusion"].mean(skipna=False))
        against = CONTRADICTED if e.estimate * occlusion < 0 else ""
        yield labels | {
            "contribution": e.estimate,
            **{name: getattr(e, name) for name in ("ci_low", "ci_high", "p_value", "n_clusters")},
            "p_adjusted": NAN,
            "share": share,
            "occlusion": occlusion,
            "n_pairs": len(rows),
            "reason": "; ".join(filter(None, [against, e.reason, why])),
            "total": float(rows["contribution"].sum()),
        }


def part_table(pairs: pd.DataFrame) -> pd.DataFrame:
    """For each kind the mean gap and the means of its parts, with intervals clustered by ``cluster``.

    Parts of `DIFFERENCE` add up to the gap of all pairs. `BETWEEN` has one: the exchanges, which are the whole gap of
    the pairs that have such a path, up to the error of the sum. Shares as in `word_table`.
    """
    rows = []
    for kind, of_kind in pairs.groupby("kind", sort=True):
        for method in METHODS:
            used = _with_method(of_kind, method)
            whole = whole_gap(of_kind, method)
            columns = PARTS if method == DIFFERENCE else {WHOLE: "gap", EXCHANGED: "between"}
            for part, column in columns.items() if len(used) else ():
                e = mean_estimate(used[column], clusters=[used["cluster"]], rates=False)
                share, why = _share(float(used[column].sum()), whole)
                estimate = {n: getattr(e, n) for n in ("estimate", "ci_low", "ci_high", "p_value", "n", "n_clusters")}
                reason = "; ".join(filter(None, [e.reason, why]))
                rows.append(
                    {"kind": kind, "method": method, "part": part, **estimate, "share": share, "reason": reason}
                )
    return pd.DataFrame(rows, columns=list(PART_COLUMNS))


def whole_gap(pairs: pd.DataFrame, method: str) -> Estimate:
    """The mean gap of the pairs of a kind for which there is the method."""
    used = _with_method(pairs, method)
    return mean_estimate(used["gap"], clusters=[used["cluster"]], rates=False)


def _with_method(pairs: pd.DataFrame, method: str) -> pd.DataFrame:
    return pairs[pairs["between"].notna()] if method == BETWEEN else pairs


def _share(amount: float, whole: Estimate) -> tuple[float, str]:
    """Of the whole gap, with the reason where there is none to have a share of."""
    if not np.isfinite(whole.ci_low):
        return NAN, "no share: the whole gap has no interval"
    if whole.ci_low <= 0 <= whole.ci_high:
        return NAN, "no share: the whole gap cannot be told from 0"
    return amount / (whole.estimate * whole.n), ""


def completeness_of(pairs: Sequence[Pair], scale: float, tolerance: float) -> Completeness:
    """Over the distinct paths of all pairs; sizes in units of ``scale``."""
    paths = {id(path): path for p in pairs for path in (p.a.path, p.b.path, p.between) if path is not None}.values()
    sizes = np.array([abs(path.residue) / scale for path in paths])
    steps = [path.steps for path in paths]
    return Completeness(
        tolerance=tolerance,
        n=len(sizes),
        n_within=int((sizes <= tolerance).sum()),
        largest=float(sizes.max()) if len(sizes) else NAN,
        median_steps=float(np.median(steps)) if steps else NAN,
        most_steps=max(steps, default=0),
    )


def occlusion_agreement(pairs: Sequence[Pair], contributions: pd.DataFrame, words: pd.DataFrame) -> OcclusionAgreement:
    """How far both ways to attribute put words into the same order; see `OcclusionAgreement`."""
    texts = {id(text): (text, pair.record["cluster"]) for pair in pairs for text in (pair.a, pair.b)}.values()
    of_texts = [rank_correlation(text.by_word, text.occlusion) for text, _ in texts]
    compared = contributions[contributions["method"] == DIFFERENCE]
    by_pair = compared.groupby("id", sort=True)
    of_gaps = [rank_correlation(g["contribution"].to_numpy(), g["occlusion"].to_numpy()) for _, g in by_pair]
    table = words[words["method"] == DIFFERENCE]
    ranks = [rankdata(table[column]) for column in ("contribution", "occlusion")]
    return OcclusionAgreement(
        texts=_mean_rank(of_texts, [cluster for _, cluster in texts]),
        gaps=_mean_rank(of_gaps, by_pair["cluster"].first().tolist()),
        words=correlation_estimate(*ranks) if len(table) >= FEWEST_RANKS else _no_ranks(len(table)),
    )


def rank_correlation(x: Floats, y: Floats) -> float:
    """Spearman's; NaN for fewer than three values, or where all of one side are equal.

    >>> rank_correlation(np.array([1.0, 2.0, 3.0]), np.array([0.1, 0.3, 0.2]))
    0.5
    """
    if len(x) < FEWEST_RANKS or np.ptp(x) == 0 or np.ptp(y) == 0:
        return NAN
    return round(float(np.corrcoef(rankdata(x), rankdata(y))[0, 1]), 12)


def _mean_rank(values: Sequence[float], clusters: Sequence[Any]) -> Estimate:
    if not np.isfinite(np.asarray(values, dtype=float)).any():
        return _no_ranks(len(values))
    return mean_estimate(values, clusters=[clusters], rates=False)


def _no_ranks(n: int) -> Estimate:
    return Estimate.not_estimable("fewer than three words with different amounts to compare", n_left_out=n)
