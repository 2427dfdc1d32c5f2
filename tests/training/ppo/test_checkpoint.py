"""A run that is stopped and started again ends as if it had not been stopped, to the bit."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from rlhf_fair.artifacts import canonical_json
from rlhf_fair.errors import RlhfFairError, SettingsError
from rlhf_fair.records import TrainingRun
from rlhf_fair.training.fairness import FairnessSettings, FairnessShaper
from rlhf_fair.training.ppo.checkpoint import weight_digests
from rlhf_fair.training.ppo.rollout import PromptBatch
from rlhf_fair.training.ppo.trainer import Fairness, PPOSettings, PPOTrainer

SETTINGS = PPOSettings(
    steps=9,
    batch_size=16,
    minibatch_size=8,
    micro_batch_size=3,
    learning_rate=1e-2,
    max_new_tokens=5,
    kl_coef=0.1,
    kl_target=0.5,
    kl_horizon=200,
    entropy_coef=0.01,
    checkpoint_steps=2,
    separate_fairness_critic=True,
)
DUAL = {"kind": "dual", "tolerance": 0.01, "rate": 5.0}


def prompts(step: int) -> PromptBatch:
    rng = np.random.default_rng([5, step])
    words = [" ".join(f"w{number}" for number in rng.integers(0, 16, rng.integers(1, 4))) for _ in range(16)]
    return PromptBatch(words, {"gender": [str(g) for g in rng.choice(["woman", "man"], 16)]})


def share_of_w5(texts: Any) -> np.ndarray:
    return np.array([text.split().count("w5") / max(len(text.split()), 1) for text in texts])


def trainer(model: Any, tokenizer: Any, reward: Any = None, **changes: Any) -> PPOTrainer:
    shaper = FairnessShaper(FairnessSettings(group_by=("gender",), multiplier=DUAL, minimum_count=1.0))
    return PPOTrainer(
        copy.deepcopy(model),
        tokenizer,
        reward or (lambda _, completions, gender: share_of_w5(completions) * (np.array(gender) == "man")),
        SETTINGS.model_copy(update=changes),
        seed=3,
        fairness=Fairness(shaper, share_of_w5),
    )


def same(first: PPOTrainer, second: PPOTrainer) -> bool:
    weights = zip(first.policy.state_dict().items(), second.policy.state_dict().items(), strict=True)
    assert first.fairness is not None
    assert second.fairness is not None
    return (
        all(a == b and torch.equal(x, y) for (a, x), (b, y) in weights)
        and repr(first.curve) == repr(second.curve)
        and first.fairness.shaper.state_dict() == second.fairness.shaper.state_dict()
    )


@pytest.fixture
def whole(language_model: Any, tokenizer: Any) -> PPOTrainer:
    job = trainer(language_model, tokenizer)
    job.train(prompts)
    assert job.kl.coefficient != SETTINGS.kl_coef  # else the price's state shows nothing
    assert any(value > 0 for row in job.curve for key, value in row.items() if key.startswith("multiplier:"))
    return job


def stopped_and_resumed(make: Any, path: Path, stops: list[int]) -> tuple[PPOTrainer, TrainingRun]:
    for stop in stops:

        def interrupt(row: dict[str, float], stop: int = stop) -> None:
            if row["step"] == stop:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            make().train(prompts, on_step=interrupt, checkpoint=path)
    job = make()
    return job, job.train(prompts, checkpoint=path)


@pytest.mark.parametrize("seed", range(3))
def test_stops_at_random_points_change_nothing(
    whole: PPOTrainer, language_model: Any, tokenizer: Any, tmp_path: Path, seed: int
) -> None:
    stops = sorted(np.random.default_rng(seed).choice(np.arange(1, 9), 3, replace=False).tolist())
    job, run = stopped_and_resumed(lambda: trainer(language_model, tokenizer), tmp_path / "state", stops)
    assert same(job, whole)
    assert run.steps == len(run.curve) == 9


def test_additions_resume_and_end_as_plain_weights(language_model: Any, tokenizer: Any, tmp_path: Path) -> None:
    lora: Any = {"rank": 2, "alpha": 8}
    changes = {"lora": PPOSettings(lora=lora).lora, "steps": 4, "checkpoint_steps": 1}
    once = trainer(language_model, tokenizer, **changes)
    names = set(language_model.state_dict())
    plain = once.policy.language_model.get_base_model()
    once.train(prompts)
    assert set(plain.state_dict()) == names  # merged: loads in transformers alone
    assert not any(type(module).__module__.startswith("rlhf_fair") for module in plain.modules())
    assert any(not torch.equal(plain.state_dict()[name], language_model.state_dict()[name]) for name in names)
    again, _ = stopped_and_resumed(lambda: trainer(language_model, tokenizer, **changes), tmp_path / "state", [2])
    assert same(once, again)


def test_a_step_that_fails_is_tried_again_from_the_last_good_state(
    whole: PPOTrainer, language_model: Any, tokenizer: Any, tmp_path: Path
) -> None:
    calls = 0

    def breaks(_: Any, completions: Any, gender: Any) -> np.ndarray:
        nonlocal calls
        calls += 1
        return (
            np.full(len(completions), math.nan if calls == 6 else 1.0)
            * share_of_w5(completions)
            * (np.array(gender) == "man")
        )

    path = tmp_path / "state"
    with pytest.raises(RlhfFairError, match="no finite number"):
        trainer(language_model, tokenizer, breaks, checkpoint_steps=100).train(prompts, checkpoint=path)
    job = trainer(language_model, tokenizer)
    job.train(prompts, checkpoint=path)
    assert same(job, whole)


def test_a_gradient_that_is_not_finite_leaves_weights_that_are(
    language_model: Any, tokenizer: Any, tmp_path: Path
) -> None:
    def explodes(_: Any, completions: Any, gender: Any) -> np.ndarray:
        return np.where(np.arange(len(completions)) == 0, 1e30, 0.0)

    job = trainer(language_model, tokenizer, explodes)
    with pytest.raises(SettingsError, match="PPO stopped before a move"):
        job.train(prompts, checkpoint=tmp_path / "state")
    kept = torch.load(tmp_path / "state", weights_only=True)
    assert kept["steps"] == 0
    assert all(torch.isfinite(tensor).all() for tensor in kept["parts"]["policy"].values())


def test_a_step_that_fails_after_some_moves_leaves_the_state_at_its_start(
    whole: PPOTrainer, language_model: Any, tokenizer: Any, tmp_path: Path
) -> None:
    """The first of the four moves of the fourth step ruins the critic, so that the second finds no finite loss."""
    job, moves = trainer(language_model, tokenizer, checkpoint_steps=100), 0

    def ruin(*_: Any) -> None:
        nonlocal moves
        moves += 1
        if moves == 3 * 4 + 1:
            job.policy.value_head.linear.weight.data.fill_(math.nan)

    job.optimizer.optimizer.register_step_post_hook(ruin)
    with pytest.raises(SettingsError, match="the value loss is nan"):
        job.train(prompts, checkpoint=tmp_path / "state")
    assert torch.load(tmp_path / "state", weights_only=True)["steps"] == 3
    again = trainer(language_model, tokenizer)
    again.train(prompts, checkpoint=tmp_path / "state")
    assert same(again, whole)


def test_a_run_may_go_on_with_a_lower_learning_rate(language_model: Any, tokenizer: Any, tmp_path: Path) -> None:
    path = tmp_path / "state"

    def interrupt(row: dict[str, float]) -> None:
        if row["step"] == 4:
            raise KeyboardInterrupt

    first = trainer(language_model, tokenizer)
    with pytest.raises(KeyboardInterrupt):
        first.train(prompts, on_step=interrupt, checkpoint=path)
    job = trainer(language_model, tokenizer, learning_rate=1e-3, max_grad_norm=0.5)
    curve = job.train(prompts, checkpoint=path).curve
    assert curve[:4] == tuple(first.curve)
    # of 9 steps that fall to 0: the fifth has 5 / 9 of the rate, the new one, though the optimiser's state has the old
    assert [row["learning_rate"] for row in curve[4:]] == pytest.approx([1e-3 * left / 9 for left in (5, 4, 3, 2, 1)])
    assert job.optimizer.param_groups[0]["lr"] == curve[-1]["learning_rate"]


def test_limits_that_are_switched_off_are_kept_too(language_model: Any, tokenizer: Any, tmp_path: Path) -> None:
    off = {"value_clip_range": math.inf, "max_grad_norm": math.inf, "steps": 2, "checkpoint_steps": 1}
    trainer(language_model, tokenizer, **off).train(prompts, checkpoint=tmp_path / "state")
    settings = SETTINGS.model_copy(update=off)
    assert PPOSettings.model_validate_json(canonical_json(settings.model_dump(mode="json"))) == settings
    with pytest.raises(ValidationError, match=r"learning_rate\n.*finite"):
        PPOSettings(learning_rate=math.inf)
    other = trainer(language_model, tokenizer, **(off | {"value_clip_range": 0.2}))
    with pytest.raises(SettingsError, match="other data or settings"):
        other.train(prompts, checkpoint=tmp_path / "state")


@pytest.mark.parametrize("what", ["settings", "model", "prompts"])
def test_a_checkpoint_of_another_run_is_refused(language_model: Any, tokenizer: Any, tmp_path: Path, what: str) -> None:
    path = tmp_path / "state"
    trainer(language_model, tokenizer, steps=2).train(prompts, checkpoint=path)
    changes: dict[str, Any] = {"steps": 3 if what == "settings" else 2}
    if what == "model":
        with torch.no_grad():
            next(language_model.parameters()).add_(1e-3)
    other = trainer(language_model, tokenizer, **changes)
    with pytest.raises(SettingsError, match="other data or settings"):
        other.train(lambda step: prompts(step + (what == "prompts")), checkpoint=path)


def test_a_digest_depends_on_no_order_of_addition() -> None:
    """A device adds up in an order of its own, as a CPU does where the same numbers lie in memory otherwise."""
    weight = torch.randn(500, 300, generator=torch.Generator().manual_seed(0)) ** 9
    here, there = torch.nn.Linear(300, 500), torch.nn.Linear(300, 500)
    there.load_state_dict(here.state_dict())
    here.weight = torch.nn.Parameter(weight)
    there.weight = torch.nn.Parameter(weight.t().contiguous().t())
    assert torch.equal(here.weight, there.weight)
    assert not torch.equal(here.weight.double().sum(), there.weight.double().sum())
    assert weight_digests(here) == weight_digests(there)


def test_a_damaged_checkpoint_is_named(language_model: Any, tokenizer: Any, tmp_path: Path) -> None:
    (tmp_path / "state").write_bytes(b"no checkpoint")
    with pytest.raises(SettingsError, match="cannot be read; delete it"):
        trainer(language_model, tokenizer).train(prompts, checkpoint=tmp_path / "state")
