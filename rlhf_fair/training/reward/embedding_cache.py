"""Embeddings on disk by text hash: a run that was stopped reads no text twice."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rlhf_fair.artifacts import sha256_bytes, sorted_json
from rlhf_fair.models.cache import ResponseCache
from rlhf_fair.models.encoder import Encoder
from rlhf_fair.models.requests import Progress

BLOCK = 512
"""Texts between two writes: what a stop can cost."""


class CachedEmbeddings:
    """An encoder that looks into a file first. The file holds hashes of texts, never the texts.

    ``identity`` names the encoder, by its digest; pooling, length and side of truncation are part of every key as well.
    """

    def __init__(self, encoder: Encoder, path: Path, identity: str) -> None:
        self.encoder, self.cache = encoder, ResponseCache(path)
        self._shape = [identity, encoder.pooling, encoder.max_length, encoder.tokenizer.truncation_side]

    def embeddings(
        self, texts: Sequence[str], *, batch_size: int = 64, progress: Progress | None = None
    ) -> NDArray[np.float32]:
        """(n, dimensions), one row per text in the order given; see `Encoder.embeddings`."""
        keys = {text: sha256_bytes(sorted_json([*self._shape, text])) for text in dict.fromkeys(texts)}
        found = self.cache.find(list(keys.values()))
        missing = sorted((text for text, key in keys.items() if key not in found), key=lambda text: (len(text), text))
        if progress is not None:
            progress(len(keys) - len(missing))
        for start in range(0, len(missing), BLOCK):
            block = missing[start : start + BLOCK]
            vectors = self.encoder.embeddings(block, batch_size=batch_size, progress=progress)
            answers = {keys[text]: _written(vector) for text, vector in zip(block, vectors, strict=True)}
            self.cache.store(answers)
            found |= answers
        known = {text: _read(found[key]) for text, key in keys.items()}
        return np.array([known[text] for text in texts], dtype=np.float32)


def _written(vector: NDArray[np.float32]) -> str:
    return base64.b64encode(vector.astype("<f4").tobytes()).decode()


def _read(answer: str) -> NDArray[np.float32]:
    return np.frombuffer(base64.b64decode(answer), dtype="<f4")
