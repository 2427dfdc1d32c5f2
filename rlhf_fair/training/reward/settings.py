"""How a reward model is optimised."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from rlhf_fair.settings import Settings


class LoRA(Settings):
    """Train low-rank additions to the weight matrices instead of all weights (Hu et al. 2022); merged when saved.

    ``targets``: names of the modules that get one; empty lets peft choose those of the architecture.
    """

    rank: int = Field(8, ge=1)
    alpha: int = Field(16, ge=1)
    dropout: float = Field(0.0, ge=0, lt=1)
    targets: tuple[str, ...] = ()


class RewardSettings(Settings):
    """``dropout`` None keeps the model's own; ``max_length`` is in tokens.

    ``batch_size`` is the rows of one optimiser step in one process; ``micro_batch_size`` (None: all of them) those that
    pass through the model at once. ``checkpoint_steps``: a checkpoint after so many steps, and after every epoch.
    ``trackers`` get the curve live, through accelerate.
    """

    epochs: int = Field(3, ge=1)
    learning_rate: float = Field(5e-5, gt=0)
    batch_size: int = Field(32, ge=1)
    micro_batch_size: int | None = Field(None, ge=1)
    max_length: int = Field(128, ge=1)
    warmup_share: float = Field(0.1, ge=0, lt=1)
    weight_decay: float = Field(0.01, ge=0)
    clip_norm: float = Field(1.0, gt=0)
    dropout: float | None = Field(None, ge=0, lt=1)
    head_init: Literal["normal", "keep"] = "normal"
    lora: LoRA | None = None
    precision: Literal["no", "bf16", "fp16"] = "no"
    checkpoint_steps: int = Field(200, ge=1)
    trackers: tuple[Literal["tensorboard", "wandb"], ...] = ()
    seed: int = 0
    device: str = "auto"
