"""Who answers an audit's questions: a model on this machine, or a server; opened at the first question, asked once.

A probe makes requests, a source answers them, whatever it is. Answers are kept outside the report: those of a local
model in a cache that all audits share, those of a server in a journal of one audit, since what is behind a URL may
change. So a run that was stopped goes on where it stopped.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from rlhf_fair.artifacts import canonical_json, sha256_bytes
from rlhf_fair.audit.target import Access, Target, endpoint_settings
from rlhf_fair.errors import SettingsError
from rlhf_fair.models.cache import Cached, ResponseCache, model_digest
from rlhf_fair.models.endpoint import Endpoint
from rlhf_fair.models.loading import is_masked, resolve
from rlhf_fair.models.requests import (
    Decoding,
    Generates,
    Generation,
    Likelihood,
    LogLikelihood,
    Progress,
    PseudoLogLikelihood,
    ScoresContinuations,
    ScoresTexts,
)

CACHE_NAME = "answers.sqlite"

Hear = Callable[[str, int, int], None]
"""Hears (what, done, total)."""


class _LanguageModel(ScoresContinuations, ScoresTexts, Generates, Protocol):
    """What `CausalLM` and, in front of either kind, `Cached` can do."""


class Source(Protocol):
    """Answers requests in their order; None where there is no answer, and ``failures`` counts why."""

    name: str

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
    if target.model is not None:
        return LocalModel(target.model, access, heard)
    assert target.endpoint is not None
    return Served(target.endpoint, target.endpoint_model, access, heard, run)


class LocalModel:
    """A causal or masked language model, or an encoder, from a folder or the hub; loaded when first asked."""

    def __init__(self, source: str, access: Access, hear: Hear) -> None:
        resolve(source)  # a name that cannot be a model is refused before any data is read
        self.source, self.access, self.hear = source, access, hear
        self.name = Path(source).name if Path(source).is_dir() else source
        self.failures: Counter[str] = Counter()

    @cached_property
    def masked(self) -> bool:
        """By the architecture that its config names."""
        return is_masked(self.source)

    @cached_property
    def inputs(self) -> dict[str, str]:
        """SHA-256 of the model's folder: weights, config and tokenizer."""
        return {"model": model_digest(self.source)}

    def log_likelihoods(self, requests: Sequence[LogLikelihood]) -> list[Likelihood | None]:
        self._refuse_masked("gives no probability to a continuation")
        return self._model.log_likelihoods(requests, progress=self._bar("choices", len(requests)))

    def pseudo_log_likelihoods(self, requests: Sequence[PseudoLogLikelihood]) -> list[Likelihood | None]:
        return self._model.pseudo_log_likelihoods(requests, progress=self._bar("sentences", len(requests)))

    def answers(self, requests: Sequence[Generation], decoding: Decoding) -> list[str | None]:
        self._refuse_masked("writes no answers")
        return self._model.answers(requests, decoding, progress=self._bar("answers", len(requests)))

    def embeddings(self, texts: Sequence[str]) -> NDArray[np.float32]:
        from rlhf_fair.models.encoder import Encoder

        encoder = Encoder.load(self.source, **self._placing)
        vectors: NDArray[np.float32] = encoder.embeddings(texts, progress=self._bar("texts", len(texts)))
        return vectors

    def finished(self) -> None:
        """Nothing goes: the same model gives the same answers next time."""

    @cached_property
    def _model(self) -> _LanguageModel:
        from rlhf_fair.models.causal_lm import CausalLM
        from rlhf_fair.models.masked_lm import MaskedLM

        kind: type[CausalLM] | type[MaskedLM] = MaskedLM if self.masked else CausalLM
        model = kind.load(self.source, **self._placing)
        if self.access.cache is None:
            return cast(_LanguageModel, model)  # requests that a masked model has no answer for are refused above
        identity = f"{self.inputs['model']} {self.access.precision}"
        return Cached(model, ResponseCache(self.access.cache / CACHE_NAME), identity)

    @property
    def _placing(self) -> dict[str, Any]:
        access = self.access
        return {"device": access.device, "precision": access.precision, "device_map": access.device_map}

    def _refuse_masked(self, why: str) -> None:
        if self.masked:
            raise SettingsError(
                f"model {self.source} is a masked language model, which {why}: give a causal model, --endpoint or "
                "--predictions"
            )

    def _bar(self, what: str, total: int) -> Progress:
        return counted(self.hear, what, total)


class Served:
    """A model behind a URL. It answers in words; it scores given text where the server offers that."""

    masked = False

    def __init__(self, url: str, model: str, access: Access, hear: Hear, run: Path) -> None:
        self.hear = hear
        self.name = model
        settings = endpoint_settings(access.server)
        self._journal = None if access.cache is None else access.cache / _journal_name(url, model, run)
        self._endpoint = Endpoint(url, model, settings, journal=self._journal)
        self.inputs = {"endpoint": sha256_bytes(canonical_json([self._endpoint.url, model]))}

    @property
    def failures(self) -> Counter[str]:
        return self._endpoint.failure_counts

    def log_likelihoods(self, requests: Sequence[LogLikelihood]) -> list[Likelihood | None]:
        return self._endpoint.log_likelihoods(requests, progress=counted(self.hear, "choices", len(requests)))

    def pseudo_log_likelihoods(self, requests: Sequence[PseudoLogLikelihood]) -> list[Likelihood | None]:
        raise SettingsError("a server does not tell the probability of single tokens inside a text: give --model")

    def answers(self, requests: Sequence[Generation], decoding: Decoding) -> list[str | None]:
        return self._endpoint.answers(requests, decoding, progress=counted(self.hear, "answers", len(requests)))

    def embeddings(self, texts: Sequence[str]) -> NDArray[np.float32]:
        raise SettingsError("this probe compares an encoder's vectors: give --model")

    def finished(self) -> None:
        if self._journal is not None and not self.failures:
            self._journal.unlink(missing_ok=True)


def counted(hear: Hear, what: str, total: int) -> Progress:
    """A callback that adds up what a model reports: how many since the last call."""
    done = 0

    def add(n: int) -> None:
        nonlocal done
        done += n
        hear(what, done, total)

    return add


def _journal_name(url: str, model: str, run: Path) -> str:
    digest = sha256_bytes(canonical_json([url, model, str(run.resolve())]))
    return f"endpoint-{digest[:16]}.jsonl"
