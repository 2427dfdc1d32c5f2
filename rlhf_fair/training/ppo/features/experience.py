"""What a feature policy learns from in one step, and who supplies it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from rlhf_fair.errors import SettingsError
from rlhf_fair.training.ppo.features.policy import Actions, FeaturePolicy


@dataclass(frozen=True)
class Experience:
    """Tensors of one rollout, (horizon, environments) each; features and Gaussian actions have their size behind.

    A decision that is an episode of its own has horizon 1 and is always ``terminated``. ``metrics``: what the source
    adds to the curve.
    """

    features: Tensor
    actions: Tensor
    logprobs: Tensor
    values: Tensor
    next_values: Tensor
    rewards: Tensor
    terminated: Tensor
    truncated: Tensor
    metrics: Mapping[str, float] = field(default_factory=dict)


class ExperienceSource(Protocol):
    """Where experience comes from. What ``collect`` gives depends on the policy, the step and the source's state."""

    input_size: int
    actions: Actions

    def collect(self, policy: FeaturePolicy, step: int) -> Experience:
        """One rollout of ``policy``."""

    def identity(self) -> Any:
        """What tells this source from another: a checkpoint is of one source."""

    def state_dict(self) -> dict[str, Any]:
        """All that lasts from one step to the next, in numbers, texts, lists and tensors."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` gave."""


class Stream(IntEnum):
    """What random numbers are for; streams of one seed are independent."""

    SAMPLING = 0
    EPISODE = 1
    SHUFFLE = 2
    ROWS = 3
    WEIGHTS = 4


def step_seeds(seed: int, stream: Stream, *place: int) -> np.random.SeedSequence:
    """Randomness that depends on the run's seed, the purpose and the place (step, environment, ...) alone.

    So a resumed run draws what the uninterrupted one would have drawn, without a generator's state being kept.
    """
    if seed < 0:
        raise SettingsError(f"seed = {seed}; allowed: 0 or more")
    return np.random.SeedSequence([seed, stream, *place])


def torch_generator(sequence: np.random.SeedSequence) -> torch.Generator:
    """A CPU generator seeded from ``sequence``."""
    return torch.Generator().manual_seed(int(sequence.generate_state(1, np.uint64)[0] >> 1))
