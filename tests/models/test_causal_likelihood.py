"""Every likelihood equals the plain one: one forward pass for each request, all logits, no cache, no padding."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import (
    byte_pair_tokenizer,
    masking_tokenizer,
    tiny_gpt2,
    tiny_language_model,
    tiny_llama,
    tiny_masked_language_model,
    tiny_tokenizer,
)
from transformers import (
    BloomConfig,
    BloomForCausalLM,
    GPTNeoConfig,
    GPTNeoForCausalLM,
    MambaConfig,
    MambaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
)

from rlhf_fair.errors import ModelLoadError, SettingsError
from rlhf_fair.models.batch_limits import BatchLimits
from rlhf_fair.models.causal_lm import CausalLM
from rlhf_fair.models.requests import Decoding, Generation, Likelihood, LogLikelihood, PseudoLogLikelihood
from rlhf_fair.models.shared_prefix import PrefixTree, prefix_tree, tree_rows
from rlhf_fair.models.token_logprobs import reads_trees, token_logprobs

CONTEXTS = [
    "",
    "i like the old cat.",
    "what do you think about the kind man?",
    "what do you think about the cruel man?",
]
ANSWERS = [" good", " not very good", " the young woman", " a", "", " i like the old dog and you hate the blue cat"]
REQUESTS = [
    LogLikelihood(f"{row}/{column}", context, answer)
    for row, context in enumerate(CONTEXTS)
    for column, answer in enumerate(ANSWERS)
]
WIDE = {"initializer_range": 0.3}
"""Far from uniform, so that a wrong cache, mask or position would show."""


def mistral(tokenizer: Any) -> Any:
    """Sees 6 tokens back: a gap between a prefix and what follows would push real tokens out of sight."""
    torch.manual_seed(0)
    config = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    config |= {"num_key_value_heads": 1, "max_position_embeddings": 64, "vocab_size": len(tokenizer)}
    return MistralForCausalLM(MistralConfig(**(config | WIDE), sliding_window=6))


MODELS = {
    "llama": lambda tokenizer: tiny_language_model(tokenizer, **WIDE),
    "gpt2": lambda tokenizer: tiny_gpt2(tokenizer, **WIDE),
    "mistral": mistral,
}


@pytest.fixture(params=["llama", "gpt2", "mistral"])
def model(request: pytest.FixtureRequest) -> CausalLM:
    tokenizer = byte_pair_tokenizer(opens_texts=request.param != "gpt2")
    return CausalLM(MODELS[request.param](tokenizer), tokenizer)


def plain_logprobs(model: Any, tokens: list[int]) -> list[float]:
    """ln P of every token but the first."""
    if len(tokens) < 2:
        return []
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([tokens[:-1]])).logits[0].double()
    return [float(torch.log_softmax(logits[at - 1], -1)[tokens[at]]) for at in range(1, len(tokens))]


def plain(model: CausalLM, request: LogLikelihood) -> Likelihood:
    """By the definition, for contexts that keep their tokens when a word that begins with a blank follows."""
    tokenizer = model.tokenizer
    opens = tokenizer("a")["input_ids"][0] == tokenizer.bos_token_id
    context = tokenizer(request.context, add_special_tokens=False)["input_ids"]
    whole = tokenizer(request.context + request.continuation, add_special_tokens=False)["input_ids"]
    assert whole[: len(context)] == context
    start = [tokenizer.bos_token_id] if opens or not context else []
    values = plain_logprobs(model.model, [*start, *whole])
    kept = values[len(start) + len(context) - 1 :] if len(whole) > len(context) else []
    return Likelihood(math.fsum(kept), len(kept))


def assert_equal(found: list[Likelihood | None], expected: list[Likelihood]) -> None:
    assert [None if one is None else one.n_tokens for one in found] == [one.n_tokens for one in expected]
    np.testing.assert_allclose([one.total for one in found if one], [one.total for one in expected], atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    "limits", [BatchLimits(), BatchLimits(tokens=1), BatchLimits(tokens=60), BatchLimits(share_prefixes=False)]
)
def test_equals_one_forward_pass_for_each_request(model: CausalLM, limits: BatchLimits) -> None:
    model.limits = limits
    assert_equal(model.log_likelihoods(REQUESTS), [plain(model, request) for request in REQUESTS])


@settings(max_examples=15, deadline=None)
@given(order=st.permutations(range(len(REQUESTS))), n=st.integers(1, len(REQUESTS)), tokens=st.integers(1, 400))
def test_neither_order_nor_batches_nor_company_matter(order: list[int], n: int, tokens: int) -> None:
    tokenizer = byte_pair_tokenizer()
    model = CausalLM(tiny_gpt2(tokenizer, **WIDE), tokenizer, limits=BatchLimits(tokens=tokens))
    asked = [REQUESTS[index] for index in order[:n]]
    assert_equal(model.log_likelihoods(asked), [plain(model, request) for request in asked])


def test_scaled_and_capped_heads_are_kept() -> None:
    """Gemma 2 caps its logits behind the projection; a head applied by hand would miss that."""
    from transformers import Gemma2Config, Gemma2ForCausalLM

    torch.manual_seed(0)
    tokenizer = byte_pair_tokenizer(opens_texts=True)
    shape = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    shape |= {"num_key_value_heads": 1, "head_dim": 8, "vocab_size": len(tokenizer), "final_logit_softcapping": 0.5}
    gemma = Gemma2ForCausalLM(Gemma2Config(**(shape | WIDE), sliding_window=6, attn_implementation="eager"))
    model = CausalLM(gemma, tokenizer)
    assert_equal(model.log_likelihoods(REQUESTS), [plain(model, request) for request in REQUESTS])


def test_a_model_that_hides_its_body_is_scored_all_the_same(model: CausalLM) -> None:
    class Wrapped(torch.nn.Module):
        """As adapters and compilers wrap models: no body with hidden states to be seen."""

        def __init__(self, inner: Any) -> None:
            super().__init__()
            self.inner, self.config = inner, inner.config

        @property
        def base_model(self) -> Any:
            return self

        def get_input_embeddings(self) -> Any:
            return self.inner.get_input_embeddings()

        def forward(self, input_ids: Any, position_ids: Any = None, **inputs: Any) -> Any:
            return self.inner(input_ids=input_ids, position_ids=position_ids, **inputs)

    assert_equal(
        CausalLM(Wrapped(model.model), model.tokenizer).log_likelihoods(REQUESTS), [plain(model, r) for r in REQUESTS]
    )


def test_the_border_is_where_the_tokens_of_the_context_end() -> None:
    """ "the " ends in a blank that becomes part of the next word: counting the context's tokens drops that word."""
    tokenizer = byte_pair_tokenizer()
    model = CausalLM(tiny_gpt2(tokenizer, **WIDE), tokenizer)
    ids = lambda text: tokenizer(text)["input_ids"]  # noqa: E731
    assert ids("the ")[:-1] == ids("the")
    assert ids("the woman") == [*ids("the"), *ids(" woman")]
    blank_before, blank_after = model.log_likelihoods(
        [LogLikelihood("1", "the ", "woman"), LogLikelihood("2", "the", " woman")]
    )
    assert blank_before == blank_after
    assert blank_before is not None
    assert blank_before.n_tokens == len(ids(" woman"))


def test_a_word_that_grows_across_the_border_counts_from_its_first_token() -> None:
    tokenizer = byte_pair_tokenizer()
    model = CausalLM(tiny_gpt2(tokenizer, **WIDE), tokenizer)
    whole, context = tokenizer(" woman")["input_ids"], tokenizer(" wom")["input_ids"]
    assert context != whole[: len(context)]  # " wom" alone is cut otherwise than within " woman"
    border = next(at for at, (one, other) in enumerate(zip(context, whole, strict=False)) if one != other)
    (answer,) = model.log_likelihoods([LogLikelihood("1", " wom", "an")])
    start = [tokenizer.bos_token_id] if border == 0 else []
    values = plain_logprobs(model.model, [*start, *whole])[-(len(whole) - border) :]
    assert answer is not None
    assert answer.n_tokens == len(whole) - border
    assert answer.total == pytest.approx(math.fsum(values), abs=1e-5)


def test_probabilities_of_all_first_tokens_add_up_to_1(model: CausalLM) -> None:
    vocabulary = range(len(model.tokenizer))
    context = model.tokenizer("i like the old cat and the dog")["input_ids"]
    scores = token_logprobs(model.model, [[*context, token] for token in vocabulary], [len(context)] * len(vocabulary))
    assert math.fsum(math.exp(score[0]) for score in scores) == pytest.approx(1, abs=1e-5)


def test_an_empty_continuation_is_certain(model: CausalLM) -> None:
    assert (
        model.log_likelihoods([LogLikelihood("1", "hello", ""), LogLikelihood("2", "", "")]) == [Likelihood(0.0, 0)] * 2
    )


def test_what_exceeds_the_window_is_missing_and_the_longest_that_fits_is_not(model: CausalLM) -> None:
    window, opening = 64, len(model.tokenizer("")["input_ids"])
    unit = " a"
    assert len(model.tokenizer(unit * 10, add_special_tokens=False)["input_ids"]) == 10
    fits, exceeds = window + 1 - opening, window + 2 - opening  # the last token is predicted, not read
    requests = [LogLikelihood(str(n), unit * (n - 2), unit * 2) for n in (fits, exceeds)]
    one, other = model.log_likelihoods(requests)
    assert other is None
    assert one is not None
    assert_equal([one], [plain(model, requests[0])])


def test_progress_counts_every_request_once(model: CausalLM) -> None:
    heard: list[int] = []
    model.limits = BatchLimits(tokens=40)
    too_long = LogLikelihood("long", " a" * 100, " a")
    model.log_likelihoods([*REQUESTS, *REQUESTS, too_long], progress=heard.append)
    assert sum(heard) == 2 * len(REQUESTS) + 1
    assert len(heard) > 3


def test_nothing_asked_nothing_answered(model: CausalLM) -> None:
    assert model.log_likelihoods([]) == model.pseudo_log_likelihoods([]) == []
    assert model.answers([], Decoding()) == []


def test_bfloat16_is_close_and_its_sums_are_made_in_float32() -> None:
    tokenizer = byte_pair_tokenizer()
    exact = CausalLM(tiny_gpt2(tokenizer), tokenizer).log_likelihoods(REQUESTS)
    rough = CausalLM(tiny_gpt2(tokenizer).to(torch.bfloat16), tokenizer).log_likelihoods(REQUESTS)
    for one, other in zip(exact, rough, strict=True):
        assert one is not None
        assert other is not None
        assert other.total == pytest.approx(one.total, rel=0.01)  # bfloat16 has 8 bits: 0.4 % a logit
    assert any(other.total != float(torch.tensor(other.total).bfloat16()) for other in rough if other)


# ---- chosen tokens of a text

PAIRS = [
    ("the old man is good.", "the old woman is good."),
    ("we like the young cat and you", "we like a very kind cat and you"),
    ("hello", "hello"),
]


def twins(tokens: Any) -> list[PseudoLogLikelihood]:
    return [
        PseudoLogLikelihood(f"{row}/{side}", pair[side], pair[1 - side], tokens)
        for row, pair in enumerate(PAIRS)
        for side in (0, 1)
    ]


def test_shared_and_changed_tokens_make_up_the_whole_text(model: CausalLM) -> None:
    whole, shared, changed = (model.pseudo_log_likelihoods(twins(tokens)) for tokens in ("all", "shared", "changed"))
    for request, w, s, c in zip(twins("all"), whole, shared, changed, strict=True):
        assert w is not None
        assert s is not None
        assert c is not None
        assert s.n_tokens + c.n_tokens == w.n_tokens
        assert s.total + c.total == pytest.approx(w.total, abs=1e-5)
        assert_equal([w], [plain(model, LogLikelihood("", "", request.text))])
    assert [one.n_tokens for one in shared[::2] if one] == [one.n_tokens for one in shared[1::2] if one]


def test_shared_and_changed_tokens_by_hand() -> None:
    """Whole words as tokens: the old [man] is [] good / the old [woman] is [very] good."""
    tokenizer = tiny_tokenizer()
    model = CausalLM(tiny_gpt2(tokenizer, **WIDE), tokenizer)
    text, other = "the old man is good", "the old woman is very good"
    ids = tokenizer(other)["input_ids"]
    of_other = plain_logprobs(model.model, [tokenizer.bos_token_id, *ids])
    requests = [PseudoLogLikelihood("1", other, text, "changed"), PseudoLogLikelihood("2", other, text, "shared")]
    changed, shared = model.pseudo_log_likelihoods(requests)
    assert_equal([changed], [Likelihood(of_other[2] + of_other[4], 2)])
    assert_equal([shared], [Likelihood(of_other[0] + of_other[1] + of_other[3] + of_other[5], 4)])


@pytest.mark.parametrize(("tokens", "says"), [("shared", "need a counterpart"), ("some", "not one of")])
def test_a_choice_of_tokens_without_meaning_is_refused(model: CausalLM, tokens: Any, says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        model.pseudo_log_likelihoods([PseudoLogLikelihood("1", "hello", "", tokens)])


# ---- answers


def test_answers_are_those_of_generate_and_depend_on_the_id(model: CausalLM) -> None:
    requests = [Generation(f"{row}#{sample}", prompt) for row, prompt in enumerate(CONTEXTS[1:]) for sample in range(3)]
    decoding = Decoding(max_new_tokens=6, seed=3)
    answers = model.answers(requests, decoding)
    assert model.answers(requests[::-1], decoding) == answers[::-1]
    expected = model.generate([r.prompt for r in requests], [r.id for r in requests], max_new_tokens=6, seed=3)
    assert answers == [completion.text for completion in expected]
    assert len(set(answers[:3])) > 1


def test_a_prompt_without_room_for_its_answer_is_missing(model: CausalLM) -> None:
    heard: list[int] = []
    requests = [Generation("1", " a" * 63), Generation("2", " a"), Generation("2", " a" * 63)]
    answers = model.answers(requests, Decoding(max_new_tokens=5), progress=heard.append)
    assert [answer is None for answer in answers] == [True, False, True]
    assert sum(heard) == 3


# ---- what is shared

TOKENS = st.lists(st.lists(st.integers(0, 2), min_size=2, max_size=7), min_size=1, max_size=7)


def tokens_to_read(sequences: list[list[int]]) -> int:
    """Distinct beginnings, by the definition of a prefix tree; nobody reads a last token."""
    return len({tuple(tokens[:stop]) for tokens in sequences for stop in range(1, len(tokens))})


def cuts(items: list[int]) -> list[list[list[int]]]:
    """Every way to cut a list into runs."""
    if not items:
        return [[]]
    return [[items[:stop], *rest] for stop in range(1, len(items) + 1) for rest in cuts(items[stop:])]


@given(sequences=TOKENS)
def test_a_tree_holds_every_beginning_once_and_paths_are_what_its_mask_shows(sequences: list[list[int]]) -> None:
    tree = prefix_tree(sorted(sequences))
    assert len(tree.tokens) == tokens_to_read(sequences)
    for tokens, path in zip(sorted(sequences), tree.paths, strict=True):
        assert tree.tokens[path].tolist() == tokens[:-1]
        assert tree.depths[path].tolist() == list(range(len(tokens) - 1))
        seen = [node for node in range(path[-1] + 1) if tree.ends[node] > path[-1]]
        assert seen == path.tolist()


@given(sequences=TOKENS, width=st.integers(1, 64), most=st.integers(1, 40))
def test_no_cut_into_rows_costs_less(sequences: list[list[int]], width: int, most: int) -> None:
    def cost(rows: list[list[int]]) -> float:
        sizes = [tokens_to_read([sequences[index] for index in row]) for row in rows]
        if any(size > most and len(row) > 1 for size, row in zip(sizes, rows, strict=True)):
            return math.inf
        return math.fsum(size + size**2 / (4 * width) for size in sizes)

    rows = tree_rows(sequences, width=width, most=most)
    order = [index for row in rows for index in row]
    assert sorted(order) == list(range(len(sequences)))
    assert [sequences[index] for index in order] == sorted(sequences)
    assert cost(rows) == pytest.approx(min(map(cost, cuts(order))))


def test_a_beginning_that_all_share_is_repeated_rather_than_let_a_row_grow_without_end() -> None:
    """As in few-shot prompts: 100 shared tokens, then 400 questions of 20."""
    sequences = [[*range(100), 1000 + row, *range(20)] for row in range(400)]
    rows = tree_rows(sequences, width=384, most=100_000)
    sizes = [tokens_to_read([sequences[index] for index in row]) for row in rows]
    # cost of a sequence in rows of m: (100 + 20m + (100 + 20m)² / 1536) / m, least where 20m = sqrt(100² + 153600)
    assert {round(size, -2) for size in sizes} == {500}


def test_texts_that_are_each_the_beginning_of_the_next_need_no_deep_recursion() -> None:
    sequences = [list(range(length)) for length in range(2, 1500)]
    rows = tree_rows(sequences, width=10**6, most=10_000)
    assert rows == [list(range(len(sequences)))]
    assert prefix_tree(sequences).tokens.tolist() == list(range(1498))


# ---- which models read trees


def tree_of(longest: int) -> PrefixTree:
    return prefix_tree([[*range(1, longest + 2)], [1, 2, 4, 5], [1, 3, 5, 7]])


def bloom(tokenizer: Any) -> Any:
    """Its attention falls off with the distance in the row (ALiBi): a branch in between would push words apart."""
    shape = {"hidden_size": 16, "n_layer": 2, "n_head": 2, "vocab_size": len(tokenizer)}
    return BloomForCausalLM(BloomConfig(**(shape | WIDE)))


def gpt_neo(tokenizer: Any) -> Any:
    """Every other layer sees 4 tokens back in the row, and its cache does not say so."""
    shape = {"hidden_size": 16, "num_layers": 2, "num_heads": 2, "vocab_size": len(tokenizer), "window_size": 4}
    shape |= {"bos_token_id": 2, "eos_token_id": 3}
    return GPTNeoForCausalLM(GPTNeoConfig(**(shape | WIDE), attention_types=[[["global", "local"], 1]]))


def mamba(tokenizer: Any) -> Any:
    """Carries a state from token to token, through a branch as well."""
    shape = {"hidden_size": 16, "num_hidden_layers": 2, "state_size": 4, "vocab_size": len(tokenizer)}
    return MambaForCausalLM(MambaConfig(**(shape | WIDE)))


@pytest.mark.parametrize("build", [bloom, gpt_neo, mamba])
def test_a_model_that_cannot_read_trees_is_noticed_and_scored_all_the_same(build: Any) -> None:
    torch.manual_seed(0)
    tokenizer = byte_pair_tokenizer()
    model = CausalLM(build(tokenizer), tokenizer)
    assert not reads_trees(model.model, [tree_of(8)])
    assert_equal(model.log_likelihoods(REQUESTS), [plain(model, request) for request in REQUESTS])


def test_a_model_that_takes_positions_and_ignores_the_mask_is_noticed(model: CausalLM) -> None:
    class Maskless(torch.nn.Module):
        def __init__(self, inner: Any) -> None:
            super().__init__()
            self.inner, self.config = inner, inner.config

        def get_input_embeddings(self) -> Any:
            return self.inner.get_input_embeddings()

        def forward(self, input_ids: Any, position_ids: Any = None, attention_mask: Any = None, **_: Any) -> Any:
            return self.inner(input_ids=input_ids, position_ids=position_ids)

    assert not reads_trees(Maskless(model.model), [tree_of(4)])


def test_models_of_plain_attention_read_trees_as_deep_as_their_window() -> None:
    tokenizer = byte_pair_tokenizer()
    for build in (MODELS["llama"], MODELS["gpt2"]):
        for dtype in (torch.float32, torch.bfloat16):
            assert reads_trees(build(tokenizer).to(dtype), [tree_of(60)])
    assert reads_trees(mistral(tokenizer), [tree_of(6)])
    assert not reads_trees(mistral(tokenizer), [tree_of(7)])


# ---- loading


def test_an_encoder_is_not_taken_for_a_causal_model(tmp_path: Path) -> None:
    """Its weights fit a decoder of the same name, so nothing is missing, and every probability would have peeked."""
    tokenizer = masking_tokenizer()
    tiny_masked_language_model(tokenizer, initializer_range=0.3).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(ModelLoadError, match="a prediction depends on what follows"):
        CausalLM.load(tmp_path)


def test_a_classifier_is_not_taken_for_a_language_model(tmp_path: Path) -> None:
    tiny_llama().save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    with pytest.raises(ModelLoadError, match=r"not a trained CausalLM: lacks lm_head\.weight"):
        CausalLM.load(tmp_path)


def test_precision_and_device_map_reach_the_model(model: CausalLM, tmp_path: Path) -> None:
    model.model.save_pretrained(tmp_path)
    model.tokenizer.save_pretrained(tmp_path)
    mapped = CausalLM.load(tmp_path, device_map="cpu")
    assert mapped.log_likelihoods(REQUESTS) == model.log_likelihoods(REQUESTS)
    assert next(CausalLM.load(tmp_path, precision="bfloat16").model.parameters()).dtype == torch.bfloat16
    with pytest.raises(SettingsError, match="precision is 'int3', not one of"):
        CausalLM.load(tmp_path, precision="int3")  # type: ignore[arg-type]
