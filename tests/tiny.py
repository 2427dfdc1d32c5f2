"""Tiny encoders and decoders built from configs, with a word-level tokenizer: a reward model in milliseconds."""

from __future__ import annotations

from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
    PreTrainedTokenizerFast,
)

WORDS = [
    *("i", "a", "an", "am", "the", "good", "bad", "nice", "awful", "friend", "you", "we", "like", "hate", "love"),
    *("person", "woman", "man", "is", "was", "not", "very", "day", "hi", "hello", "blue", "red", "green", "kind"),
    *("cruel", "story", "cat", "dog", "old", "young", ".", ",", "!", "?", "'", "m", "what", "do", "think", "about"),
]


def tiny_tokenizer(words: list[str] | None = None) -> Any:
    """Whole words as tokens; unknown words become [UNK]."""
    vocabulary = {word: index for index, word in enumerate(["[PAD]", "[UNK]", "[BOS]", "[EOS]", *(words or WORDS)])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", bos_token="[BOS]", eos_token="[EOS]"
    )


def tiny_bert(seed: int = 0, **overrides: Any) -> Any:
    """A two-layer encoder of width 16 with one output."""
    torch.manual_seed(seed)
    config = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    config |= {"vocab_size": len(WORDS) + 4, "max_position_embeddings": 64, "num_labels": 1, "pad_token_id": 0}
    return BertForSequenceClassification(BertConfig(**(config | overrides))).eval()


def tiny_llama(seed: int = 0, **overrides: Any) -> Any:
    """A two-layer decoder of width 16 with one output, pooled at the last token."""
    torch.manual_seed(seed)
    config = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    config |= {"vocab_size": len(WORDS) + 4, "max_position_embeddings": 64, "num_labels": 1, "pad_token_id": 0}
    return LlamaForSequenceClassification(LlamaConfig(**(config | overrides))).eval()


def tiny_language_model(tokenizer: Any, seed: int = 0, **overrides: Any) -> Any:
    """A two-layer causal language model of width 16 for ``tokenizer``."""
    torch.manual_seed(seed)
    config = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    config |= {"num_key_value_heads": 2, "max_position_embeddings": 64, "vocab_size": len(tokenizer)}
    ids = {"pad_token_id": tokenizer.pad_token_id, "bos_token_id": None, "eos_token_id": tokenizer.eos_token_id}
    return LlamaForCausalLM(LlamaConfig(**(config | ids | overrides)))
