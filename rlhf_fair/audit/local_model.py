"""An audit's questions put to a model from a folder or the hub, loaded at the first one; its answers are cached."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from rlhf_fair.audit.asking import ANEW, AS_CHAT, AS_TEXT, Hear, Rounds, Tally, counted
from rlhf_fair.audit.target import Access
from rlhf_fair.errors import InterruptedRunError, SettingsError
from rlhf_fair.models.cache import Cached, ResponseCache, model_digest
from rlhf_fair.models.chat_template import ChatTemplate
from rlhf_fair.models.loading import is_masked, resolve
from rlhf_fair.models.requests import (
    Decoding,
    Generates,
    Generation,
    Likelihood,
    LogLikelihood,
    PseudoLogLikelihood,
    ScoresContinuations,
    ScoresTexts,
)

CACHE_NAME = "answers.sqlite"


class _LanguageModel(ScoresContinuations, ScoresTexts, Generates, Protocol):
    """What `CausalLM` and, in front of either kind, `Cached` can do."""


class _Silent:
    """Stands in for a model that is not to be asked: what the cache does not know stays without an answer."""

    def log_likelihoods(self, requests: Sequence[LogLikelihood]) -> list[None]:
        return [None] * len(requests)

    def pseudo_log_likelihoods(self, requests: Sequence[PseudoLogLikelihood]) -> list[None]:
        return [None] * len(requests)

    def answers(self, requests: Sequence[Generation], decoding: Decoding) -> list[None]:
        return [None] * len(requests)


class LocalModel:
    """A causal or masked language model, or an encoder, from a folder or the hub; loaded when first asked."""

    def __init__(self, source: str, access: Access, hear: Hear) -> None:
        resolve(source)  # a name that cannot be a model is refused before any data is read
        self.source, self.access, self.hear = source, access, hear
        self.name = Path(source).name if Path(source).is_dir() else source
        self.failures: Counter[str] = Counter()
        self.partial, self.prompts_sent = access.partial, ""
        kept = None if access.cache is None else lambda: cast(_LanguageModel, self._cached(_Silent()))
        self._rounds: Rounds[_LanguageModel] = Rounds(hear, lambda: self._model, kept, partial=access.partial)

    @property
    def tally(self) -> Tally:
        return self._rounds.tally

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
        return self._rounds.put(
            "choices", len(requests), lambda model, bar: model.log_likelihoods(requests, progress=bar)
        )

    def pseudo_log_likelihoods(self, requests: Sequence[PseudoLogLikelihood]) -> list[Likelihood | None]:
        return self._rounds.put(
            "sentences", len(requests), lambda model, bar: model.pseudo_log_likelihoods(requests, progress=bar)
        )

    def answers(self, requests: Sequence[Generation], decoding: Decoding) -> list[str | None]:
        self._refuse_masked("writes no answers")
        self.prompts_sent = AS_CHAT if self._template else AS_TEXT
        return self._rounds.put(
            "answers", len(requests), lambda model, bar: model.answers(requests, decoding, progress=bar)
        )

    def embeddings(self, texts: Sequence[str]) -> NDArray[np.float32]:
        from rlhf_fair.models.encoder import Encoder

        if self.partial:
            raise SettingsError("--partial reports from kept answers, and an encoder's vectors are not kept")
        try:
            encoder = Encoder.load(self.source, **self._placing)
            vectors: NDArray[np.float32] = encoder.embeddings(texts, progress=counted(self.hear, "texts", len(texts)))
        except KeyboardInterrupt:
            raise InterruptedRunError(ANEW) from None
        return vectors

    def finished(self) -> None:
        """Nothing goes: the same model gives the same answers next time."""

    @cached_property
    def _model(self) -> _LanguageModel:
        from rlhf_fair.models.causal_lm import CausalLM
        from rlhf_fair.models.chat_lm import ChatLM
        from rlhf_fair.models.masked_lm import MaskedLM

        kind: type[CausalLM] | type[MaskedLM] = MaskedLM if self.masked else CausalLM
        model: CausalLM | MaskedLM | ChatLM = kind.load(self.source, **self._placing)
        if self._template is not None and isinstance(model, CausalLM):
            model = ChatLM(model, self._template)
        # requests that a masked model has no answer for are refused before they get here
        return cast(_LanguageModel, model if self.access.cache is None else self._cached(model))

    def _cached(self, model: object) -> Cached:
        assert self.access.cache is not None
        asked = " chat" if self._template is not None else ""
        identity = f"{self.inputs['model']} {self.access.precision}{asked}"
        return Cached(model, ResponseCache(self.access.cache / CACHE_NAME), identity)

    @cached_property
    def _template(self) -> ChatTemplate | None:
        return None if self.masked else ChatTemplate.find(self.source, self.access.chat)

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
