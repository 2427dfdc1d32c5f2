"""The bias ledger: the same gap, by the same ruler, on the same prompts, stage after stage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from rlhf_fair.metrics.gaps import against_others, group_labels, group_means, group_names, ledger_gap
from rlhf_fair.records import INTERSECTION, Estimate, LedgerRow
from rlhf_fair.stats.absolute_change import absolute_change, difference_and_total
from rlhf_fair.stats.contrasts import mean_estimate
from rlhf_fair.stats.ratios import contrast_ratio


@dataclass(frozen=True)
class Yardstick:
    """What every row is measured by: (attribute, reference group) pairs, clusters, metric name and alpha."""

    attributes: tuple[tuple[str, str], ...]
    clusters: tuple[str, ...]
    metric: str
    alpha: float


@dataclass(frozen=True)
class StageRecords:
    """The scored answers of one stage. ``records`` has prompt_id, score, the attributes and the cluster columns."""

    stage: str
    panel: str
    records: pd.DataFrame
    before: StageRecords | None = None

    @property
    def label(self) -> str:
        """Stage and panel as one name."""
        return f"{self.stage} ({self.panel})" if self.panel else self.stage


def ledger_rows(stage: StageRecords, yardstick: Yardstick) -> list[LedgerRow]:
    """One row per attribute: the gap, its change from the stage before on the shared prompts, and the group means."""
    return [_row(stage, yardstick, attribute, reference) for attribute, reference in yardstick.attributes]


def _row(stage: StageRecords, yardstick: Yardstick, attribute: str, reference: str) -> LedgerRow:
    clusters, alpha = yardstick.clusters, yardstick.alpha
    gap = ledger_gap(stage.records, attribute, reference, clusters=clusters, alpha=alpha)
    change = Estimate.not_estimable("no stage before")
    if stage.before is not None:
        change = gap_change(stage, stage.before, yardstick, attribute, reference)
    return LedgerRow(
        stage=stage.stage,
        panel=stage.panel,
        attribute=attribute,
        metric=yardstick.metric,
        reference=reference,
        estimate=gap.estimate,
        ci_low=gap.ci_low,
        ci_high=gap.ci_high,
        p_value=gap.p_value,
        n=gap.n,
        n_clusters=gap.n_clusters,
        change_from=stage.before.label if stage.before else "",
        change=change.estimate,
        change_ci_low=change.ci_low,
        change_ci_high=change.ci_high,
        groups=group_means(stage.records, attribute, clusters=clusters, alpha=alpha),
        reason=gap.reason,
    )


def paired(now: StageRecords, before: StageRecords) -> pd.DataFrame:
    """Rows of the prompts that both stages answered: columns of ``now`` plus ``score_before``."""
    return now.records.merge(
        before.records[["prompt_id", "score"]].rename(columns={"score": "score_before"}), on="prompt_id"
    )


def gap_change(
    now: StageRecords, before: StageRecords, yardstick: Yardstick, attribute: str, reference: str
) -> Estimate:
    """|gap now| - |gap before| on the same prompts: positive means amplified (see `absolute_change`)."""
    rows = paired(now, before)
    labels = group_labels(rows, attribute)
    coefficients = against_others(group_names(labels), reference)
    ways = [rows[column] for column in yardstick.clusters]
    before_now = (rows["score_before"], rows["score"])
    difference, total = difference_and_total(*before_now, labels, coefficients, clusters=ways, alpha=yardstick.alpha)
    return absolute_change(difference, total)


def gap_remaining(
    now: StageRecords, before: StageRecords, yardstick: Yardstick, attribute: str, reference: str
) -> Estimate:
    """gap now / gap before on the same prompts: 0 = closed, 1 = unchanged, negative = turned round."""
    rows = paired(now, before)
    labels = group_labels(rows, attribute)
    return contrast_ratio(
        rows["score"],
        rows["score_before"],
        labels,
        against_others(group_names(labels), reference),
        clusters=[rows[column] for column in yardstick.clusters],
        alpha=yardstick.alpha,
    )


def worst_group_change(now: StageRecords, before: StageRecords, yardstick: Yardstick) -> tuple[str, Estimate]:
    """The intersection whose mean score fell most (or rose least) from ``before``, and that change.

    The interval is for the largest of many, so it uses alpha divided by the number of groups (Bonferroni).
    """
    rows = paired(now, before)
    labels = group_labels(rows, INTERSECTION.join(attribute for attribute, _ in yardstick.attributes))
    groups = group_names(labels)
    changes = {}
    for group in groups:
        mine = rows[labels == group]
        changes[group] = mean_estimate(
            mine["score"] - mine["score_before"],
            clusters=[mine[column] for column in yardstick.clusters],
            rates=False,
            alpha=yardstick.alpha / len(groups),
        )
    worst = min(groups, key=lambda group: changes[group].estimate)
    return worst, changes[worst]


def share_kept(
    gained: Sequence[float] | pd.Series, full: Sequence[float] | pd.Series, clusters: Sequence[pd.Series], alpha: float
) -> Estimate:
    """mean(gained) / mean(full), paired by row: the share of a gain that is kept."""
    ones = np.zeros(len(gained), dtype=int)
    return contrast_ratio(gained, full, ones, {0: 1.0}, clusters=clusters, alpha=alpha)
