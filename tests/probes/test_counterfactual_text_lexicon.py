"""Which phrases of a lexicon a text is found to hold."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlhf_fair.probes.counterfactual_text_lexicon import ATTRIBUTES, Lexicon, load_lexicon, plain

WORDS = ("he", "her", "hers", "Her Majesty", "he's", "men", "mén", "old man", "old", "'tis", "wo-man", "man", "Ms.")


def _one_by_one(phrases: tuple[str, ...]) -> re.Pattern[str]:
    """The same in the plainest way: each phrase by itself, the longest first."""
    parts = (
        r"\s+".join(re.escape(part).replace("'", "['’]") for part in phrase.split())
        for phrase in sorted(phrases, key=len, reverse=True)
    )
    return re.compile("|".join(rf"(?<!\w){part}(?!\w)" for part in parts), re.IGNORECASE)


@given(
    phrases=st.lists(st.sampled_from(WORDS), min_size=1, unique=True).map(tuple),
    parts=st.lists(st.sampled_from([*WORDS, "HE’S", " ", "  ", ".", "-", "x", "’tis", "MÉN", "\n"]), max_size=12),
)
def test_phrases_are_found_where_a_search_for_each_finds_them(phrases, parts):
    text = "".join(parts)
    lexicon = Lexicon("own", ("one",), tuple(("always", (phrase,)) for phrase in phrases))
    expected = [(match.start(), match.group()) for match in _one_by_one(phrases).finditer(text)]
    assert [(m.place.start, m.place.word) for m in lexicon.mentions(text)] == expected


@pytest.mark.parametrize("attribute", ATTRIBUTES)
def test_every_word_that_ships_is_found_by_itself(attribute):
    lexicon = load_lexicon(attribute)
    words = {plain(word) for _, row in lexicon.rows for word in row if word}
    found = {plain(place.word) for word in words for place in lexicon._places(word.title())}
    assert not {word for word in words - found if word not in map(plain, lexicon.keep)}
