"""What changed between rounds on the same held-out prompts, and whether that is more than was allowed.

Every change is paired by prompt and clustered as the audit's gaps are. Alarms follow the rules of
`rlhf_fair.stats.equivalence`: ``exceeds_threshold`` needs the whole interval beyond the limit and, corrected for the
number of changes of that round (Holm 1979), a p-value below the round's part of alpha; ``within_threshold`` needs the
whole interval inside. Intervals cover 1 - that part.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from rlhf_fair.metrics.gaps import against_others, group_labels, group_names
from rlhf_fair.records import INTERSECTION, Better, Estimate, Verdict
from rlhf_fair.rounds.settings import DriftLimits
from rlhf_fair.stats.absolute_change import absolute_change, difference_and_total, growth_p_value
from rlhf_fair.stats.alpha_spending import Spending, spent
from rlhf_fair.stats.contrasts import contrast_estimate, mean_estimate
from rlhf_fair.stats.corrections import holm
from rlhf_fair.stats.equivalence import threshold_p_value, verdict
from rlhf_fair.stats.no_change import Range, with_no_change_limits

SCORE, REFUSED, LENGTH, LOG_RATIO, AGREES = "score", "refusal", "length", "log_ratio", "agrees"
GAP, LEVEL, ACCURACY = "gap", "level", "reward accuracy on old pairs"
REFUSALS, LENGTHS, KL = "refusals", "length", "KL to SFT"


@dataclass(frozen=True)
class RoundRecords:
    """What one round's policy and reward model did on the held-out prompts.

    ``answers``: one row per prompt, with prompt_id, groups, clusters, `SCORE` (NaN: not measured), `REFUSED` (0 or 1),
    `LENGTH` (tokens), `LOG_RATIO` (nats, policy over SFT). ``old_pairs``: one row per pair that the first round's panel
    decided, with item_id, clusters and `AGREES`: 1 where the reward model prefers the same side, .5 for a tie.
    """

    round: int
    answers: pd.DataFrame
    old_pairs: pd.DataFrame


@dataclass(frozen=True)
class Watch:
    """How rounds are compared. ``attributes``: (column, reference group), their intersection is added.

    ``limits`` has none left open. ``scores`` and ``longest``: the certifying scorer's lowest and highest value, and
    the most tokens of an answer; they bound what may have changed where nothing was seen to.
    """

    attributes: tuple[tuple[str, str], ...]
    clusters: tuple[str, ...]
    limits: DriftLimits
    unit: str
    alpha: float
    planned: int
    spending: Spending = "open"
    since_first: bool = True
    scores: Range = (float("-inf"), float("inf"))
    longest: float = float("inf")

    @property
    def compared(self) -> tuple[tuple[str, str], ...]:
        """(attribute, reference) of each, and of their intersection."""
        if len(self.attributes) < 2:
            return self.attributes
        crossed = INTERSECTION.join(column for column, _ in self.attributes)
        return (*self.attributes, (crossed, " & ".join(reference for _, reference in self.attributes)))

    def gap_limit(self) -> float:
        """The limit of gaps."""
        assert self.limits.gap is not None
        return self.limits.gap

    def level_limit(self) -> float:
        """The limit of the score level."""
        assert self.limits.level is not None
        return self.limits.level


@dataclass(frozen=True)
class Change:
    """One change since an earlier round. ``limit`` has the sign of the direction that is feared where one is."""

    round: int
    since: int
    quantity: str
    unit: str
    estimate: Estimate
    limit: float
    better: Better
    p_value: float
    attribute: str = ""
    reference: str = ""


@dataclass(frozen=True)
class Alarm:
    """A change and the verdict on it, at this round's part of alpha."""

    change: Change
    alpha: float
    p_adjusted: float
    verdict: Verdict
    reason: str

    def row(self) -> dict[str, Any]:
        """One row of drift.csv; ``level`` is what the interval covers."""
        c, e = self.change, self.change.estimate
        return {
            "round": c.round,
            "since": c.since,
            "quantity": c.quantity,
            "attribute": c.attribute,
            "reference": c.reference,
            "unit": c.unit,
            "change": e.estimate,
            "ci_low": e.ci_low,
            "ci_high": e.ci_high,
            "level": 1 - self.alpha,
            "limit": c.limit,
            "p_value": c.p_value,
            "p_adjusted": self.p_adjusted,
            "verdict": self.verdict.value,
            "reason": self.reason,
            "n": e.n,
            "n_clusters": e.n_clusters,
        }


def judge_round(made: Sequence[RoundRecords], watch: Watch) -> list[Alarm]:
    """Alarms of the last of ``made`` (all rounds so far, in order), against the one before and against the first."""
    now, before, first = made[-1], made[-2], made[0]
    alpha = spent(watch.spending, watch.alpha, len(made) - 1, watch.planned)
    earlier = [before] if before is first or not watch.since_first else [before, first]
    changes = [change for then in earlier for change in _Compared(now, then, watch, alpha).changes()]
    adjusted = holm([change.p_value for change in changes]).tolist()
    return [_alarm(change, p, alpha) for change, p in zip(changes, adjusted, strict=True)]


def _alarm(change: Change, p_adjusted: float, alpha: float) -> Alarm:
    decision, reason = verdict(
        change.estimate,
        threshold=change.limit,
        margin=change.limit,
        p_adjusted=p_adjusted,
        p_threshold=p_adjusted,
        alpha=alpha,
        better=change.better,
    )
    return Alarm(change, alpha, p_adjusted, decision, reason)


@dataclass(frozen=True)
class _Compared:
    """Two rounds, row by row."""

    now: RoundRecords
    then: RoundRecords
    watch: Watch
    alpha: float
    answers: pd.DataFrame = field(init=False)
    pairs: pd.DataFrame = field(init=False)

    def __post_init__(self) -> None:
        measured = [SCORE, REFUSED, LENGTH, LOG_RATIO]
        object.__setattr__(self, "answers", _paired(self.now.answers, self.then.answers, "prompt_id", measured))
        object.__setattr__(self, "pairs", _paired(self.now.old_pairs, self.then.old_pairs, "item_id", [AGREES]))

    def changes(self) -> Iterator[Change]:
        """Every change that can ring an alarm."""
        w, rows = self.watch, self.answers
        for attribute, reference in w.compared:
            yield self._gap(attribute, reference)
        low, high = w.scores
        yield self._mean(LEVEL, w.unit, rows, SCORE, w.level_limit(), "zero", (low, high))
        yield self._mean(ACCURACY, "share of pairs", self.pairs, AGREES, -w.limits.accuracy, "high", (0.0, 1.0))
        yield self._mean(LENGTHS, "tokens", rows, LENGTH, w.limits.length, "zero", (0.0, w.longest))
        yield self._mean(REFUSALS, "share of answers", rows, REFUSED, w.limits.refusals, "zero", (0.0, 1.0))
        yield self._mean(KL, "nats per answer", rows, LOG_RATIO, w.limits.kl, "low", (float("-inf"), float("inf")))

    def _mean(
        self, quantity: str, unit: str, rows: pd.DataFrame, column: str, limit: float, better: Better, bounds: Range
    ) -> Change:
        change = rows[column] - rows[_then(column)]
        ways = [rows[name] for name in self.watch.clusters]
        e = mean_estimate(change, clusters=ways, rates=False, alpha=self.alpha)
        one = (change, [0] * len(change), {0: 1.0})
        e = with_no_change_limits(e, *one, scores=bounds, clusters=ways, alpha=self.alpha)
        p = threshold_p_value(e, threshold=limit, better=better, alpha=self.alpha)
        return Change(self.now.round, self.then.round, quantity, unit, e, limit, better, p)

    def _gap(self, attribute: str, reference: str) -> Change:
        w, rows = self.watch, self.answers
        labels = group_labels(rows, attribute)
        coefficients = against_others(group_names(labels), reference)
        ways = [rows[name] for name in w.clusters]
        difference, total = difference_and_total(
            rows[_then(SCORE)], rows[SCORE], labels, coefficients, clusters=ways, alpha=self.alpha
        )
        limit = w.gap_limit()
        p = growth_p_value(difference, total, margin=limit, alpha=self.alpha)
        e = absolute_change(difference, total)
        return Change(self.now.round, self.then.round, GAP, w.unit, e, limit, "low", p, attribute, reference)


def _paired(now: pd.DataFrame, then: pd.DataFrame, key: str, columns: Sequence[str]) -> pd.DataFrame:
    renamed: dict[str, str] = {name: _then(name) for name in columns}
    return now.merge(then[[key, *columns]].rename(columns=renamed), on=key, validate="one_to_one")


def _then(column: str) -> str:
    return f"{column} then"


def levels(made: RoundRecords, watch: Watch) -> list[dict[str, Any]]:
    """Where everything that is watched stands after one round: one row per quantity, intervals at 1 - alpha."""
    rows, found = made.answers, []
    for attribute, reference in watch.compared:
        labels = group_labels(rows, attribute)
        coefficients = against_others(group_names(labels), reference)
        ways = [rows[name] for name in watch.clusters]
        e = contrast_estimate(rows[SCORE], labels, coefficients, clusters=ways, rates=False, alpha=watch.alpha)
        found.append(level_row(made.round, GAP, watch.unit, e) | {"attribute": attribute, "reference": reference})
    means: list[tuple[str, str, pd.DataFrame, str, bool]] = [
        (LEVEL, watch.unit, rows, SCORE, False),
        (ACCURACY, "share of pairs", made.old_pairs, AGREES, True),
        (LENGTHS, "tokens", rows, LENGTH, False),
        (REFUSALS, "share of answers", rows, REFUSED, True),
        (KL, "nats per answer", rows, LOG_RATIO, False),
    ]
    for quantity, unit, table, column, rates in means:
        ways = [table[name] for name in watch.clusters]
        e = mean_estimate(table[column].astype(float), clusters=ways, rates=rates, alpha=watch.alpha)
        found.append(level_row(made.round, quantity, unit, e))
    return found


def level_row(number: int, quantity: str, unit: str, e: Estimate) -> dict[str, Any]:
    """One row of rounds.csv."""
    head = {"round": number, "quantity": quantity, "attribute": "", "reference": "", "unit": unit}
    return head | {name: getattr(e, name) for name in ("estimate", "ci_low", "ci_high", "n", "n_clusters", "reason")}
