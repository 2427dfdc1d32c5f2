from __future__ import annotations

from typing import Any, ClassVar

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces

from rlhf_fair.errors import IntegrityError, RlhfFairError, SettingsError
from rlhf_fair.training.ppo.features.environments import Environments, actions_of, episode_returns, to_environment
from rlhf_fair.training.ppo.features.policy import Actions, FeatureNetworkSettings, FeaturePolicy


class Corridor(gymnasium.Env[Any, Any]):
    """Shows the time. Ends after ``length`` steps, or is cut there; each step earns its number, from 1."""

    observation_space = spaces.Box(-np.inf, np.inf, (1,), np.float32)
    action_space = spaces.Discrete(2)

    def __init__(self, length: int = 3, *, cut: bool = False) -> None:
        self.length, self.cut = length, cut

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.time = 0
        return np.array([0.0]), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.time += 1
        over = self.time == self.length
        return np.array([float(self.time)]), float(self.time), over and not self.cut, over and self.cut, {}


class Drift(Corridor):
    """Shows a random walk of its own, drawn from the episode's seed, that the action shifts."""

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        _, reward, ended, cut, info = super().step(action)
        self.place = (self.place if self.time > 1 else 0.0) + self.np_random.normal() + 0.1 * float(action)
        return np.array([self.place]), reward, ended, cut, info


class Forgetful(Drift):
    """Random numbers that no seed reaches."""

    drawn = 0

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        Forgetful.drawn += 1
        return np.array([float(Forgetful.drawn)]), 1.0, False, False, {}


def policy_for(source: Environments, *, seed: int = 0) -> FeaturePolicy:
    settings = FeatureNetworkSettings(hidden=(8,), normalize=False)
    return FeaturePolicy(source.input_size, source.actions, settings, generator=torch.Generator().manual_seed(seed))


def test_a_finished_episode_is_followed_by_a_new_one() -> None:
    source = Environments(Corridor, n=2, horizon=5, seed=0)
    experience = source.collect(policy_for(source), 0)
    for environment in range(2):
        assert experience.features[:, environment, 0].tolist() == [0, 1, 2, 0, 1]
        assert experience.rewards[:, environment].tolist() == [1, 2, 3, 1, 2]
        assert experience.terminated[:, environment].tolist() == [False, False, True, False, False]
    assert not experience.truncated.any()
    # two episodes of 1 + 2 + 3
    assert experience.metrics == {"episodes": 2.0, "return_mean": 6.0, "length_mean": 3.0}


def test_next_values_are_of_what_came_before_any_reset() -> None:
    source = Environments(lambda: Corridor(cut=True), n=1, horizon=5, seed=0)
    policy = policy_for(source)
    experience = source.collect(policy, 0)
    assert experience.truncated[:, 0].tolist() == [False, False, True, False, False]
    # after the cut at the third step the time was 3, at the end of the rollout 2
    expected = policy.values(torch.tensor([[1.0], [2.0], [3.0], [1.0], [2.0]]))
    torch.testing.assert_close(experience.next_values[:, 0], expected)


def test_an_episode_goes_on_in_the_next_rollout() -> None:
    source = Environments(Corridor, n=1, horizon=2, seed=0)
    policy = policy_for(source)
    seen = [source.collect(policy, step).features.flatten().tolist() for step in range(3)]
    assert seen == [[0, 1], [2, 0], [1, 2]]


def test_time_limits_of_gymnasium_are_cuts() -> None:
    source = Environments("Pendulum-v1", n=1, horizon=200, seed=0)  # ends by its limit of 200 steps alone
    experience = source.collect(policy_for(source), 0)
    assert experience.truncated.flatten().nonzero().flatten().tolist() == [199]
    assert not experience.terminated.any()
    assert experience.actions.shape == (200, 1, 1)


@pytest.mark.parametrize("make", [lambda: Drift(7), "CartPole-v1", "Pendulum-v1"])
def test_restored_environments_live_through_the_same(make: Any) -> None:
    source, other = Environments(make, n=3, horizon=5, seed=4), Environments(make, n=3, horizon=5, seed=4)
    policy = policy_for(source)
    for step in range(3):
        source.collect(policy, step)
    other.load_state_dict(source.state_dict())
    for step in (3, 4):
        one, two = source.collect(policy, step), other.collect(policy, step)
        for name in ("features", "actions", "rewards", "next_values", "terminated", "truncated"):
            assert torch.equal(getattr(one, name), getattr(two, name))
        assert one.metrics == pytest.approx(two.metrics, nan_ok=True)


def test_environments_differ_from_each_other_and_between_seeds() -> None:
    source = Environments(Drift, n=2, horizon=3, seed=0)
    first = source.collect(policy_for(source), 0).features
    assert not torch.equal(first[:, 0], first[:, 1])
    other = Environments(Drift, n=2, horizon=3, seed=1)
    assert not torch.equal(first, other.collect(policy_for(other), 0).features)


def test_an_environment_that_does_not_repeat_itself_is_refused() -> None:
    source = Environments(Forgetful, n=1, horizon=3, seed=0)
    source.collect(policy_for(source), 0)
    with pytest.raises(IntegrityError, match="Forgetful does not repeat itself"):
        source.load_state_dict(source.state_dict())


def test_returns_are_of_whole_episodes() -> None:
    source = Environments(lambda: Corridor(4), n=1, seed=0)
    assert episode_returns(lambda: Corridor(4), policy_for(source), episodes=3, seed=0).tolist() == [10, 10, 10]


def test_choices_are_counted_from_where_the_space_begins() -> None:
    assert to_environment(np.int64(1), spaces.Discrete(3, start=5)) == 6


def test_numbers_are_cut_at_the_bounds_of_the_space() -> None:
    space = spaces.Box(np.array([[-1.0], [0.0]], np.float32), np.array([[1.0], [2.0]], np.float32))
    assert actions_of(space, "x") == Actions(kind="gaussian", size=2)
    assert to_environment(np.array([-3.0, 1.5]), space).tolist() == [[-1.0], [1.5]]


def test_observations_of_any_kind_become_vectors() -> None:
    class Composite(Corridor):
        observation_space = spaces.Dict({"place": spaces.Discrete(3), "speed": spaces.Box(-1, 1, (2,), np.float32)})

        seen: ClassVar = {"place": 1, "speed": np.array([0.5, -0.5], np.float32)}

        def reset(self, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
            super().reset(**kwargs)
            return self.seen, {}

        def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
            return self.seen, 0.0, False, False, {}

    source = Environments(Composite, n=1, horizon=1, seed=0)
    assert source.input_size == 5
    assert source.collect(policy_for(source), 0).features.flatten().tolist() == [0, 1, 0, 0.5, -0.5]


def test_faults_say_what_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError, match="'NoSuchGame-v0'"):
        Environments("NoSuchGame-v0", seed=0)
    with pytest.raises(SettingsError, match=r"horizon = 0; both must be 1 or more"):
        Environments(Corridor, horizon=0, seed=0)
    with pytest.raises(SettingsError, match="kind MultiBinary; allowed: Discrete, Box"):
        actions_of(spaces.MultiBinary(2), "x")
    with pytest.raises(SettingsError, match="seed = -1; allowed: 0 or more"):
        Environments(Corridor, seed=-1)
    monkeypatch.setitem(__import__("sys").modules, "gymnasium", None)
    with pytest.raises(SettingsError, match=r"pip install 'rlhf-fair\[gym\]'"):
        Environments("CartPole-v1", seed=0)


def test_a_reward_that_is_no_number_is_a_fault() -> None:
    class Broken(Corridor):
        def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
            return np.zeros(1), float("nan"), False, False, {}

    source = Environments(Broken, n=1, horizon=1, seed=0)
    with pytest.raises(RlhfFairError, match="gave reward nan; PPO needs a finite number"):
        source.collect(policy_for(source), 0)
