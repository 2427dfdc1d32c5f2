"""Blind positions become a and b again, and a question left out is no answer."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from rlhf_fair.annotate.demographics import PREFER_NOT_TO_SAY, Demographic, read_demographics
from rlhf_fair.annotate.questions import (
    MAX_REMARK,
    MAX_TEXT,
    PAIR_SCALE,
    REASONS,
    CannotJudge,
    Submission,
    position_on_scale,
    read_answers,
    read_submission,
)
from rlhf_fair.annotate.study_settings import StudySettings
from rlhf_fair.errors import SettingsError
from rlhf_fair.settings import read_toml

GENDER = Demographic(name="gender", text="Gender?", choices={"woman": "Woman"})
RACE = Demographic(name="race", text="Race?", choices={"asian": "Asian", "white": "White"}, several=True)


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
    assert read_demographics((GENDER,), {"gender": "prefer_not_to_say"}) == {"gender": ("prefer_not_to_say",)}
    for form in ({}, {"gender": ""}, {"gender": "robot"}, {"income": "high"}):
        assert read_demographics((GENDER,), form) == {}


@given(st.sets(st.sampled_from([*RACE.options, "robot"])))
def test_of_several_choices_those_offered_are_kept_and_declining_stands_alone(ticked: set[str]) -> None:
    kept = read_demographics((RACE,), {f"race.{value}": "yes" for value in ticked}).get("race", ())
    if PREFER_NOT_TO_SAY in ticked:
        assert kept == (PREFER_NOT_TO_SAY,)
    else:
        assert set(kept) == ticked - {"robot"}
    assert read_demographics((RACE,), {"race": "asian"}) == {}  # the field of another kind of question


@pytest.mark.parametrize("question", [GENDER, RACE])
def test_declining_is_always_offered_and_in_the_studys_words_if_it_has_some(question: Demographic) -> None:
    assert list(question.options)[-1] == PREFER_NOT_TO_SAY
    german = question.model_copy(update={"choices": {**question.choices, PREFER_NOT_TO_SAY: "Keine Angabe"}})
    assert german.options[PREFER_NOT_TO_SAY] == "Keine Angabe"


@pytest.mark.parametrize("reason", ["", "bored", *REASONS])
def test_who_cannot_judge_has_made_no_choice(reason: str) -> None:
    form = {"cannot_judge": "yes", "reason": reason, "words": " \r\n", "pair": "1", "comment": "kept?"}
    sent, problems = read_submission(("pair", "rating"), "ab", form, comment=False)
    assert problems == {}
    assert sent == Submission((), CannotJudge(reason if reason in REASONS else None, None), None)


def test_remarks_are_read_where_they_are_asked_for_and_not_too_long() -> None:
    form = {"pair": "4", "comment": " Both\r\nare wrong. "}
    assert read_submission(("pair",), "ab", form, comment=True)[0].comment == "Both\nare wrong."
    assert read_submission(("pair",), "ab", form, comment=False)[0].comment is None
    assert read_submission(("pair",), "ab", {"pair": "4"}, comment=True)[0].comment is None
    long = {"pair": "4", "cannot_judge": "yes", "comment": "x" * (MAX_REMARK + 1), "words": "y" * (MAX_REMARK + 1)}
    assert set(read_submission(("pair",), "ab", long, comment=True)[1]) == {"comment", "words"}


def test_settings_name_what_is_wrong() -> None:
    with pytest.raises(ValidationError, match="gender asked twice"):
        StudySettings(demographics=(GENDER, GENDER))
    with pytest.raises(ValidationError):
        Demographic(name="attr.gender", text="Gender?", choices={"woman": "Woman"})
    with pytest.raises(ValidationError, match="taken by the form"):
        Demographic(name="token", text="Gender?", choices={"woman": "Woman"})
    with pytest.raises(ValidationError, match="not a language tag"):
        StudySettings(language='"><script>')


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('[[demographics]]\nname = "g"\ntext = "?"\nchoices = ["Woman", "Man"]', r'choices = { woman = "Woman", man ='),
        ('[demographics]\nname = "g"\ntext = "?"\nchoices = { a = "A" }', r"each begins with \[\[demographics\]\]"),
    ],
)
def test_a_wrong_shape_is_answered_with_the_right_one(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "study.toml").write_text(text)
    with pytest.raises(SettingsError, match=says):
        read_toml(tmp_path / "study.toml", StudySettings, "study")
