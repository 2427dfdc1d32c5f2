"""Who answers an audit's questions: a model on this machine, or a server; opened at the first question, asked once.

A probe makes requests, a source answers them, whatever it is. Answers are kept outside the report: those of a local
model in a cache that all audits share, those of a server in a journal of one audit, since what is behind a URL may
change. So a run that was stopped goes on where it stopped.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from rlhf_fair.audit.asking import Hear as Hear
from rlhf_fair.audit.asking import Tally
from rlhf_fair.audit.asking import counted as counted
from rlhf_fair.audit.local_model import LocalModel
from rlhf_fair.audit.served_model import ServedModel
from rlhf_fair.audit.target import Access, Target
from rlhf_fair.errors import SettingsError
from rlhf_fair.models.requests import Decoding, Generation, Likelihood, LogLikelihood, PseudoLogLikelihood


class Source(Protocol):
    """Answers requests in their order; None where there is no answer, and ``failures`` counts why."""

    name: str

    prompts_sent: str
    """How prompts that ask for words reached the model; "" where none did."""

    @property
    def masked(self) -> bool:
        """True for a model that reads a text from both sides, such as BERT."""
        ...

    @property
    def inputs(self) -> dict[str, str]:
        """Name -> SHA-256 of what was asked, for the manifest."""
        ...

    @property
    def failures(self) -> Counter[str]: ...

    @property
    def tally(self) -> Tally:
        """Of all questions so far; without an answer are those that failed and, in a partial report, open ones."""
        ...

    @property
    def partial(self) -> bool:
        """True where only kept answers are given and nobody is asked."""
        ...

    def log_likelihoods(self, requests: Sequence[LogLikelihood]) -> list[Likelihood | None]: ...

    def pseudo_log_likelihoods(self, requests: Sequence[PseudoLogLikelihood]) -> list[Likelihood | None]: ...

    def answers(self, requests: Sequence[Generation], decoding: Decoding) -> list[str | None]: ...

    def embeddings(self, texts: Sequence[str]) -> NDArray[np.float32]: ...

    def finished(self) -> None:
        """The results are on disk: what was kept for a second try may go."""
        ...


def open_source(target: Target, access: Access, *, run: Path, hear: Hear | None = None) -> Source:
    """The target's model or server. ``run``: the audit's output folder, which tells one server audit from another."""
    heard = hear or (lambda what, done, total: None)
    if access.partial and access.cache is None:
        raise SettingsError("--partial reports from kept answers, and --no-cache keeps none")
    if target.model is not None:
        return LocalModel(target.model, access, heard)
    assert target.endpoint is not None
    return ServedModel(target.endpoint, target.endpoint_model, access, heard, run)
