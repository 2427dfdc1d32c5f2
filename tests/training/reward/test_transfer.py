from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from tiny import tiny_bert, tiny_llama, tiny_tokenizer

from rlhf_fair.models.reward_model import RewardModel
from rlhf_fair.training.reward.config import RewardConfig
from rlhf_fair.training.reward.head import reward_head
from rlhf_fair.training.reward.rating import RatingData
from rlhf_fair.training.reward.settings import LoRA, RewardSettings
from rlhf_fair.training.reward.trainer import train_reward_model

HEAD = RewardSettings(epochs=3, learning_rate=3e-2, batch_size=8, max_length=16, seed=3, trainable="head", device="cpu")
TEXTS = [f"{word} {rest}" for word in ("good", "bad") for rest in ("day", "cat", "dog", "story", "friend", "hi")] * 2
DATA = RatingData(TEXTS, np.array([1.0 if text.startswith("good") else -1.0 for text in TEXTS]))


def parts(model: Any) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Copies of the weights below the head, and of the head's."""
    own = {id(parameter) for parameter in reward_head(model).parameters()}
    named = {name: (id(p) in own, p.detach().clone()) for name, p in model.named_parameters()}
    return tuple({name: p for name, (is_head, p) in named.items() if is_head is side} for side in (False, True))  # type: ignore[return-value]


@pytest.mark.parametrize("build", [tiny_bert, tiny_llama])
def test_only_the_head_moves(build: Any) -> None:
    model = build()
    trunk, head = parts(model)
    run = train_reward_model(model, tiny_tokenizer(), DATA, HEAD)
    after_trunk, after_head = parts(model)
    assert len(trunk) > 10
    assert len(head) >= 1
    assert all(torch.equal(trunk[name], after_trunk[name]) for name in trunk)
    assert not any(torch.equal(head[name], after_head[name]) for name in head)
    by_epoch = [np.mean([row["loss"] for row in run.curve if row["epoch"] == epoch]) for epoch in (1, 3)]
    assert by_epoch[1] < by_epoch[0]


def test_resumed_equals_uninterrupted_with_the_head_alone(tmp_path: Path) -> None:
    whole = tiny_bert()
    run = train_reward_model(whole, tiny_tokenizer(), DATA, HEAD, checkpoint=tmp_path / "whole.pt")

    def stop(row: dict[str, float]) -> None:
        if row["step"] == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_reward_model(tiny_bert(), tiny_tokenizer(), DATA, HEAD, checkpoint=tmp_path / "part.pt", on_step=stop)
    resumed = tiny_bert()
    again = train_reward_model(resumed, tiny_tokenizer(), DATA, HEAD, checkpoint=tmp_path / "part.pt")
    assert (again.resumed_steps, again.curve) == (3, run.curve)
    for a, b in zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_a_kept_head_starts_where_it_was_trained_to(tmp_path: Path) -> None:
    teacher = tiny_bert()
    train_reward_model(teacher, tiny_tokenizer(), DATA, HEAD)
    before = RewardModel(teacher, tiny_tokenizer()).score(TEXTS)
    still = {"learning_rate": 1e-12, "epochs": 1}
    for init, same in (("keep", True), ("normal", False)):
        model = tiny_bert()
        model.load_state_dict(teacher.state_dict())
        train_reward_model(
            model, tiny_tokenizer(), DATA, HEAD.model_copy(update={**still, "head_init": init, "seed": 8})
        )
        scores = RewardModel(model, tiny_tokenizer()).score(TEXTS)
        assert np.allclose(scores, before, atol=1e-6) is same


def test_what_the_head_alone_cannot_do_is_an_error() -> None:
    with pytest.raises(ValidationError, match="leaves the matrices alone that lora adds to"):
        RewardSettings(trainable="head", lora=LoRA())
    source = {"format": "ratings", "name": "s", "path": "x.csv", "scale": (0, 1), "better": "high"}
    reversal = {"kind": "gradient_reversal", "groups": "g"}
    content = {"title": "t", "model": "m", "objective": "rating", "sources": [source], "mitigations": [reversal]}
    content |= {"groups": {"g": {"of": "sources"}}, "training": {"trainable": "head"}}
    with pytest.raises(ValidationError, match="gradient_reversal changes what the head reads"):
        RewardConfig.model_validate(content)
