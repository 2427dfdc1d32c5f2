"""What may pay a policy, as a config names it: reward models, Python functions, servers and rulers."""

from __future__ import annotations

import math
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from rlhf_fair.models.chat_template import Chat
from rlhf_fair.probes.scorers import ScorerPlan, last_part
from rlhf_fair.settings import Settings

Scale = Literal["raw", "start"]
"""raw: as the reward gives it. start: less the mean and divided by the SD over the untrained policy's answers to
prompts of training."""


class _Weighed(Settings):
    """What all rewards have: a name in logs, a weight in the sum, and a scale."""

    name: str = ""
    weight: float = 1.0
    scale: Scale = "raw"

    @field_validator("weight")
    @classmethod
    def _counts(cls, weight: float) -> float:
        if not math.isfinite(weight) or weight == 0:
            raise ValueError("a weight must be a finite number other than 0")
        return weight


class ModelReward(_Weighed):
    """A reward model: a folder (also of trees), ``package:NAME`` or a hub id; its heads say how they make one reward.

    It reads prompt and answer as it was trained to: in its chat template where it has one (``chat``), else as one text,
    the answer after ``separator`` and before ``ending``.
    """

    kind: Literal["model"]
    model: str
    chat: Chat = "auto"
    separator: str = "\n"
    ending: str = ""
    batch_size: int = Field(64, ge=1)

    @property
    def label(self) -> str:
        """What it goes by in logs."""
        return self.name or last_part(self.model)


class PythonReward(_Weighed):
    """``function = "FILE.py:NAME"``, beside the config: ``NAME(prompts, completions, **columns)`` gives a number each.

    The file's code runs with your rights as soon as training starts: name only files that you trust.
    """

    kind: Literal["python"]
    function: str = Field(pattern=r"^.+\.py:[A-Za-z_]\w*$")

    @property
    def label(self) -> str:
        """What it goes by in logs."""
        return self.name or self.function.rpartition(":")[2]


class EndpointReward(_Weighed):
    """A server that is sent ``{"prompts", "completions", "columns"}`` and answers ``{"rewards": [...]}``.

    Its key, if it needs one, is in ``$RLHF_FAIR_REWARD_KEY``. ``batch_size``: answers in one request.
    """

    kind: Literal["endpoint"]
    url: str
    batch_size: int = Field(32, ge=1)
    concurrency: int = Field(4, ge=1)
    timeout_s: float = Field(120.0, gt=0)
    attempts: int = Field(6, ge=1)

    @property
    def label(self) -> str:
        """What it goes by in logs."""
        return self.name or (urlsplit(self.url).hostname or "endpoint")


class ScorerReward(_Weighed):
    """A ruler as the reward: any entry that ``[[scorers]]`` of an audit may have. ``unmeasured``: the reward of an
    answer that it finds nothing in."""

    kind: Literal["scorer"]
    scorer: ScorerPlan
    unmeasured: float = 0.0

    @property
    def label(self) -> str:
        """What it goes by in logs."""
        return self.name or self.scorer.quantity


RewardSource = Annotated[ModelReward | PythonReward | EndpointReward | ScorerReward, Field(discriminator="kind")]
