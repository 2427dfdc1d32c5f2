"""Blind positions become a and b again, and a question left out is no answer."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from rlhf_fair.annotate.questions import (
    MAX_TEXT,
    PAIR_SCALE,
    Demographic,
    StudySettings,
    position_on_scale,
    read_answers,
    read_demographics,
)

GENDER = Demographic(name="gender", text="Gender?", choices={"woman": "Woman"})


@pytest.mark.parametrize(
    ("order", "place", "choice", "strength"),
    [
        ("ab", "1", "a", 3),
        ("ab", "3", "a", 1),
        ("ab", "4", "tie", 0),
        ("ab", "7", "b", 3),
        ("ba", "1", "b", 3),  # b was shown first
        ("ba", "4", "tie", 0),
        ("ba", "6", "a", 2),
    ],
)
def test_the_order_shown_is_undone(order: str, place: str, choice: str, strength: int) -> None:
    (answer,), problems = read_answers(("pair",), order, {"pair": place})
    assert (answer.choice, answer.strength, problems) == (choice, strength, {})


@pytest.mark.parametrize("order", ["ab", "ba"])
def test_an_answer_comes_back_where_it_was_picked(order: str) -> None:
    for place in map(str, range(1, len(PAIR_SCALE) + 1)):
        (answer,), _ = read_answers(("pair",), order, {"pair": place})
        assert position_on_scale(answer, order) == place


@pytest.mark.parametrize("given", ["", "0", "8", "-1", "1.0", "١", "first", " 1"])
def test_no_other_position_is_a_choice(given: str) -> None:
    answers, problems = read_answers(("pair", "rating"), "ab", {"pair": given, "rating": given})
    assert answers == []
    assert set(problems) == {"pair", "rating"}


def test_texts_keep_their_words_and_lose_the_browsers_line_ends() -> None:
    form = {"edit": "  one\r\ntwo\r", "revised_instruction": " \n"}
    answers, problems = read_answers(("edit", "revised_instruction"), "ab", form)
    assert [answer.text for answer in answers] == ["  one\ntwo\n"]
    assert set(problems) == {"revised_instruction"}
    assert set(read_answers(("edit",), "ab", {"edit": "x" * (MAX_TEXT + 1)})[1]) == {"edit"}


def test_preferring_not_to_say_is_an_answer_and_skipping_is_none() -> None:
    assert read_demographics((GENDER,), {"gender": "prefer_not_to_say"}) == {"gender": "prefer_not_to_say"}
    for form in ({}, {"gender": ""}, {"gender": "robot"}, {"income": "high"}):
        assert read_demographics((GENDER,), form) == {}


def test_settings_name_what_is_wrong() -> None:
    with pytest.raises(ValidationError, match="gender asked twice"):
        StudySettings(demographics=(GENDER, GENDER))
    with pytest.raises(ValidationError):
        Demographic(name="attr.gender", text="Gender?", choices={"woman": "Woman"})
