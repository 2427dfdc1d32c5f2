"""The language model of the case study: a Llama of 2.6 million weights, trained from scratch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from rlhf_fair.artifacts import write_json
from rlhf_fair.demo.language_model import train_tokenizer
from rlhf_fair.training.sft import SFTSettings, train_causal_lm

VOCABULARY, POSITIONS = 4096, 192
PRETRAINING = SFTSettings(epochs=2, batch_size=32, learning_rate=2e-3, weight_decay=0.05)
TUNING = SFTSettings(epochs=6, batch_size=32, learning_rate=1e-3)


def new_model(documents: list[str], seed: int) -> tuple[Any, Any]:
    """An untrained model and a tokenizer for the documents."""
    tokenizer = train_tokenizer(documents, VOCABULARY)
    tokenizer.chat_template, tokenizer.model_max_length = None, POSITIONS
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=192,
        intermediate_size=512,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=POSITIONS,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
    )
    return LlamaForCausalLM(config), tokenizer


def train(
    model: Any, tokenizer: Any, texts: list[tuple[str, str]], settings: SFTSettings, out: Path, *, name: str, seed: int
) -> None:
    """Train on the second part of each text and save, with the curve; a stopped run goes on."""
    out.mkdir(parents=True, exist_ok=True)

    def hear(step: int, total: int, loss: float) -> None:
        if step % 50 == 0:
            print(f"{name}: step {step} of {total}, {loss:.3f} nats", flush=True)

    state = out / "state.safetensors"
    run = train_causal_lm(model, tokenizer, texts, settings, seed=seed, name=name, on_step=hear, checkpoint=state)
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
    thin = run.model_copy(update={"curve": run.curve[:: max(1, len(run.curve) // 100)]})
    write_json(out / "training.json", thin.model_dump(mode="json"))
    for left in out.glob("state*"):
        left.unlink()
