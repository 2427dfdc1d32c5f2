from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny import tiny_gpt2
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    MambaConfig,
    MambaForCausalLM,
    OPTConfig,
    OPTForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from rlhf_fair.errors import ModelLoadError, RlhfFairError, SettingsError
from rlhf_fair.models.chat_lm import ChatTokenizer
from rlhf_fair.training.fairness import FairnessSettings, FairnessShaper
from rlhf_fair.training.ppo.rollout import PromptBatch, roll_out
from rlhf_fair.training.ppo.trainer import Fairness, PPOSettings, PPOTrainer, _stream

PROMPTS = ["w1 w2", "w3", "w4 w5 w6", "w7 w8"] * 8
SETTINGS = PPOSettings(
    steps=25,
    batch_size=32,
    minibatch_size=16,
    epochs=2,
    learning_rate=1e-2,
    max_new_tokens=6,
    kl_coef=0.01,
    missing_eos_penalty=0.0,
)


def share_of_w5(texts: Sequence[str]) -> np.ndarray:
    return np.array([text.split().count("w5") / max(len(text.split()), 1) for text in texts])


def pay_w5(prompts: Sequence[str], completions: Sequence[str], **columns: Any) -> np.ndarray:
    return share_of_w5(completions)


def batch(step: int = 0) -> PromptBatch:
    return PromptBatch(PROMPTS, {"gender": ["woman", "man"] * 16, "ethnicity": ["Black"] * 16 + ["White"] * 16})


def trainer(model: Any, tokenizer: Any, reward: Callable[..., Any] = pay_w5, **changes: Any) -> PPOTrainer:
    fairness = changes.pop("fairness", None)
    settings = PPOSettings.model_validate(SETTINGS.model_dump() | changes)
    return PPOTrainer(model, tokenizer, reward, settings, seed=7, fairness=fairness)


def test_a_token_that_is_paid_for_becomes_frequent_and_the_reference_stays(language_model: Any, tokenizer: Any) -> None:
    before = copy.deepcopy(language_model.state_dict())
    job = trainer(language_model, tokenizer)
    heard: list[dict[str, float]] = []
    run = job.train(batch, name="plain", on_step=heard.append)
    reward = [row["reward"] for row in run.curve]
    assert np.mean(reward[-5:]) > np.mean(reward[:5]) + 0.3
    assert run.curve[-1]["kl"] > run.curve[0]["kl"]
    assert all(torch.equal(before[name], tensor) for name, tensor in job.reference.model.state_dict().items())
    assert (run.name, run.kind, run.steps, len(heard)) == ("plain", "ppo", 25, 25)
    assert run.kappa == (0.0,) * 25


def test_the_first_rollout_has_no_kl_and_the_first_minibatch_no_clipping(language_model: Any, tokenizer: Any) -> None:
    row = trainer(language_model, tokenizer, minibatch_size=32, epochs=1).step(batch())
    assert row["kl"] == pytest.approx(0, abs=1e-5)
    assert row["approx_kl"] == pytest.approx(0, abs=1e-6)
    assert row["clip_fraction"] == 0
    assert row["reward"] > 0
    assert row["policy_loss"] == pytest.approx(0, abs=1e-6)  # whitened advantages have mean 0


def test_the_same_seed_gives_the_same_curve(language_model: Any, tokenizer: Any) -> None:
    curves = [trainer(copy.deepcopy(language_model), tokenizer, steps=3).train(batch).curve for _ in range(2)]
    assert curves[0] == curves[1]


def test_the_reward_receives_prompts_texts_and_all_columns(language_model: Any, tokenizer: Any) -> None:
    received: dict[str, Any] = {}

    def reward(prompts: Sequence[str], completions: Sequence[str], **columns: Any) -> list[float]:
        received.update(columns, prompts=list(prompts), completions=list(completions))
        return [0.0] * len(prompts)

    trainer(language_model, tokenizer, reward).step(batch())
    assert received["prompts"] == PROMPTS
    assert received["gender"] == batch().columns["gender"]
    assert received["ethnicity"] == batch().columns["ethnicity"]
    assert len(received["completions"]) == 32
    assert all(isinstance(text, str) for text in received["completions"])


@pytest.mark.parametrize("bad", [np.full(32, np.nan), np.zeros(31), np.zeros((32, 1))])
def test_a_reward_that_is_no_number_per_answer_is_refused(language_model: Any, tokenizer: Any, bad: np.ndarray) -> None:
    before = copy.deepcopy(language_model.state_dict())
    with pytest.raises(RlhfFairError, match="reward"):
        trainer(language_model, tokenizer, lambda *_, **__: bad).step(batch())
    assert all(torch.equal(before[name], tensor) for name, tensor in language_model.state_dict().items())


@pytest.mark.parametrize("separate", [False, True])
def test_an_offset_of_the_reward_changes_nothing(language_model: Any, tokenizer: Any, separate: bool) -> None:
    """Values begin at the mean return: what every answer earns alike is in no advantage from the first step on."""

    def learned(offset: float) -> tuple[dict[str, torch.Tensor], list[float]]:
        model = copy.deepcopy(language_model)

        def reward(prompts: Sequence[str], completions: Sequence[str], **columns: Any) -> np.ndarray:
            return share_of_w5(completions) + offset

        fairness = Fairness(FairnessShaper(FairnessSettings(minimum_count=1.0)), share_of_w5)
        options = {"steps": 3, "learning_rate": 1e-3, "separate_fairness_critic": separate, "fairness": fairness}
        job = trainer(model, tokenizer, reward, **options)
        job.train(batch)
        return model.state_dict(), [row["value_loss"] for row in job.curve]

    plain, shifted = learned(0.0), learned(128.0)
    assert shifted[1] == pytest.approx(plain[1], rel=1e-2)
    for name, tensor in plain[0].items():
        torch.testing.assert_close(tensor, shifted[0][name], atol=2e-4, rtol=1e-3)


def test_values_begin_at_the_mean_return_of_all_tokens(language_model: Any, tokenizer: Any) -> None:
    """Gamma 1, no KL divergence yet: an answer's score is the return of each of its tokens."""
    job, scores = trainer(language_model, tokenizer, learning_rate=1e-12, kl_coef=0.0), [2.0, -1.0, 5.0, 0.5] * 8
    lengths: list[int] = []

    def reward(prompts: Sequence[str], completions: Sequence[str], **columns: Any) -> list[float]:
        return scores

    job.reward = reward
    generator = torch.Generator().manual_seed(_stream(7, 0))
    uniforms = torch.rand((32, 6), generator=generator)
    mask = roll_out(job.policy, job.reference, tokenizer, batch(), uniforms, job.settings).response_mask
    lengths = mask.sum(-1).tolist()
    job.step(batch())
    expected = np.average(scores, weights=lengths)
    assert job.policy.value_head.linear.bias.item() == pytest.approx(expected, abs=1e-5)


def test_answers_cut_off_are_charged(language_model: Any, tokenizer: Any) -> None:
    def nothing(prompts: Sequence[str], completions: Sequence[str], **columns: Any) -> np.ndarray:
        return np.zeros(len(prompts))

    job = trainer(language_model, tokenizer, nothing, missing_eos_penalty=1.0, kl_coef=0.0)
    run = job.train(batch)
    assert run.curve[-1]["length"] < run.curve[0]["length"]


def test_an_answer_ends_at_any_token_that_ends_a_turn(language_model: Any, tokenizer: Any) -> None:
    """A chat model whose turns end by w9, and never by the tokenizer's own end of text."""
    turn = tokenizer.convert_tokens_to_ids("w9")

    def prefers_the_turns_end(_module: Any, _inputs: Any, logits: torch.Tensor) -> torch.Tensor:
        ids = torch.arange(logits.shape[-1])
        return logits + 3.0 * (ids == turn) - 1e4 * (ids == tokenizer.eos_token_id)

    language_model.lm_head.register_forward_hook(prefers_the_turns_end)
    chat = ChatTokenizer(tokenizer, frozenset({turn, tokenizer.eos_token_id}))
    job = trainer(language_model, chat)
    uniforms = torch.rand((32, 12), generator=torch.Generator().manual_seed(1))
    rollout = roll_out(job.policy, job.reference, chat, batch(), uniforms, job.settings)
    said = rollout.responses == turn
    ended = said.any(-1)
    assert int(ended.sum()) > 10
    places = said.int().argmax(-1) + 1  # of the first
    assert rollout.response_mask.sum(-1)[ended].tolist() == places[ended].tolist()
    assert [c.finished for c in rollout.completions] == ended.tolist()
    assert [c.n_tokens for c in rollout.completions] == rollout.response_mask.sum(-1).tolist()


def test_groups_are_intersections_of_the_named_columns() -> None:
    shaper = FairnessShaper(FairnessSettings(group_by=("gender", "ethnicity")))
    groups = Fairness(shaper, share_of_w5).groups(batch())
    assert groups[0] == "woman & Black"
    assert groups[-1] == "man & White"
    assert len(set(groups)) == 4


def test_the_penalty_closes_a_gap_that_the_reward_opens(language_model: Any, tokenizer: Any) -> None:
    """The reward pays w5 for men only; the penalty, on the same score, works against it."""
    prompts = PromptBatch(["w1 w2", "w7 w8"] * 32, {"gender": ["woman", "man"] * 32})

    def pay_men(_: Sequence[str], completions: Sequence[str], *, gender: Sequence[str]) -> np.ndarray:
        return share_of_w5(completions) * (np.array(gender) == "man")

    def gap(strength: float) -> float:
        settings = FairnessSettings(group_by=("gender",), strength=strength, floor_strength=0.0)
        fairness = Fairness(FairnessShaper(settings), share_of_w5)
        job = trainer(copy.deepcopy(language_model), tokenizer, pay_men, steps=30, fairness=fairness)
        run = job.train(lambda step: prompts)
        assert all((kappa > 0) == (strength > 0) for kappa in run.kappa)
        return float(np.mean([row["gap"] for row in run.curve[-5:]]))

    assert gap(10.0) < gap(0.0) / 2


def other_architectures(tokenizer: Any) -> dict[str, Any]:
    torch.manual_seed(0)
    small = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    small |= {"vocab_size": len(tokenizer), "initializer_range": 0.3, "eos_token_id": tokenizer.eos_token_id}
    of_opt = {"ffn_dim": 32, "init_std": 0.3, "max_position_embeddings": 64, "dropout": 0.0}
    return {
        "gpt2": tiny_gpt2(tokenizer, initializer_range=0.3),
        "gpt_neox": GPTNeoXForCausalLM(GPTNeoXConfig(**small)),
        "qwen2": Qwen2ForCausalLM(Qwen2Config(**small, num_key_value_heads=1)),
        "opt": OPTForCausalLM(OPTConfig(**small, **of_opt)),
        "opt, projected": OPTForCausalLM(OPTConfig(**small, **of_opt, word_embed_proj_dim=8)),
        "gemma2": Gemma2ForCausalLM(Gemma2Config(**small, num_key_value_heads=1, head_dim=8)),
    }


@pytest.mark.parametrize("name", ["gpt2", "gpt_neox", "qwen2", "gemma2", "opt", "opt, projected"])
def test_architectures_train_alike_and_load_in_plain_transformers(tokenizer: Any, name: str, tmp_path: Path) -> None:
    model = other_architectures(tokenizer)[name].eval()
    run = trainer(model, tokenizer, steps=2, epochs=1, minibatch_size=32).train(batch)
    assert run.curve[0]["kl"] == pytest.approx(0, abs=1e-4)
    # a step with one minibatch starts where it sampled: with a cache and without, the model says the same
    assert [row["approx_kl"] for row in run.curve] == pytest.approx([0, 0], abs=1e-6)
    assert run.curve[1]["kl"] != 0
    model.save_pretrained(tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path)
    ids = torch.tensor([[4, 5, 6]])
    with torch.no_grad():
        torch.testing.assert_close(loaded(input_ids=ids).logits, model(input_ids=ids).logits, atol=1e-4, rtol=1e-4)


def test_a_model_that_forgets_what_it_read_while_sampling_is_refused(tokenizer: Any) -> None:
    """A state-space model keeps its state elsewhere than in keys and values: each token would follow the last alone."""
    torch.manual_seed(0)
    small = {"hidden_size": 16, "num_hidden_layers": 2, "state_size": 4, "initializer_range": 0.3}
    ids = {name: getattr(tokenizer, name) for name in ("pad_token_id", "bos_token_id", "eos_token_id")}
    model = MambaForCausalLM(MambaConfig(vocab_size=len(tokenizer), use_mambapy=False, **small, **ids)).eval()
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(ModelLoadError, match="MambaForCausalLM: log-probabilities of sampled tokens differ by"):
        trainer(model, tokenizer).step(batch())
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_fast_kernels_and_micro_batches_change_rounding_alone(language_model: Any, tokenizer: Any) -> None:
    """The first minibatch starts at a ratio of 1 either way, since sampling and update read the same numbers."""
    ways = [{"kernels": "torch", "micro_batch_size": 32}, {"kernels": "fast", "micro_batch_size": 5}]
    weights = []
    for way in ways:
        model = copy.deepcopy(language_model)
        trainer(model, tokenizer, steps=2, learning_rate=1e-3, **way).train(batch)
        weights.append(model.state_dict())
    for name, tensor in weights[0].items():
        torch.testing.assert_close(tensor, weights[1][name], atol=2e-5, rtol=1e-4)


def test_numbers_kept_from_sampling_lead_to_the_weights_of_numbers_computed_again(
    language_model: Any, tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def again(*arguments: Any, **options: Any) -> Any:
        policy, *_, settings = arguments
        found = roll_out(*arguments, **options)
        now = policy.evaluate(found.sequence, found.attention_mask, found.responses, settings.temperature, rows=32)
        return dataclasses.replace(
            found, logprobs=now.logprobs * found.response_mask, values=now.values * found.response_mask
        )

    kept, computed = copy.deepcopy(language_model), copy.deepcopy(language_model)
    trainer(kept, tokenizer, steps=3, learning_rate=1e-3).train(batch)
    monkeypatch.setattr("rlhf_fair.training.ppo.trainer.roll_out", again)
    trainer(computed, tokenizer, steps=3, learning_rate=1e-3).train(batch)
    for name, tensor in kept.state_dict().items():
        torch.testing.assert_close(tensor, computed.state_dict()[name], atol=2e-5, rtol=1e-4)


def test_bfloat16_learns_too_and_keeps_float32_weights(language_model: Any, tokenizer: Any) -> None:
    job = trainer(language_model, tokenizer, steps=15, precision="bf16")
    run = job.train(batch)
    assert np.mean([row["reward"] for row in run.curve[-5:]]) > run.curve[0]["reward"] + 0.2
    once = trainer(copy.deepcopy(language_model), tokenizer, precision="bf16", epochs=1, minibatch_size=32)
    assert once.step(batch())["approx_kl"] == pytest.approx(0, abs=1e-9)  # rounded alike before and in the update
    assert {parameter.dtype for parameter in language_model.parameters()} == {torch.float32}


def test_with_additions_the_reference_is_the_base_without_them(language_model: Any, tokenizer: Any) -> None:
    before = copy.deepcopy(language_model)
    job = trainer(language_model, tokenizer, steps=15, lora={"rank": 4, "alpha": 8})
    run = job.train(batch)
    assert job.reference.model is job.policy.language_model  # no second copy in memory
    assert run.curve[0]["kl"] == pytest.approx(0, abs=1e-5)
    assert run.curve[-1]["kl"] > 0.01
    assert np.mean([row["reward"] for row in run.curve[-5:]]) > run.curve[0]["reward"] + 0.1
    ids = torch.tensor([[4, 5, 6]])
    assert not torch.allclose(before(input_ids=ids).logits, language_model(input_ids=ids).logits, atol=1e-2)


def test_two_streams_of_reward_add_up_to_one(language_model: Any, tokenizer: Any) -> None:
    """With lambda 1 and values of 0 the advantages of two critics are those of one on the sum."""

    def first_row(separate: bool) -> dict[str, float]:
        shaper = FairnessShaper(FairnessSettings(strength=10.0, minimum_count=1.0))
        job = trainer(
            copy.deepcopy(language_model),
            tokenizer,
            steps=1,
            gae_lambda=1.0,
            separate_fairness_critic=separate,
            fairness=Fairness(shaper, share_of_w5),
        )
        return job.step(batch())

    one, two = first_row(False), first_row(True)
    assert one["kappa"] > 0
    for name in ("policy_loss", "kappa", "gap", "clip_fraction", "approx_kl"):
        assert two[name] == pytest.approx(one[name], rel=1e-3, abs=1e-6)
    assert two["value_loss"] != pytest.approx(one["value_loss"], rel=1e-3)  # the sum of squares, not the square of sums


def test_a_critic_of_too_few_streams_is_refused(language_model: Any, tokenizer: Any) -> None:
    with pytest.raises(SettingsError, match="critic of 2 streams"):
        PPOTrainer(
            language_model,
            tokenizer,
            pay_w5,
            SETTINGS.model_copy(update={"separate_fairness_critic": True}),
            seed=0,
            critic=torch.nn.Identity(),
        )
