"""Policies on feature vectors: a small network that chooses among actions or draws numbers, and a value network.

Policy and critic share nothing but the input: on small networks a shared trunk saves little and lets the value loss
pull at the policy (Andrychowicz et al. 2021). Weights start orthogonal, the last layer of the policy close to zero, so
that it begins undecided.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.distributions import Categorical, Distribution, Independent, Normal

from rlhf_fair.settings import Settings
from rlhf_fair.training.ppo.features.moments import RunningMoments
from rlhf_fair.training.ppo.loss import Evaluation


class FeatureNetworkSettings(Settings):
    """Shape of both networks. ``normalize``: features are standardized by running moments.

    ``initial_log_sd``: logarithm of the standard deviation that Gaussian actions begin with.
    """

    hidden: tuple[Annotated[int, Field(ge=1)], ...] = (64, 64)
    normalize: bool = True
    initial_log_sd: float = 0.0


class Actions(Settings):
    """What a policy may do: choose one of ``size`` actions, or draw ``size`` numbers."""

    kind: Literal["categorical", "gaussian"] = "categorical"
    size: int = Field(2, ge=1)


class FeaturePolicy(nn.Module):  # type: ignore[misc]
    """A policy and its critic. Features: (n, input_size). Actions: (n,) indices, or (n, size) numbers of a Gaussian."""

    def __init__(
        self, input_size: int, actions: Actions, settings: FeatureNetworkSettings, *, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.actions = actions
        self.moments = RunningMoments(input_size) if settings.normalize else None
        widths = (input_size, *settings.hidden)
        self.policy = multilayer_perceptron((*widths, actions.size), last_gain=0.01, generator=generator)
        self.critic = multilayer_perceptron((*widths, 1), last_gain=1.0, generator=generator)
        if actions.kind == "gaussian":
            self.log_sd = nn.Parameter(torch.full((actions.size,), settings.initial_log_sd))

    def forward(self, features: Tensor, actions: Tensor) -> Evaluation:
        """Evaluate ``actions`` taken at ``features``: (n,) each, nats summed over the numbers of one action."""
        seen = self._normalized(features)
        distribution = self._distribution(seen)
        return Evaluation(distribution.log_prob(actions), self.critic(seen)[..., 0], distribution.entropy())

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def sample(self, features: Tensor, generator: torch.Generator) -> tuple[Tensor, Evaluation]:
        """Draw one action per row; returns the actions and what `forward` says of them."""
        seen = self._normalized(features)
        distribution: Any = self._distribution(seen)
        if self.actions.kind == "categorical":  # torch's distributions draw from the global generator only
            actions = torch.multinomial(distribution.probs, 1, generator=generator)[..., 0]
        else:
            actions = torch.normal(distribution.mean, distribution.stddev, generator=generator)
        return actions, Evaluation(distribution.log_prob(actions), self.critic(seen)[..., 0], distribution.entropy())

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def mode(self, features: Tensor) -> Tensor:
        """The most likely action of each row: of equally likely choices the first, of a Gaussian its mean."""
        distribution: Any = self._distribution(self._normalized(features))
        mode: Tensor = distribution.mode
        return mode

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def values(self, features: Tensor) -> Tensor:
        """(n,) what the critic expects, reward units."""
        values: Tensor = self.critic(self._normalized(features))[..., 0]
        return values

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def probabilities(self, features: Tensor) -> Tensor:
        """(n, size) probability of each choice; for categorical policies."""
        return torch.softmax(self.policy(self._normalized(features)), -1)

    def observe(self, features: Tensor) -> None:
        """Let the running moments take in ``features``; between updates only, else ratios do not start at 1."""
        if self.moments is not None:
            self.moments.update(features)

    def _normalized(self, features: Tensor) -> Tensor:
        return features if self.moments is None else self.moments(features)

    def _distribution(self, seen: Tensor) -> Distribution:
        output = self.policy(seen)
        if self.actions.kind == "categorical":
            return Categorical(logits=output, validate_args=False)
        return Independent(Normal(output, self.log_sd.exp(), validate_args=False), 1, validate_args=False)


def multilayer_perceptron(widths: Sequence[int], *, last_gain: float, generator: torch.Generator) -> nn.Sequential:
    """Linear layers of ``widths`` with tanh between; orthogonal weights (Saxe et al. 2014), biases 0."""
    layers: list[nn.Module] = []
    for position, (inputs, outputs) in enumerate(pairwise(widths)):
        linear = nn.Linear(inputs, outputs)
        last = position == len(widths) - 2
        nn.init.orthogonal_(linear.weight, last_gain if last else math.sqrt(2), generator=generator)
        nn.init.zeros_(linear.bias)
        layers += [linear] if last else [linear, nn.Tanh()]
    return nn.Sequential(*layers)
