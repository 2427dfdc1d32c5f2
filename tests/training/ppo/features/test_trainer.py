from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rlhf_fair.errors import RlhfFairError, SettingsError
from rlhf_fair.training.ppo.features.environments import Environments, episode_returns
from rlhf_fair.training.ppo.features.experience import Experience
from rlhf_fair.training.ppo.features.policy import Actions, FeatureNetworkSettings, FeaturePolicy
from rlhf_fair.training.ppo.features.trainer import FeaturePPOSettings, FeatureTrainer

SETTINGS = FeaturePPOSettings(steps=6, epochs=2, minibatch_size=16, checkpoint_steps=2)


def cart_pole(*, seed: int = 0, settings: FeaturePPOSettings = SETTINGS, horizon: int = 16) -> FeatureTrainer:
    source = Environments("CartPole-v1", n=4, horizon=horizon, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    policy = FeaturePolicy(source.input_size, source.actions, FeatureNetworkSettings(), generator=generator)
    return FeatureTrainer(policy, source, settings, seed=seed)


def assert_equal_runs(one: FeatureTrainer, other: FeatureTrainer) -> None:
    """To the last bit; NaN is equal to itself here."""
    assert [list(map(repr, row.items())) for row in one.curve] == [list(map(repr, row.items())) for row in other.curve]
    for name, tensor in one.policy.state_dict().items():
        assert torch.equal(tensor, other.policy.state_dict()[name])


class Stopped(Exception):
    """Somebody pulled the plug."""


@pytest.mark.parametrize("stop", [1, 3, 4])
def test_a_stopped_run_ends_with_the_same_bits(stop: int, tmp_path: Path) -> None:
    whole = cart_pole()
    whole.train()

    def plug(row: dict[str, float]) -> None:
        if row["step"] == stop:
            raise Stopped

    with pytest.raises(Stopped):
        cart_pole().train(on_step=plug, checkpoint=tmp_path / "state.pt")
    resumed = cart_pole()
    run = resumed.train(checkpoint=tmp_path / "state.pt")
    assert run.steps == len(run.curve) == 6
    assert_equal_runs(whole, resumed)


KILLED = """
import os, signal, sys
sys.path[:0] = {paths!r}
from pathlib import Path
from test_trainer import cart_pole
def kill(row):
    if row["step"] == 3:
        os.kill(os.getpid(), signal.SIGKILL)
cart_pole().train(on_step=kill, checkpoint=Path({state!r}))
"""


def test_a_killed_process_ends_with_the_same_bits(tmp_path: Path) -> None:
    state = tmp_path / "state.pt"
    code = KILLED.format(paths=[str(Path(__file__).parent)], state=str(state))
    done = subprocess.run([sys.executable, "-c", code], check=False, env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert done.returncode == -signal.SIGKILL
    whole, resumed = cart_pole(), cart_pole()
    whole.train()
    resumed.train(checkpoint=state)
    assert_equal_runs(whole, resumed)


def test_a_finished_run_is_not_run_again(tmp_path: Path) -> None:
    first, again = cart_pole(), cart_pole()
    first.train(checkpoint=tmp_path / "state.pt")
    heard: list[Mapping[str, float]] = []
    again.train(on_step=heard.append, checkpoint=tmp_path / "state.pt")
    assert heard == []
    assert_equal_runs(first, again)


def test_a_checkpoint_is_of_one_run(tmp_path: Path) -> None:
    cart_pole().train(checkpoint=tmp_path / "state.pt")
    for other in (cart_pole(seed=1), cart_pole(horizon=8), cart_pole(settings=FeaturePPOSettings(steps=7))):
        with pytest.raises(SettingsError, match="belongs to other data or settings"):
            other.train(checkpoint=tmp_path / "state.pt")


class Guess:
    """Features are noise; the right choice, always 1, earns 1. A reward breaks at one step."""

    input_size, actions = 2, Actions(size=2)

    def __init__(self, *, broken_step: int | None = None) -> None:
        self.broken_step, self.seen = broken_step, 0

    def collect(self, policy: FeaturePolicy, step: int) -> Experience:
        self.seen += 1
        generator = torch.Generator().manual_seed(step)
        features = torch.randn(64, 2, generator=generator)
        actions, now = policy.sample(features, generator)
        if step == self.broken_step:
            raise RlhfFairError("reward gave nan")
        ended = torch.ones(1, 64, dtype=torch.bool)
        return Experience(
            features[None],
            actions[None],
            now.logprobs[None],
            now.values[None],
            torch.zeros(1, 64),
            actions[None].float(),
            ended,
            ~ended,
            {"seen": float(self.seen)},
        )

    def identity(self) -> Any:
        return "guess"

    def state_dict(self) -> dict[str, Any]:
        return {"seen": self.seen}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.seen = state["seen"]


def guesser(**changes: Any) -> FeatureTrainer:
    generator = torch.Generator().manual_seed(0)
    source = Guess(broken_step=changes.pop("broken_step", None))
    policy = FeaturePolicy(2, source.actions, FeatureNetworkSettings(hidden=(8,)), generator=generator)
    settings = FeaturePPOSettings.model_validate({"steps": 20, "minibatch_size": 32, "learning_rate": 1e-2} | changes)
    return FeatureTrainer(policy, source, settings, seed=0)


def test_what_earns_more_is_done_more() -> None:
    trainer = guesser()
    trainer.train()
    features = torch.randn(100, 2, generator=torch.Generator().manual_seed(9))
    assert trainer.policy.probabilities(features)[:, 1].min().item() > 0.9


def test_a_fault_leaves_the_state_before_it(tmp_path: Path) -> None:
    state = tmp_path / "state.pt"
    broken, whole, mended = guesser(broken_step=7), guesser(), guesser()
    with pytest.raises(RlhfFairError, match=r"step 7 of 20: reward gave nan \(the state before this step is in"):
        broken.train(checkpoint=state)
    whole.train()
    mended.train(checkpoint=state)
    assert mended.source.state_dict() == {"seen": 20}
    assert_equal_runs(whole, mended)


def test_a_run_away_from_all_numbers_is_stopped() -> None:
    trainer = guesser()
    with torch.no_grad():
        trainer.policy.critic[-1].bias[0] = math.inf
    with pytest.raises(RlhfFairError, match="step 0 of 20"):
        trainer.train()


def test_the_critic_explains_what_it_was_shown() -> None:
    trainer = guesser(steps=1)
    batch_value = trainer.step()["explained_variance"]
    # an untrained critic knows nothing of the returns; the share explained cannot exceed 1
    assert batch_value < 0.5


def test_faults_of_settings_are_named() -> None:
    with pytest.raises(ValueError, match="minibatch_size"):
        FeaturePPOSettings(minibatch_size=1)


def test_normalization_stands_still_while_the_policy_learns() -> None:
    """Of the first minibatch all ratios are 1: no clip, no divergence."""
    trainer = cart_pole(settings=FeaturePPOSettings(steps=3, epochs=1, minibatch_size=64))
    for _ in range(3):
        row = trainer.step()
        assert row["approx_kl"] == pytest.approx(0, abs=1e-6)
        assert row["clip_fraction"] == 0
        trainer.progress.steps += 1
    assert trainer.policy.moments is not None
    assert trainer.policy.moments.count.item() == 3 * 64


def test_cart_pole_is_learned_beyond_chance() -> None:
    """A policy that pushes at random falls after about 22 steps: 100 is beyond luck."""
    settings = FeaturePPOSettings(steps=15, epochs=8, minibatch_size=128, learning_rate=2e-3)
    trainer = cart_pole(settings=settings, horizon=128)
    trainer.train()
    assert np.mean(episode_returns("CartPole-v1", trainer.policy, episodes=20, seed=5)) > 100
