"""Every pseudo-log-likelihood equals the plain one: one forward pass for each masked token, all logits, no padding."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import masking_tokenizer, tiny_bert, tiny_masked_language_model, tiny_tokenizer
from transformers import (
    DistilBertConfig,
    DistilBertForMaskedLM,
    ModernBertConfig,
    ModernBertForMaskedLM,
    RobertaConfig,
    RobertaForMaskedLM,
)

from rlhf_fair.errors import ModelLoadError, SettingsError
from rlhf_fair.models.batch_limits import BatchLimits
from rlhf_fair.models.counterpart import chosen_positions
from rlhf_fair.models.masked_lm import MaskedLM
from rlhf_fair.models.requests import Likelihood, PseudoLogLikelihood, Tokens

PAIRS = [
    ("the old man is good .", "the old woman is good ."),
    ("we like the young cat and you", "we like a very kind young cat"),
    ("what do you think about the awful story ?", "what do you think about the nice story ?"),
    ("hello", "hello friend , we love the unheard day"),
]
SIZE = {"num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32, "hidden_size": 16}


def bert(tokenizer: Any) -> Any:
    return tiny_masked_language_model(tokenizer, initializer_range=0.5)


def roberta(tokenizer: Any) -> Any:
    """Its positions start behind the number of its pad token."""
    config = SIZE | {"vocab_size": len(tokenizer), "max_position_embeddings": 66, "pad_token_id": 0}
    return RobertaForMaskedLM(RobertaConfig(**config, initializer_range=0.5)).eval()


def distilbert(tokenizer: Any) -> Any:
    config = {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 32, "vocab_size": len(tokenizer)}
    return DistilBertForMaskedLM(DistilBertConfig(**config, pad_token_id=0, initializer_range=0.5)).eval()


def modernbert(tokenizer: Any) -> Any:
    """Local attention in every other layer, rotary positions."""
    config = SIZE | {"vocab_size": len(tokenizer), "pad_token_id": 0, "local_attention": 4, "initializer_range": 0.5}
    ids = {"bos_token_id": 2, "eos_token_id": 3, "cls_token_id": 4, "sep_token_id": 5}
    return ModernBertForMaskedLM(ModernBertConfig(**config, **ids, attn_implementation="sdpa")).eval()


@pytest.fixture(scope="module", params=[bert, roberta, distilbert, modernbert])
def model(request: pytest.FixtureRequest) -> MaskedLM:
    torch.manual_seed(0)
    tokenizer = masking_tokenizer()
    return MaskedLM(request.param(tokenizer), tokenizer)


def asked(tokens: Tokens) -> list[PseudoLogLikelihood]:
    return [
        PseudoLogLikelihood(f"{row}/{side}", pair[side], pair[1 - side], tokens)
        for row, pair in enumerate(PAIRS)
        for side in (0, 1)
    ]


def plain(model: MaskedLM, request: PseudoLogLikelihood) -> Likelihood:
    ids = model.tokenizer(request.text)["input_ids"]
    other = model.tokenizer(request.counterpart)["input_ids"]
    values = []
    for at in chosen_positions(ids, other, request.tokens):
        if 0 < at < len(ids) - 1:  # [CLS] and [SEP]
            masked = [*ids[:at], model.tokenizer.mask_token_id, *ids[at + 1 :]]
            with torch.no_grad():
                logits = model.model(input_ids=torch.tensor([masked])).logits[0, at].double()
            values.append(float(logits.log_softmax(-1)[ids[at]]))
    return Likelihood(math.fsum(values), len(values))


def assert_equal(found: list[Likelihood | None], expected: list[Likelihood]) -> None:
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert one is not None
        assert one.n_tokens == other.n_tokens
        assert one.total == pytest.approx(other.total, abs=1e-5)


@pytest.mark.parametrize("tokens", ["all", "shared", "changed"])
@pytest.mark.parametrize("limits", [BatchLimits(), BatchLimits(tokens=1), BatchLimits(tokens=50)])
def test_equals_one_forward_pass_for_each_mask(model: MaskedLM, tokens: Tokens, limits: BatchLimits) -> None:
    limited = MaskedLM(model.model, model.tokenizer, limits=limits)
    requests = asked(tokens)
    assert_equal(limited.pseudo_log_likelihoods(requests), [plain(model, request) for request in requests])


@settings(max_examples=10, deadline=None)
@given(order=st.permutations(range(24)), n=st.integers(1, 24), tokens=st.integers(1, 300))
def test_neither_order_nor_batches_nor_company_matter(order: list[int], n: int, tokens: int) -> None:
    tokenizer = masking_tokenizer()
    model = MaskedLM(bert(tokenizer), tokenizer, limits=BatchLimits(tokens=tokens))
    every = [*asked("all"), *asked("shared"), *asked("changed")]
    requests = [every[index] for index in order[:n]]
    assert_equal(model.pseudo_log_likelihoods(requests), [plain(model, request) for request in requests])


def test_twins_that_differ_in_one_word_leave_the_same_blank(model: MaskedLM) -> None:
    """ "the old [MASK] is good ." asks for two words in one pass."""
    rows: list[int] = []
    handle = model.model.get_input_embeddings().register_forward_hook(
        lambda _m, inputs, _o: rows.append(len(inputs[0]))
    )
    model.pseudo_log_likelihoods(asked("changed")[:2])
    handle.remove()
    assert sum(rows) == 1


def test_the_head_runs_at_the_blanks_alone(model: MaskedLM) -> None:
    shapes: list[tuple[int, ...]] = []
    handle = model.model.get_output_embeddings().register_forward_hook(lambda _m, _i, out: shapes.append(out.shape))
    answers = model.pseudo_log_likelihoods(asked("all")[:1])
    handle.remove()
    assert answers[0] is not None
    assert sum(math.prod(shape[:-1]) for shape in shapes) == answers[0].n_tokens == 6


def test_unknown_words_are_scored_and_the_frame_is_not(model: MaskedLM) -> None:
    (answer,) = model.pseudo_log_likelihoods([PseudoLogLikelihood("1", "the unheard day")])
    assert answer is not None
    assert answer.n_tokens == 3


def test_nothing_to_score_is_0_of_0_and_what_exceeds_the_window_is_missing() -> None:
    tokenizer = masking_tokenizer()
    model = MaskedLM(bert(tokenizer), tokenizer)
    texts = ["", "cat " * 62, "cat " * 63]  # a window of 64 holds 62 words and the frame
    requests = [PseudoLogLikelihood(str(index), text) for index, text in enumerate(texts)]
    heard: list[int] = []
    nothing, fits, exceeds = model.pseudo_log_likelihoods(requests, progress=heard.append)
    assert nothing == Likelihood(0.0, 0)
    assert exceeds is None
    assert_equal([fits], [plain(model, requests[1])])
    assert sum(heard) == 3
    assert model.pseudo_log_likelihoods([]) == []


def test_progress_counts_every_request_once(model: MaskedLM) -> None:
    heard: list[int] = []
    limited = MaskedLM(model.model, model.tokenizer, limits=BatchLimits(tokens=30))
    limited.pseudo_log_likelihoods([*asked("shared"), *asked("all")], progress=heard.append)
    assert sum(heard) == 16
    assert len(heard) > 2


def test_a_counterpart_is_needed_for_shared_tokens(model: MaskedLM) -> None:
    with pytest.raises(SettingsError, match="'shared' tokens need a counterpart"):
        model.pseudo_log_likelihoods([PseudoLogLikelihood("1", "hello", tokens="shared")])


# ---- which tokens are shared


@pytest.mark.parametrize(
    ("ids", "counterpart", "shared"),
    [
        ([1, 2, 3], [1, 9, 3], [0, 2]),
        ([1, 2, 3, 4], [1, 7, 8, 9, 4], [0, 3]),  # one word against three
        ([5, 1, 2, 3], [1, 2, 3], [1, 2, 3]),
        ([1, 2], [3, 4], []),
        ([], [1], []),
        # the longest block wins, "2 3 4" at the end, though 9 would match too: 9 stands before it on one side only
        ([9, 2, 3, 4], [2, 3, 4, 9], [1, 2, 3]),
    ],
)
def test_shared_tokens_by_hand(ids: list[int], counterpart: list[int], shared: list[int]) -> None:
    assert chosen_positions(ids, counterpart, "shared") == shared
    assert chosen_positions(ids, counterpart, "changed") == sorted(set(range(len(ids))) - set(shared))


IDS = st.lists(st.integers(0, 3), max_size=12)


@given(IDS, IDS)
def test_both_texts_share_the_same_tokens_in_the_same_order(one: list[int], other: list[int]) -> None:
    from_one = [one[at] for at in chosen_positions(one, other, "shared")]
    from_other = [other[at] for at in chosen_positions(other, one, "shared")]
    assert from_one == from_other


# ---- loading


def test_a_saved_model_answers_the_same(tmp_path: Path) -> None:
    tokenizer = masking_tokenizer()
    model = MaskedLM(bert(tokenizer), tokenizer)
    model.model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    loaded = MaskedLM.load(tmp_path)
    assert loaded.pseudo_log_likelihoods(asked("all")) == model.pseudo_log_likelihoods(asked("all"))
    rough = MaskedLM.load(tmp_path, precision="bfloat16").pseudo_log_likelihoods(asked("all"))
    for one, other in zip(rough, model.pseudo_log_likelihoods(asked("all")), strict=True):
        assert one is not None
        assert other is not None
        assert one.total == pytest.approx(other.total, rel=0.05)


def test_a_model_without_a_trained_head_is_refused(tmp_path: Path) -> None:
    tiny_bert().save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    with pytest.raises(ModelLoadError, match="not a trained MaskedLM: lacks cls"):
        MaskedLM.load(tmp_path)


def test_a_tokenizer_without_a_mask_is_refused() -> None:
    tokenizer = tiny_tokenizer()
    with pytest.raises(ModelLoadError, match="no mask token"):
        MaskedLM(tiny_masked_language_model(tokenizer), tokenizer)
