"""What is measured of one method with one seed: estimates with clustered intervals, and paired ones against plain PPO.

Rows of one name and of one scenario belong together, so intervals are clustered by both. They speak of other names and
scenarios for this very model; what another training would give, only several seeds tell.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from rlhf_fair.audit.ledger import StageRecords, Yardstick, gap_change, gap_remaining, share_kept, worst_group_change
from rlhf_fair.metrics.gaps import group_labels, group_names, ledger_gap
from rlhf_fair.mitigations.examination import KL, Examined
from rlhf_fair.records import INTERSECTION, NAN, Estimate
from rlhf_fair.stats.contrasts import mean_estimate

GAP, ABSOLUTE_GAP = "gap", "absolute gap"
UTILITY, REWARD, OTHER_REWARD = "true utility", "reward", "reward of the other panel"
LOWEST_UTILITY, LOWEST_CHANGE = "lowest group utility", "lowest group change from SFT"
REFUSALS, UNMEASURED, WORDS, DIVERGENCE = "refusals", "not measured", "words", "KL to SFT"
TRAINING_CPU, ANSWERING_CPU = "training CPU seconds", "answering CPU seconds per 1,000"
GAP_CHANGE, GAP_REMAINING = "change of absolute gap", "share of gap remaining"
UTILITY_CHANGE, REWARD_KEPT = "change of true utility", "share of reward gain kept"
PAIRED = (GAP_CHANGE, GAP_REMAINING, UTILITY_CHANGE, REWARD_KEPT)
"""Against plain PPO on the same prompts."""


@dataclass(frozen=True)
class Measure:
    """One estimate. ``attribute``: whose groups a gap compares, "" for none; ``group``: the group it is of."""

    name: str
    estimate: Estimate
    attribute: str = ""
    group: str = ""


@dataclass(frozen=True)
class Ruler:
    """How records become estimates: attributes with their references, clusters, and whose reward is maximised."""

    yardstick: Yardstick
    panel: str
    other_panel: str

    @property
    def attributes(self) -> tuple[tuple[str, str], ...]:
        """(attribute, reference) of each, and of their intersection."""
        single = self.yardstick.attributes
        if len(single) < 2:
            return single
        crossed = (INTERSECTION.join(a for a, _ in single), " & ".join(r for _, r in single))
        return (*single, crossed)

    def measures(self, own: Examined, sft: Examined) -> Iterator[Measure]:
        """Everything that one method is measured by on its own, and how its worst group moved from SFT."""
        rows = own.records
        for attribute, reference in self.attributes:
            y = self.yardstick
            gap = ledger_gap(rows, attribute, reference, clusters=y.clusters, alpha=y.alpha)
            yield Measure(GAP, gap, attribute, reference)
            yield Measure(ABSOLUTE_GAP, absolute(gap), attribute, reference)
        yield Measure(UTILITY, self.mean(rows, "utility"))
        yield Measure(REWARD, self.mean(rows, f"reward_{self.panel}"))
        yield Measure(OTHER_REWARD, self.mean(rows, f"reward_{self.other_panel}"))
        group, lowest = self.lowest_group(rows)
        yield Measure(LOWEST_UTILITY, lowest, group=group)
        group, change = worst_group_change(_stage(own), _stage(sft), self.yardstick)
        yield Measure(LOWEST_CHANGE, change, group=group)
        yield Measure(REFUSALS, self.mean(rows.assign(refusal=rows["refusal"].astype(float)), "refusal", rates=True))
        missing = rows["score"].isna().astype(float)
        yield Measure(UNMEASURED, self.mean(rows.assign(missing=missing), "missing", rates=True))
        yield Measure(WORDS, self.mean(rows, "words"))
        yield Measure(DIVERGENCE, self._divergence(own))
        yield Measure(TRAINING_CPU, Estimate(estimate=own.training_cpu, n=1))
        yield Measure(ANSWERING_CPU, Estimate(estimate=own.answering_cpu, n=1))

    def paired(self, own: Examined, plain: Examined, sft: Examined) -> Iterator[Measure]:
        """Differences from and shares of what plain PPO has, on the same prompts."""
        now, before, y = _stage(own), _stage(plain), self.yardstick
        for attribute, reference in self.attributes:
            yield Measure(GAP_CHANGE, gap_change(now, before, y, attribute, reference), attribute)
            yield Measure(GAP_REMAINING, gap_remaining(now, before, y, attribute, reference), attribute)
        ways, column = self._ways(own.records), f"reward_{self.panel}"
        utility = own.records["utility"] - plain.records["utility"]
        yield Measure(UTILITY_CHANGE, mean_estimate(utility, clusters=ways, rates=False, alpha=y.alpha))
        gained, full = (one.records[column] - sft.records[column] for one in (own, plain))
        yield Measure(REWARD_KEPT, share_kept(gained, full, ways, y.alpha))

    def groups(self, own: Examined, sft: Examined) -> pd.DataFrame:
        """One row for every crossed group: n, mean score and true utility, and their changes from SFT."""
        labels = group_labels(own.records, self.attributes[-1][0])
        both = own.records.assign(
            group=labels.to_numpy(),
            score_change=(own.records["score"] - sft.records["score"]).to_numpy(),
            utility_change=(own.records["utility"] - sft.records["utility"]).to_numpy(),
        )
        columns = ["score", "score_change", "utility", "utility_change"]
        means = both.groupby("group")[columns].mean()
        return means.assign(n=both.groupby("group").size()).reset_index()

    def mean(self, rows: pd.DataFrame, column: str, *, rates: bool = False, alpha: float | None = None) -> Estimate:
        """The mean of a column with its clustered interval."""
        y = self.yardstick
        return mean_estimate(rows[column], clusters=self._ways(rows), rates=rates, alpha=alpha or y.alpha)

    def lowest_group(self, rows: pd.DataFrame) -> tuple[str, Estimate]:
        """The crossed group with the lowest mean utility; its interval is for the lowest of many (Bonferroni)."""
        labels = group_labels(rows, self.attributes[-1][0])
        names = group_names(labels)
        alpha = self.yardstick.alpha / len(names)
        means = {name: self.mean(rows[labels == name], "utility", alpha=alpha) for name in names}
        lowest = min(names, key=lambda name: means[name].estimate)
        return lowest, means[lowest]

    def _ways(self, rows: pd.DataFrame) -> list[pd.Series]:
        return [rows[column] for column in self.yardstick.clusters]

    def _divergence(self, own: Examined) -> Estimate:
        if own.method.no_kl:
            return Estimate.not_estimable(own.method.no_kl)
        return self.mean(own.records, KL)


def absolute(gap: Estimate) -> Estimate:
    """|gap| with the interval of all sizes that the gap's interval allows; 0 = parity, range from 0 on.

    >>> size = absolute(Estimate(estimate=-0.1, ci_low=-0.3, ci_high=0.1))
    >>> size.estimate, size.ci_low, size.ci_high
    (0.1, 0.0, 0.3)
    """
    low, high = sorted((abs(gap.ci_low), abs(gap.ci_high))) if np.isfinite(gap.ci_low) else (NAN, NAN)
    inside = gap.ci_low <= 0 <= gap.ci_high
    ends = {"estimate": abs(gap.estimate), "ci_low": 0.0 if inside else low, "ci_high": high}
    return gap.model_copy(update=ends)


def measures_table(found: Sequence[Measure], *, seed: int, method: str) -> pd.DataFrame:
    """One row for each measure, ready for a CSV file."""
    kept = ("estimate", "ci_low", "ci_high", "standard_error", "n", "n_clusters", "n_left_out", "reason")
    return pd.DataFrame(
        [
            {"seed": seed, "method": method, "measure": m.name, "attribute": m.attribute, "group": m.group}
            | {name: getattr(m.estimate, name) for name in kept}
            for m in found
        ]
    )


def _stage(examined: Examined) -> StageRecords:
    return StageRecords(examined.method.name, "", examined.records)
