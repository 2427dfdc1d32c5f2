"""How a reward model is optimised."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

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

    ``truncation_side`` says which end of a longer text is cut; None: the beginning of a dialogue, so that the answer
    stays, and the end of any other text.

    ``batch_size`` is the rows of one optimiser step in one process; ``micro_batch_size`` (None: all of them) those that
    pass through the model at once. ``checkpoint_steps``: a checkpoint after so many steps, and after every epoch.
    ``trackers`` get the curve live, through accelerate. ``trainable``: head trains the last linear layer alone and
    leaves everything below it as it came, for a new domain with few labels; ``head_init = "keep"`` starts from a head
    that is trained already.
    """

    epochs: int = Field(3, ge=1)
    learning_rate: float = Field(5e-5, gt=0)
    batch_size: int = Field(32, ge=1)
    micro_batch_size: int | None = Field(None, ge=1)
    max_length: int = Field(128, ge=1)
    truncation_side: Literal["left", "right"] | None = None
    warmup_share: float = Field(0.1, ge=0, lt=1)
    weight_decay: float = Field(0.01, ge=0)
    clip_norm: float = Field(1.0, gt=0)
    dropout: float | None = Field(None, ge=0, lt=1)
    head_init: Literal["normal", "keep"] = "normal"
    trainable: Literal["all", "head"] = "all"
    lora: LoRA | None = None
    precision: Literal["no", "bf16", "fp16"] = "no"
    checkpoint_steps: int = Field(200, ge=1)
    trackers: tuple[Literal["tensorboard", "wandb"], ...] = ()
    seed: int = Field(0, ge=0)
    device: str = "auto"

    @model_validator(mode="after")
    def _additions_need_the_matrices(self) -> RewardSettings:
        if self.trainable == "head" and self.lora is not None:
            raise ValueError("trainable = 'head' leaves the matrices alone that lora adds to; choose one")
        return self


class TreeSettings(Settings):
    """Gradient-boosted regression trees over the embeddings of an encoder that is not trained itself.

    ``rounds``: most trees (of a classification: most per class). ``leaves``: of one tree; ``min_rows``: least rows of a
    leaf. ``bagging``: share of the rows that a tree sees; ``features``: share of the embedding's dimensions.
    ``early_stopping``: stop after so many rounds without a lower loss on the validation split, and keep the best round;
    0 grows all rounds.
    """

    rounds: int = Field(500, ge=1)
    learning_rate: float = Field(0.05, gt=0, le=1)
    leaves: int = Field(15, ge=2)
    min_rows: int = Field(20, ge=1)
    bagging: float = Field(0.8, gt=0, le=1)
    features: float = Field(0.3, gt=0, le=1)
    early_stopping: int = Field(50, ge=0)
    seed: int = Field(0, ge=0)
