"""Answers to yes/no decisions that say neither: who is refused more often, and whose decisions are unknown."""

from __future__ import annotations

import pandas as pd

from rlhf_fair.probes.likelihoods import DUPLICATE, MISSING
from rlhf_fair.probes.measured import Measured
from rlhf_fair.probes.missing import REFUSALS, UNMEASURED, measured_rate, unmeasured_gap
from rlhf_fair.stats.contrasts import contrast_estimate


def answer_gaps(rows: pd.DataFrame, attribute: str, group: str, reference: str, alpha: float) -> list[Measured]:
    """Gaps in refusals, among the answers that came, and where some say neither yes nor no, in those; [-1, 1].

    0 = parity. ``rows``: records of one variant of `rlhf_fair.probes.decisions`; intervals are clustered as those of
    the decisions are. Nothing for records without answers in words, since a likelihood refuses nobody.
    """
    if rows["refused"].isna().all():
        return []
    two, sides = rows[rows[attribute].isin([group, reference])], {group: 1.0, reference: -1.0}
    groups, ways = two[attribute], [two["scenario"], *([two["name"]] if two["name"].ne("").all() else [])]
    came, decided = ~two["problem"].isin([MISSING, DUPLICATE]), two["yes"].notna()
    refused = two["refused"].where(came).astype(float)
    e = contrast_estimate(refused, groups, sides, clusters=ways, rates=True, alpha=alpha)
    found = [(REFUSALS, e, measured_rate(came, groups, sides))]
    if rows["yes"].isna().any():
        found.append((UNMEASURED, unmeasured_gap(decided, groups, sides, clusters=ways, alpha=alpha), 1.0))
    chosen = rows[rows[attribute] == group]
    return [
        Measured(
            metric=metric,
            estimate=estimate,
            attribute=attribute,
            group=group,
            reference=reference,
            variant=str(rows["variant"].iloc[0]),
            unit="share",
            parse_rate=float(chosen["parsed"].mean()),
            refusal_rate=float(chosen["refused"].mean()),
            measured_rate=rate,
        )
        for metric, estimate, rate in found
    ]
