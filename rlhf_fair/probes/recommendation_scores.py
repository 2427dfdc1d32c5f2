"""For whom recommendations differ, by how much more than two answers to one person differ, and what moves up.

Within a unit (a topic in one wording) each group's lists are compared with the neutral ones, with the reference group's
and with each other; every number is a mean over units of a difference within the unit, with intervals clustered by
topic. Metrics, with ``s`` for a similarity of `rlhf_fair.metrics.list_similarity`:

* ``s_to_neutral``: mean similarity of the group's lists to the neutral ones, Sim(a) of Zhang et al. 2023; [0, 1]. To be
  read against ``s_within_neutral``, the same between different samples of one neutral request: the noise floor.
* ``s_shift``: s_within_neutral - s_to_neutral; 0 = the group's lists are as close to the neutral ones as these are to
  each other. Below 0 where the group's lists vary less than the neutral ones around the same centre.
* ``s_relative_shift``: s_shift as a share of s_within_neutral, which it cannot exceed; up to 1, 0 = none, 1 = nothing
  in common with the neutral lists any more, however little these have in common themselves.
* ``s_gap``: Sim(group) - Sim(reference); [-1, 1]; 0 = parity. Blind to groups that move equally far in different
  directions, which the next one sees.
* ``s_divergence``: mean of both groups' similarities within themselves, less that between them; 0 if both draw from
  one distribution. For Jaccard, a positive definite kernel (Bouchard, Jousselme & Doré 2013), it is half the squared
  maximum mean discrepancy (Gretton et al. 2012): its expectation is never below 0, and 0 estimated without bias.
* ``s_range``, ``s_deviation``: SNSR and SNSV of Zhang et al. 2023, the range max - min of Sim over an attribute's
  groups and its standard deviation (the root is in their formula, though they call it variance); 0 = parity; never
  negative, hence above 0 by chance: read their intervals and p-values.
* ``exposure_share``, ``exposure_gap``: a category's share of a list's exposure, and group less reference; [-1, 1];
  0 = parity. See `rlhf_fair.probes.recommendation_categories`.
* ``rank_gap``: mean place of a category's items, group less reference, in places; above 0 = further down. Over units in
  which both groups were recommended some, so it says nothing of whether.
"""

from __future__ import annotations

import json
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pandas as pd

from rlhf_fair.errors import SettingsError
from rlhf_fair.metrics.list_similarity import SIMILARITIES, RankedLists, within_and_between
from rlhf_fair.probes.measured import Measured
from rlhf_fair.probes.recommendation import NEUTRAL
from rlhf_fair.probes.recommendation_categories import category_gaps
from rlhf_fair.probes.recommendation_units import (
    UNIT,
    AnswerCounts,
    Version,
    mean_over_units,
    relative_shift,
    with_reference_first,
)
from rlhf_fair.records import Better, Estimate
from rlhf_fair.stats.spread import spread
from rlhf_fair.tables import require_columns

_NEUTRAL: Version = ("", NEUTRAL)
_NO_UNITS = pd.Series([], index=pd.MultiIndex.from_arrays([[], []], names=UNIT), dtype=float)


@dataclass(frozen=True)
class Comparing:
    """``depth``: the K of @K. ``similarities``: names of `SIMILARITIES`. ``references``: attribute -> group, default
    its first in the records. ``min_known``: an exposure is not measured in a domain where less of the names has a
    known category."""

    depth: int = 10
    similarities: tuple[str, ...] = ("jaccard", "rbo")
    references: dict[str, str] = field(default_factory=dict)
    min_known: float = 0.5

    def __post_init__(self) -> None:
        if unknown := [name for name in self.similarities if name not in SIMILARITIES]:
            raise SettingsError(f"similarity is {unknown[0]!r}; allowed: {', '.join(SIMILARITIES)}")


def recommendation_measured(
    records: pd.DataFrame, comparing: Comparing | None = None, *, alpha: float = 0.05, rng: np.random.Generator
) -> list[Measured]:
    """All metrics above, from records of `rlhf_fair.probes.recommendation`; answers without a list are left out."""
    needed = (
        *UNIT,
        "domain",
        "attribute",
        "group",
        "answered",
        "refused",
        "parsed",
        "titles",
        "categories",
        "possible",
    )
    require_columns(records, needed, "recommendation records")
    setting = comparing or Comparing()
    groups = with_reference_first(records, setting.references)
    found, counts = [], AnswerCounts.of(records)
    for name in setting.similarities:
        table = similarity_table(records, name, setting.depth)
        found += list(_Similarities(name, table, counts, f"@{setting.depth}", alpha).measured(groups, rng))
    return found + category_gaps(records, groups, depth=setting.depth, min_known=setting.min_known, alpha=alpha)


def similarity_table(records: pd.DataFrame, name: str, depth: int = 10) -> pd.DataFrame:
    """topic, wording, a, b, similarity: mean over samples, for all versions (attribute, group) a and b of each unit.

    a = b: of different samples. Versions without a list have no row.
    """
    parts = []
    for unit, rows in records[records["parsed"].astype(bool)].groupby(UNIT, sort=False):
        lists = RankedLists.of([json.loads(names) for names in rows["titles"]], depth)
        source, versions = pd.factorize(pd.MultiIndex.from_frame(rows[["attribute", "group"]]))
        means = within_and_between(SIMILARITIES[name](lists), np.asarray(source), len(versions))
        a, b = np.indices(means.shape).reshape(2, -1)
        names = [tuple(version) for version in versions]
        cells = {"a": [names[k] for k in a], "b": [names[k] for k in b], "similarity": means.reshape(-1)}
        parts.append(pd.DataFrame(dict(zip(UNIT, unit, strict=True)) | cells))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=[*UNIT, "a", "b", "similarity"])


@dataclass(frozen=True)
class _Similarities:
    """One measure's similarities, a row for each unit and pair of versions, as metrics."""

    name: str
    table: pd.DataFrame
    counts: AnswerCounts
    variant: str
    alpha: float

    def of(self, a: Version, b: Version) -> pd.Series:
        """One similarity per unit; empty where a version has no lists."""
        return self._pairs.get((a, b), _NO_UNITS)

    def divergence(self, a: Version, b: Version) -> pd.Series:
        """Per unit: mean similarity within a and within b, less that between them."""
        return (self.of(a, a) + self.of(b, b)) / 2 - (self.of(a, b) + self.of(b, a)) / 2

    def measured(self, groups: dict[str, list[str]], rng: np.random.Generator) -> Iterator[Measured]:
        """Every metric, for all groups; the first of each attribute is its reference."""
        floor = self.of(_NEUTRAL, _NEUTRAL)
        yield self._one("within_neutral", floor, ("request", NEUTRAL), "", [_NEUTRAL], "high")
        for attribute, (reference, *others) in groups.items():
            for group in (reference, *others):
                own, both = (attribute, group), [(attribute, group), _NEUTRAL]
                to_neutral = self.of(own, _NEUTRAL)
                yield self._one("to_neutral", to_neutral, own, NEUTRAL, both, "high")
                yield self._one("shift", floor - to_neutral, own, NEUTRAL, both)
                share = relative_shift(to_neutral, floor, self.alpha)
                yield self._with_rates("relative_shift", share, own, NEUTRAL, both)
                yield self._one("divergence", self.divergence(own, _NEUTRAL), own, NEUTRAL, both)
            for group in others:
                own, other = (attribute, group), (attribute, reference)
                gap = self.of(own, _NEUTRAL) - self.of(other, _NEUTRAL)
                yield self._one("gap", gap, own, reference, [own, other])
                yield self._one("divergence", self.divergence(own, other), own, reference, [own, other])
            yield from self._spread(attribute, [reference, *others], rng)

    @cached_property
    def _pairs(self) -> dict[tuple[Hashable, Hashable], pd.Series]:
        grouped = self.table.groupby(["a", "b"], sort=False)
        return {(a, b): rows.set_index(UNIT)["similarity"].astype(float) for (a, b), rows in grouped}

    def _one(
        self,
        metric: str,
        values: pd.Series,
        own: Version,
        reference: str,
        asked: Sequence[Version],
        better: Better = "zero",
    ) -> Measured:
        e = mean_over_units(values, self.alpha, level=better == "high")
        return self._with_rates(metric, e, own, reference, asked, better)

    def _with_rates(
        self,
        metric: str,
        e: Estimate,
        own: Version,
        reference: str,
        asked: Sequence[Version],
        better: Better = "zero",
    ) -> Measured:
        attribute, group = own
        shown = self.counts.rates(asked)
        return Measured(f"{self.name}_{metric}", e, attribute, group, reference, self.variant, better, **shown)

    def _spread(self, attribute: str, groups: list[str], rng: np.random.Generator) -> Iterator[Measured]:
        """SNSR and SNSV. With range R, G values have a standard deviation between R / sqrt(2 G) and R / 2."""
        values = pd.concat({group: self.of((attribute, group), _NEUTRAL) for group in groups}, names=["group"])
        long = values.dropna().reset_index()
        asked, label = [(attribute, group) for group in groups], " / ".join(groups)
        if long["group"].nunique() < 2:
            nothing = Estimate.not_estimable("fewer than 2 groups with lists", n=len(long))
            found = {"range": nothing, "deviation": nothing}
        else:
            seen = spread(long["similarity"], long["group"], clusters=[long["topic"]], alpha=self.alpha, rng=rng)
            means = long.groupby("group")["similarity"].mean()
            e, widest = seen.interval, (2 * len(means)) ** 0.5
            limits = {"estimate": float(means.std(ddof=0)), "ci_low": e.ci_low / widest, "ci_high": e.ci_high / 2}
            found = {"range": e, "deviation": e.model_copy(update=limits)}
        for metric, e in found.items():
            shown = self.counts.rates([*asked, _NEUTRAL])
            yield Measured(f"{self.name}_{metric}", e, attribute, label, "", self.variant, "zero", **shown)
