"""What the outputs of a reward model with several heads mean, and how they become one reward.

The heads are the labels of an ordinary sequence classifier, so its folder loads in plain transformers. How to read
them stands in its ``config.json`` under ``reward_heads``.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError, model_validator

from rlhf_fair.errors import ModelLoadError, SettingsError
from rlhf_fair.settings import Settings, explain

CONFIG_KEY = "reward_heads"

FloatArray = NDArray[np.float64]

HeadKind = Literal["one", "ensemble", "groups", "objectives", "distribution", "classes"]
"""one: the reward. ensemble: the same reward, learnt from resampled data. groups: the reward by each rater group.
objectives: rewards for different virtues. distribution: mean and log of the standard deviation over raters. classes:
logits of the classes, whose values are ``weights``."""

Combine = Literal["first", "mean", "min", "mean_less_variance", "weighted", "expected"]
"""first: the first head. min: the most pessimistic head. mean_less_variance: the mean less ``penalty`` times the
variance over heads, or for a distribution less ``penalty`` times its variance. weighted: sum of weight x head.
expected: the classes' values under their softmax."""

LOG_SD_RANGE = (-4.0, 4.0)
"""Of a distribution's log standard deviation: outside it one rating would outweigh thousands, or none would count."""

ALLOWED: dict[HeadKind, tuple[Combine, ...]] = {
    "one": ("first",),
    "ensemble": ("mean", "min", "mean_less_variance"),
    "groups": ("min", "mean", "weighted"),
    "objectives": ("weighted",),
    "distribution": ("first", "mean_less_variance"),
    "classes": ("expected",),
}
"""Ways to combine each kind; the first is the default."""


class RewardHeads(Settings):
    """Names of the heads in order of the outputs, and the rule that makes one reward of them.

    Conservative rewards (min; mean less variance) follow Coste et al. 2024, "Reward model ensembles help mitigate
    overoptimization"; the min over groups Chakraborty et al. 2024, "MaxMin-RLHF".

    ``offsets``: what is taken off each head before they are combined. Preferences fix a head up to a constant only, so
    without a common level the min would be that of the head which happens to lie lowest.
    """

    kind: HeadKind = "one"
    names: tuple[str, ...] = ("reward",)
    combine: Combine = "first"
    weights: tuple[float, ...] = ()
    penalty: float = Field(0.5, ge=0)
    offsets: tuple[float, ...] = ()

    @model_validator(mode="after")
    def _fits(self) -> RewardHeads:
        if self.combine not in ALLOWED[self.kind]:
            raise ValueError(f"combine = {self.combine!r} does not fit {self.kind}; allowed: {ALLOWED[self.kind]}")
        if len(set(self.names)) < len(self.names) or not self.names:
            raise ValueError(f"heads need different names, got {self.names}")
        if self.combine in ("weighted", "expected") and len(self.weights) != len(self.names):
            raise ValueError(f"{len(self.weights)} weights for {len(self.names)} heads")
        if self.offsets and len(self.offsets) != len(self.names):
            raise ValueError(f"{len(self.offsets)} offsets for {len(self.names)} heads")
        return self

    def reward(self, outputs: FloatArray) -> FloatArray:
        """(n,) rewards of ``outputs`` (n, heads).

        >>> heads = RewardHeads(kind="ensemble", names=("1", "2"), combine="mean_less_variance", penalty=1.0)
        >>> heads.reward(np.array([[1.0, 3.0], [2.0, 2.0]]))
        array([1., 2.])
        """
        if self.offsets:
            outputs = outputs - np.asarray(self.offsets)
        if self.combine == "first":
            return outputs[:, 0]
        if self.combine == "min":
            return np.asarray(outputs.min(axis=1))
        if self.combine == "mean":
            return np.asarray(outputs.mean(axis=1))
        if self.combine == "weighted":
            return np.asarray(outputs @ np.asarray(self.weights))
        if self.combine == "expected":
            shifted = np.exp(outputs - outputs.max(axis=1, keepdims=True))
            return np.asarray((shifted @ np.asarray(self.weights)) / shifted.sum(axis=1))
        centre = outputs[:, 0] if self.kind == "distribution" else outputs.mean(axis=1)
        return centre - self.penalty * self._spread(outputs) ** 2

    def uncertainty(self, outputs: FloatArray) -> FloatArray:
        """(n,) standard deviations, in units of the reward; NaN for kinds that know none.

        An ensemble's is that over its heads (divided by n, not n - 1: UWO's variance), what more labels would lessen. A
        distribution's is the spread of raters' opinions, which they would not.
        """
        return self._spread(outputs - np.asarray(self.offsets) if self.offsets else outputs)

    def _spread(self, outputs: FloatArray) -> FloatArray:
        if self.kind == "ensemble":
            return np.asarray(outputs.std(axis=1))
        if self.kind == "distribution":
            return np.exp(np.clip(outputs[:, 1], *LOG_SD_RANGE))
        return np.full(len(outputs), np.nan)


def declare_heads(config: Any, heads: RewardHeads) -> None:
    """Write the heads into a transformers config, as its labels and under `CONFIG_KEY`."""
    if config.num_labels != len(heads.names):
        raise SettingsError(f"{config.num_labels} outputs for {len(heads.names)} heads {heads.names}")
    config.id2label = dict(enumerate(heads.names))
    config.label2id = {name: number for number, name in enumerate(heads.names)}
    setattr(config, CONFIG_KEY, heads.model_dump(mode="json"))


def declared_heads(config: Any, source: str) -> RewardHeads:
    """The heads a transformers config declares; a classifier of one output needs no declaration."""
    content = getattr(config, CONFIG_KEY, None)
    if content is None and config.num_labels == 1:
        return RewardHeads()
    if content is None:
        raise ModelLoadError(
            f"model {source}: not a reward model: its head has {config.num_labels} outputs, not 1, and config.json "
            f"does not say under {CONFIG_KEY!r} how they make a reward"
        )
    try:
        heads = RewardHeads.model_validate(content)
    except ValidationError as error:
        lines = "; ".join(explain(error, RewardHeads))
        raise ModelLoadError(f"model {source}: config.json, {CONFIG_KEY}: {lines}") from error
    if len(heads.names) != config.num_labels:
        raise ModelLoadError(f"model {source}: {config.num_labels} outputs, but {CONFIG_KEY} names {len(heads.names)}")
    return heads
