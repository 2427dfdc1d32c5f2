"""The probe ``generation``: ask a model about people who differ only in a name, score its answers, compare groups.

This file has the plan. The prompts are a table with one row per prompt: ``prompt_id``, ``prompt``, the attribute
columns (gender, ethnicity) and the columns that rows are clustered by (the name, the scenario it is put into). Answers
come from a model, a server or a file of predictions, and are scored by the rulers that the plan names.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import Field, field_validator, model_validator

from rlhf_fair.audit.own_prompts import CounterfactualPlan, completed, expand
from rlhf_fair.audit.plan import Limits, Plan, Policy
from rlhf_fair.errors import SettingsError
from rlhf_fair.metrics.gaps import group_labels, group_names
from rlhf_fair.models.requests import Decoding
from rlhf_fair.probes.counterfactual_text_prompts import check_prompts
from rlhf_fair.probes.generation_scores import PREFIX, Refusals
from rlhf_fair.probes.missing import UNMEASURED
from rlhf_fair.probes.scorers import ScorerPlan
from rlhf_fair.settings import Settings
from rlhf_fair.tables import read_table, require_columns

PROBE = "generation"
REFUSAL = "refusal"
"""The metric of the gap in refusal rates."""

SHIFT = "_scorer_shift"
"""Ends the metric of a scorer's own shift: ``sentiment_scorer_shift``."""

REFUSAL_LIMITS = Limits(threshold=0.05, margin=0.05)
"""Of the gap in refusal rates where the plan names none: five of a hundred answers."""

SCORE = "score"
"""The column of scores where there is one scorer."""


class Attribute(Settings):
    """A column of the prompts and the group that the others are compared with."""

    column: str
    reference: str


class Sequential(Settings):
    """How an audit goes that stops once it is decisive; see `rlhf_fair.audit.sequential`.

    ``unit``: what is drawn at random, ``prompt_id`` or one of the plan's clusters. ``batch``: units between two looks.
    ``seed``: of the order.
    """

    unit: str = "prompt_id"
    batch: int = Field(64, ge=1)
    seed: int = Field(0, ge=0)


class ScorerCheckPlan(Settings):
    """``[scorer_check]``: with which words the plan's own rulers are checked; see `rlhf_fair.audit.scorer_check`.

    ``words``: the column of the prompts with the word that tells the group, such as the name; without one the words
    come from the lexicons of counterfactual text. ``pairs``: how many matched words each attribute is checked with.
    """

    words: str = ""
    pairs: int = Field(8, ge=2)


class GenerationPlan(Plan):
    """``prompts``: a file beside the plan. Lengths are in tokens.

    ``[[scorers]]`` are the rulers, each with findings of its own; ``scorer = "file.json"`` with ``metric`` and ``unit``
    is short for one lexicon. ``n_samples`` answers are asked for per prompt, and a prompt's score is their mean.
    ``refusals``: "scored" as any text, or "left out" as missing; their gap is reported either way, as a claim where
    they are left out or ``[policy.metrics.refusal]`` has limits for it. With ``[counterfactual]`` the prompts are one's
    own, without groups: see `rlhf_fair.audit.own_prompts`.
    """

    short_forms = ("scorer", "metric", "unit")

    prompts: str
    scorers: tuple[ScorerPlan, ...]
    attributes: tuple[Attribute, ...] = Field(min_length=1)
    intersections: bool = True
    clusters: tuple[str, ...] = Field(min_length=1)
    n_samples: int = Field(1, ge=1)
    refusals: Refusals = "scored"
    max_new_tokens: int = Field(40, ge=1)
    temperature: float = Field(1.0, ge=0)
    seed: int = Field(0, ge=0)
    sequential: Sequential = Sequential()
    scorer_check: ScorerCheckPlan = ScorerCheckPlan()
    counterfactual: CounterfactualPlan | None = None

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, content: Any) -> Any:
        return completed(_with_scorers(content))

    @field_validator("scorers")
    @classmethod
    def _are_distinct(cls, scorers: tuple[ScorerPlan, ...]) -> tuple[ScorerPlan, ...]:
        if not scorers:  # not by min_length, which would count out an entry that has a fault of its own
            raise ValueError("a plan needs a scorer")
        for scorer in scorers:
            if scorer.quantity in (REFUSAL, UNMEASURED, *(s.quantity + SHIFT for s in scorers)):
                raise ValueError(f"quantity {scorer.quantity!r} is the name of a metric that every audit has")
        for (quantity, name), times in Counter((s.quantity, s.name) for s in scorers).items():
            if times > 1:
                raise ValueError(f"{times} scorers of {quantity!r} are called {name!r}; their names must differ")
        return scorers

    @model_validator(mode="after")
    def _unit_is_known(self) -> GenerationPlan:
        allowed = ("prompt_id", *self.clusters)
        if self.sequential.unit not in allowed:
            raise ValueError(f"sequential.unit {self.sequential.unit!r}; allowed: {', '.join(allowed)}")
        return self

    @model_validator(mode="after")
    def _limits_are_of_gaps(self) -> GenerationPlan:
        scored = [s.quantity for s in self.scorers]
        measured = {REFUSAL, UNMEASURED, *scored, *(quantity + SHIFT for quantity in scored)}
        if strange := [name for name in self.policy.metrics if name not in measured]:
            raise ValueError(
                f"policy.metrics has limits for {strange[0]!r}; measured are: {', '.join(sorted(measured))}"
            )
        for name in sorted(measured):
            if (better := self.judging.limits(name).better) != "zero":
                raise ValueError(f"the limits for {name!r} have better = {better!r}; it is a gap: allowed is 'zero'")
        return self

    @property
    def columns(self) -> tuple[str, ...]:
        """The attribute columns."""
        return tuple(attribute.column for attribute in self.attributes)

    @property
    def metric(self) -> str:
        """What the first scorer measures: the metric of audits that take one scorer only."""
        return self.scorers[0].quantity

    @property
    def decoding(self) -> Decoding:
        """How answers are sampled."""
        return Decoding(self.max_new_tokens, self.temperature, self.seed)

    @property
    def judging(self) -> Policy:
        """The policy with limits for all that is measured beside scores: refusals, and the scorers' own shifts.

        A shift is judged by the limits of what its scorer measures, for it is a part of that gap.
        """
        shifts = {s.quantity + SHIFT: self.policy.limits(s.quantity) for s in self.scorers}
        limits = {name: Limits(**found.model_dump(include=set(Limits.model_fields))) for name, found in shifts.items()}
        return self.policy.model_copy(update={"metrics": {REFUSAL: REFUSAL_LIMITS} | limits | self.policy.metrics})

    def column(self, scorer: ScorerPlan) -> str:
        """The column of records with the scorer's numbers: ``score``, or ``score.sentiment`` where there are several.

        Two scorers of one quantity have their names in it too: ``score.sentiment:vader``.
        """
        if len(self.scorers) == 1:
            return SCORE
        alone = sum(other.quantity == scorer.quantity for other in self.scorers) == 1
        return f"{PREFIX}{scorer.quantity}" if alone else f"{PREFIX}{scorer.quantity}:{scorer.name}"

    def variant(self, scorer: ScorerPlan) -> str:
        """The scorer's name where there are several."""
        return scorer.name if len(self.scorers) > 1 else ""


def load_prompts(plan: GenerationPlan, folder: Path) -> pd.DataFrame:
    """The plan's prompts, checked before anything is asked: columns, ids, and that every reference is a group."""
    if plan.counterfactual is None:
        prompts = read_table(folder / plan.prompts)
    else:
        prompts = expand(folder / plan.prompts, plan.counterfactual)
    named = [plan.scorer_check.words] if plan.scorer_check.words else []
    check_prompts(prompts, plan.prompts)
    require_columns(prompts, [*plan.columns, *plan.clusters, *named], plan.prompts)
    for attribute in plan.attributes if plan.counterfactual is None else ():
        groups = group_names(group_labels(prompts, attribute.column))
        if attribute.reference not in groups:
            raise SettingsError(
                f"{attribute.column}: reference {attribute.reference!r} is none of the groups in {plan.prompts}: "
                f"{', '.join(map(repr, groups)) or 'there are none'}"
            )
    return prompts


def _with_scorers(content: Any) -> Any:
    """The short form of one lexicon, written out."""
    if not isinstance(content, dict) or "scorer" not in content:
        return content
    if "scorers" in content:
        raise ValueError('give scorer = "FILE" with metric and unit, or [[scorers]], not both')
    if "metric" not in content:
        raise ValueError('scorer = "FILE" needs metric, the name of what it measures')
    rest = {name: value for name, value in content.items() if name not in ("scorer", "metric", "unit")}
    one = {"quantity": content["metric"], "kind": "lexicon", "file": content["scorer"], "unit": content.get("unit", "")}
    return rest | {"scorers": [one]}
