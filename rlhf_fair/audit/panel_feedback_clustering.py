"""What clustering does to a gap: the test as if every rating were independent, beside the one that audits use.

Anyone who downloads ratings and runs a t test takes them for independent. Both tests are of the same difference; what
differs is how many witnesses they take there to be.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from rlhf_fair.audit.findings import Measurement
from rlhf_fair.audit.panel_feedback_estimates import GAP
from rlhf_fair.audit.panel_feedback_plan import FeedbackPlan
from rlhf_fair.records import NAN, Estimate
from rlhf_fair.stats.contrasts import contrast_estimate


@dataclass(frozen=True)
class ClusteringEffect:
    """A gap's test with independent ratings and with clusters; both p-values are two-sided, of no gap.

    ``design_effect``: the ratio of the two variances (Kish 1965); 1 = clustering changes nothing, range above 0. Below
    1, sharing items made the comparison sharper than independent ratings could. NaN where either test is.
    """

    naive: Estimate
    clustered: Estimate

    @property
    def design_effect(self) -> float:
        """Clustered over naive variance."""
        if not self.naive.standard_error > 0:
            return NAN
        return (self.clustered.standard_error / self.naive.standard_error) ** 2

    @property
    def effective_ratings(self) -> float:
        """As many independent ratings would tell as much; NaN where the design effect is unknown or 0."""
        return self.naive.n / self.design_effect if self.design_effect > 0 else NAN

    def artefact(self, alpha: float = 0.05) -> bool:
        """True where only the test with independent ratings finds a difference at level ``alpha``."""
        return self.naive.p_value < alpha and not self.clustered.p_value < alpha


def naive_gap(records: pd.DataFrame, labels: pd.Series, group: str, reference: str, *, alpha: float) -> Estimate:
    """Welch's t interval and test (Welch 1947) of the scores of ``group`` less those of ``reference``, weights kept."""
    rows = labels.isin([group, reference])
    return contrast_estimate(
        records.loc[rows, "score"],
        labels[rows].to_numpy(object),
        {group: 1.0, reference: -1.0},
        weights=records.loc[rows, "weight"].to_numpy(float),
        rates=False,
        alpha=alpha,
    )


def clustering_effect(records: pd.DataFrame, gap: Measurement, plan: FeedbackPlan) -> ClusteringEffect:
    """The naive test beside ``gap``, a gap of one attribute as rated; not estimable where the gap is not."""
    if math.isnan(gap.estimate.p_value):
        reason = gap.estimate.reason or "the gap has no test"
        return ClusteringEffect(Estimate.not_estimable(reason, n=gap.estimate.n), gap.estimate)
    labels = records[gap.attribute]
    naive = naive_gap(records, labels, gap.group, gap.reference, alpha=plan.policy.alpha)
    return ClusteringEffect(naive, gap.estimate)


def as_rated(measurements: Sequence[Measurement]) -> list[Measurement]:
    """The gaps between groups of one attribute, over all the items that they rated."""
    return [m for m in measurements if m.metric == GAP and not m.variant]


def clustering_rows(records: pd.DataFrame, gaps: Sequence[Measurement], plan: FeedbackPlan) -> list[dict[str, object]]:
    """A row for every gap that has a test: p with independent ratings, p with clusters, and the design effect.

    Counts are left to the findings and the table of means, where those that would give small groups away are withheld.
    """
    rows: list[dict[str, object]] = []
    for gap in as_rated(gaps):
        effect = clustering_effect(records, gap, plan)
        if math.isnan(effect.design_effect):
            continue
        rows.append(
            {
                "attribute": gap.attribute,
                "comparison": f"{gap.group} against {gap.reference}",
                "as independent: p": _p_text(effect.naive.p_value),
                "clustered: p": _p_text(effect.clustered.p_value),
                "design effect": float(f"{effect.design_effect:.2g}"),
                "note": "only if ratings were independent" if effect.artefact(plan.policy.alpha) else "",
            }
        )
    return rows


def _p_text(p_value: float) -> str:
    return "< 0.0001" if p_value < 0.0001 else f"{p_value:.4f}"
