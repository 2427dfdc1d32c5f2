"""Gymnasium environments side by side, as a source of experience for a feature policy.

Each episode is reset with a seed of its own, so the state of an environment is that seed and the actions since. This is
what a checkpoint keeps, and a resumed run plays it back: no environment has to be pickled.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rlhf_fair.errors import IntegrityError, RlhfFairError, SettingsError
from rlhf_fair.records import NAN
from rlhf_fair.training.ppo.features.experience import Experience, Stream, step_seeds, torch_generator
from rlhf_fair.training.ppo.features.policy import Actions, FeaturePolicy

if TYPE_CHECKING:
    import gymnasium

MakeEnvironment = str | Callable[[], "gymnasium.Env[Any, Any]"]
"""A name that gymnasium knows, or a function that makes one environment."""
Features = NDArray[np.float32]


class Environments:
    """``n`` copies of one environment, ``horizon`` steps of each per rollout.

    An environment that keeps something across its resets (a running reward scale, say) is not restored by playback;
    where the observation shows it, `load_state_dict` refuses.
    """

    def __init__(self, make: MakeEnvironment, *, n: int = 8, horizon: int = 128, seed: int) -> None:
        if n < 1 or horizon < 1:
            raise SettingsError(f"environments: n = {n}, horizon = {horizon}; both must be 1 or more")
        self.name = make if isinstance(make, str) else getattr(make, "__qualname__", repr(make))
        self.seed, self.horizon = seed, horizon
        self._slots = [_Slot(make_environment(make), seed, index) for index in range(n)]
        space = self._slots[0].environment.action_space
        self.actions = actions_of(space, self.name)
        self.input_size = len(self._slots[0].features)

    def collect(self, policy: FeaturePolicy, step: int) -> Experience:
        """Play ``horizon`` steps in every environment; a finished one begins a new episode at once."""
        generator = torch_generator(step_seeds(self.seed, Stream.SAMPLING, step))
        finished: list[_Episode] = []
        rows = [self._play(policy, generator, finished) for _ in range(self.horizon)]
        features, actions, logprobs, values, rewards, terminated, truncated = (
            torch.stack(column) for column in zip(*(row[:-1] for row in rows), strict=True)
        )
        next_values = torch.cat([values[1:], policy.values(self._features())[None]])
        for t, row in enumerate(rows):
            for index, last in row.last_features.items():
                next_values[t, index] = policy.values(torch.from_numpy(last)[None])[0]
        return Experience(
            features, actions, logprobs, values, next_values, rewards, terminated, truncated, _summary(finished)
        )

    def identity(self) -> Any:
        """Name, size and seed; what an environment does inside cannot be told from outside."""
        return [self.name, len(self._slots), self.horizon, self.seed]

    def state_dict(self) -> dict[str, Any]:
        """Episode number, actions since its start and the present features of every environment."""
        return {"slots": [slot.state_dict() for slot in self._slots]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Play every episode back to where it was."""
        for slot, kept in zip(self._slots, state["slots"], strict=True):
            slot.play_back(kept, self.name)

    def close(self) -> None:
        """Close all environments."""
        for slot in self._slots:
            slot.environment.close()

    def _features(self) -> Tensor:
        return torch.from_numpy(np.stack([slot.features for slot in self._slots]))

    def _play(self, policy: FeaturePolicy, generator: torch.Generator, finished: list[_Episode]) -> _Row:
        features = self._features()
        actions, evaluation = policy.sample(features, generator)
        rewards = torch.empty(len(self._slots))
        terminated, truncated = torch.zeros(2, len(self._slots), dtype=torch.bool)
        last_features: dict[int, Features] = {}
        for index, (slot, action) in enumerate(zip(self._slots, actions.numpy(), strict=True)):
            reward, terminated[index], truncated[index] = slot.play(action)
            if not np.isfinite(reward):
                raise RlhfFairError(f"environment {self.name} gave reward {reward}; PPO needs a finite number")
            rewards[index] = reward
            if terminated[index] or truncated[index]:
                last_features[index] = slot.features
                finished.append(slot.episode)
                slot.begin(slot.number + 1)
        return _Row(
            features, actions, evaluation.logprobs, evaluation.values, rewards, terminated, truncated, last_features
        )


class _Row(NamedTuple):
    """One step of all environments; ``last_features``: of those whose episode ended, what they showed last."""

    features: Tensor
    actions: Tensor
    logprobs: Tensor
    values: Tensor
    rewards: Tensor
    terminated: Tensor
    truncated: Tensor
    last_features: dict[int, Features]


class _Episode(NamedTuple):
    total: float
    length: int


class _Slot:
    """One environment with its running episode."""

    def __init__(self, environment: gymnasium.Env[Any, Any], seed: int, index: int) -> None:
        self.environment, self._seed, self._index = environment, seed, index
        self.begin(0)

    @property
    def episode(self) -> _Episode:
        return _Episode(self._total, len(self._history))

    def begin(self, number: int) -> None:
        self.number, self._total = number, 0.0
        self._history: list[Any] = []
        sequence = step_seeds(self._seed, Stream.EPISODE, self._index, number)
        observation, _ = self.environment.reset(seed=int(sequence.generate_state(1)[0]))
        self.features = np.asarray(observation, dtype=np.float32)

    def play(self, action: Any) -> tuple[float, bool, bool]:
        self._history.append(action.tolist())
        observation, reward, terminated, truncated, _ = self.environment.step(
            to_environment(action, self.environment.action_space)
        )
        self.features = np.asarray(observation, dtype=np.float32)
        self._total += float(reward)
        return float(reward), bool(terminated), bool(truncated)

    def state_dict(self) -> dict[str, Any]:
        return {"number": self.number, "history": list(self._history), "features": self.features.tolist()}

    def play_back(self, kept: Mapping[str, Any], name: str) -> None:
        self.begin(kept["number"])
        for action in kept["history"]:
            self.play(np.asarray(action, dtype=np.int64 if isinstance(action, int) else np.float32))
        if self.features.tolist() != kept["features"]:
            raise IntegrityError(
                f"environment {name} does not repeat itself: after the same seed and actions it shows other features, "
                "so the run cannot go on exactly where it stopped"
            )


def make_environment(make: MakeEnvironment) -> gymnasium.Env[Any, Any]:
    """One environment whose observations are flat vectors.

    Raises
    ------
    SettingsError
        gymnasium is not installed, does not know the name, or lacks a library the environment needs.
    """
    try:
        import gymnasium
    except ImportError as error:
        raise SettingsError("environments need gymnasium: pip install 'rlhf-fair[gym]'") from error
    try:
        environment = gymnasium.make(make) if isinstance(make, str) else make()
        return gymnasium.wrappers.FlattenObservation(environment)
    except gymnasium.error.Error as error:
        raise SettingsError(f"environment {make!r}: {error}") from error


def actions_of(space: Any, name: str) -> Actions:
    """The policy's actions for a gymnasium action space: Discrete or Box."""
    from gymnasium import spaces

    if isinstance(space, spaces.Discrete):
        return Actions(kind="categorical", size=int(space.n))
    if isinstance(space, spaces.Box):
        return Actions(kind="gaussian", size=int(np.prod(space.shape)))
    raise SettingsError(f"environment {name} has actions of kind {type(space).__name__}; allowed: Discrete, Box")


def to_environment(action: NDArray[Any], space: Any) -> Any:
    """An action of the policy as the environment wants it: counted from the space's start, or cut at its bounds."""
    if hasattr(space, "n"):
        return int(action) + int(space.start)
    return np.clip(np.asarray(action, dtype=space.dtype).reshape(space.shape), space.low, space.high)


def episode_returns(
    make: MakeEnvironment, policy: FeaturePolicy, *, episodes: int = 100, seed: int
) -> NDArray[np.float64]:
    """(episodes,) sums of rewards, undiscounted, of whole episodes played with the policy's most likely actions."""
    slots = [_Slot(make_environment(make), seed, index) for index in range(episodes)]
    returns = np.empty(episodes)
    playing = dict(enumerate(slots))
    while playing:
        features = torch.from_numpy(np.stack([slot.features for slot in playing.values()]))
        for (index, slot), action in zip(list(playing.items()), policy.mode(features).numpy(), strict=True):
            _, terminated, truncated = slot.play(action)
            if terminated or truncated:
                returns[index] = slot.episode.total
                slot.environment.close()
                del playing[index]
    return returns


def _summary(finished: list[_Episode]) -> dict[str, float]:
    if not finished:
        return {"episodes": 0.0, "return_mean": NAN, "length_mean": NAN}
    totals, lengths = zip(*finished, strict=True)
    return {
        "episodes": float(len(finished)),
        "return_mean": float(np.mean(totals)),
        "length_mean": float(np.mean(lengths)),
    }
