from __future__ import annotations

import pytest
from bag_of_words import bag_of_words

from rlhf_fair.models.occlusion import leave_one_word_out, without
from rlhf_fair.models.word_spans import words_of


def test_a_sum_of_prices_gives_every_word_its_price() -> None:
    model = bag_of_words({"kind": (2.0, 0, 0), "cruel": (-1.5, 0, 0), "man": (0.25, 0, 0)})
    found = leave_one_word_out(model, ["kind man", "cruel", "man kind man", ""])
    assert [row.tolist() for row in found] == [[2.0, 0.25], [-1.5], [0.25, 2.0, 0.25], []]


def test_a_product_is_lost_with_either_factor() -> None:
    # 3 * 2 = 6, and 0 without one of them: differences of 6 + 6 do not add up to the reward
    model = bag_of_words({"x": (0, 3.0, 0), "y": (0, 0, 2.0)})
    assert leave_one_word_out(model, ["x y"])[0].tolist() == [6.0, 6.0]


@pytest.mark.parametrize(
    ("text", "shorter"),
    [
        ("I'm a man.", ["a man.", "I'm man.", "I'm a.", "I'm a man"]),
        (" one\n\ntwo", ["two", " one"]),
        ("one", [""]),
    ],
)
def test_words_leave_without_the_blank_before_them(text: str, shorter: list[str]) -> None:
    assert [without(text, word) for word in words_of(text)] == shorter
