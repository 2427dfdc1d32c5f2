"""Features of pairs: what the last layer sees, so that its weights give back the model's own rewards."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tiny import masking_tokenizer, tiny_bert, tiny_llama, tiny_masked_language_model, tiny_tokenizer

from rlhf_fair.errors import ModelLoadError
from rlhf_fair.models.encoder import Encoder
from rlhf_fair.models.pair_features import encoder_features, reward_features
from rlhf_fair.models.reward_model import RewardModel

A = ["the old man is good", "hello", "what do you think about the awful story ?", "i love you"]
B = ["the old man is bad", "hi", "i", "i love you"]


@pytest.mark.parametrize("make", [tiny_bert, tiny_llama])
def test_the_head_gives_back_the_rewards(make: Any) -> None:
    model = make(initializer_range=0.5)
    tokenizer = tiny_tokenizer()
    model.config.pad_token_id = tokenizer.pad_token_id
    reward = RewardModel(model, tokenizer, device="cpu")
    heard: list[int] = []
    found = reward_features(reward, A, B, progress=heard.append)
    assert found.differences.shape == (4, 16)
    np.testing.assert_allclose(found.differences @ found.head, reward.score(A) - reward.score(B), atol=1e-5)
    assert not found.differences[3].any()
    assert sum(heard) == 8
    assert not any(part._forward_pre_hooks for part in model.modules())  # none is left behind


def test_a_model_without_one_output_is_named() -> None:
    reward = RewardModel(tiny_bert(), tiny_tokenizer(), device="cpu")
    reward.model = tiny_bert(num_labels=3)
    with pytest.raises(ModelLoadError, match="0 layers with one output"):
        reward_features(reward, A, B)


def test_an_encoder_reads_the_end_of_long_texts() -> None:
    tokenizer = masking_tokenizer()
    body = tiny_masked_language_model(tokenizer, initializer_range=0.5).bert
    encoder = Encoder(body, tokenizer, max_length=6)
    prompt = "what do you think about the story ? "
    found = encoder_features(encoder, [prompt + "good day"], [prompt + "bad day"])
    # 6 tokens: the frame and the last four words
    ends = encoder.embeddings(["story ? good day", "story ? bad day"])
    np.testing.assert_allclose(found.differences[0], ends[0] - ends[1], atol=1e-5)
    assert np.abs(found.differences).max() > 0.01
    assert not found.head.any()
    assert encoder.n_cut == 2
    assert tokenizer.truncation_side == "right"
