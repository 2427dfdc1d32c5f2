"""What a rater is asked: about an item (pair, rating, edit, revised instruction) and, if they like, about themselves.

Answers are shown blind: the page says "first" and "second", and the assignment's order says which of a and b that is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from rlhf_fair.settings import Settings

KINDS = ("pair", "rating", "edit", "revised_instruction")
"""The kinds of feedback the page can ask for, in the order in which it asks."""

NEEDS = {
    "pair": ("prompt", "response_a", "response_b"),
    "rating": ("prompt", "response"),
    "edit": ("prompt", "response"),
    "revised_instruction": ("prompt",),
}
"""Kind -> the columns of the items table that it shows."""

MAX_TEXT = 20_000
"""Characters of one written answer; a text to be edited must be no longer."""

PREFER_NOT_TO_SAY = "prefer_not_to_say"

PAIR_SCALE: tuple[tuple[str, int, str], ...] = (
    ("first", 3, "First is much better"),
    ("first", 2, "First is better"),
    ("first", 1, "First is slightly better"),
    ("tie", 0, "About the same"),
    ("second", 1, "Second is slightly better"),
    ("second", 2, "Second is better"),
    ("second", 3, "Second is much better"),
)
"""Which one, how much (0 a tie, 1 slightly, 2 clearly, 3 much), and the words; a form sends the position, from 1."""

Words = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=500)]
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_]{0,39}$")]


class Demographic(Settings):
    """One question about the rater. ``choices``: value as it is stored -> words as they are shown."""

    name: Name
    text: Words
    choices: Annotated[dict[Name, Words], Field(min_length=1)]

    @property
    def options(self) -> dict[str, str]:
        """The choices and "prefer not to say", which is an answer; leaving the question out is none."""
        return {**self.choices, PREFER_NOT_TO_SAY: "Prefer not to say"}


class RatingScale(Settings):
    """The question of a 1-5 rating and the words at its ends."""

    question: Words = "How good is this answer?"
    low: Words = "very poor"
    high: Words = "very good"


class StudySettings(Settings):
    """The optional file of a study: title, words of the rating, questions about the rater."""

    title: Words = "Your judgement of answers"
    rating: RatingScale = RatingScale()
    demographics: tuple[Demographic, ...] = ()

    @model_validator(mode="after")
    def _names_are_distinct(self) -> Self:
        names = [question.name for question in self.demographics]
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise ValueError(f"demographics: {', '.join(repeated)} asked twice; every name must be distinct")
        return self


@dataclass(frozen=True)
class Answer:
    """One row of feedback. ``strength`` belongs to a pair (0 tie to 3), ``value`` to a rating (1 to 5)."""

    kind: str
    choice: Literal["a", "b", "tie"] | None = None
    strength: int | None = None
    value: int | None = None
    text: str | None = None


def read_answers(asked: tuple[str, ...], order: str, form: Mapping[str, str]) -> tuple[list[Answer], dict[str, str]]:
    """The answers in a form, and for each question without a sound one what is wrong.

    Parameters
    ----------
    asked
        The kinds this item asks for.
    order
        ``ab`` or ``ba``: what was shown first.

    >>> read_answers(("pair",), "ba", {"pair": "1"})
    ([Answer(kind='pair', choice='b', strength=3, value=None, text=None)], {})
    >>> read_answers(("rating",), "ab", {"rating": "6"})
    ([], {'rating': 'Choose a rating from 1 to 5.'})
    """
    answers, problems = [], {}
    for kind in asked:
        given = form.get(kind, "")
        answer: Answer | str
        match kind:
            case "pair":
                answer = _pair(given, order)
            case "rating":
                sound = given in ("1", "2", "3", "4", "5")
                answer = Answer(kind, value=int(given)) if sound else "Choose a rating from 1 to 5."
            case _:
                answer = _written(kind, given)
        if isinstance(answer, Answer):
            answers.append(answer)
        else:
            problems[kind] = answer
    return answers, problems


def position_on_scale(answer: Answer, order: str) -> str:
    """Inverse of `read_answers` for a pair: the position the rater had picked, from 1, as text."""
    shown = "tie" if answer.choice == "tie" else ("first" if answer.choice == order[0] else "second")
    places = {(side, strength): str(place) for place, (side, strength, _) in enumerate(PAIR_SCALE, start=1)}
    return places[shown, answer.strength or 0]


def read_demographics(questions: tuple[Demographic, ...], form: Mapping[str, str]) -> dict[str, str]:
    """Answers given; a question left out, or answered with something it does not offer, has none."""
    return {q.name: form[q.name] for q in questions if form.get(q.name) in q.options}


def plain_text(text: str) -> str:
    """Line ends as one character: browsers send two, and an answer left as it was must equal the original."""
    return re.sub(r"\r\n?", "\n", text)


def _pair(given: str, order: str) -> Answer | str:
    if given not in {str(place) for place in range(1, len(PAIR_SCALE) + 1)}:
        return "Choose which answer is better, or that they are about the same."
    side, strength, _ = PAIR_SCALE[int(given) - 1]
    if side == "tie":
        return Answer("pair", choice="tie", strength=0)
    first: Literal["a", "b"] = "a" if order == "ab" else "b"
    second: Literal["a", "b"] = "b" if order == "ab" else "a"
    return Answer("pair", choice=first if side == "first" else second, strength=strength)


def _written(kind: str, given: str) -> Answer | str:
    text = plain_text(given)
    if not text.strip():
        return "Write a text, or leave the one that was there."
    if len(text) > MAX_TEXT:
        return f"The text has {len(text)} characters; at most {MAX_TEXT} can be saved."
    return Answer(kind, text=text)
