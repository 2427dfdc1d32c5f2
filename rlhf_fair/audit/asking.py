"""Rounds of questions to a model or a server: counted, shown while they run, and stoppable at any point.

An answer is kept as soon as it is there (`rlhf_fair.models.cache`, `rlhf_fair.models.endpoint_journal`), so a round
that was stopped says how much of it is kept, and the kept part can be reported before the rest is asked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from rlhf_fair.errors import InterruptedRunError
from rlhf_fair.models.requests import Progress

Hear = Callable[[str, int, int], None]
"""Hears (what, done, total)."""

AS_CHAT, AS_TEXT = "in the model's chat template, as a user's message", "as they stand, as text to be continued"
"""How prompts that ask for words reach a model."""

ANEW = "interrupted; no answers are kept, so the same command starts anew"

M = TypeVar("M")
A = TypeVar("A")


@dataclass
class Tally:
    """How many questions were put, and how many of them have an answer."""

    questions: int = 0
    answered: int = 0


class Rounds(Generic[M]):
    """Puts questions to ``live()``; or, if ``partial``, to ``kept()``, which knows earlier answers and asks nobody.

    ``kept`` is None where answers are not kept at all.
    """

    def __init__(self, hear: Hear, live: Callable[[], M], kept: Callable[[], M] | None, *, partial: bool) -> None:
        assert kept is not None or not partial
        self.hear, self.live, self.kept, self.partial = hear, live, kept, partial
        self.tally = Tally()

    def put(self, what: str, n: int, ask: Callable[[M, Progress], Sequence[A | None]]) -> list[A | None]:
        """The answers to ``n`` questions.

        Raises
        ------
        InterruptedRunError
            Somebody stopped the run; the message says how many answers are kept.
        """
        try:
            model = self.kept() if self.partial and self.kept is not None else self.live()
            answers = list(ask(model, counted(self.hear, what, n)))
        except KeyboardInterrupt:
            raise InterruptedRunError(self._stopped(n, ask)) from None
        self.tally.questions += n
        self.tally.answered += sum(answer is not None for answer in answers)
        return answers

    def _stopped(self, n: int, ask: Callable[[M, Progress], Sequence[A | None]]) -> str:
        if self.kept is None:
            return ANEW
        known = sum(answer is not None for answer in ask(self.kept(), lambda done: None)) + self.tally.answered
        n += self.tally.questions
        return f"interrupted: {known:,} of {n:,} answers are kept; the same command goes on from there"


def counted(hear: Hear, what: str, total: int) -> Progress:
    """A callback that adds up what a model reports: how many since the last call."""
    done = 0

    def add(n: int) -> None:
        nonlocal done
        done += n
        hear(what, done, total)

    return add
