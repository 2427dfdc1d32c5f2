"""Score texts with a text classifier: any local or hub `AutoModelForSequenceClassification` with named labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from rlhf_fair.errors import ModelLoadError, SettingsError
from rlhf_fair.models.loading import load_pretrained
from rlhf_fair.models.requests import Progress
from rlhf_fair.models.reward_model import batches, encode, pad, pick_device, token_limit

Labels = Literal["exclusive", "independent"]
"""Do a text's label probabilities sum to 1 (softmax), or can several labels apply at once (sigmoid)?"""


class ClassifierScorer:
    """``score``: the sum over labels of value × probability; range that of the values.

    ``values`` maps label names, as in the model's config, to numbers: ``{"toxic": 1}``, or ``{"positive": 1,
    "negative": -1}`` for regard; labels left out count 0. ``labels`` is taken from the config's ``problem_type`` unless
    given; one output alone is read as independent. Texts longer than ``max_length`` tokens are cut there.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        values: Mapping[str, float],
        *,
        name: str,
        labels: Labels | None = None,
        max_length: int | None = None,
        device: str = "auto",
    ) -> None:
        self.name = name
        self.device = pick_device(device)
        self.model = model.to(self.device).eval()
        self.tokenizer = tokenizer
        self.max_length = max_length or token_limit(model, tokenizer)
        self.label_names = [str(model.config.id2label[index]) for index in range(model.config.num_labels)]
        self.values = _check_values(values, self.label_names, name)
        self.labels = labels or _labels(model.config)
        if self.labels not in get_args(Labels):
            raise SettingsError(f"scorer {name!r}: labels {labels!r}; allowed: {', '.join(get_args(Labels))}")

    @classmethod
    def load(
        cls, source: str | Path, values: Mapping[str, float], *, name: str = "", labels: Labels | None = None
    ) -> ClassifierScorer:
        """Open safetensors weights without remote code; raises `ModelLoadError` if the head is not trained."""
        loaded = load_pretrained("SequenceClassification", source)
        if loaded.missing_weights:
            lacking = ", ".join(loaded.missing_weights)
            raise ModelLoadError(f"model {source}: not a trained classifier: lacks {lacking}")
        return cls(loaded.model, loaded.tokenizer, values, name=name or Path(str(source)).name, labels=labels)

    @property
    def bounds(self) -> tuple[float, float]:
        """The lowest and the highest score a text can get: one label alone, or all that push the same way."""
        values = [self.values.get(label, 0.0) for label in self.label_names]
        if self.labels == "exclusive":
            return min(values), max(values)
        return sum(min(value, 0.0) for value in values), sum(max(value, 0.0) for value in values)

    def score(
        self, texts: Sequence[str], *, batch_size: int = 64, progress: Progress | None = None
    ) -> NDArray[np.float64]:
        """(n,) in the order of ``texts``; NaN for a blank text."""
        probabilities = self.probabilities(texts, batch_size=batch_size, progress=progress)
        return np.asarray(probabilities.to_numpy() @ [self.values.get(label, 0.0) for label in self.label_names])

    def probabilities(
        self, texts: Sequence[str], *, batch_size: int = 64, progress: Progress | None = None
    ) -> pd.DataFrame:
        """One row per text, one column per label; a row of NaN for a blank text.

        Equal texts are scored once, in batches by length, so a result does not depend on the order of ``texts``.
        ``progress`` hears how many distinct texts each batch held.
        """
        distinct, where = np.unique(np.asarray(texts, dtype=object), return_inverse=True)
        tokens = encode(self.tokenizer, list(distinct), self.max_length)
        spoken = [index for index, text in enumerate(distinct) if text.strip()]
        table = np.full((len(tokens), len(self.label_names)), np.nan)
        with torch.inference_mode():
            for rows in batches(tokens, spoken, batch_size):
                batch = pad([tokens[row] for row in rows], self.tokenizer.pad_token_id, self.device)
                logits = self.model(**batch).logits.double()
                shares = logits.softmax(-1) if self.labels == "exclusive" else logits.sigmoid()
                table[rows] = shares.cpu().numpy()
                if progress is not None:
                    progress(len(rows))
        return pd.DataFrame(table[where], columns=self.label_names)


def _labels(config: Any) -> Labels:
    several = getattr(config, "problem_type", None) == "multi_label_classification"
    return "independent" if several or config.num_labels == 1 else "exclusive"


def _check_values(values: Mapping[str, float], names: Sequence[str], scorer: str) -> dict[str, float]:
    if not values:
        raise SettingsError(f"scorer {scorer!r} needs a value for at least one label; the model has {list(names)}")
    for label, value in values.items():
        if label not in names:
            raise SettingsError(f"scorer {scorer!r}: no label {label!r}; the model has {list(names)}")
        if not np.isfinite(value):
            raise SettingsError(f"scorer {scorer!r}: label {label!r} has value {value}; allowed: finite numbers")
    return dict(values)
