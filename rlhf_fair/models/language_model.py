"""What causal and masked language models have in common: how they are opened, and how large their batches may be."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from rlhf_fair.models.batch_limits import BatchLimits
from rlhf_fair.models.loading import Precision, load_language_model
from rlhf_fair.models.reward_model import pick_device


class LanguageModel:
    """A language model and its tokenizer, from a Hugging Face directory or hub id."""

    kind: ClassVar[Literal["CausalLM", "MaskedLM"]]

    def __init__(self, model: Any, tokenizer: Any, *, limits: BatchLimits | None = None) -> None:
        self.model = model.eval()
        self.tokenizer = tokenizer
        self.limits = limits or BatchLimits.for_model(model)

    @classmethod
    def load(
        cls,
        source: str | Path,
        *,
        device: str = "cpu",
        precision: Precision = "float32",
        device_map: str | None = None,
        limits: BatchLimits | None = None,
    ) -> Self:
        """Load safetensors weights without running remote code; see `rlhf_fair.models.loading`.

        device: "auto" is the GPU if there is one. device_map spreads a model over several devices instead.
        """
        loaded = load_language_model(cls.kind, source, precision=precision, device_map=device_map)
        model = loaded.model if device_map else loaded.model.to(pick_device(device))
        cls.check(model, source)
        return cls(model, loaded.tokenizer, limits=limits)

    @classmethod
    def check(cls, model: Any, source: str | Path) -> None:
        """Raise `ModelLoadError` where a model of another kind was opened as this one."""
