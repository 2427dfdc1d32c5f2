"""What training changed on held-out prompts: level, gap and who moved, each with a clustered and paired interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from rlhf_fair.errors import SettingsError
from rlhf_fair.metrics.gaps import against_others, group_labels, group_means, group_names, ledger_gap
from rlhf_fair.records import INTERSECTION, Estimate, LedgerRow
from rlhf_fair.stats.absolute_change import absolute_change, difference_and_total
from rlhf_fair.stats.contrasts import mean_estimate
from rlhf_fair.training.ppo.job.record_columns import SAMPLE, SCORE

PAIRED_BY = ("prompt_id", SAMPLE)


@dataclass(frozen=True)
class BeforeAfter:
    """Records of the same held-out prompts before and after training, row by row, and how they are compared.

    ``attributes``: (group column or intersection, reference group). ``clusters``: columns of rows that belong together.
    """

    before: pd.DataFrame
    after: pd.DataFrame
    attributes: tuple[tuple[str, str], ...]
    clusters: tuple[str, ...]
    alpha: float

    def __post_init__(self) -> None:
        for name in PAIRED_BY:
            assert self.before[name].tolist() == self.after[name].tolist(), "records are of the same answers' places"

    def level(self, column: str) -> dict[str, Estimate]:
        """Mean before, after, and the paired change."""
        both = {"start": self.before[column], "end": self.after[column]}
        both["change"] = both["end"] - both["start"]
        return {name: mean_estimate(x, clusters=self._ways, rates=False, alpha=self.alpha) for name, x in both.items()}

    def gap(self, column: str, attribute: str, reference: str) -> dict[str, Estimate]:
        """The reference group's mean less that of the others before and after, and |gap after| - |gap before|.

        0 = parity; a change below 0 means that the gap closed.
        """
        labels = group_labels(self.before, attribute)
        coefficients = against_others(group_names(labels), reference)
        start, end = (self._scored(records, column) for records in (self.before, self.after))
        difference, total = difference_and_total(
            start[SCORE], end[SCORE], labels, coefficients, clusters=self._ways, alpha=self.alpha
        )
        found = {
            name: ledger_gap(records, attribute, reference, clusters=self.clusters, alpha=self.alpha)
            for name, records in (("start", start), ("end", end))
        }
        return found | {"change": absolute_change(difference, total)}

    def groups(self, column: str, attribute: str) -> dict[str, dict[str, Estimate]]:
        """For each group `level` of its rows: who moved."""
        labels = group_labels(self.before, attribute)
        found = {}
        for group in group_names(labels):
            rows = (labels == group).to_numpy()
            part = BeforeAfter(self.before[rows], self.after[rows], (), self.clusters, self.alpha)
            found[group] = part.level(column)
        return found

    def ledger(self, column: str, metric: str, stage: str) -> list[LedgerRow]:
        """Two rows for each attribute: the policy before training (``start``) and after (``stage``)."""
        return [
            row
            for attribute, reference in self.attributes
            for row in self._rows(column, metric, stage, attribute, reference)
        ]

    def _rows(self, column: str, metric: str, stage: str, attribute: str, reference: str) -> list[LedgerRow]:
        gap = self.gap(column, attribute, reference)
        rows = []
        for name, records, side in (("start", self.before, "start"), (stage, self.after, "end")):
            e, change = gap[side], gap["change"] if side == "end" else None
            rows.append(
                LedgerRow(
                    stage=name,
                    attribute=attribute,
                    metric=metric,
                    reference=reference,
                    **{key: getattr(e, key) for key in ("estimate", "ci_low", "ci_high", "p_value", "n", "n_clusters")},
                    groups=group_means(
                        self._scored(records, column), attribute, clusters=self.clusters, alpha=self.alpha
                    ),
                    reason=e.reason,
                    **_changed(change),
                )
            )
        return rows

    @property
    def _ways(self) -> list[pd.Series]:
        return [self.before[name] for name in self.clusters]

    @staticmethod
    def _scored(records: pd.DataFrame, column: str) -> pd.DataFrame:
        return records.assign(**{SCORE: records[column]})


def compared_attributes(
    records: pd.DataFrame, columns: Sequence[str], references: Mapping[str, str]
) -> tuple[tuple[str, str], ...]:
    """Each column with its reference group, and all of them crossed where there are several.

    Raises
    ------
    SettingsError
        A reference is none of the groups.
    """
    found = []
    for column in columns:
        groups = group_names(group_labels(records, column))
        reference = references.get(column, groups[0] if groups else "")
        if reference not in groups:
            raise SettingsError(f"references.{column} = {reference!r} is none of the held-out groups: {groups}")
        found.append((column, reference))
    if len(found) > 1:
        crossed = INTERSECTION.join(columns)
        groups = group_names(group_labels(records, crossed))
        together = " & ".join(reference for _, reference in found)
        found.append((crossed, together if together in groups else groups[0]))
    return tuple(found)


def _changed(change: Estimate | None) -> dict[str, Any]:
    if change is None:
        return {}
    return {
        "change_from": "start",
        "change": change.estimate,
        "change_ci_low": change.ci_low,
        "change_ci_high": change.ci_high,
    }
