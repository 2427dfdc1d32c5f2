"""The nouns of a study: a rater and where they stand, a task of theirs, the time it took them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from rlhf_fair.annotate.questions import Answer, Submission


@dataclass(frozen=True)
class Rater:
    """Where somebody stands. ``next_position``: their first item not dealt with, from 1; total + 1 if none is."""

    annotator_id: str
    consented: bool
    asked_about_them: bool
    withdrawn: bool
    total: int
    next_position: int


@dataclass(frozen=True)
class Task:
    """One item as one rater sees it, with what they last sent about it, if anything.

    ``version`` tells one thing sent from the next: larger for a later one, 0 where nothing was sent.
    """

    position: int
    item_id: str
    order: str
    asked: tuple[str, ...]
    language: str | None
    texts: Mapping[str, str]
    sent: Submission | None
    version: int = 0

    @property
    def answers(self) -> dict[str, Answer]:
        """The answers that count, by kind."""
        return {answer.kind: answer for answer in self.sent.answers} if self.sent else {}


@dataclass(frozen=True)
class Time:
    """How long a page was with its reader, in seconds.

    ``shown_ms``: when it was made, in ms since 1970, which tells one showing of an item from the next. ``open``: from
    then to being sent, as the server measured it. ``visible``: how much of that it was in the foreground, as the page
    measured it, never more than ``open``; None where the page ran no script. Visible is not the same as looked at.
    """

    shown_ms: int
    open: float
    visible: float | None = None
