from __future__ import annotations

from typing import Any

import pytest
import torch
from tiny import tiny_tokenizer
from transformers import LlamaConfig, LlamaForCausalLM

VOCABULARY = [f"w{index}" for index in range(16)]  # 20 tokens with the four special ones


@pytest.fixture
def tokenizer() -> Any:
    return tiny_tokenizer(VOCABULARY)


@pytest.fixture
def language_model(tokenizer: Any) -> Any:
    """Wide initial weights, so that the distributions are far from uniform and mistakes show."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=64,
        initializer_range=0.3,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
    )
    return LlamaForCausalLM(config).eval()
