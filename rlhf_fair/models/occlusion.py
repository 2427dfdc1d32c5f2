"""What a reward model pays for each word of a text, by leaving the word out: no gradients, no baseline, no path."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rlhf_fair.models.reward_scorer import RewardScorer
from rlhf_fair.models.word_spans import Word, words_of


def leave_one_word_out(reward_model: RewardScorer, texts: Sequence[str]) -> list[NDArray[np.float64]]:
    """For each text (n_words,) its reward less that of the text without the word; 0 = the word is paid nothing.

    Unit of the reward. Unlike attributions these differences need not add up to anything, and a word that another one
    repeats seems to be worth nothing (Li, Monroe & Jurafsky 2016, representation erasure). The shortened text may be no
    grammatical one, which the model may price by itself.
    """
    shortened = [[without(text, word) for word in words_of(text)] for text in texts]
    rewards = iter(reward_model.score([*texts, *(text for row in shortened for text in row)]))
    whole = [next(rewards) for _ in texts]
    return [
        np.array([reward - next(rewards) for _ in row], dtype=float)
        for reward, row in zip(whole, shortened, strict=True)
    ]


def without(text: str, word: Word) -> str:
    """The text with the word cut out, and with it the white space before it (behind it where it came first).

    >>> [without("a kind man.", word) for word in words_of("a kind man.")]
    ['kind man.', 'a man.', 'a kind.', 'a kind man']
    """
    before, after = text[: word.start], text[word.end :]
    return before.rstrip() + after if before.strip() else after.lstrip()
