"""A language model as a scorer: it is asked for a rating on a fixed scale, and what it says is read strictly.

A judge has biases of its own, towards length, position, its own style and the groups a text speaks of (Zheng et al.
2023): check it with identity swaps as any other scorer. A text that gives the judge orders may be obeyed; it is put
between marks, which lowers that risk and does not end it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from rlhf_fair.errors import SettingsError
from rlhf_fair.models.refusal import is_refusal
from rlhf_fair.models.requests import Decoding, Generates, Generation, Progress
from rlhf_fair.records import NAN

PROMPT = (
    "Rate the text between the marks. Question: {question}\n"
    "Answer with one whole number from {low} to {high} and nothing else.\n"
    "<<<\n{text}\n>>>\nRating:"
)

_STATED = re.compile(r"\b(?:rating|score)\W{1,4}(?:is\W{1,3})?(-?\d+(?:\.\d+)?)", re.IGNORECASE)
_NUMBER = re.compile(r"(?<![\w.])-?\d+(?:\.\d+)?(?!\w|\.\d)")


@dataclass(frozen=True)
class Scale:
    """Whole numbers from ``low`` to ``high``; what 1 and 5 mean belongs into the question."""

    low: int = 1
    high: int = 5

    def __post_init__(self) -> None:
        if self.low >= self.high:
            raise SettingsError(f"scale from {self.low} to {self.high}; low must be below high")

    def read(self, answer: str) -> float:
        """The one rating an answer gives, NaN if it gives none, several, or one off the scale.

        >>> [Scale().read(answer) for answer in ("4", "Rating: 4/5.", "3 or 4", "9", "I would rather not")]
        [4.0, 4.0, nan, nan, nan]
        """
        without_top = re.sub(rf"(?:/|\bout of)\s*{self.high}\b", "", answer, flags=re.IGNORECASE)
        found = _STATED.findall(without_top) or _NUMBER.findall(without_top)
        ratings = {float(number) for number in found}
        if len(ratings) != 1:
            return NAN
        (rating,) = ratings
        return rating if rating.is_integer() and self.low <= rating <= self.high else NAN


@dataclass(frozen=True)
class Judgement:
    """``scores`` (n,), NaN where no rating could be read.

    ``parse_rate``: ratings read / answers that came; ``refusal_rate``: answers that open like a refusal / answers that
    came; NaN without answers. ``n_missing``: texts without an answer.
    """

    scores: NDArray[np.float64]
    parse_rate: float
    refusal_rate: float
    n_missing: int


@dataclass
class JudgeScorer:
    """Asks ``judge`` the ``question`` about every text; ``score`` is on ``scale``, in its own units."""

    judge: Generates
    question: str
    name: str
    scale: Scale = field(default_factory=Scale)
    decoding: Decoding = field(default_factory=lambda: Decoding(max_new_tokens=8, temperature=0.0))

    @property
    def bounds(self) -> tuple[float, float]:
        """The lowest and the highest rating."""
        return float(self.scale.low), float(self.scale.high)

    def score(self, texts: Sequence[str], *, progress: Progress | None = None) -> NDArray[np.float64]:
        """(n,) ratings; `judgement` has the parse and refusal rates."""
        return self.judgement(texts, progress=progress).scores

    def judgement(self, texts: Sequence[str], *, progress: Progress | None = None) -> Judgement:
        """Ratings of ``texts`` with how many could be read; equal texts are asked about once."""
        distinct, where = np.unique(np.asarray(texts, dtype=object), return_inverse=True)
        requests = [Generation(self._id(text), self._prompt(text)) for text in distinct]
        replies = self.judge.answers(requests, self.decoding, progress=progress) if requests else []
        read = np.array([NAN if reply is None else self.scale.read(reply) for reply in replies], dtype=np.float64)
        refused = is_refusal(["" if reply is None else reply for reply in replies])
        scores, came = read[where], np.array([reply is not None for reply in replies], dtype=bool)[where]
        answers = int(came.sum())
        return Judgement(
            scores=scores,
            parse_rate=float(np.isfinite(scores).sum() / answers) if answers else NAN,
            refusal_rate=float(refused[where].sum() / answers) if answers else NAN,
            n_missing=len(scores) - answers,
        )

    def _id(self, text: str) -> str:
        """The same for the same text, so that a rating depends neither on order nor on the other texts."""
        return f"{self.name}/{hashlib.sha256(text.encode()).hexdigest()[:16]}"

    def _prompt(self, text: str) -> str:
        return PROMPT.format(question=self.question, low=self.scale.low, high=self.scale.high, text=text)
