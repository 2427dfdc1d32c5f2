from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from rlhf_fair.models.token_sampling import pad_left
from rlhf_fair.training.ppo.policy import PolicyWithValue, reference_logprobs
from rlhf_fair.training.ppo.reference import Reference
from rlhf_fair.training.ppo.rollout import PromptBatch, Rollout, roll_out
from rlhf_fair.training.ppo.settings import PPOSettings

PROMPTS = ["w1 w2", "w3", "w4 w5 w6 w7 w8", "w1 w2 w3 w4"]


def one_rollout(model: Any, tokenizer: Any, *, temperature: float = 1.0, seed: int = 1) -> Rollout:
    return roll_out(
        PolicyWithValue(model).eval(),
        Reference(model, additions=False),
        tokenizer,
        PromptBatch(PROMPTS, {}),
        torch.rand((len(PROMPTS), 12), generator=torch.Generator().manual_seed(seed)),
        PPOSettings(temperature=temperature),
    )


@pytest.fixture
def sequences() -> tuple[torch.Tensor, torch.Tensor]:
    """Four sequences of 9 tokens without padding, the last 4 of each are the response."""
    tokens = torch.randint(4, 20, (4, 9), generator=torch.Generator().manual_seed(2))
    return tokens, tokens[:, -4:]


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_logprobs_and_entropy_equal_a_plain_forward(
    language_model: Any, sequences: tuple[torch.Tensor, torch.Tensor], temperature: float
) -> None:
    sequence, responses = sequences
    found = PolicyWithValue(language_model)(sequence, torch.ones_like(sequence), responses, temperature, entropy=True)
    assert found.entropy is not None
    everything = torch.log_softmax(language_model(input_ids=sequence).logits / temperature, -1)
    for position in range(4):
        predicted = everything[:, 4 + position]  # what position 4 + p says about token 5 + p
        expected = predicted[torch.arange(4), responses[:, position]]
        torch.testing.assert_close(found.logprobs[:, position], expected)
        torch.testing.assert_close(
            found.entropy[:, position], torch.distributions.Categorical(logits=predicted).entropy()
        )


def test_left_padding_changes_nothing(language_model: Any, sequences: tuple[torch.Tensor, torch.Tensor]) -> None:
    sequence, responses = sequences
    policy = PolicyWithValue(language_model)
    torch.nn.init.normal_(policy.value_head.linear.weight)
    plain = policy(sequence, torch.ones_like(sequence), responses, 1.0)
    padding = torch.zeros(4, 5, dtype=torch.long)
    mask = torch.cat([padding, torch.ones_like(sequence)], dim=1)
    padded = policy(torch.cat([padding, sequence], dim=1), mask, responses, 1.0)
    torch.testing.assert_close(padded, plain, atol=1e-5, rtol=1e-5)


def test_left_padding_changes_nothing_where_positions_are_absolute(
    sequences: tuple[torch.Tensor, torch.Tensor],
) -> None:
    """Rotary positions are relative and forgive an offset; GPT-2 does not."""
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=20, n_positions=32, n_embd=16, n_layer=2, n_head=2, initializer_range=0.3)
    policy = PolicyWithValue(GPT2LMHeadModel(config)).eval()
    sequence, responses = sequences
    padding = torch.zeros(4, 5, dtype=torch.long)
    mask = torch.cat([padding, torch.ones_like(sequence)], dim=1)
    plain = policy(sequence, torch.ones_like(sequence), responses, 1.0)
    padded = policy(torch.cat([padding, sequence], dim=1), mask, responses, 1.0)
    torch.testing.assert_close(padded.logprobs, plain.logprobs, atol=1e-5, rtol=1e-5)


def test_the_value_is_read_where_the_token_is_chosen(
    language_model: Any, sequences: tuple[torch.Tensor, torch.Tensor]
) -> None:
    sequence, responses = sequences
    policy = PolicyWithValue(language_model)
    torch.nn.init.normal_(policy.value_head.linear.weight)
    before = policy(sequence, torch.ones_like(sequence), responses, 1.0).values
    changed = sequence.clone()
    changed[:, -1] = (changed[:, -1] + 1) % 16 + 4  # another last token: no value may know of it
    after = policy(changed, torch.ones_like(sequence), changed[:, -4:], 1.0).values
    torch.testing.assert_close(after, before)


def test_values_read_in_sampling_equal_those_of_an_evaluation(language_model: Any, tokenizer: Any) -> None:
    """So that neither log-probabilities nor values cost the first epoch a pass of its own."""
    policy = PolicyWithValue(language_model, streams=2).eval()
    torch.nn.init.normal_(policy.value_head.linear.weight)
    uniforms = torch.rand((len(PROMPTS), 12), generator=torch.Generator().manual_seed(1))
    reference = Reference(language_model, additions=False)
    rollout = roll_out(policy, reference, tokenizer, PromptBatch(PROMPTS, {}), uniforms, PPOSettings())
    now = policy(rollout.sequence, rollout.attention_mask, rollout.responses, 1.0)
    mask = rollout.response_mask
    assert rollout.values.shape == (*mask.shape, 2)
    torch.testing.assert_close(now.values[mask], rollout.values[mask], atol=1e-5, rtol=1e-5)


def test_the_value_head_starts_at_zero(language_model: Any, sequences: tuple[torch.Tensor, torch.Tensor]) -> None:
    sequence, responses = sequences
    values = PolicyWithValue(language_model)(sequence, torch.ones_like(sequence), responses, 1.0).values
    assert (values == 0).all()


def test_the_reference_is_the_same_function_without_gradient(
    language_model: Any, sequences: tuple[torch.Tensor, torch.Tensor]
) -> None:
    sequence, responses = sequences
    mask = torch.ones_like(sequence)
    found = reference_logprobs(language_model, sequence, mask, responses, 0.8, rows=2)
    torch.testing.assert_close(found, PolicyWithValue(language_model)(sequence, mask, responses, 0.8).logprobs.detach())
    assert not found.requires_grad


@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_logprobs_of_sampling_equal_logprobs_of_evaluation(
    language_model: Any, tokenizer: Any, temperature: float
) -> None:
    rollout = one_rollout(language_model, tokenizer, temperature=temperature)
    policy = PolicyWithValue(language_model)
    now = policy(rollout.sequence, rollout.attention_mask, rollout.responses, temperature)
    mask = rollout.response_mask
    torch.testing.assert_close(now.logprobs[mask], rollout.logprobs[mask], atol=1e-5, rtol=1e-5)
    ratio = (now.logprobs - rollout.logprobs)[mask].exp()  # the first minibatch of an update starts here
    torch.testing.assert_close(ratio, torch.ones_like(ratio), atol=1e-5, rtol=0)
    torch.testing.assert_close(rollout.log_ratio, torch.zeros_like(rollout.log_ratio), atol=1e-5, rtol=0)


def test_a_rollout_is_cut_at_its_longest_response_and_keeps_the_prompt(language_model: Any, tokenizer: Any) -> None:
    rollout = one_rollout(language_model, tokenizer)
    lengths = rollout.response_mask.sum(-1)
    assert rollout.responses.shape[1] == lengths.max()
    assert [c.n_tokens for c in rollout.completions] == lengths.tolist()
    prompts, mask = pad_left(tokenizer(PROMPTS)["input_ids"], tokenizer.pad_token_id)
    assert torch.equal(rollout.sequence[:, : prompts.shape[1]], prompts)
    assert torch.equal(rollout.attention_mask[:, : prompts.shape[1]], mask)
    # every response ends with its end-of-sequence token or at the limit, and nothing is counted after it
    for tokens, counted, completion in zip(rollout.responses, rollout.response_mask, rollout.completions, strict=True):
        used = tokens[counted].tolist()
        assert completion.finished == (used[-1] == tokenizer.eos_token_id)
        assert completion.finished or len(used) == 12
        assert tokenizer.eos_token_id not in used[:-1]
    assert any(c.finished for c in rollout.completions)  # else this test shows nothing
