"""What the comparison trains and measures, and the options of each method."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator

from rlhf_fair.pipeline import QUICK_PIPELINE, PipelineSettings
from rlhf_fair.settings import Settings
from rlhf_fair.training.fairness import FairnessSettings, MultiplierSettings

SFT, PLAIN = "sft", "plain-ppo"
"""The two policies that every other is compared with; they are always part of a comparison."""


OPTIONS_OF: dict[str, tuple[str, ...]] = {
    "best-of-n": ("best_of_n",),
    "best-of-n-fair": ("best_of_n",),
    "blocked-words": ("rules",),
    "response-filter": ("rules",),
    "adversarial-reward": ("adversarial",),
    "consistent-reward": ("consistent",),
    "max-min-reward": ("max_min",),
    "dpo-balanced": ("dpo",),
    "dpo-counterfactual": ("dpo",),
    "fair-ppo-dual": ("dual",),
    "fair-ppo-pid": ("pid",),
}
"""Method -> the sections that it alone depends on; everything else is shared by all."""


class BestOfN(Settings):
    """``n`` answers are drawn and the best is given. ``rounds`` batches of training prompts settle the fair price.

    ``memory`` is the share of the group means kept from round to round: a choice follows the price at once, unlike a
    policy that is trained, so with a short memory the price swings from one side to the other.
    """

    n: int = Field(4, ge=2)
    rounds: int = Field(32, ge=1)
    memory: float = Field(0.97, ge=0, lt=1)
    batch_size: int = Field(128, ge=1)


class Rules(Settings):
    """``blocked_words``: how many words are forbidden, those that the training scorer rates lowest.

    ``lowest_share``: answers that score below this quantile of the SFT policy's are drawn again, ``tries`` times at
    most; then ``fallback`` is given; its words are never forbidden.
    """

    blocked_words: int = Field(12, ge=1)
    lowest_share: float = Field(0.25, ge=0, lt=1)
    tries: int = Field(8, ge=1)
    fallback: str = " I cannot comment on this candidate."


class Adversarial(Settings):
    """Strength of the adversary against the reward model's features."""

    strength: float = Field(1.0, gt=0)
    hidden: int = Field(64, ge=1)


class Consistent(Settings):
    """Price of a reward that differs between a text and its twin; ``batch_size`` twins per step."""

    strength: float = Field(5.0, gt=0)
    batch_size: int = Field(16, ge=1)


class MaxMin(Settings):
    """Annotator attributes whose crossed groups get a head each; a group with fewer judgements gets none."""

    attributes: tuple[str, ...] = ("gender", "ethnicity")
    at_least: int = Field(200, ge=1)


class DPO(Settings):
    """Direct preference optimisation in TRL. ``pairs``: at most so many are learnt from."""

    beta: float = Field(0.1, gt=0)
    learning_rate: float = Field(5e-4, gt=0)
    batch_size: int = Field(32, ge=1)
    epochs: int = Field(1, ge=1)
    pairs: int = Field(6_144, ge=1)


def moving(kind: Literal["dual", "pid"], **options: float) -> FairnessSettings:
    """A penalty whose multiplier moves until the disparity is within .06, above what noise alone would show here."""
    multiplier = MultiplierSettings.model_validate({"kind": kind, "tolerance": 0.06, "cap": 3.6, **options})
    return FairnessSettings(multiplier=multiplier, memory=0.85)


class MitigationSettings(Settings):
    """One comparison: world, methods, seeds, and the sizes that all methods share.

    ``panel``: whose reward model the policies maximise. ``bias`` scales what is planted in the world. ``plan`` is the
    audit that measures: its names, templates and scorer take no part in training, and its alpha is that of all
    intervals. ``kl_prompts``: held-out prompts on which the distance to the SFT policy is estimated. ``pipeline`` has
    the penalty of fixed strength, ``dual`` and ``pid`` those whose strength moves.
    """

    world: Literal["demo"] = "demo"
    bias: float = Field(1.0, ge=0)
    plan: str = "hiring"
    methods: tuple[str, ...] = ()
    seeds: tuple[int, ...] = Field((0,), min_length=1)
    panel: Literal["diverse", "convenience"] = "diverse"
    kl_prompts: int = Field(512, ge=2)
    pipeline: PipelineSettings = PipelineSettings()
    dual: FairnessSettings = moving("dual", rate=0.3)
    pid: FairnessSettings = moving("pid", proportional=2.4, integral=0.24)
    best_of_n: BestOfN = BestOfN()
    rules: Rules = Rules()
    adversarial: Adversarial = Adversarial()
    consistent: Consistent = Consistent()
    max_min: MaxMin = MaxMin()
    dpo: DPO = DPO()

    def shared(self) -> dict[str, Any]:
        """What every method depends on, as plain JSON."""
        own = {section for sections in OPTIONS_OF.values() for section in sections}
        return self.model_dump(mode="json", exclude={"methods", "seeds", *own})

    def options(self, method: str) -> dict[str, Any]:
        """What one method depends on beside `shared`."""
        return self.model_dump(mode="json", include=set(OPTIONS_OF.get(method, ())))

    @field_validator("seeds")
    @classmethod
    def _are_distinct(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(seeds)) < len(seeds) or min(seeds) < 0:
            raise ValueError("seeds are whole numbers from 0 on, each once")
        return seeds


QUICK: dict[str, Any] = {
    "kl_prompts": 16,
    "pipeline": QUICK_PIPELINE,
    "best_of_n": BestOfN(n=2, rounds=2, batch_size=16),
    "rules": Rules(tries=2),
    "max_min": MaxMin(attributes=("gender",), at_least=1),
    "dpo": DPO(pairs=32, batch_size=16),
}
"""Sizes with which everything runs within a minute and nothing is learnt: to try a command, never to read numbers."""
