"""What a probe may ask of a model, and what comes back.

Probes make requests, models answer them, neither knows the other: one probe runs on a causal model, a masked model,
a server or a file of predictions. Answers come in the order of the requests; an answer that could not be had is None,
never a guess.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

Tokens = Literal["all", "shared", "changed"]
"""Which tokens of a text are scored: all, those it shares with its counterpart, or those in which it differs."""

Progress = Callable[[int], None]
"""Called with the number of requests answered since the last call."""


@dataclass(frozen=True)
class LogLikelihood:
    """Asks for ln P(``continuation`` | ``context``) of a causal model; an empty context means the start of a text."""

    id: str
    context: str
    continuation: str


@dataclass(frozen=True)
class PseudoLogLikelihood:
    """Asks a masked model for the sum of ln P(token | all others) over some tokens of ``text``, one masked at a time.

    ``counterpart`` is the nearly equal text that "shared" and "changed" refer to; a causal model may answer with its
    own probabilities of the same tokens, which is another variant and is named so.
    """

    id: str
    text: str
    counterpart: str = ""
    tokens: Tokens = "all"


@dataclass(frozen=True)
class Generation:
    """Asks for a sampled answer. ``id`` seeds it, so answers depend neither on order nor on batches."""

    id: str
    prompt: str


@dataclass(frozen=True)
class Likelihood:
    """``total``: sum of log probabilities, nats. ``n_tokens``: how many tokens were scored; 0 gives a total of 0."""

    total: float
    n_tokens: int

    @property
    def mean(self) -> float:
        """Nats per token; NaN without tokens."""
        return self.total / self.n_tokens if self.n_tokens else float("nan")


@dataclass(frozen=True)
class Decoding:
    """How answers are sampled; ``temperature`` 0 takes the most likely token."""

    max_new_tokens: int = 40
    temperature: float = 1.0
    seed: int = 0


class ScoresContinuations(Protocol):
    """Causal models, and servers that return log probabilities."""

    def log_likelihoods(
        self, requests: Sequence[LogLikelihood], *, progress: Progress | None = None
    ) -> list[Likelihood | None]: ...


class ScoresTexts(Protocol):
    """Masked models."""

    def pseudo_log_likelihoods(
        self, requests: Sequence[PseudoLogLikelihood], *, progress: Progress | None = None
    ) -> list[Likelihood | None]: ...


class Generates(Protocol):
    """Anything that answers in words."""

    def answers(
        self, requests: Sequence[Generation], decoding: Decoding, *, progress: Progress | None = None
    ) -> list[str | None]: ...


class Embeds(Protocol):
    """Encoders: (n, dimensions), one row per text."""

    def embeddings(self, texts: Sequence[str], *, progress: Progress | None = None) -> NDArray[np.float32]: ...


class ScoresQuality(Protocol):
    """Text scorers: sentiment, toxicity, regard, reward. (n,) numbers, NaN where a text was not measured."""

    name: str

    def score(self, texts: Sequence[str]) -> NDArray[np.float64]: ...
