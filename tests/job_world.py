"""A world small enough to train in a second: prompts about two people, rewards and rulers that count words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
from tiny import tiny_language_model, tiny_tokenizer

CONFIG = """
title = "Kindness for everybody"
model = "policy"
seed = 3

[prompts]
path = "prompts.csv"
groups = ["gender"]
clusters = ["twin_of"]
references = { gender = "man" }

[held_out]
share = 0.3
samples = 2

[[rewards]]
kind = "python"
function = "pay.py:kindness"

[fairness]
strength = 5.0
minimum_count = 2.0
scorer = { quantity = "warmth", kind = "lexicon", file = "training.json" }

[[certify]]
quantity = "warmth"
kind = "lexicon"
file = "certifying.json"

[training]
steps = 6
batch_size = 16
minibatch_size = 8
max_new_tokens = 6
learning_rate = 5e-3
checkpoint_steps = 2
device = "cpu"
"""

PAY = '''
def kindness(prompts, completions, *, gender, **columns):
    """Pays kind words, and twice to men."""
    assert set(columns) >= {"prompt_id", "twin_of", "note"}, columns
    return [text.split().count("kind") * (2 if who == "man" else 1) for text, who in zip(completions, gender)]
'''


def make_world(folder: Path, *, config: str = CONFIG, model: Any = None) -> Path:
    """Model, prompts, reward, rulers and config in one folder; returns the config's path."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = tiny_tokenizer()
    (model or tiny_language_model(tokenizer, initializer_range=0.3)).save_pretrained(folder / "policy")
    tokenizer.save_pretrained(folder / "policy")
    rows = [
        {"prompt_id": f"{n}-{who}", "twin_of": n, "gender": who, "prompt": f"the {how} {who} is", "note": n}
        for n, how in enumerate(["good", "bad", "nice", "old", "young", "kind", "cruel", "blue", "red", "green"] * 2)
        for who in ("man", "woman")
    ]
    pd.DataFrame(rows).to_csv(folder / "prompts.csv", index=False)
    (folder / "pay.py").write_text(PAY)
    for name, words in (
        ("training", {"kind": 1, "cruel": -1, "good": 0.5}),
        ("certifying", {"nice": 1, "awful": -1, "dog": 0}),
    ):
        (folder / f"{name}.json").write_text(json.dumps({"name": name, "source": "test", "phrases": words}))
    path = folder / "config.toml"
    path.write_text(config)
    return path
