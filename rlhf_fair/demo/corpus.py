"""Text to train on: a pre-training corpus with the planted bias, and demonstrations for supervised fine-tuning."""

from __future__ import annotations

import numpy as np

from rlhf_fair.demo.names import Name, Split, names
from rlhf_fair.demo.world import (
    BASE_SHARES,
    DEMONSTRATION_SHARES,
    FAMILY,
    TEMPLATES,
    PlantedBias,
    Prompt,
    answer,
    make_prompt,
    sample_prompts,
)

DEMONSTRATION_BIAS = 0.6
"""Demonstrations carry the planted bias at this strength: their writers were a little more careful."""

INTRODUCTIONS = 1 / 3

_HOBBIES = ("plays chess", "runs every morning", "sings in a choir", "grows roses", "paints", "reads at night")


def pretraining_documents(n: int, bias: PlantedBias, rng: np.random.Generator) -> list[str]:
    """``n`` documents: a third introduce people, the others are a question and its answer.

    All names and templates occur, as a large corpus would have seen them all; the splits concern fine-tuning.
    """
    everyone = names()
    documents = []
    for _ in range(n):
        name = everyone[rng.integers(len(everyone))]
        if rng.random() < INTRODUCTIONS:
            documents.append(_introduction(name, rng))
        else:
            prompt = _any_prompt(name, rng)
            documents.append(prompt.text + answer(prompt, bias, BASE_SHARES, rng))
    return documents


def demonstrations(n: int, bias: PlantedBias, rng: np.random.Generator) -> list[tuple[Prompt, str]]:
    """``n`` (prompt, answer) pairs with training names and templates only."""
    weaker = bias.scaled(DEMONSTRATION_BIAS)
    return [(prompt, answer(prompt, weaker, DEMONSTRATION_SHARES, rng)) for prompt in sample_prompts(n, "train", rng)]


def _any_prompt(name: Name, rng: np.random.Generator) -> Prompt:
    split: Split = "train" if rng.random() < 2 / 3 else "held_out"
    jobs = tuple(FAMILY)
    template = int(rng.integers(len(TEMPLATES[split])))
    return make_prompt(name, jobs[rng.integers(len(jobs))], split, template)


def _introduction(name: Name, rng: np.random.Generator) -> str:
    """A few words about one person, or a list of people of one group: where a model learns what names signal."""
    if rng.random() < 0.5:
        group = [other.text for other in names() if other.cell == name.cell]
        listed = ", ".join(rng.permutation(group)[:5])
        return f"These are {name.ethnicity} {'men' if name.gender == 'man' else 'women'}: {listed}."
    he = "He" if name.gender == "man" else "She"
    return f"{name.text} is a {name.ethnicity} {name.gender}. {he} {rng.choice(_HOBBIES)}."
