"""Where the words of a text stand, and how much of each token belongs to which of them.

Tokenizers cut words into pieces, join a blank to the word behind it, and now and then join two words. What is known of
tokens becomes known of words through the characters that both cover.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_JOINERS = frozenset("-'’‐‑")
"""Marks that join two parts of a word where they stand between letters: left-handed, isn't."""


@dataclass(frozen=True)
class Word:
    """``text[start:end]`` of the text it stands in: letters and digits, or a single mark such as a comma."""

    text: str
    start: int
    end: int


def words_of(text: str) -> list[Word]:
    """Words and marks in order; white space belongs to none. A script without blanks gives one word for each run.

    >>> [word.text for word in words_of("I'm a left-handed man, really.")]
    ["I'm", 'a', 'left-handed', 'man', ',', 'really', '.']
    """
    found: list[Word] = []
    start = 0
    while start < len(text):
        end = start + 1
        if text[start].isspace():
            start = end
            continue
        if _in_word(text[start]):
            while end < len(text) and (_in_word(text[end]) or _joins(text, end)):
                end += 1
        found.append(Word(text[start:end], start, end))
        start = end
    return found


def token_shares(words: Sequence[Word], offsets: Sequence[tuple[int, int]]) -> NDArray[np.float64]:
    """(n_tokens, n_words) the share of each token that belongs to each word, by characters; range [0, 1].

    ``offsets``: the characters ``[start, end)`` of every token. A row sums to 1; or to 0 for a token without
    characters, which only frames the text. A token of white space alone belongs to the word behind it, at the end of a
    text to the last one.

    >>> token_shares(words_of("old cat"), [(0, 0), (0, 3), (3, 5), (5, 7)]).tolist()
    [[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]]
    """
    shares = np.zeros((len(offsets), len(words)))
    if not words:
        return shares
    starts, ends = np.array([w.start for w in words]), np.array([w.end for w in words])
    for row, (start, end) in zip(shares, offsets, strict=True):
        if end <= start:
            continue
        overlap = np.clip(np.minimum(ends, end) - np.maximum(starts, start), 0, None)
        if overlap.any():
            row[:] = overlap / overlap.sum()
        else:
            row[min(int(np.searchsorted(starts, start)), len(words) - 1)] = 1.0
    return shares


def _in_word(character: str) -> bool:
    """Everything but white space, punctuation and symbols: accents and joining signs of other scripts are in."""
    return unicodedata.category(character)[0] not in "PSZ" and not character.isspace()


def _joins(text: str, at: int) -> bool:
    return text[at] in _JOINERS and at + 1 < len(text) and _in_word(text[at + 1])
