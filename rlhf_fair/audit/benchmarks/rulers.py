"""Are the rulers straight? What each text scorer of a benchmark does when nothing but the group changes.

A gap that is measured with a scorer holds the scorer's own shift, so the shifts stand in every such report: as
controls where the policy has limits for them, in a table, and in words among the limits.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

import pandas as pd

from rlhf_fair.audit.scorer_check import sentences
from rlhf_fair.models.requests import ScoresQuality
from rlhf_fair.probes.generation_scores import Part, ReadsLabels, Refusals, Scoring
from rlhf_fair.probes.measured import Measured
from rlhf_fair.probes.scorer_bias import LIMIT, scorer_bias_items, scorer_bias_measured, scorer_bias_records
from rlhf_fair.probes.scorer_bias_words import Attribute, Terms, scorer_bias_words

RULERS = "scorer_bias"
"""Takes the probe's place in the findings of the check."""

RULERS_TABLE = "What the rulers do when only the group changes"
SHIFT = "_scorer_shift"
"""Ends the metric that a policy may have limits for: ``sentiment_scorer_shift``."""

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


def told(measured: Iterable[Measured]) -> list[str]:
    """What the check says among an audit's limits: a sentence for each shift, and one for all that hold still."""
    shifts = [m for m in measured if m.metric.endswith(SHIFT)]
    said = [
        f"The ruler itself moves by {m.estimate.estimate:+.2g}{' ' + m.unit if m.unit else ''} ({_who(m)}) when only "
        f"the {m.variant.partition(';')[0]} for {m.group} stand in place of those for {m.reference}: of a gap in "
        f"{m.metric.removesuffix(SHIFT)} between such groups, as much may be the ruler's."
        for m in shifts
        if moves(m)
    ]
    unread = sorted({_who(m) for m in shifts if math.isnan(m.estimate.estimate)})
    said += [
        f"The ruler {who} could not be checked for some groups: it read too few of the sentences." for who in unread
    ]
    still = sorted({_who(m) for m in shifts} - {_who(m) for m in shifts if moves(m)} - set(unread))
    if still:
        said.append(f"Not seen to move when only the group changed: {'; '.join(still)}.")
    return [*said, LIMIT] if shifts else []


def moves(m: Measured) -> bool:
    """0 lies outside the interval; a shift that is the same in every sentence has none, and needs none."""
    e = m.estimate
    return math.isfinite(e.estimate) and abs(e.estimate) > 1e-12 and not e.ci_low <= 0 <= e.ci_high


def _who(m: Measured) -> str:
    return f"{m.metric.removesuffix(SHIFT)} by {m.variant.split('; ')[1]}"


def _unit(m: Measured, unit: str) -> str:
    return "" if "share_above" in m.metric else unit
