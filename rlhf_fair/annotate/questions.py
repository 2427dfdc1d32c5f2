"""What a rater is asked about an item (pair, rating, edit, revised instruction), or that they cannot judge it.

Answers are shown blind: the page says "first" and "second", and the assignment's order says which of a and b that is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

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

MAX_REMARK = 2_000
"""Characters of a comment on an item, or of why it cannot be judged."""

REASONS = {
    "language": "I cannot read the language",
    "knowledge": "I know too little about it",
    "upsetting": "It upsets me",
    "broken": "Text missing or garbled",
    "other": "Something else",
}
"""Why an item cannot be judged: as it is stored -> as it is shown. Saying why is optional."""

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


@dataclass(frozen=True)
class Answer:
    """One row of feedback. ``strength`` belongs to a pair (0 tie to 3), ``value`` to a rating (1 to 5)."""

    kind: str
    choice: Literal["a", "b", "tie"] | None = None
    strength: int | None = None
    value: int | None = None
    text: str | None = None


@dataclass(frozen=True)
class CannotJudge:
    """A missing judgement: ``reason`` is one of `REASONS` or None, ``words`` what the rater added, if anything."""

    reason: str | None = None
    words: str | None = None


@dataclass(frozen=True)
class Submission:
    """What a rater sends about one item: an answer to each question, or that they cannot judge it; and a comment."""

    answers: tuple[Answer, ...] = ()
    cannot_judge: CannotJudge | None = None
    comment: str | None = None


def read_submission(
    asked: tuple[str, ...], order: str, form: Mapping[str, str], *, comment: bool
) -> tuple[Submission, dict[str, str]]:
    """What a form says, and for each field without a sound answer what is wrong.

    ``comment``: whether the study asks for one; otherwise what the form holds of it is left alone. Who cannot judge
    has answered nothing, whatever else is in the form: it is never a choice.

    >>> read_submission(("pair",), "ab", {"pair": "1", "cannot_judge": "yes", "reason": "language"}, comment=False)
    (Submission(answers=(), cannot_judge=CannotJudge(reason='language', words=None), comment=None), {})
    """
    said, problems = _remark(form, "comment") if comment else (None, {})
    if form.get("cannot_judge") != "yes":
        answers, wrong = read_answers(asked, order, form)
        return Submission(tuple(answers), None, said), wrong | problems
    words, wrong = _remark(form, "words")
    reason = form.get("reason", "")
    return Submission((), CannotJudge(reason if reason in REASONS else None, words), said), wrong | problems


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


def _remark(form: Mapping[str, str], field: str) -> tuple[str | None, dict[str, str]]:
    text = plain_text(form.get(field, "")).strip()
    if len(text) > MAX_REMARK:
        return None, {field: f"The text has {len(text)} characters; at most {MAX_REMARK} can be saved."}
    return text or None, {}


def _written(kind: str, given: str) -> Answer | str:
    text = plain_text(given)
    if not text.strip():
        return "Write a text, or leave the one that was there."
    if len(text) > MAX_TEXT:
        return f"The text has {len(text)} characters; at most {MAX_TEXT} can be saved."
    return Answer(kind, text=text)
