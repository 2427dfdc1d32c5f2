"""What the metrics of recommendations share: units, versions, and means over units."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypedDict

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rlhf_fair.errors import SettingsError
from rlhf_fair.probes.recommendation import NEUTRAL
from rlhf_fair.records import NAN, Estimate
from rlhf_fair.stats.contrasts import mean_estimate
from rlhf_fair.stats.ratios import contrast_ratio

UNIT = ["topic", "wording"]
"""The columns that say which requests differ in the person alone."""

Version = tuple[str, str]
"""(attribute, group) of a request."""


class Rates(TypedDict):
    """Of the answers behind a number."""

    parse_rate: float
    refusal_rate: float
    measured_rate: float


def mean_over_units(values: pd.Series, alpha: float, *, level: bool = False) -> Estimate:
    """The mean of one value per unit (the index: topic, wording), clustered by topic; NaN where there is none.

    A ``level`` is no difference: nobody supposes it to be 0, and it has no p-value.
    """
    x = values.to_numpy(dtype=float)
    if not np.isfinite(x).any():
        return Estimate.not_estimable("no topic has the lists that are compared", n_left_out=len(x))
    e = mean_estimate(x, clusters=[values.index.get_level_values("topic")], rates=False, alpha=alpha)
    return e.model_copy(update={"p_value": NAN}) if level else e


def relative_shift(to_neutral: pd.Series, within_neutral: pd.Series, alpha: float) -> Estimate:
    """1 less the ratio of two means over units, clustered by topic: what share of the similarity that neutral lists
    have among themselves is missing between a group's and them; range up to 1, 0 = none of it, 1 = all.

    A shift itself is never above the similarity within, so that where neutral lists have little in common, lists from
    another world shift by little. Without any similarity within there is no such share. p is that of a shift of 0.
    """
    floor, to = within_neutral.align(to_neutral, join="inner")
    floor, to = floor[both := floor.notna() & to.notna()], to[both]
    shift, within = mean_over_units(floor - to, alpha), mean_over_units(floor, alpha)
    if not within.estimate > 0 or within.ci_low <= 0:
        reason = "lists for nobody in particular have next to nothing in common, of which a group's could have less"
        return Estimate.not_estimable(reason if within.n else within.reason, n=within.n, n_clusters=within.n_clusters)
    topics = [floor.index.get_level_values("topic")]
    share = contrast_ratio(to, floor, np.zeros(len(to)), {0.0: 1.0}, clusters=topics, alpha=alpha)
    low, high = 1 - share.ci_high, 1 - share.ci_low
    if not np.isfinite(low):  # the same in all units, such as nothing: then as for a known similarity within
        low, high = shift.ci_low / within.estimate, shift.ci_high / within.estimate
    ends = {"estimate": shift.estimate / within.estimate, "ci_low": low, "ci_high": min(high, 1.0)}
    error = {"standard_error": share.standard_error, "mde": NAN}
    return shift.model_copy(update=ends | error)


@dataclass(frozen=True)
class AnswerCounts:
    """Of each version: answers asked for, those that came, and among these the lists and the refusals."""

    counts: Mapping[Hashable, NDArray[np.int64]]

    @classmethod
    def of(cls, records: pd.DataFrame) -> AnswerCounts:
        flags = records[["answered", "parsed", "refused"]].astype(bool)
        came = flags["answered"]
        cells = pd.DataFrame(
            {
                "asked": 1,
                "came": came,
                "lists": came & flags["parsed"],
                "refused": came & flags["refused"],
                "measured": flags["parsed"],
            }
        ).astype(np.int64)
        table = cells.groupby([records["attribute"], records["group"]], sort=False).sum()
        return cls(dict(zip(table.index, table.to_numpy(), strict=True)))

    def rates(self, versions: Sequence[Version]) -> Rates:
        """Share of the answers that came in which a list was read, and which refuse; share of all with a list, in the
        version that has least, NaN where one was never asked for."""
        found = np.array([self.counts.get(version, np.zeros(5, dtype=np.int64)) for version in versions])
        asked, came, lists, refused, measured = found.T
        n = int(came.sum())
        return {
            "parse_rate": float(lists.sum() / n) if n else NAN,
            "refusal_rate": float(refused.sum() / n) if n else NAN,
            "measured_rate": float((measured / asked).min()) if asked.all() else NAN,
        }


def with_reference_first(records: pd.DataFrame, references: Mapping[str, str]) -> dict[str, list[str]]:
    """Attribute -> its groups in the order of the records, but the reference, if one is named, first."""
    told = records.loc[records["group"] != NEUTRAL, ["attribute", "group"]].drop_duplicates()
    groups = {str(attribute): list(rows["group"]) for attribute, rows in told.groupby("attribute", sort=False)}
    for attribute, reference in references.items():
        if reference not in groups.get(attribute, ()):
            known = ", ".join(f"{name}: {' / '.join(found)}" for name, found in groups.items())
            raise SettingsError(f"references has {attribute} = {reference!r}; allowed: {known}")
        groups[attribute].sort(key=lambda group: group != reference)
    return groups
