from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import WORDS, tiny_bert, tiny_llama, tiny_tokenizer
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    XLNetConfig,
    XLNetForSequenceClassification,
)

from rlhf_fair.models.classifier import ClassifierScorer
from rlhf_fair.models.reward_model import LONGEST, RewardModel, batches, encode, pad, token_limit

TEXTS = [
    "good day",
    "i am a kind person .",
    "hate",
    "",
    "we like the old dog and the young cat very very much !",
    "hate",
]


@pytest.mark.parametrize("build", [tiny_bert, tiny_llama])
def test_saved_folder_scores_the_same_in_plain_transformers(build: Callable[[], Any], tmp_path: Path) -> None:
    model = RewardModel(build(), tiny_tokenizer(), max_length=8)
    model.save(tmp_path)
    texts = [text for text in TEXTS if text]  # plain transformers cannot batch a text without tokens
    expected = model.score(texts)
    plain, tokenizer = (
        AutoModelForSequenceClassification.from_pretrained(tmp_path),
        AutoTokenizer.from_pretrained(tmp_path),
    )
    batch = tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
    batch.pop("token_type_ids", None)
    with torch.no_grad():
        scores = plain.eval()(**batch).logits[:, 0].double().numpy()
    assert scores == pytest.approx(expected, abs=1e-6)
    again = RewardModel.load(tmp_path)
    assert again.max_length == 8
    assert np.array_equal(again.score(texts), expected)


@pytest.mark.parametrize("build", [tiny_bert, tiny_llama])
def test_a_text_scores_the_same_alone_and_in_a_batch(build: Callable[[], Any]) -> None:
    model = RewardModel(build(), tiny_tokenizer())
    together = model.score(TEXTS)
    assert together.dtype == np.float64
    assert np.isfinite(together).all()
    assert together == pytest.approx(np.array([model.score([text])[0] for text in TEXTS]), abs=1e-6)
    assert together[2] == together[5]


@settings(max_examples=20, deadline=None)
@given(st.permutations([" ".join(WORDS[i : i + n]) for i in range(6) for n in range(1, 5)]), st.integers(1, 7))
def test_scores_do_not_depend_on_the_order(texts: list[str], batch_size: int) -> None:
    model = RewardModel(tiny_bert(), tiny_tokenizer())
    scores = dict(zip(texts, model.score(texts, batch_size=batch_size), strict=True))
    for text, score in zip(sorted(texts), model.score(sorted(texts), batch_size=batch_size), strict=True):
        assert scores[text] == score


def test_nothing_to_score() -> None:
    assert RewardModel(tiny_bert(), tiny_tokenizer()).score([]).shape == (0,)


def test_progress_counts_distinct_texts() -> None:
    heard: list[int] = []
    RewardModel(tiny_bert(), tiny_tokenizer()).score(TEXTS, batch_size=2, on_batch=heard.append)
    assert heard == [2, 4, 5]  # six texts, "hate" twice


def test_long_texts_are_cut() -> None:
    tokenizer = tiny_tokenizer()
    assert [len(row) for row in encode(tokenizer, ["good " * 20, "good", ""], 6)] == [6, 1, 1]
    model = RewardModel(tiny_bert(), tokenizer, max_length=6)
    cut, short = model.score(["good " * 20, "good " * 6])
    assert cut == short


@pytest.mark.parametrize(
    ("stated", "positions", "limit"),
    [(8192, 8192, 8192), (None, 4096, 4096), (300, 4096, 300), (8192, 4096, 4096), (131072, 131072, 131072)],
)
def test_as_many_tokens_are_read_as_model_and_tokenizer_state(
    stated: int | None, positions: int, limit: int, tmp_path: Path
) -> None:
    tiny_llama(max_position_embeddings=positions).save_pretrained(tmp_path)
    tokenizer = tiny_tokenizer()
    if stated is not None:
        tokenizer.model_max_length = stated
    tokenizer.save_pretrained(tmp_path)
    assert RewardModel.load(tmp_path, device="cpu").max_length == limit
    assert ClassifierScorer.load(tmp_path, {"LABEL_0": 1}).max_length == limit


def test_a_length_that_training_read_is_read_again(tmp_path: Path) -> None:
    model = tiny_llama(max_position_embeddings=4096)
    RewardModel(model, tiny_tokenizer(), max_length=2048, device="cpu").save(tmp_path)
    assert RewardModel.load(tmp_path, device="cpu").max_length == 2048


def test_where_no_limit_is_stated_there_is_one(tmp_path: Path) -> None:
    sizes = {"d_model": 16, "n_layer": 1, "n_head": 2, "d_inner": 32}
    model = XLNetForSequenceClassification(XLNetConfig(**sizes, vocab_size=len(WORDS) + 4, num_labels=1))
    assert RewardModel(model, tiny_tokenizer(), device="cpu").max_length == LONGEST


def test_the_answer_behind_a_long_prompt_is_read() -> None:
    model = RewardModel(tiny_llama(max_position_embeddings=8192), tiny_tokenizer(), device="cpu")
    good, bad = model.score(["what do you think ? " * 300 + answer for answer in ("good", "bad")])
    assert good != bad


@given(
    st.lists(st.integers(0, 5000), max_size=30),  # tokens of each text
    st.integers(1, 8),
)
def test_batches_of_long_texts_hold_fewer(lengths: list[int], batch_size: int) -> None:
    tokens = [[7] * length for length in lengths]
    found = list(batches(tokens, range(len(tokens)), batch_size))
    assert sorted(row for rows in found for row in rows) == list(range(len(tokens)))
    for rows in found:
        longest = max(lengths[row] for row in rows)
        assert len(rows) <= batch_size
        assert len(rows) == 1 or len(rows) * longest <= batch_size * LONGEST
    short = [row for row, length in enumerate(lengths) if length <= LONGEST]
    if len(short) == len(lengths):  # no long text: only the last batch may have room
        assert all(len(rows) == batch_size for rows in found[:-1])


@pytest.mark.parametrize("batch_size", [2, 4])
def test_no_pass_holds_more_than_its_share(batch_size: int) -> None:
    model = RewardModel(tiny_llama(max_position_embeddings=131072), tiny_tokenizer(), device="cpu")
    sizes: list[torch.Size] = []
    model.model.get_input_embeddings().register_forward_pre_hook(lambda _, inputs: sizes.append(inputs[0].shape))
    texts = [f"{'good ' * n}day" for n in (3, 5, 1500, 1600, 1700)]
    scores = model.score(texts, batch_size=batch_size)
    # two rows hold 2048 tokens, four 4096: two of 1601 fit into the latter
    assert [tuple(size) for size in sizes] == {
        2: [(2, 6), (1, 1501), (1, 1601), (1, 1701)],
        4: [(2, 6), (2, 1601), (1, 1701)],
    }[batch_size]
    assert scores == pytest.approx([model.score([text])[0] for text in texts], abs=1e-6)


def test_padding_by_hand() -> None:
    batch = pad([[5, 6, 7], [8]], pad_token_id=0)
    assert batch["input_ids"].tolist() == [[5, 6, 7], [8, 0, 0]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0]]


def test_a_length_that_is_no_number_is_no_limit() -> None:
    model, tokenizer = tiny_bert(), tiny_tokenizer()
    stated = token_limit(model, tokenizer)
    for wrong in ({"__type": "AddedToken"}, "long", float("nan"), 0.5, None):
        tokenizer.model_max_length = wrong
        assert token_limit(model, tokenizer) == stated
