"""Tiny encoders and decoders built from configs, with a word-level tokenizer: a reward model in milliseconds."""

from __future__ import annotations

from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertForSequenceClassification,
    GPT2Config,
    GPT2LMHeadModel,
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


def byte_pair_tokenizer(*, opens_texts: bool = False, merges: int = 80) -> Any:
    """Byte-level pairs in GPT-2's manner: a blank belongs to the word behind it, and words merge across borders.

    opens_texts: put [BOS] in front of every text, as Llama's tokenizer does.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=256 + 4 + merges,
        special_tokens=["[PAD]", "[UNK]", "[BOS]", "[EOS]"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([" ".join(WORDS)] * 5, trainer)
    if opens_texts:
        opening = ("[BOS]", tokenizer.token_to_id("[BOS]"))
        tokenizer.post_processor = processors.TemplateProcessing(
            single="[BOS] $A", pair="[BOS] $A $B", special_tokens=[opening]
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", bos_token="[BOS]", eos_token="[EOS]"
    )


def masking_tokenizer() -> Any:
    """Whole words between [CLS] and [SEP], and a [MASK]."""
    tokenizer = tiny_tokenizer(["[CLS]", "[SEP]", "[MASK]", *WORDS])
    frame = [(name, tokenizer.convert_tokens_to_ids(name)) for name in ("[CLS]", "[SEP]")]
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]", special_tokens=frame
    )
    tokenizer.add_special_tokens({"cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]"})
    return tokenizer


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


def tiny_gpt2(tokenizer: Any, seed: int = 0, **overrides: Any) -> Any:
    """A two-layer causal language model with a table of absolute positions."""
    torch.manual_seed(seed)
    config = {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 64, "vocab_size": len(tokenizer)}
    ids = {name: getattr(tokenizer, name) for name in ("pad_token_id", "bos_token_id", "eos_token_id")}
    return GPT2LMHeadModel(GPT2Config(**(config | ids | overrides))).eval()


def tiny_masked_language_model(tokenizer: Any, seed: int = 0, **overrides: Any) -> Any:
    """A two-layer masked language model of width 16 for ``tokenizer``."""
    torch.manual_seed(seed)
    config = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    config |= {"vocab_size": len(tokenizer), "max_position_embeddings": 64, "pad_token_id": tokenizer.pad_token_id}
    return BertForMaskedLM(BertConfig(**(config | overrides))).eval()
