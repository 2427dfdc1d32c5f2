"""Do annotators agree beyond chance: Krippendorff's α of a feedback table, overall, inside groups and across them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
import pandas as pd

from rlhf_fair.errors import RowError, SettingsError
from rlhf_fair.records import NAN
from rlhf_fair.stats.agreement import Level
from rlhf_fair.stats.agreement_interval import alpha_interval
from rlhf_fair.stats.corrections import benjamini_hochberg
from rlhf_fair.stats.group_agreement import GroupAgreement, agreement_of_groups, group_pairs
from rlhf_fair.stats.rating_counts import MOST_VALUES, RatingCounts
from rlhf_fair.tables import require_columns

ALL = "(all)"
UNKNOWN = "(unknown)"
LARGE = 0.2
"""A group that would not show an index of agreement (GAI) a fifth away from 1 is marked as too small to tell."""

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class AgreementSettings:
    """``*_level``: what a distance of two judgements means (of two choices: ``nominal``). ``permutations``: how often
    groups are dealt to raters by lot; 0: never.

    ``min_raters``: groups, and cells of a group on an item, with fewer raters are counted and not shown. ``alpha``:
    level of intervals.
    """

    rating_level: Level = "ordinal"
    scalar_level: Level = "interval"
    permutations: int = 999
    min_raters: int = 5
    alpha: float = 0.05

    def __post_init__(self) -> None:
        for name in ("rating_level", "scalar_level"):
            if getattr(self, name) not in get_args(Level):
                raise SettingsError(f"{name} is {getattr(self, name)!r}; allowed: {', '.join(get_args(Level))}")
        if self.permutations < 0 or self.min_raters < 1 or not 0 < self.alpha < 1:
            raise SettingsError(
                f"permutations {self.permutations}, min_raters {self.min_raters}, alpha {self.alpha}; "
                "allowed: >= 0, >= 1 and in (0, 1)"
            )

    def withheld(self) -> str:
        """The reason given for what too few raters stand behind."""
        return f"fewer than {self.min_raters} raters: withheld"


@dataclass(frozen=True)
class Judgements:
    """All judgements of one kind: ``rows`` has item_id, annotator_id and value; ``note``: what was done to the values.

    ``steps``: the values, rounded where they are too many for permutations.
    """

    kind: str
    level: Level
    rows: pd.DataFrame
    steps: pd.Series
    note: str = ""

    def counts(self, groups: pd.Series, rows: pd.Series | None = None) -> RatingCounts | None:
        """Counts by group over the raters of known group (and of ``rows``, True counts); None without any."""
        known = groups.notna() if rows is None else groups.notna() & rows
        if not known.any():
            return None
        own = self.rows[known]
        return RatingCounts.of(own["item_id"], own["annotator_id"], self.steps[known], groups[known])


def judgements(feedback: pd.DataFrame, settings: AgreementSettings) -> list[Judgements]:
    """The kinds of judgement that can be compared: pair (choice), rating and scalar (value); texts cannot.

    ``feedback``: item_id, annotator_id, kind, choice and/or value.
    """
    require_columns(feedback, ["item_id", "annotator_id", "kind"], "feedback")
    levels: dict[str, Level] = {"pair": "nominal", "rating": settings.rating_level, "scalar": settings.scalar_level}
    found = []
    for kind, level in levels.items():
        part = feedback[feedback["kind"] == kind]
        if part.empty:
            continue
        column = "choice" if kind == "pair" else "value"
        require_columns(part, [column], "feedback")
        if level == "ratio" and (part[column] < 0).any():
            raise SettingsError(f"{kind} values at level 'ratio' must be >= 0, found {part[column].min():g}")
        rows = part[["item_id", "annotator_id"]].assign(value=part[column]).reset_index(drop=True)
        found.append(Judgements(kind, level, rows, *_steps(rows["value"], kind, level)))
    if not found:
        raise RowError("feedback holds no judgement of kind 'pair', 'rating' or 'scalar'")
    return found


def agreement_table(
    feedback: pd.DataFrame,
    groups: Mapping[str, pd.Series] | None = None,
    settings: AgreementSettings | None = None,
    *,
    rng: np.random.Generator,
    progress: Progress | None = None,
) -> pd.DataFrame:
    """Agreement of everybody, and of each group with itself and with all others.

    Parameters
    ----------
    feedback
        See `judgements`.
    groups
        Attribute -> group by annotator_id; annotators without one form the group ``(unknown)``.

    Returns
    -------
    DataFrame
        kind, level, attribute, group (``(all)`` first), raters, items, ratings, ``alpha`` with limits over items and
        raters (`alpha_interval`); for groups the fields of `GroupAgreement`: ``xrr``, ``difference`` (alpha - xrr) with
        its permutation ``p_value``, ``p_adjusted`` (Benjamini & Hochberg over all rows), ``null_sd`` and smallest
        difference to be seen ``mde``, and the same for ``gai``. ``too_small``: see `LARGE`. A number that is not
        estimable, or withheld, is NaN with a ``reason``; what is between a group and fewer others than ``min_raters``
        is withheld on both sides.
    """
    s = settings or AgreementSettings()
    parts = judgements(feedback, s)
    rows = [
        _alpha_row(part, pd.Series(True, index=part.rows.index), s) | {"attribute": "", "group": ALL} for part in parts
    ]
    work = list(by_attribute(parts, groups or {}))
    for done, (part, attribute, labels) in enumerate(work):
        if progress:
            progress("agreement", done, len(work))
        rows += _attribute_rows(part, attribute, labels, s, rng)
    if progress and work:
        progress("agreement", len(work), len(work))
    table = pd.DataFrame(rows, columns=COLUMNS)
    table["p_adjusted"] = benjamini_hochberg(table["p_value"].astype(float))
    table["too_small"] = table["mde_gai"] > LARGE
    return table.sort_values("kind", key=lambda k: k.map({p.kind: n for n, p in enumerate(parts)}), kind="stable")


def pair_table(
    feedback: pd.DataFrame, groups: Mapping[str, pd.Series], settings: AgreementSettings | None = None
) -> pd.DataFrame:
    """XRR of every two groups: kind, attribute, group_a, group_b (each pair once), items rated by both, xrr, reason."""
    s = settings or AgreementSettings()
    rows = []
    for part, attribute, labels in by_attribute(judgements(feedback, s), groups):
        counts = part.counts(labels)
        if counts is None:
            continue
        size = dict(zip(counts.names, counts.raters, strict=True))
        for pair in group_pairs(counts, level=part.level):
            few = min(size[pair.first], size[pair.second]) < s.min_raters
            rows.append(
                {
                    "kind": part.kind,
                    "attribute": attribute,
                    "group_a": pair.first,
                    "group_b": pair.second,
                    "items": pair.n_items,
                    "xrr": NAN if few else pair.across,
                    "reason": s.withheld() if few else pair.reason,
                }
            )
    return pd.DataFrame(rows, columns=["kind", "attribute", "group_a", "group_b", "items", "xrr", "reason"])


def by_attribute(
    parts: list[Judgements], groups: Mapping[str, pd.Series]
) -> Iterator[tuple[Judgements, str, pd.Series]]:
    """Each kind with each attribute, and the group of every row (missing where it is unknown)."""
    for attribute, of_annotator in groups.items():
        taken = sorted(set(of_annotator.dropna().astype(str)) & {ALL, UNKNOWN})
        if taken:
            raise RowError(
                f"attribute {attribute!r} has a group called {taken[0]!r}, which has a meaning of its own here"
            )
        for part in parts:
            yield part, attribute, part.rows["annotator_id"].map(of_annotator).astype("object")


def _steps(values: pd.Series, kind: str, level: Level) -> tuple[pd.Series, str]:
    """Values of an interval or ratio scale, put on `MOST_VALUES` equal steps where they are more."""
    if values.nunique() <= MOST_VALUES:
        return values, ""
    if level not in ("interval", "ratio"):
        raise SettingsError(
            f"{values.nunique()} distinct values of kind {kind!r} at level {level!r}; allowed: {MOST_VALUES}, "
            "or level 'interval' or 'ratio'"
        )
    low, width = float(values.min()), float(values.max() - values.min()) / (MOST_VALUES - 1)
    note = f"{kind} values were rounded to {MOST_VALUES} steps of {width:.3g} for all but alpha"
    return ((values - low) / width).round() * width + low, note


COLUMNS = [
    "kind",
    "level",
    "attribute",
    "group",
    "raters",
    "items",
    "ratings",
    "alpha",
    "alpha_ci_low",
    "alpha_ci_high",
    "xrr",
    "items_across",
    "difference",
    "p_value",
    "p_adjusted",
    "null_sd",
    "mde",
    "gai",
    "gai_p_value",
    "gai_null_sd",
    "mde_gai",
    "too_small",
    "reason",
]

ACROSS = {"xrr", *COLUMNS[COLUMNS.index("difference") : COLUMNS.index("too_small")]}
"""Measures of a group and all others together."""


def _attribute_rows(
    part: Judgements, attribute: str, labels: pd.Series, s: AgreementSettings, rng: np.random.Generator
) -> list[dict[str, Any]]:
    counts = part.counts(labels)
    found: tuple[GroupAgreement, ...] = ()
    if counts is not None:
        found = agreement_of_groups(counts, level=part.level, permutations=s.permutations, rng=rng)
    rows = []
    everybody = sum(group.n_raters for group in found)
    for group in found:
        row = _alpha_row(part, labels.astype("str") == group.group, s)
        row |= _reasoned(group, row["reason"]) | {"attribute": attribute, "group": group.group}
        if group.n_raters < s.min_raters:
            row = _hidden(row, s.withheld())
        elif 0 < everybody - group.n_raters < s.min_raters:  # XRR is symmetric: this one is the others' as well
            row = {name: cell for name, cell in row.items() if name not in ACROSS}
            row["reason"] = f"agreement with others, fewer than {s.min_raters} raters: withheld"
        rows.append(row)
    if labels.isna().any():
        row = _alpha_row(part, labels.isna(), s) | {"attribute": attribute, "group": UNKNOWN}
        rows.append(_hidden(row, s.withheld()) if row["raters"] < s.min_raters else row)
    return rows


def _alpha_row(part: Judgements, used: pd.Series, s: AgreementSettings) -> dict[str, Any]:
    own = part.rows[used]
    found = alpha_interval(own["item_id"], own["annotator_id"], own["value"], level=part.level, alpha=s.alpha)
    return {
        "kind": part.kind,
        "level": part.level,
        "raters": own["annotator_id"].nunique(),
        "items": own["item_id"].nunique(),
        "ratings": len(own),
        "alpha": found.estimate,
        "alpha_ci_low": found.ci_low,
        "alpha_ci_high": found.ci_high,
        "reason": found.reason,
    }


def _reasoned(group: GroupAgreement, reason: str) -> dict[str, Any]:
    return {
        "xrr": group.across,
        "items_across": group.n_items_across,
        "difference": group.difference,
        "p_value": group.p_difference,
        "null_sd": group.null_sd_difference,
        "mde": group.mde_difference,
        "gai": group.ratio,
        "gai_p_value": group.p_ratio,
        "gai_null_sd": group.null_sd_ratio,
        "mde_gai": group.mde_ratio,
        "reason": group.reason or reason,
    }


def _hidden(row: dict[str, Any], reason: str) -> dict[str, Any]:
    """The row with its counts alone."""
    kept = ("kind", "level", "attribute", "group", "raters", "items", "ratings", "items_across")
    return {name: row[name] for name in kept if name in row} | {"reason": reason}
