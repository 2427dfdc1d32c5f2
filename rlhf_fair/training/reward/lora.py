"""Low-rank additions instead of all weights, by peft."""

from __future__ import annotations

import warnings
from typing import Any, Literal

from rlhf_fair.errors import SettingsError
from rlhf_fair.training.reward.settings import LoRA


def add_lora(model: Any, settings: LoRA, *, task: Literal["SEQ_CLS", "CAUSAL_LM"] = "SEQ_CLS") -> Any:
    """The model with a trainable low-rank addition per matrix; a classifier's head learns too, all else stands still.

    Raises
    ------
    SettingsError
        peft is not installed, or the architecture has no module of the names wanted.
    """
    try:
        import peft
    except ImportError as error:
        raise SettingsError("training.lora needs peft (pip install rlhf-fair[lora])") from error
    config = peft.LoraConfig(
        task_type=peft.TaskType[task],
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=list(settings.targets) or "all-linear",
    )
    try:
        with warnings.catch_warnings():  # peft asks transformers by an old name; nothing that a user could mend
            warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated")
            warnings.filterwarnings("ignore", message="fan_in_fan_out is set to False")  # GPT-2; it sets it right
            return peft.get_peft_model(model, config)
    except ValueError as error:
        raise SettingsError(f"training.lora.targets = {list(settings.targets)}: {error}") from error


def merge_lora(model: Any) -> None:
    """Add the low-rank products to the weights and leave a plain model."""
    model.merge_and_unload()
