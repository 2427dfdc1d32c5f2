"""How a PPO run is optimised."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field, FiniteFloat, PlainSerializer, model_validator

from rlhf_fair.settings import Settings
from rlhf_fair.training.reward.settings import LoRA

CPU_TOKENS = 1024
"""Tokens that pass through a model at once on a CPU; beyond that, time is spent on waiting for memory."""


Limit = Annotated[
    float,
    PlainSerializer(lambda limit: limit if math.isfinite(limit) else "inf", return_type=float | str, when_used="json"),
]
"""A limit that "inf" switches off; in JSON, which has no infinity, it is written so too."""


class UpdateSettings(Settings):
    """One update: ``epochs`` passes over a batch in minibatches of ``minibatch_size`` episodes.

    ``micro_batch_size`` (None: all of a minibatch) episodes pass through the model at once; their gradients add up to
    that of the minibatch. ``entropy_coef`` weighs entropy (nats per decision) in a loss whose advantages are
    standardized: so many SDs of the advantage for a nat, whatever the reward's unit. ``target_kl`` (nats per decision)
    ends an update when the policy has moved so far from the one that sampled; None never does. ``value_clip_range`` (in
    reward units) and ``max_grad_norm`` may be inf: off.
    """

    epochs: int = Field(2, ge=1)
    minibatch_size: int = Field(64, ge=1)
    micro_batch_size: int | None = Field(None, ge=1)
    clip_range: FiniteFloat = Field(0.2, gt=0)
    value_clip_range: Limit = Field(0.2, gt=0)
    value_coef: FiniteFloat = Field(0.1, ge=0)
    entropy_coef: FiniteFloat = Field(0.0, ge=0)
    target_kl: FiniteFloat | None = Field(None, gt=0)
    max_grad_norm: Limit = Field(1.0, gt=0)


class PPOSettings(UpdateSettings):
    """One PPO run of a language model. The learning rate falls linearly to 0; lengths are in tokens.

    ``kl_coef`` is in reward per nat. With ``kl_target`` (nats per response) it adapts, slowly over ``kl_horizon``
    episodes. ``separate_fairness_critic`` learns values of reward and penalty apart. ``lora`` trains low-rank additions
    and takes the same weights without them as the reference. ``checkpoint_steps``: a checkpoint after so many steps.
    ``micro_batch_size`` None is all of a minibatch on a GPU, and on a CPU as many as have some 1,000 tokens together.
    ``kernels``: "fast" computes activations, and on some CPUs matrix products, by other routines than the model names;
    the same functions up to rounding.
    """

    steps: int = Field(50, ge=1)
    batch_size: int = Field(128, ge=2)
    learning_rate: FiniteFloat = Field(1e-3, gt=0)
    max_new_tokens: int = Field(40, ge=1)
    temperature: FiniteFloat = Field(1.0, gt=0)
    kl_coef: FiniteFloat = Field(0.05, ge=0)
    kl_target: FiniteFloat | None = Field(None, gt=0)
    kl_horizon: int = Field(10_000, ge=1)
    gamma: float = Field(1.0, gt=0, le=1)
    gae_lambda: float = Field(0.95, ge=0, le=1)
    missing_eos_penalty: FiniteFloat = Field(1.0, ge=0)
    separate_fairness_critic: bool = False
    lora: LoRA | None = None
    precision: Literal["no", "bf16"] = "no"
    checkpoint_steps: int = Field(10, ge=1)
    device: str = "auto"
    kernels: Literal["fast", "torch"] = "fast"

    def of_the_run(self) -> PPOSettings:
        """Equal for settings that one run may go on with: what teaches nothing, or is lowered where it exploded, at 1.

        >>> lower = PPOSettings(learning_rate=1e-5, max_grad_norm=0.1, checkpoint_steps=1, device="cpu")
        >>> lower.of_the_run() == PPOSettings().of_the_run() != PPOSettings(steps=51).of_the_run()
        True
        """
        taught_nothing, lowered = (
            {"checkpoint_steps": 1, "device": "auto"},
            {"learning_rate": 1.0, "max_grad_norm": 1.0},
        )
        return self.model_copy(update=taught_nothing | lowered)

    def rows_at_once(self, width: int, device_type: str) -> int | None:
        """Episodes of ``width`` tokens that pass through the model together; None: all.

        >>> PPOSettings().rows_at_once(100, "cpu"), PPOSettings().rows_at_once(100, "cuda")
        (10, None)
        """
        if self.micro_batch_size is None and device_type == "cpu":
            return max(1, CPU_TOKENS // width)  # activations that stay in the processor's caches
        return self.micro_batch_size

    @model_validator(mode="after")
    def _an_adaptive_price_starts_above_0(self) -> PPOSettings:
        if self.kl_target is not None and self.kl_coef == 0:
            raise ValueError("kl_target multiplies kl_coef at every step, so kl_coef = 0 would stay 0; start above 0")
        if self.kl_target is not None and self.batch_size > self.kl_horizon:
            raise ValueError(f"kl_horizon = {self.kl_horizon} must be at least batch_size = {self.batch_size}")
        return self
