"""Text encoders: one vector for each text."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from rlhf_fair.errors import ModelLoadError, SettingsError
from rlhf_fair.models.loading import Precision, load_pretrained, position_limit
from rlhf_fair.models.requests import Progress
from rlhf_fair.models.reward_model import batches, encode, pad, pick_device
from rlhf_fair.models.selected_logits import input_device

Pooling = Literal["mean", "cls"]
"""mean: of the last hidden states of all tokens, special tokens among them, as sentence-transformers does. cls: of the
first token alone."""


class Encoder:
    """An encoder without head, and its tokenizer.

    ``n_cut`` counts the texts that were longer than ``max_length`` tokens and were cut there.
    """

    def __init__(self, model: Any, tokenizer: Any, *, pooling: Pooling = "mean", max_length: int | None = None) -> None:
        if pooling not in get_args(Pooling):
            raise SettingsError(f"pooling is {pooling!r}, not one of {get_args(Pooling)}")
        self.model = model.eval()
        self.tokenizer = tokenizer
        self.pooling = pooling
        self.max_length = max_length or min(tokenizer.model_max_length, position_limit(model) or 512)
        self.n_cut = 0

    @classmethod
    def load(
        cls,
        source: str | Path,
        *,
        pooling: Pooling = "mean",
        device: str = "cpu",
        precision: Precision = "float32",
        device_map: str | None = None,
    ) -> Encoder:
        """Load safetensors weights without running remote code; see `rlhf_fair.models.loading`."""
        loaded = load_pretrained("Encoder", source, precision=precision, device_map=device_map)
        lacking = [name for name in loaded.missing_weights if not name.startswith("pooler.")]  # never used here
        if lacking:
            raise ModelLoadError(f"model {source}: not a trained encoder: lacks {', '.join(lacking[:4])}")
        model = loaded.model if device_map else loaded.model.to(pick_device(device))
        return cls(model, loaded.tokenizer, pooling=pooling)

    @torch.inference_mode()  # type: ignore[untyped-decorator]
    def embeddings(
        self, texts: Sequence[str], *, batch_size: int = 64, progress: Progress | None = None
    ) -> NDArray[np.float32]:
        """(n, dimensions), one row per text in the order given, not normalised. Equal texts are read once."""
        distinct, where = np.unique(np.asarray(texts, dtype=object), return_inverse=True)
        times = np.bincount(where, minlength=len(distinct))
        tokens = encode(self.tokenizer, list(distinct), self.max_length + 1)
        longer = np.array([len(ids) > self.max_length for ids in tokens], dtype=bool)
        self.n_cut += int(times[longer].sum())
        if longer.any():
            tokens = encode(self.tokenizer, list(distinct), self.max_length)
        vectors = np.zeros((len(tokens), self.model.config.hidden_size), dtype=np.float32)
        for rows in batches(tokens, range(len(tokens)), batch_size):
            batch = pad([tokens[row] for row in rows], self.tokenizer.pad_token_id, str(input_device(self.model)))
            hidden = self.model(**batch).last_hidden_state.float()
            if self.pooling == "mean":
                mask = batch["attention_mask"].to(hidden.device)[..., None]
                pooled = (hidden * mask).sum(1) / mask.sum(1)
            else:
                pooled = hidden[:, 0]
            vectors[rows] = pooled.cpu().numpy()
            if progress is not None:
                progress(int(times[rows].sum()))
        return vectors[where]
