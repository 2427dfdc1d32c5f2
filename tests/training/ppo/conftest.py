from __future__ import annotations

from typing import Any

import pytest
from tiny import tiny_language_model, tiny_tokenizer

VOCABULARY = [f"w{index}" for index in range(16)]  # 20 tokens with the four special ones


@pytest.fixture
def tokenizer() -> Any:
    return tiny_tokenizer(VOCABULARY)


@pytest.fixture
def language_model(tokenizer: Any) -> Any:
    """Wide initial weights, so that the distributions are far from uniform and mistakes show."""
    return tiny_language_model(tokenizer, initializer_range=0.3).eval()
