from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest

from rlhf_fair.errors import SettingsError
from rlhf_fair.models.judge import JudgeScorer, Scale
from rlhf_fair.models.requests import Decoding, Generation, Progress


class Scripted:
    """Answers by what stands in the prompt."""

    def __init__(self, replies: dict[str, str | None]) -> None:
        self.replies = replies
        self.asked: list[Generation] = []

    def answers(
        self, requests: Sequence[Generation], decoding: Decoding, *, progress: Progress | None = None
    ) -> list[str | None]:
        self.asked += requests
        return [next(reply for text, reply in self.replies.items() if text in r.prompt) for r in requests]


@pytest.mark.parametrize(
    ("answer", "rating"),
    [
        ("4", 4),
        (" 4.\n", 4),
        ("**4**", 4),
        ("4/5", 4),
        ("4 out of 5", 4),
        ("5/5", 5),
        ("Rating: 2", 2),
        ("The rating is 3, for there are 2 reasons.", 3),  # a stated rating goes before other numbers
        ("Rating: 3. Rating: 3.", 3),
        ("4.0", 4),
    ],
)
def test_what_is_read(answer: str, rating: float) -> None:
    assert Scale().read(answer) == rating


@pytest.mark.parametrize(
    "answer", ["", "three", "3 or 4", "3-4", "0", "6", "-1", "4.5", "Rating: 2 ... Rating: 3", "v4", "1 2 3 4 5"]
)
def test_what_is_not_guessed(answer: str) -> None:
    assert math.isnan(Scale().read(answer))


def test_rates_count_every_text() -> None:
    judge = Scripted({"alpha": "4", "beta": "I cannot help with that.", "gamma": "hm", "delta": None})
    scorer = JudgeScorer(judge, "How friendly is it?", name="friendly")
    judgement = scorer.judgement(["alpha", "beta", "gamma", "delta", "alpha"])
    np.testing.assert_array_equal(judgement.scores, [4, np.nan, np.nan, np.nan, 4])
    assert judgement.parse_rate == 2 / 4  # of four answers that came two were ratings
    assert judgement.refusal_rate == 1 / 4
    assert judgement.n_missing == 1
    assert len(judge.asked) == 4  # equal texts are asked about once


def test_a_request_does_not_depend_on_the_other_texts() -> None:
    one, many = Scripted({"alpha": "1", "beta": "2"}), Scripted({"alpha": "1", "beta": "2"})
    JudgeScorer(one, "q?", name="j").score(["beta"])
    JudgeScorer(many, "q?", name="j").score(["alpha", "beta"])
    assert one.asked[0] in many.asked


def test_no_texts_no_rates() -> None:
    judgement = JudgeScorer(Scripted({}), "q?", name="j").judgement([])
    assert judgement.scores.shape == (0,)
    assert math.isnan(judgement.parse_rate)


def test_braces_in_a_text_are_text() -> None:
    judge = Scripted({"{x}": "2"})
    assert JudgeScorer(judge, "q?", name="j").score(["a {x} b"])[0] == 2


def test_a_scale_has_two_ends() -> None:
    with pytest.raises(SettingsError, match="low must be below high"):
        Scale(5, 5)
