"""Which kinds of things are recommended to whom, and how far up: exposure and rank gaps of categories of items.

A category's exposure in a list is the attention its places get, as a share of that of all items whose category is
known (Singh & Joachims 2018). Items that no phrase of ``categories.csv`` covers are counted, not guessed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np
import pandas as pd

from rlhf_fair.metrics.list_similarity import exposure
from rlhf_fair.probes.measured import Measured
from rlhf_fair.probes.recommendation_units import UNIT, mean_over_units, rates
from rlhf_fair.records import NAN, Estimate


def category_gaps(
    records: pd.DataFrame, groups: dict[str, list[str]], *, depth: int, min_known: float, alpha: float
) -> list[Measured]:
    """``exposure_share`` of each group, ``exposure_gap`` and ``rank_gap`` to its reference; variant: the category.

    Over the topics of domains in which the category occurs at all. ``parse_rate``: share of the names there whose
    category is known; below ``min_known`` nothing is estimated.
    """
    placed = places(records, depth)
    told = placed[placed["category"] != ""]
    found = []
    for category in sorted(told["category"].unique()):
        domains = told.loc[told["category"] == category, "domain"].unique()
        within = placed[placed["domain"].isin(domains)]
        known = float((within["category"] != "").mean())
        table = category_table(within, category)
        for one in _gaps(table, category, groups, alpha):
            too_few = f"the category of only {known:.0%} of the names is known" if known < min_known else ""
            e = Estimate.not_estimable(too_few, n=one.estimate.n) if too_few else one.estimate
            shown = rates(records[records["domain"].isin(domains)], [(one.attribute, one.group)])
            found.append(_with(one, e, known, shown["refusal_rate"]))
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


def _gaps(table: pd.DataFrame, category: str, groups: dict[str, list[str]], alpha: float) -> Iterator[Measured]:
    columns = {name: table[name].unstack(["attribute", "group"]) for name in ("share", "rank")}

    def of(name: str, attribute: str, group: str) -> pd.Series:
        wide = columns[name]
        return wide[attribute, group] if (attribute, group) in wide else pd.Series(NAN, index=wide.index)

    for attribute, (reference, *others) in groups.items():
        for group in (reference, *others):
            e = mean_over_units(of("share", attribute, group), alpha, level=True)
            yield Measured("exposure_share", e, attribute, group, variant=category)
        for group in others:
            for metric, name, unit in (("exposure_gap", "share", ""), ("rank_gap", "rank", "places")):
                gap = of(name, attribute, group) - of(name, attribute, reference)
                e = mean_over_units(gap, alpha)
                yield Measured(metric, e, attribute, group, reference, variant=category, unit=unit)


def _with(one: Measured, e: Estimate, known: float, refusals: float) -> Measured:
    return Measured(
        one.metric,
        e,
        one.attribute,
        one.group,
        one.reference,
        one.variant,
        unit=one.unit,
        parse_rate=known,
        refusal_rate=refusals,
    )
