from __future__ import annotations

import math
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny import tiny_gpt2, tiny_language_model, tiny_tokenizer

from rlhf_fair.errors import SettingsError
from rlhf_fair.records import TrainingRun
from rlhf_fair.training.sft import SFTSettings, train_causal_lm

TEXTS = [
    ("i like", "the old dog ."),
    ("you hate", "the young cat and a story ."),
    ("", "we love the blue day !"),
    ("what do you think about the man ?", "kind ."),
] * 4


@pytest.fixture
def tokenizer() -> Any:
    return tiny_tokenizer()


def new_model(tokenizer: Any, seed: int = 0) -> Any:
    return tiny_language_model(tokenizer, seed)


def settings(**changes: Any) -> SFTSettings:
    return SFTSettings.model_validate({"epochs": 15, "batch_size": 4, "learning_rate": 1e-2, **changes})


def nats_per_answer_token(model: Any, tokenizer: Any, texts: list[tuple[str, str]]) -> float:
    """One text at a time, without padding: what the batched loss must equal. The end token counts."""
    total, count = 0.0, 0
    for prompt, answer in texts:
        start = tokenizer(prompt)["input_ids"] if prompt else []
        ids = [*start, *tokenizer(answer)["input_ids"], tokenizer.eos_token_id]
        with torch.no_grad():
            logprobs = torch.log_softmax(model(input_ids=torch.tensor([ids])).logits[0], -1)
        for position in range(max(len(start), 1), len(ids)):  # nothing comes before the first token to predict it
            total -= logprobs[position - 1, ids[position]].item()
            count += 1
    return total / count


def test_the_loss_starts_at_the_uniform_one_and_goes_down(tokenizer: Any) -> None:
    model = new_model(tokenizer)
    heard: list[tuple[int, int, float]] = []
    run = train_causal_lm(model, tokenizer, TEXTS, settings(), seed=1, on_step=lambda *row: heard.append(row))
    losses = [row["loss"] for row in run.curve]
    assert losses[0] == pytest.approx(math.log(len(tokenizer)), abs=0.3)
    assert np.mean(losses[-4:]) < 0.5 * losses[0]
    assert run.kind == "sft"
    assert run.steps == len(run.curve) == 60  # 15 epochs of 16 texts in fours
    assert [row[0] for row in heard] == list(range(1, 61))
    assert {row[1] for row in heard} == {60}
    assert not model.training


def test_the_loss_is_the_mean_over_answer_tokens_whatever_the_padding(tokenizer: Any) -> None:
    model = new_model(tokenizer)
    expected = nats_per_answer_token(model, tokenizer, TEXTS)
    run = train_causal_lm(model, tokenizer, TEXTS, settings(epochs=1, batch_size=16), seed=1)
    assert run.curve[0]["loss"] == pytest.approx(expected, rel=1e-4)


def test_prompt_tokens_are_not_trained_on(tokenizer: Any) -> None:
    """Without weight tying, the output row of a token moves up only if it is a target somewhere."""
    model = new_model(tokenizer)
    seen = {}
    model.lm_head.weight.register_hook(lambda gradient: seen.update(gradient=gradient.clone()))
    train_causal_lm(model, tokenizer, [("red green", "cat dog")], settings(epochs=1, batch_size=1), seed=1)
    # d loss / d logit of token v = mean over targets of p(v) - 1[v is the target]: with p near 1/vocabulary it pushes
    # against the hidden state for targets and weakly along it for all others
    size = seen["gradient"].norm(dim=-1)
    targets = [*tokenizer("cat dog")["input_ids"], tokenizer.eos_token_id]
    others = [token for token in range(len(tokenizer)) if token not in targets]
    assert size[targets].min() > 5 * size[others].max()


def test_nothing_to_train_on_is_said(tokenizer: Any) -> None:
    with pytest.raises(SettingsError, match="at least one text"):
        train_causal_lm(new_model(tokenizer), tokenizer, [], settings(), seed=1)


def test_the_model_learns_to_stop(tokenizer: Any) -> None:
    model = new_model(tokenizer)
    train_causal_lm(model, tokenizer, [("i like", "dog .")] * 8, settings(epochs=30), seed=1)
    ids = torch.tensor([tokenizer("i like dog .")["input_ids"]])
    assert model(input_ids=ids).logits[0, -1].argmax().item() == tokenizer.eos_token_id


def test_the_same_seed_gives_the_same_weights_and_another_seed_another_order(tokenizer: Any) -> None:
    def weights(seed: int) -> torch.Tensor:
        model = new_model(tokenizer)
        train_causal_lm(model, tokenizer, TEXTS, settings(epochs=1), seed=seed)
        return model.lm_head.weight.detach()

    assert torch.equal(weights(1), weights(1))
    assert not torch.equal(weights(1), weights(2))


class Killed(BaseException):
    """Ends a run as a kill does."""


def test_a_killed_run_goes_on_to_the_bit_with_dropout_and_micro_batches(tokenizer: Any, tmp_path: Path) -> None:
    chosen = settings(epochs=3, checkpoint_steps=5, micro_batch_size=3)

    def train(checkpoint: Path, stop_at: int | None = None) -> tuple[TrainingRun | None, dict[str, torch.Tensor]]:
        def on_step(step: int, total: int, loss: float) -> None:
            if step == stop_at:
                raise Killed

        model = tiny_gpt2(tokenizer, resid_pdrop=0.3)
        with nullcontext() if stop_at is None else pytest.raises(Killed):
            run = train_causal_lm(model, tokenizer, TEXTS, chosen, seed=1, on_step=on_step, checkpoint=checkpoint)
            return run, model.state_dict()
        return None, {}

    whole, expected = train(tmp_path / "whole.pt")
    for stop_at in (3, 7, 12):  # before the first checkpoint, between two, at the end
        train(tmp_path / f"{stop_at}.pt", stop_at)
        run, found = train(tmp_path / f"{stop_at}.pt")
        assert run is not None
        assert whole is not None
        assert run.curve == whole.curve
        assert all(torch.equal(expected[name], found[name]) for name in expected)
    other = settings(epochs=4, checkpoint_steps=5, micro_batch_size=3)
    with pytest.raises(SettingsError, match="belongs to other data or settings"):
        train_causal_lm(tiny_gpt2(tokenizer), tokenizer, TEXTS, other, seed=1, checkpoint=tmp_path / "whole.pt")


def test_a_checkpoint_of_another_model_is_refused(tokenizer: Any, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    train_causal_lm(tiny_gpt2(tokenizer, 1), tokenizer, TEXTS, settings(epochs=1), seed=1, checkpoint=path)
    with pytest.raises(SettingsError, match="a model that started from other weights"):
        train_causal_lm(tiny_gpt2(tokenizer, 2), tokenizer, TEXTS, settings(epochs=1), seed=1, checkpoint=path)


def test_micro_batches_change_nothing_but_rounding(tokenizer: Any) -> None:
    """The loss of parts of unequal lengths adds up to the mean over all tokens, not to a mean of means."""
    runs = [
        train_causal_lm(new_model(tokenizer), tokenizer, TEXTS, settings(epochs=2, micro_batch_size=size), seed=1)
        for size in (None, 1, 3)
    ]
    losses = [[row["loss"] for row in run.curve] for run in runs]
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
    assert losses[2] == pytest.approx(losses[0], rel=1e-4)
