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
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from rlhf_fair.models.reward_model import RewardModel, encode, pad

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


def test_padding_by_hand() -> None:
    batch = pad([[5, 6, 7], [8]], pad_token_id=0)
    assert batch["input_ids"].tolist() == [[5, 6, 7], [8, 0, 0]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0]]
