from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare, kstest
from tiny import tiny_language_model, tiny_tokenizer
from transformers import LlamaConfig, MambaConfig, MambaForCausalLM

from rlhf_fair.errors import ModelLoadError
from rlhf_fair.models.batch_limits import BatchLimits
from rlhf_fair.models.causal_lm import CausalLM, decode
from rlhf_fair.models.token_sampling import SampledTokens, ends_of, item_uniforms, pad_left, sample_tokens

PROMPTS = ["i like the", "you hate", "we love the old dog and the", "what do you think about the kind man ?", "hi"]
IDS = ["a", "b", "c", "d", "e"]


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return tiny_tokenizer()


@pytest.fixture(scope="module")
def model(tokenizer: Any) -> CausalLM:
    """Wide initial weights: far from uniform, so that a wrong cache or position would show."""
    return CausalLM(tiny_language_model(tokenizer, initializer_range=0.3), tokenizer)


class FixedLogits:
    """A model that always says the same: its distribution is known."""

    def __init__(self, probabilities: list[float]) -> None:
        self.config = LlamaConfig(num_hidden_layers=1)
        self.logits = torch.tensor(probabilities).log().clamp(min=-1e4)

    def __call__(self, input_ids: torch.Tensor, **_: Any) -> Any:
        return type("Output", (), {"logits": self.logits.expand(len(input_ids), 1, -1)})


def sample_fixed(probabilities: list[float], uniforms: list[list[float]], **options: Any) -> SampledTokens:
    prompt = torch.ones(len(uniforms), 1, dtype=torch.long)
    settings: dict[str, Any] = {"eos_token_id": 0, "pad_token_id": 9} | options
    return sample_tokens(FixedLogits(probabilities), prompt, prompt.bool(), torch.tensor(uniforms), **settings)


def test_uniforms_depend_on_id_and_seed_alone() -> None:
    together, alone = item_uniforms(["a", "b", "c"], 8, seed=3), item_uniforms(["b"], 8, seed=3)
    assert (together[1] == alone[0]).all()
    assert (item_uniforms(["b"], 5, seed=3)[0] == alone[0, :5]).all()
    assert (item_uniforms(["b"], 8, seed=4) != alone).any()
    assert (together[0] != together[1]).any()
    assert item_uniforms([], 8, seed=3).shape == (0, 8)


def test_uniforms_are_uniform_across_ids() -> None:
    first = item_uniforms([f"item {index}" for index in range(2000)], 2, seed=1)
    assert kstest(first[:, 0], "uniform").pvalue > 1e-3
    assert abs(np.corrcoef(first.T)[0, 1]) < 4 / np.sqrt(2000)


def test_sampling_inverts_the_cumulative_distribution_by_hand() -> None:
    # .2 .5 .3: [0, .2) -> 0, [.2, .7) -> 1, [.7, 1) -> 2
    sampled = sample_fixed([0.2, 0.5, 0.3], [[0.0], [0.19], [0.21], [0.69], [0.71], [0.9999999]])
    assert sampled.tokens[:, 0].tolist() == [0, 0, 1, 1, 2, 2]
    expected = torch.tensor([0.2, 0.2, 0.5, 0.5, 0.3, 0.3]).log()
    torch.testing.assert_close(sampled.logprobs[:, 0], expected)


def test_temperature_divides_the_logits() -> None:
    # temperature 1/2 squares the odds: .2^2 .5^2 .3^2 = .04 .25 .09, sum .38
    sampled = sample_fixed([0.2, 0.5, 0.3], [[0.1], [0.11], [0.77]], temperature=0.5)
    assert sampled.tokens[:, 0].tolist() == [0, 1, 2]  # borders at .105 and .763
    torch.testing.assert_close(sampled.logprobs[:, 0].exp(), torch.tensor([0.04, 0.25, 0.09]) / 0.38)


def test_frequencies_follow_the_model() -> None:
    uniforms = item_uniforms([str(index) for index in range(3000)], 1, seed=2)
    counts = sample_fixed([0.2, 0.5, 0.3], uniforms.tolist()).tokens[:, 0].bincount()
    assert chisquare(counts.numpy(), 3000 * np.array([0.2, 0.5, 0.3])).pvalue > 1e-3


def test_an_impossible_token_is_never_sampled() -> None:
    sampled = sample_fixed([0.0, 0.5, 0.0, 0.5, 0.0], [[0.0], [0.5], [0.9999999]])
    assert set(sampled.tokens[:, 0].tolist()) <= {1, 3}


def test_nothing_counts_after_the_end_token() -> None:
    # token 0 ends: row 1 at the second step, row 2 at once, row 3 never
    sampled = sample_fixed([0.5, 0.5], [[0.9, 0.1, 0.9], [0.1, 0.9, 0.9], [0.9, 0.9, 0.9]])
    assert sampled.tokens.tolist() == [[1, 0, 9], [0, 9, 9], [1, 1, 1]]
    assert sampled.response_mask.sum(-1).tolist() == [2, 1, 3]
    assert (sampled.logprobs[~sampled.response_mask] == 0).all()


def test_any_of_several_tokens_ends_an_answer() -> None:
    # of three equally likely tokens 0 and 2 end: row 1 by 2 at once, row 2 by 0 at the second step, row 3 never
    uniforms = [[0.9, 0.5, 0.5], [0.5, 0.1, 0.5], [0.5, 0.5, 0.5]]
    sampled = sample_fixed([1 / 3, 1 / 3, 1 / 3], uniforms, eos_token_id=frozenset({0, 2}))
    assert sampled.tokens.tolist() == [[2, 9, 9], [1, 0, 9], [1, 1, 1]]
    assert sampled.response_mask.sum(-1).tolist() == [1, 2, 3]


def test_a_tokenizer_without_an_end_is_named() -> None:
    endless = tiny_tokenizer()
    endless.eos_token, endless.name_or_path = None, "somewhere"
    with pytest.raises(ModelLoadError, match="tokenizer somewhere: it has no eos_token"):
        ends_of(endless)


def test_decoding_leaves_special_tokens_out_and_knows_what_was_cut_off(tokenizer: Any) -> None:
    cat, dog = tokenizer("cat dog")["input_ids"]
    end, pad = tokenizer.eos_token_id, tokenizer.pad_token_id
    tokens = torch.tensor([[cat, end, pad], [cat, dog, cat], [end, pad, pad]])
    mask = torch.tensor([[True, True, False], [True, True, True], [True, False, False]])
    completions = decode(tokenizer, SampledTokens(tokens, mask, torch.zeros(3, 3)))
    assert [c.text for c in completions] == ["cat", "cat dog cat", ""]
    assert [c.n_tokens for c in completions] == [2, 3, 1]
    assert [c.finished for c in completions] == [True, False, True]


@given(st.permutations(range(5)), st.integers(1, 6))
def test_an_answer_does_not_depend_on_order_or_batch(model: CausalLM, order: list[int], batch_size: int) -> None:
    expected = model.generate(PROMPTS, IDS, max_new_tokens=8, seed=5)
    shuffled = model.generate(
        [PROMPTS[i] for i in order], [IDS[i] for i in order], max_new_tokens=8, seed=5, batch_size=batch_size
    )
    assert shuffled == [expected[i] for i in order]


def test_an_answer_depends_on_its_id_and_the_seed(model: CausalLM) -> None:
    same_prompt = [PROMPTS[0]] * 5
    answers = [c.text for c in model.generate(same_prompt, IDS, max_new_tokens=8, seed=5)]
    assert len(set(answers)) > 1
    assert answers != [c.text for c in model.generate(same_prompt, IDS, max_new_tokens=8, seed=6)]


def test_temperature_0_takes_the_most_likely_token_at_every_step(model: CausalLM) -> None:
    completions = model.generate(PROMPTS, IDS, max_new_tokens=6, seed=5, temperature=0.0)
    for prompt, completion in zip(PROMPTS, completions, strict=True):
        ids = model.tokenizer(prompt)["input_ids"]
        start = len(ids)
        for _ in range(6):  # no cache, no padding, no batch
            with torch.no_grad():
                ids = [*ids, int(model.model(input_ids=torch.tensor([ids])).logits[0, -1].argmax())]
            if ids[-1] == model.tokenizer.eos_token_id:
                break
        assert completion.text == model.tokenizer.decode(ids[start:], skip_special_tokens=True)
        assert completion.n_tokens == len(ids) - start


class Ends(FixedLogits):
    """Keeps count of the rows it is shown."""

    def __init__(self, probabilities: list[float]) -> None:
        super().__init__(probabilities)
        self.rows: list[int] = []

    def __call__(self, input_ids: torch.Tensor, **inputs: Any) -> Any:
        self.rows.append(len(input_ids))
        assert len(inputs["attention_mask"]) == len(inputs["position_ids"]) == len(input_ids)
        return super().__call__(input_ids)


def test_copies_of_a_prompt_are_read_once_and_finished_rows_leave_the_batch() -> None:
    model = Ends([0.5, 0.5])  # token 0 ends: rows take 3, 1, 2 and 4 steps
    uniforms = torch.tensor([[0.9, 0.9, 0.1, 0.9], [0.1] * 4, [0.9, 0.1, 0.9, 0.9], [0.9] * 4])
    prompt = torch.tensor([[4, 5], [4, 5], [6, 5], [4, 5]])
    sampled = sample_tokens(model, prompt, torch.ones(4, 2).bool(), uniforms, eos_token_id=0, pad_token_id=9)
    assert model.rows == [2, 3, 2, 1]
    assert sampled.tokens.tolist() == [[1, 1, 0, 9], [0, 9, 9, 9], [1, 0, 9, 9], [1, 1, 1, 1]]
    assert sampled.response_mask.sum(-1).tolist() == [3, 1, 2, 4]


def test_a_copy_of_a_prompt_differs_from_it_in_padding_or_tokens(model: CausalLM) -> None:
    """A prompt that begins with the pad token is not the shorter prompt behind padding."""
    pad = model.tokenizer.pad_token_id
    prompts = torch.tensor([[pad, 5], [pad, 5]])
    mask = torch.tensor([[False, True], [True, True]])
    uniforms = torch.full((2, 1), 0.5)
    sampled = sample_tokens(model.model, prompts, mask, uniforms, eos_token_id=3, pad_token_id=pad)
    for row, tokens in enumerate(([5], [pad, 5])):
        logprobs = model.model(input_ids=torch.tensor([tokens])).logits[0, -1].log_softmax(-1)
        assert sampled.logprobs[row, 0].item() == pytest.approx(logprobs[sampled.tokens[row, 0]].item(), abs=1e-5)


@given(st.data(), st.integers(1, 700))
def test_sampling_in_blocks_inverts_the_whole_distribution(data: Any, vocabulary: int) -> None:
    """Against numpy's running sums in double precision; 256 tokens make a block, so there are up to three."""
    weights = data.draw(st.lists(st.sampled_from([0, 0, 1, 3, 50]), min_size=vocabulary, max_size=vocabulary))
    weights[data.draw(st.integers(0, vocabulary - 1))] = 7
    probabilities = np.array(weights) / sum(weights)
    uniform = data.draw(st.floats(0, 1, exclude_max=True, width=32))
    sampled = sample_fixed(probabilities.tolist(), [[uniform]], eos_token_id=-1)
    token = int(sampled.tokens[0, 0])
    cumulative = np.concatenate([[0], probabilities.cumsum()])
    assert weights[token] > 0
    assert cumulative[token] - 1e-5 <= uniform <= cumulative[token + 1] + 1e-5
    assert sampled.logprobs[0, 0].item() == pytest.approx(np.log(probabilities[token]), abs=1e-4)


def test_without_a_batch_size_the_tokens_of_prompts_and_answers_are_limited(model: CausalLM) -> None:
    limited = CausalLM(model.model, model.tokenizer, limits=BatchLimits(tokens=20))
    done: list[int] = []
    answers = limited.generate(PROMPTS, IDS, max_new_tokens=5, seed=5, on_batch=done.append)
    assert answers == model.generate(PROMPTS, IDS, max_new_tokens=5, seed=5, batch_size=5)
    # prompts of 1, 2, 3, 7 and 9 words with 5 more: 2 rows of 7 fit in 20, 3 of 8 and 2 of 12 do not
    assert done == [2, 1, 1, 1]


def test_temperature_0_needs_no_seed(model: CausalLM) -> None:
    one, other = (model.generate(PROMPTS, IDS, max_new_tokens=6, seed=s, temperature=0.0) for s in (1, 2))
    assert one == other


def test_progress_counts_every_item_once(model: CausalLM) -> None:
    done: list[int] = []
    model.generate(PROMPTS, IDS, max_new_tokens=2, seed=5, batch_size=2, on_batch=done.append)
    assert done == [2, 2, 1]


def test_no_prompts_no_answers(model: CausalLM) -> None:
    assert model.generate([], [], max_new_tokens=2, seed=5) == []


def test_padding_stands_before_the_text() -> None:
    ids, mask = pad_left([[5, 6], [7], [1, 2, 3]], pad_token_id=0)
    assert ids.tolist() == [[0, 5, 6], [0, 0, 7], [1, 2, 3]]
    assert mask.sum(-1).tolist() == [2, 1, 3]
    assert mask[:, -1].all()


def test_a_saved_model_answers_the_same(model: CausalLM, tmp_path: Path) -> None:
    model.model.save_pretrained(tmp_path)
    model.tokenizer.save_pretrained(tmp_path)
    loaded = CausalLM.load(tmp_path)
    assert loaded.generate(PROMPTS, IDS, max_new_tokens=6, seed=5) == model.generate(
        PROMPTS, IDS, max_new_tokens=6, seed=5
    )


def test_a_model_that_drops_keys_and_values_is_not_sampled_from() -> None:
    """A state-space model takes none; another takes them and forgets."""
    tokenizer = tiny_tokenizer()
    sizes = {"vocab_size": len(tokenizer), "hidden_size": 16, "state_size": 4, "num_hidden_layers": 2}
    mamba = CausalLM(MambaForCausalLM(MambaConfig(**sizes)).eval(), tokenizer)
    with pytest.raises(ModelLoadError, match="model MambaForCausalLM: its forward pass takes no past_key_values"):
        mamba.generate(["the man"], ["0"], max_new_tokens=3, seed=0)
    forgetful = tiny_language_model(tokenizer, initializer_range=0.3).eval()
    remembers = forgetful.model.forward

    def forgets(*args: Any, **named: Any) -> Any:
        return remembers(*args, **(named | {"past_key_values": None}))

    forgetful.model.forward = forgets
    with pytest.raises(ModelLoadError, match=r"differ by [\d.]+ nats .* samples are not its own"):
        CausalLM(forgetful, tokenizer).generate(["the man"], ["0"], max_new_tokens=3, seed=0)
