"""Gaps between group means of a score, as findings and ledgers report them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from rlhf_fair.records import INTERSECTION, Estimate, GroupMean
from rlhf_fair.stats.contrasts import contrast_estimate, mean_estimate


def group_labels(records: pd.DataFrame, attribute: str) -> pd.Series:
    """Labels of one attribute, or of an intersection written ``gender × ethnicity``: ``woman & Black``.

    A row that lacks one of the attributes has no label (NaN): it is in no group, and estimates count it as left out.
    """
    labels, *others = (records[column].astype(str) for column in attribute.split(INTERSECTION))
    for other in others:
        labels = labels + " & " + other  # a quarter of the time of str.cat, which a comparison calls thousands of times
    return labels


def group_names(labels: pd.Series) -> list[str]:
    """The groups among `group_labels`, in order of name."""
    return sorted(labels.dropna().unique())


def against_others(groups: Sequence[str], reference: str) -> dict[str, float]:
    """Coefficients of the ledger's gap: the reference group less the plain mean of the other groups."""
    others = [group for group in groups if group != reference]
    return {reference: 1.0} | dict.fromkeys(others, -1.0 / max(len(others), 1))


def gap_to_reference(
    records: pd.DataFrame,
    attribute: str,
    group: str,
    reference: str,
    *,
    clusters: Sequence[str],
    alpha: float,
    null: float = 0.0,
) -> Estimate:
    """Mean score of ``group`` less that of ``reference``; 0 = parity; unit of ``records['score']``.

    The p-value is that of the gap ``null``.
    """
    return _contrast(records, attribute, {group: 1.0, reference: -1.0}, clusters, alpha, null)


def ledger_gap(
    records: pd.DataFrame, attribute: str, reference: str, *, clusters: Sequence[str], alpha: float
) -> Estimate:
    """Mean score of ``reference`` less the plain mean over the other groups' means; 0 = parity."""
    groups = group_names(group_labels(records, attribute))
    return _contrast(records, attribute, against_others(groups, reference), clusters, alpha)


def group_means(
    records: pd.DataFrame, attribute: str, *, clusters: Sequence[str], alpha: float
) -> tuple[GroupMean, ...]:
    """The mean score of every group with its interval, groups in order of name."""
    labels = group_labels(records, attribute)
    means = []
    for group in group_names(labels):
        rows = records[labels == group]
        e = mean_estimate(rows["score"], clusters=[rows[column] for column in clusters], rates=False, alpha=alpha)
        means.append(
            GroupMean(group=group, mean=e.estimate, ci_low=e.ci_low, ci_high=e.ci_high, n=e.n, reason=e.reason)
        )
    return tuple(means)


def _contrast(
    records: pd.DataFrame,
    attribute: str,
    coefficients: Mapping[str, float],
    clusters: Sequence[str],
    alpha: float,
    null: float = 0.0,
) -> Estimate:
    labels, ways = group_labels(records, attribute), [records[column] for column in clusters]
    # a score is no rate, not even where nothing but 0 or 1 occurs
    return contrast_estimate(records["score"], labels, coefficients, clusters=ways, rates=False, null=null, alpha=alpha)
