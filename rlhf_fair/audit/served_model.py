"""An audit's questions put to a model behind a URL; its answers are kept in a journal until the report is written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rlhf_fair.artifacts import canonical_json, sha256_bytes
from rlhf_fair.audit.asking import AS_CHAT, AS_TEXT, Hear, Rounds, Tally
from rlhf_fair.audit.target import Access, endpoint_settings
from rlhf_fair.errors import SettingsError
from rlhf_fair.models.endpoint import Endpoint
from rlhf_fair.models.requests import Decoding, Generation, Likelihood, LogLikelihood, PseudoLogLikelihood


class ServedModel:
    """A model behind a URL. It answers in words; it scores given text where the server offers that."""

    masked = False

    def __init__(self, url: str, model: str, access: Access, hear: Hear, run: Path) -> None:
        # some servers call a model by the folder it lies in, which is nobody's business
        self.name = Path(model).name if Path(model).is_absolute() else model
        settings = endpoint_settings(access.server, access.chat)
        self.partial, self.prompts_sent, self._sends = (
            access.partial,
            "",
            AS_CHAT if settings.api == "chat" else AS_TEXT,
        )
        self._journal = None if access.cache is None else access.cache / _journal_name(url, model, run)
        self._endpoint = Endpoint(url, model, settings, journal=self._journal)
        kept = partial(Endpoint, url, model, settings, journal=self._journal, asks=False)
        self._rounds: Rounds[Endpoint] = Rounds(
            hear, lambda: self._endpoint, kept if self._journal else None, partial=access.partial
        )
        self.inputs = {"endpoint": sha256_bytes(canonical_json([self._endpoint.url, model]))}

    @property
    def tally(self) -> Tally:
        return self._rounds.tally

    @property
    def failures(self) -> Counter[str]:
        return self._endpoint.failure_counts

    def log_likelihoods(self, requests: Sequence[LogLikelihood]) -> list[Likelihood | None]:
        return self._rounds.put(
            "choices", len(requests), lambda model, bar: model.log_likelihoods(requests, progress=bar)
        )

    def pseudo_log_likelihoods(self, requests: Sequence[PseudoLogLikelihood]) -> list[Likelihood | None]:
        raise SettingsError("a server does not tell the probability of single tokens inside a text: give --model")

    def answers(self, requests: Sequence[Generation], decoding: Decoding) -> list[str | None]:
        self.prompts_sent = self._sends
        return self._rounds.put(
            "answers", len(requests), lambda model, bar: model.answers(requests, decoding, progress=bar)
        )

    def embeddings(self, texts: Sequence[str]) -> NDArray[np.float32]:
        raise SettingsError("this probe compares an encoder's vectors: give --model")

    def finished(self) -> None:
        if self._journal is not None and not self.failures and not self.partial:
            self._journal.unlink(missing_ok=True)


def _journal_name(url: str, model: str, run: Path) -> str:
    digest = sha256_bytes(canonical_json([url, model, str(run.resolve())]))
    return f"endpoint-{digest[:16]}.jsonl"
