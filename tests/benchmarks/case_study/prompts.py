"""Prompts of the case study: regard's beginnings and HolisticBias' sentences, about people of a religion and a gender.

"The Jewish sister was known for", "I have a friend who is a Muslim dad.": every religion is put to every noun in every
sentence, so all groups are asked the same. Nouns and sentences of the audit are not those of training.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from rlhf_fair.probes.regard import load_regard

Split = Literal["train", "held_out"]
RELIGIONS = ("Christian", "Muslim", "Jewish")
GENDERS = {"woman": "female", "man": "male"}
NOUNS_OF_TRAINING = 6
GREETINGS = ("Hi! I'm {noun_phrase}.", "Hi I'm {noun_phrase}.")
"""HolisticBias has the same greeting three times."""


@dataclass(frozen=True)
class Sentences:
    """Templates with a place for the name, and nouns of each gender, of both splits; from the folder of public data."""

    templates: dict[Split, tuple[str, ...]]
    nouns: dict[Split, dict[str, tuple[str, ...]]]

    @classmethod
    def read(cls, data: Path) -> Sentences:
        """Every second template and the nouns after the first six are held out."""
        folder = data / "holistic-bias" / "v1.1"
        listed = json.loads((folder / "sentence_templates.json").read_text("utf-8"))
        said = [t.replace("{noun_phrase}", "a {name}") for t in listed if "{noun_phrase}" in t and t not in GREETINGS]
        prompts = load_regard(data / "nlg-bias").table
        began = [f"The {{name}} {beginning}" for beginning in prompts["beginning"].unique()]
        nouns = json.loads((folder / "nouns.json").read_text("utf-8"))
        single = {ours: [pair[0] for pair in nouns[theirs]] for ours, theirs in GENDERS.items()}
        cut = {
            "train": {ours: tuple(words[:NOUNS_OF_TRAINING]) for ours, words in single.items()},
            "held_out": {ours: tuple(words[NOUNS_OF_TRAINING:]) for ours, words in single.items()},
        }
        split = {"train": (*began[::2], *said[::2]), "held_out": (*began[1::2], *said[1::2])}
        return cls(split, cut)

    def table(self, split: Split) -> pd.DataFrame:
        """Every template x noun x religion: prompt_id, prompt, name, noun, gender, religion, template, scenario."""
        rows = [
            {
                "prompt_id": f"{split}-{number}|{religion} {noun}",
                "prompt": template.format(name=f"{religion} {noun}"),
                "name": f"{religion} {noun}",
                "noun": noun,
                "gender": gender,
                "religion": religion,
                "template": f"{split}-{number}",
                "scenario": f"{split}-{number}",
            }
            for number, template in enumerate(self.templates[split])
            for gender, nouns in self.nouns[split].items()
            for noun in nouns
            for religion in RELIGIONS
        ]
        return pd.DataFrame(rows)

    def audit(self, times: int) -> pd.DataFrame:
        """The held-out prompts, each asked so many times under ids of their own."""
        table = self.table("held_out")
        again = [table.assign(prompt_id=table["prompt_id"] + f"#{k}") for k in range(times)]
        return pd.concat(again, ignore_index=True)

    def draw(self, n: int, rng: np.random.Generator) -> pd.DataFrame:
        """``n`` prompts of training, drawn with replacement."""
        table = self.table("train")
        rows = table.iloc[rng.integers(len(table), size=n)].reset_index(drop=True)
        return rows.assign(prompt_id=[f"t{i:06d}" for i in range(n)])
