"""The optional file of a study: its title and language, the words of the rating, what else raters are asked."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Self

from pydantic import field_validator, model_validator

from rlhf_fair.annotate.demographics import Demographic, Words
from rlhf_fair.settings import Settings

LANGUAGE = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*")


class RatingScale(Settings):
    """The question of a 1-5 rating and the words at its ends."""

    question: Words = "How good is this answer?"
    low: Words = "very poor"
    high: Words = "very good"


class StudySettings(Settings):
    """What the study says in its own words, in its own ``language`` (as in HTML); the page's own words are English.

    ``comment``: the words over a box for remarks on each item. Without them there is none: what nobody asked for is
    not collected.
    """

    title: Words = "Your judgement of answers"
    language: str = "en"
    rating: RatingScale = RatingScale()
    comment: Words | None = None
    demographics: tuple[Demographic, ...] = ()

    @field_validator("language")
    @classmethod
    def _is_a_language_tag(cls, language: str) -> str:
        if not LANGUAGE.fullmatch(language):
            raise ValueError("not a language tag such as 'en' or 'pt-BR'")
        return language

    @field_validator("demographics", mode="before")
    @classmethod
    def _questions_are_several(cls, demographics: object) -> object:
        if isinstance(demographics, Mapping):
            raise ValueError("there may be several questions, so each begins with [[demographics]], in two brackets")
        return demographics

    @model_validator(mode="after")
    def _names_are_distinct(self) -> Self:
        names = [question.name for question in self.demographics]
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise ValueError(f"demographics: {', '.join(repeated)} asked twice; every name must be distinct")
        return self
