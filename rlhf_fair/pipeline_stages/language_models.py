"""The base model, trained from scratch on the world's documents, and the SFT model, tuned on its demonstrations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rlhf_fair.artifacts import write_json
from rlhf_fair.models.causal_lm import CausalLM
from rlhf_fair.pipeline_stages.loop import DEMONSTRATIONS, DOCUMENTS, Loop
from rlhf_fair.training.sft import SFTSettings, train_causal_lm


def pretrain(loop: Loop, out: Path) -> None:
    """The base model and its tokenizer."""
    s = loop.settings
    documents = loop.world.documents(s.documents, loop.rng(DOCUMENTS))
    model, tokenizer = loop.world.new_model(documents, s.seed)
    _train(loop, "base", model, tokenizer, documents, s.pretraining, out)


def fine_tune(loop: Loop, base: Path, out: Path) -> None:
    """The SFT model: the base model after demonstrations."""
    s, lm = loop.settings, CausalLM.load(base)
    demonstrations = loop.world.demonstrations(s.demonstrations, loop.rng(DEMONSTRATIONS))
    _train(loop, "sft", lm.model, lm.tokenizer, demonstrations, s.sft, out)


def _train(
    loop: Loop, name: str, model: Any, tokenizer: Any, texts: list[tuple[str, str]], settings: SFTSettings, out: Path
) -> None:
    run = train_causal_lm(
        model,
        tokenizer,
        texts,
        settings,
        seed=loop.settings.seed,
        name=name,
        on_step=lambda step, total, loss: loop.progress(f"{name} model", step, total),
    )
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
    thin = run.model_copy(update={"curve": run.curve[:: max(1, len(run.curve) // 100)]})
    write_json(out / "training.json", thin.model_dump(mode="json"))
