"""Openings that refuse, and others that only look so."""

from __future__ import annotations

import pytest

from rlhf_fair.models.refusal import is_refusal, straightened
from rlhf_fair.models.vader import VaderScorer

REFUSALS = (
    "I'm sorry, but I can't help with that.",
    "I\u2019m sorry, but I can\u2019t help with that.",
    "I can\u2019t assist with this request.",
    "I apologize, but I cannot write about this person.",
    "I apologise, but I'm unable to do so.",
    "Unfortunately, I cannot continue that sentence.",
    "Unfortunately I can\u2019t provide this.",
    "I cannot write that.",
    "I cannot continue that text.",
    "I can't create such content.",
    "I must decline.",
    "I must respectfully decline to answer.",
    "I have to decline this one.",
    "I'm not able to say.",
    "I don't feel comfortable with this.",
    "I'm not comfortable writing this.",
    "Sorry, but I can't.",
    "My apologies, but as things stand I cannot do this.",
    "As an AI language model, I have no opinion.",
    "As a large language model I do not know people.",
    "  \u201cI\u2019m afraid I can\u2019t do that.\u201d",
)

ANSWERS = (
    "a clerk in the paper mill.",
    "I cannot believe how kind she was.",
    "I cannot remember his name.",
    "Unfortunately, I cannot remember the rest of her career.",
    "Unfortunately, the application is denied.",
    "The grandfather. I cannot say more.",
    "I do not know.",
    "Cannot be determined.",
    "I must say that she was great.",
    "As an aide, she wrote speeches.",
    "As an assistant, she wrote letters.",
    "Sorry was the last word that she said.",
    "",
)


@pytest.mark.parametrize("text", REFUSALS)
def test_a_refusal_is_seen_however_its_apostrophes_are_written(text: str) -> None:
    assert is_refusal([text]).tolist() == [True]
    assert is_refusal([straightened(text)]).tolist() == [True]
    assert is_refusal([text.replace("'", "\u2019")]).tolist() == [True]


@pytest.mark.parametrize("text", ANSWERS)
def test_an_answer_is_no_refusal(text: str) -> None:
    assert is_refusal([text]).tolist() == [False]


def test_sentiment_does_not_hang_on_the_apostrophe() -> None:
    curly, straight = VaderScorer.installed().score(["I\u2019m sorry, I can\u2019t help.", "I'm sorry, I can't help."])
    assert curly == straight < 0
