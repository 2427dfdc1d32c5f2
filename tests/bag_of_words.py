"""A reward whose attributions can be worked out by hand: a sum, and a product, over the words of a text."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import torch
from tiny import tiny_tokenizer
from torch import Tensor, nn
from transformers import BertConfig

from rlhf_fair.models.reward_model import RewardModel


class BagOfWords(nn.Module):
    """r(text) = Σ price + (Σ left) · (Σ right), where every token has the three numbers (price, left, right)."""

    def __init__(self, table: Tensor) -> None:
        super().__init__()
        self.table = nn.Embedding.from_pretrained(table, freeze=False)
        self.config = BertConfig(num_labels=1, vocab_size=len(table), max_position_embeddings=64)

    def get_input_embeddings(self) -> nn.Embedding:
        return self.table

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Any:
        price, left, right = (self.table(input_ids) * attention_mask[..., None]).sum(1).unbind(-1)
        return SimpleNamespace(logits=(price + left * right)[:, None])


def bag_of_words(words: Mapping[str, tuple[float, float, float]]) -> RewardModel:
    """A reward model that knows these words; "[PAD]" among them is the neutral token, else it is worth nothing."""
    tokenizer = tiny_tokenizer([word for word in words if word != "[PAD]"])
    table = torch.zeros(len(tokenizer), 3)
    for word, numbers in words.items():
        table[tokenizer.convert_tokens_to_ids(word)] = torch.tensor(numbers)
    return RewardModel(BagOfWords(table), tokenizer, device="cpu")
