from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny import byte_pair_tokenizer, tiny_tokenizer

from rlhf_fair.models.word_spans import token_shares, words_of


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("She isn't a full-time nurse.", ["She", "isn't", "a", "full-time", "nurse", "."]),
        ("well - 'so' they say", ["well", "-", "'", "so", "'", "they", "say"]),  # joins nothing: letters on one side
        ("die Ärztin, 2½ Jahre", ["die", "Ärztin", ",", "2½", "Jahre"]),
        ("Zoe\u0301 left", ["Zoe\u0301", "left"]),  # an accent of its own belongs to its letter
        ("हिन्दी में", ["हिन्दी", "में"]),  # vowel signs too
        (" \n", []),
        ("", []),
    ],
)
def test_words(text: str, words: list[str]) -> None:
    assert [word.text for word in words_of(text)] == words


@given(st.text(max_size=60))
def test_words_hold_all_but_white_space_in_order(text: str) -> None:
    words = words_of(text)
    assert all(text[word.start : word.end] == word.text for word in words)
    assert "".join(word.text for word in words) == "".join(text.split())
    assert all(one.end <= other.start for one, other in pairwise(words))


@given(st.text(alphabet="ab é-'.\n\u00a0", min_size=1, max_size=30))
def test_every_token_of_a_text_is_given_out_whole(text: str) -> None:
    words = words_of(text)
    for tokenizer in (byte_pair_tokenizer(), tiny_tokenizer()):
        offsets = tokenizer(text, return_offsets_mapping=True)["offset_mapping"]
        shares = token_shares(words, offsets)
        has_characters = np.array([end > start for start, end in offsets], dtype=float)
        assert shares.sum(axis=1) == pytest.approx(has_characters if words else np.zeros(len(offsets)))


def test_pieces_go_to_their_word_and_a_token_over_two_words_is_split_by_characters() -> None:
    words = words_of("unkind to her")
    # "un", "kind", " to h" (blank, t, o, blank, h: 2 characters of "to", 1 of "her"), "er"
    shares = token_shares(words, [(0, 2), (2, 6), (6, 11), (11, 13)])
    assert shares == pytest.approx(np.array([[1, 0, 0], [1, 0, 0], [0, 2 / 3, 1 / 3], [0, 0, 1]]))


def test_blanks_belong_to_the_word_behind_them() -> None:
    assert token_shares(words_of("a b "), [(0, 1), (1, 2), (2, 3), (3, 4)]).tolist() == [
        [1.0, 0.0],
        [0.0, 1.0],
        [0.0, 1.0],
        [0.0, 1.0],  # at the end to the last one
    ]
