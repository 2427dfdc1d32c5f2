"""What raters are asked about themselves. Every question may be left out, and declining to say is always an answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field, StringConstraints, field_validator

from rlhf_fair.settings import Settings

PREFER_NOT_TO_SAY = "prefer_not_to_say"
FORM_TOKEN = "token"
"""Name of the form's own hidden field, which no question may take."""

Words = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=500)]
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_]{0,39}$")]


class Demographic(Settings):
    """One question about the rater. ``choices``: value as it is stored -> words as they are shown.

    ``several``: more than one choice may be ticked, as where somebody has two nationalities.
    """

    name: Name
    text: Words
    choices: Annotated[dict[Name, Words], Field(min_length=1)]
    several: bool = False

    @field_validator("name")
    @classmethod
    def _name_is_free(cls, name: str) -> str:
        if name == FORM_TOKEN:
            raise ValueError(f"{FORM_TOKEN!r} is taken by the form itself; choose another name")
        return name

    @field_validator("choices", mode="before")
    @classmethod
    def _choices_are_a_table(cls, choices: object) -> object:
        if not isinstance(choices, Mapping):
            raise ValueError(
                "each choice needs the value that is stored and the words that are shown, such as "
                'choices = { woman = "Woman", man = "Man" }'
            )
        return choices

    @property
    def options(self) -> dict[str, str]:
        """The choices and "prefer not to say", in the study's own words where it has some for it."""
        return {**self.choices, PREFER_NOT_TO_SAY: self.choices.get(PREFER_NOT_TO_SAY, "Prefer not to say")}


def read_demographics(questions: tuple[Demographic, ...], form: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """Question -> what was chosen; a question left out, or answered with something it does not offer, is not there.

    Of a question with several answers each box is a field ``name.value``. Who ticks "prefer not to say" beside others
    has asked for less to be known, so it stands alone.

    >>> race = Demographic(name="race", text="?", choices={"asian": "Asian", "white": "White"}, several=True)
    >>> read_demographics((race,), {"race.white": "yes", "race.asian": "yes"})
    {'race': ('asian', 'white')}
    >>> read_demographics((race,), {"race.white": "yes", "race.prefer_not_to_say": "yes"})
    {'race': ('prefer_not_to_say',)}
    """
    found: dict[str, tuple[str, ...]] = {}
    for question in questions:
        if question.several:
            picked = tuple(value for value in question.options if form.get(f"{question.name}.{value}") == "yes")
        else:
            picked = tuple(value for value in question.options if form.get(question.name) == value)
        if PREFER_NOT_TO_SAY in picked:
            picked = (PREFER_NOT_TO_SAY,)
        if picked:
            found[question.name] = picked
    return found
