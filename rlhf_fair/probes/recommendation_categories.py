"""Which kinds of things are recommended to whom, and how far up: exposure and rank gaps of categories of items.

A category's exposure in a list is the attention its places get, as a share of that of all items whose category is
known (Singh & Joachims 2018). Items that no phrase of ``categories.csv`` covers are counted, not guessed.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from rlhf_fair.metrics.list_similarity import exposure
from rlhf_fair.probes.measured import Measured
from rlhf_fair.probes.recommendation_units import UNIT, AnswerCounts, Version, mean_over_units
from rlhf_fair.records import NAN, Estimate


def category_gaps(
    records: pd.DataFrame, groups: dict[str, list[str]], *, depth: int, min_known: float, alpha: float
) -> list[Measured]:
    """``exposure_share`` of each group, ``exposure_gap`` and ``rank_gap`` to its reference; variant: the category.

    Over the topics of domains that have the category, whether or not it was ever recommended. ``parse_rate``: share of
    the names listed for the groups in question whose category is known; below ``min_known`` nothing is estimated.
    """
    placed = places(records, depth)
    possible = {str(domain): set(json.loads(rows.iloc[0])) for domain, rows in records.groupby("domain")["possible"]}
    found = []
    for category in sorted(set().union(*possible.values())):
        domains = [domain for domain, categories in possible.items() if category in categories]
        asked = _Asked(
            category,
            records[records["domain"].isin(domains)],
            placed[placed["domain"].isin(domains)],
            min_known,
            alpha,
        )
        for attribute, (reference, *others) in groups.items():
            found += [asked.share(attribute, group) for group in (reference, *others)]
            for group in others:
                found += asked.gaps(attribute, group, reference)
    return found


def places(records: pd.DataFrame, depth: int) -> pd.DataFrame:
    """One row per name among the first ``depth`` of each list: row, unit, domain, version, rank (from 1), category."""
    rows = records[records["parsed"].astype(bool)].reset_index(drop=True)
    told = [json.loads(cell)[:depth] for cell in rows["categories"]]
    long = rows.loc[rows.index.repeat([len(one) for one in told]), [*UNIT, "domain", "attribute", "group"]]
    ranks = [float(rank) for one in told for rank in range(1, len(one) + 1)]
    long = long.assign(row=long.index, category=[name for one in told for name in one], rank=ranks)
    return long.reset_index(drop=True)


def category_table(placed: pd.DataFrame, category: str) -> pd.DataFrame:
    """Per unit and version, means over lists: ``share`` of the known exposure, ``rank`` of the category's items.

    ``rank`` is NaN where no list has such an item, and rows without any known category are left out of ``share``.
    """
    known = placed["category"] != ""
    own = placed["category"] == category
    attention = pd.Series(exposure(placed["rank"].to_numpy()), index=placed.index)
    key = [*UNIT, "attribute", "group", "row"]
    cells = placed[key].assign(
        own=attention.where(own, 0.0), all=attention.where(known, 0.0), rank=placed["rank"].where(own)
    )
    lists = cells.groupby(key, sort=False).agg(own=("own", "sum"), all=("all", "sum"), rank=("rank", "mean"))
    lists["share"] = np.where(lists["all"] > 0, lists["own"] / lists["all"].where(lists["all"] > 0, 1.0), NAN)
    return lists.groupby(level=key[:-1], sort=False)[["share", "rank"]].mean()


@dataclass(frozen=True)
class _Asked:
    """What was recommended in the domains that have one category."""

    category: str
    records: pd.DataFrame
    placed: pd.DataFrame
    min_known: float
    alpha: float

    def share(self, attribute: str, group: str) -> Measured:
        e = mean_over_units(self._of("share", attribute, group), self.alpha, level=True)
        return self._measured("exposure_share", e, [(attribute, group)])

    def gaps(self, attribute: str, group: str, reference: str) -> list[Measured]:
        versions, found = [(attribute, group), (attribute, reference)], []
        for metric, column, unit in (("exposure_gap", "share", ""), ("rank_gap", "rank", "places")):
            change = self._of(column, *versions[0]) - self._of(column, *versions[1])
            found.append(self._measured(metric, mean_over_units(change, self.alpha), versions, unit))
        return found

    def _of(self, column: str, attribute: str, group: str) -> pd.Series:
        """One value per unit."""
        index = self._table.index
        own = (index.get_level_values("attribute") == attribute) & (index.get_level_values("group") == group)
        return self._table.loc[own, column].droplevel(["attribute", "group"])

    @cached_property
    def _table(self) -> pd.DataFrame:
        return category_table(self.placed, self.category)

    @cached_property
    def _counts(self) -> AnswerCounts:
        return AnswerCounts.of(self.records)

    @cached_property
    def _versions(self) -> pd.MultiIndex:
        return pd.MultiIndex.from_frame(self.placed[["attribute", "group"]])

    def _measured(self, metric: str, e: Estimate, versions: list[Version], unit: str = "") -> Measured:
        (attribute, group), *others = versions
        own = self._versions.isin(versions)
        known = float((self.placed.loc[own, "category"] != "").mean())
        if known < self.min_known:
            e = Estimate.not_estimable(f"the category of only {known:.0%} of the names is known", n=e.n)
        return Measured(
            metric,
            e,
            attribute,
            group,
            others[0][1] if others else "",
            self.category,
            unit=unit,
            **(self._counts.rates(versions) | {"parse_rate": known}),
        )
