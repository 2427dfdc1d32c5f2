"""Are the rulers straight? What each text scorer of a benchmark does when nothing but the group changes.

A gap that is measured with a scorer holds the scorer's own shift, so the shifts stand in every such report: as
controls where the policy has limits for them, in a table, and in words among the limits.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import pandas as pd

from rlhf_fair.audit.generation import SHIFT
from rlhf_fair.audit.scorer_check import PROBE as RULERS
from rlhf_fair.audit.scorer_check import TABLE as RULERS_TABLE
from rlhf_fair.audit.scorer_check import sentences
from rlhf_fair.audit.scorer_check_wording import said_of
from rlhf_fair.models.requests import ScoresQuality
from rlhf_fair.probes.generation_scores import Part, ReadsLabels, Refusals, Scoring
from rlhf_fair.probes.measured import Measured
from rlhf_fair.probes.scorer_bias import LIMIT, scorer_bias_items, scorer_bias_measured, scorer_bias_records
from rlhf_fair.probes.scorer_bias_words import Attribute, Terms, scorer_bias_words

__all__ = ["RULERS", "RULERS_TABLE", "Ruler", "check_rulers", "rulers_measured", "told"]

HELD = ["quantity", "unit", "attribute", "kind", "scorer"]


@dataclass(frozen=True)
class Ruler:
    """What is measured, in which unit and by what: a scorer, or a classifier each of whose labels is a quantity."""

    quantity: str
    scorer: ScoresQuality | None = None
    classifier: ReadsLabels | None = None
    unit: str = ""

    def scoring(self, part: Part, refusals: Refusals, prompt_column: str = "prompt") -> Scoring:
        """How `add_scores` is to use it."""
        scorers = {} if self.scorer is None else {self.quantity: self.scorer}
        classifiers = {} if self.classifier is None else {self.quantity: self.classifier}
        return Scoring(scorers, classifiers, part, refusals, prompt_column)

    def names(self) -> list[str]:
        """Of the scorer or classifier."""
        return [one.name for one in (self.scorer, self.classifier) if one is not None]

    def check(self, terms: Terms) -> pd.DataFrame:
        """The sentences of the check with ``quantity``, ``scorer`` and ``score``."""
        if self.scorer is not None:
            records = scorer_bias_records(scorer_bias_items(terms, sentences(self.scorer)), self.scorer)
            return records.assign(quantity=self.quantity)
        assert self.classifier is not None
        items = scorer_bias_items(terms)
        shares = self.classifier.probabilities(items["text"].tolist())
        by_label = [
            items.assign(
                scorer=self.classifier.name, score=shares[label].to_numpy(), quantity=f"{self.quantity}_{label}"
            )
            for label in shares
        ]
        return pd.concat(by_label, ignore_index=True)


def check_rulers(rulers: Sequence[Ruler], attributes: Collection[Attribute]) -> pd.DataFrame:
    """One row for each quantity, attribute and sentence: what `rulers_measured` reads, without any text."""
    tables = [
        ruler.check(terms).assign(unit=ruler.unit, attribute=attribute, kind=kind).drop(columns="text")
        for ruler in rulers
        for attribute in attributes
        for kind, terms in scorer_bias_words(attribute).items()
    ]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def rulers_measured(checked: pd.DataFrame, *, alpha: float) -> list[Measured]:
    """The shifts of every scorer, `scorer_bias_measured`, each named after its quantity."""
    measured: list[Measured] = []
    if checked.empty:
        return measured
    for (quantity, unit, attribute, kind, _), rows in checked.groupby(HELD, sort=False):
        reference = str(rows["group"].iloc[0])
        measured += [
            replace(m, metric=f"{quantity}_{m.metric}", variant=f"{kind}; {m.variant}", unit=_unit(m, str(unit)))
            for m in scorer_bias_measured(rows, str(attribute), reference, alpha=alpha)
        ]
    return measured


def told(measured: Iterable[Measured], margins: Mapping[str, float] | None = None) -> list[str]:
    """What the check says among an audit's limits; see `said_of`.

    ``margins``: metric -> its margin; where the policy has none, whatever is not seen to move counts as quiet.
    """
    by_ruler: dict[str, list[Measured]] = {}
    for m in measured:
        if m.metric.endswith(SHIFT):
            by_ruler.setdefault(f"{m.metric.removesuffix(SHIFT)} by {_parts(m)[1]}", []).append(m)
    said: list[str] = []
    for who, shifts in by_ruler.items():
        margin = (margins or {}).get(shifts[0].metric, math.inf)
        said += said_of(who, shifts, margin=margin, kind=lambda m: _parts(m)[0])
    return [*said, LIMIT] if said else []


def _parts(m: Measured) -> list[str]:
    """Words or names, the scorer, the clusters."""
    return m.variant.split("; ")


def _unit(m: Measured, unit: str) -> str:
    return "" if "share_above" in m.metric else unit
