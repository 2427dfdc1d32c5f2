"""The price of moving away from the reference policy, per nat of KL divergence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

LARGEST_ERROR = 0.2
"""Relative distance from the target beyond which the price reacts no harder."""


class KLController(Protocol):
    """``coefficient``: reward per nat, paid at every token by the rewards of a step."""

    coefficient: float

    def update(self, kl: float, n_episodes: int) -> None:
        """Hear the mean KL divergence of a step (nats per response) and from how many episodes it comes."""

    def state_dict(self) -> dict[str, float]:
        """What a checkpoint needs."""

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        """Restore what `state_dict` gave."""


class FixedKL:
    """A price that stays."""

    def __init__(self, coefficient: float) -> None:
        self.coefficient = coefficient

    def update(self, kl: float, n_episodes: int) -> None:
        """Nothing moves."""

    def state_dict(self) -> dict[str, float]:
        """The price."""
        return {"coefficient": self.coefficient}

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        """Restore the price."""
        self.coefficient = float(state["coefficient"])


class AdaptiveKL(FixedKL):
    """A price that rises while the KL divergence is above ``target`` (nats per response) and falls while below.

    ``coefficient *= 1 + clip(kl / target - 1, -.2, .2) * n / horizon`` after n episodes (Ziegler et al. 2019, who begin
    at .15 and take a target of 6 and a horizon of 10,000 episodes).
    """

    def __init__(self, coefficient: float, *, target: float, horizon: int) -> None:
        super().__init__(coefficient)
        self.target, self.horizon = target, horizon

    def update(self, kl: float, n_episodes: int) -> None:
        """Move the price once.

        >>> price = AdaptiveKL(0.15, target=6.0, horizon=10_000)
        >>> price.update(12.0, 1_000)  # twice the target: .15 * (1 + .2 / 10)
        >>> round(price.coefficient, 6)
        0.153
        """
        error = min(max(kl / self.target - 1, -LARGEST_ERROR), LARGEST_ERROR)
        self.coefficient *= 1 + error * n_episodes / self.horizon
