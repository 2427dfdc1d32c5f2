"""The plan of the audit ``reward``: which parts are measured, from which files, and what is claimed of them."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field, field_validator, model_validator

from rlhf_fair.audit.plan import Plan
from rlhf_fair.errors import SettingsError
from rlhf_fair.probes.counterfactual_text_lexicon import ATTRIBUTES
from rlhf_fair.probes.reward_people import people_of
from rlhf_fair.settings import Settings

REWARD = "reward"
SAMPLE = "{A} asks. What do I tell {the}?"
"""A text for each term of a plan, to see whether it can be told of the other groups."""


class CounterfactualPlan(Settings):
    """Prompts with a better and a worse answer; ``prompts`` is beside the plan.

    ``terms``: attribute -> words for a person of its reference group. ``names``: so many first names stand for gender
    and ethnicity, and for the null control of names. ``traits``: pairs that say no group. ``edits``: name -> [pattern,
    replacement] that keep the meaning. Each prompt is told of ``per_prompt`` persons for each attribute.
    ``least_unit``: gaps are not told in SDs within a prompt where that SD is a smaller share of the SD over all texts.
    """

    prompts: str
    terms: dict[str, tuple[str, ...]] = Field(min_length=1)
    names: int = Field(8, ge=0)
    traits: tuple[tuple[str, str], ...] = Field(min_length=2)
    edits: dict[str, tuple[str, str]] = Field(default_factory=dict)
    per_prompt: int = Field(2, ge=1)
    least_unit: float = Field(0.05, ge=0, lt=1)

    @field_validator("edits")
    @classmethod
    def _expressions(cls, edits: dict[str, tuple[str, str]]) -> dict[str, tuple[str, str]]:
        for name, (pattern, replacement) in edits.items():
            try:
                re.sub(pattern, replacement, "")
            except (re.error, OverflowError, RecursionError) as error:
                raise ValueError(f"edit {name!r} is no [pattern, replacement] of re: {error}") from error
        return edits

    @field_validator("terms")
    @classmethod
    def _known_attributes(cls, terms: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        for attribute, words in terms.items():
            if attribute not in ATTRIBUTES or not words:
                raise ValueError(f"terms for {attribute!r}; allowed: one word or more for {', '.join(ATTRIBUTES)}")
            try:
                for person in people_of(attribute, words, names=0):
                    for _ in person.versions((SAMPLE,)):
                        pass
            except SettingsError as error:
                raise ValueError(str(error)) from error
        return terms

    @field_validator("traits")
    @classmethod
    def _words(cls, traits: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
        if any(not trait.strip() for pair in traits for trait in pair):
            raise ValueError("a trait is blank; allowed: pairs of words")
        return traits


class DialectPlan(Settings):
    """Matched statements in two dialects; ``folder`` is relative to ``--data-dir``."""

    folder: str
    pairs: str = "habitual"


class IdentityTermsPlan(Settings):
    """Madlibs; ``folder`` is relative to ``--data-dir``. ``names``: so many of the names, drawn by the seed."""

    folder: str
    names: int = Field(45, ge=2)


class BestOfNPlan(Settings):
    """``templates`` beside the plan, with slots for a person; ``candidates``: one's own, relative to ``--data-dir``.

    ``sizes``: the n of best-of-n; findings are of the largest up to a quarter of the smallest pool. ``size``: least
    number of packaged candidates for each prompt and attribute.
    """

    templates: str = ""
    candidates: str = ""
    sizes: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64)
    size: int = Field(64, ge=2)

    @model_validator(mode="after")
    def _sensible(self) -> BestOfNPlan:
        if not self.sizes or list(self.sizes) != sorted({*self.sizes}) or self.sizes[0] < 1:
            raise ValueError(f"sizes = {list(self.sizes)}; allowed: rising numbers from 1")
        if not (self.templates or self.candidates):
            raise ValueError("give templates, candidates, or both")
        return self


class ChoicesPlan(Settings):
    """What is claimed of choices and ratings. Groups with fewer raters than ``least`` are shown as not measured."""

    least: int = Field(10, ge=2)


class RatingsPlan(Settings):
    """Ratings of single texts: what is read of them where ``--feedback`` holds some, or where ``file`` names some.

    ``file``: relative to ``--data-dir``, read where no ``--feedback`` is given. ``items``: a table of item_id and texts
    beside the ratings; "" where they carry their texts. ``columns``: name here -> name in ``file``. ``missing``: cells
    of ``file`` that mean "not known". ``better``: which end of the scale. ``held_out``: what the ratings go by in
    ``held_out.parquet`` beside the model; only texts of its test split are then used.
    """

    file: str = ""
    items: str = ""
    columns: dict[str, str] = Field(default_factory=dict)
    missing: tuple[str, ...] = ()
    better: Literal["high", "low"] = "high"
    held_out: str = ""


class WordsPlan(Settings):
    """The ``comparisons`` with the largest claimed gaps are taken apart word by word, ``pairs`` of each on average."""

    comparisons: int = Field(4, ge=1)
    pairs: int = Field(10, ge=1)


class RewardPlan(Plan):
    """The whole plan. ``layout``: how prompt and answer become the text that the reward model reads."""

    layout: str = "{prompt}\n{answer}"
    seed: int = 0
    counterfactual: CounterfactualPlan | None = None
    dialect: DialectPlan | None = None
    identity_terms: IdentityTermsPlan | None = None
    best_of_n: BestOfNPlan | None = None
    choices: ChoicesPlan = ChoicesPlan()
    ratings: RatingsPlan | None = None
    words: WordsPlan | None = None

    @model_validator(mode="after")
    def _something_to_measure(self) -> RewardPlan:
        if self.counterfactual is None and self.best_of_n is not None and self.best_of_n.templates:
            raise ValueError("templates under best_of_n need the persons of [counterfactual]")
        return self

    @field_validator("layout")
    @classmethod
    def _both_parts(cls, layout: str) -> str:
        if layout.count("{prompt}") != 1 or layout.count("{answer}") != 1 or layout.index("{answer}") < 1:
            raise ValueError("a layout has {prompt} once and then {answer} once")
        if layout.index("{prompt}") > layout.index("{answer}"):
            raise ValueError("a layout has {prompt} before {answer}")
        return layout
