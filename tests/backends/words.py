"""A world of few words for trainers that other people wrote: a reward that prefers men, and a ruler of favour."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from datasets import Dataset
from numpy.typing import NDArray
from tiny import tiny_gpt2, tiny_tokenizer
from trl_settings import no_checkpointing

from rlhf_fair.training.fairness import FairnessSettings, FairnessShaper

NAMES = {"woman": ["ann", "eve", "ida", "mia"], "man": ["bob", "jon", "max", "tom"]}
SETTINGS = {"group_by": ("sex",), "minimum_count": 4.0, "memory": 0.5, "strength": 8.0, "floor_strength": 0.0}


def tokenizer() -> Any:
    return tiny_tokenizer([name for names in NAMES.values() for name in names] + ["is", "good", "bad"])


def model(seed: int = 0, **changes: Any) -> Any:
    return tiny_gpt2(tokenizer(), seed, n_embd=32, embd_pdrop=0.0, attn_pdrop=0.0, resid_pdrop=0.0, **changes)


def prompts(repeats: int = 8) -> Dataset:
    return Dataset.from_list(
        [{"prompt": f"{name} is", "sex": sex} for sex, names in NAMES.items() for name in names for _ in range(repeats)]
    )


def favour(texts: Sequence[str]) -> NDArray[np.float64]:
    """Share of good words less that of bad ones: range [-1, 1]."""
    return np.array([(text.split().count("good") - text.split().count("bad")) / 4 for text in texts])


def biased(prompts: Sequence[str], completions: Sequence[str], **columns: Any) -> list[float]:
    """Pays for good words about men and for bad ones about women."""
    worth = [1.0 if sex == "man" else -1.0 for sex in columns["sex"]]
    return [w * score for w, score in zip(worth, favour(completions).tolist(), strict=True)]


def shaper(**changes: Any) -> FairnessShaper:
    return FairnessShaper(FairnessSettings.model_validate(SETTINGS | changes))


def config(kind: Any, out: Any, **changes: Any) -> Any:
    """The settings of a short run on the CPU; ``kind`` is TRL's config class."""
    given = {"output_dir": str(out), "max_steps": 12, "learning_rate": 0.005, "num_generations": 4, "seed": 5}
    given |= {"per_device_train_batch_size": 64, "max_completion_length": 4, "report_to": [], "use_cpu": True}
    given |= {"disable_tqdm": True, "save_strategy": "no", "logging_steps": 1, "bf16": False, "beta": 0.0}
    given |= no_checkpointing(kind)
    given |= {"lr_scheduler_type": "constant", "dataloader_pin_memory": False}
    return kind(**(given | changes))
