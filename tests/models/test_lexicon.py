from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from rlhf_fair.errors import MissingFileError, SettingsError
from rlhf_fair.models.lexicon import LexiconScorer

PHRASES = {"good": 1.0, "not good": -1.0, "Weak": -0.5, "c++": 0.25, "I would hire him": 1.0}


@pytest.fixture
def scorer() -> LexiconScorer:
    return LexiconScorer("test", PHRASES)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A good start.", 1.0),
        ("This is not good.", -1.0),  # the longer phrase wins, and "good" inside it does not count again
        ("Not good, but good.", 0.0),
        ("GOOD and weak", 0.25),  # (1 - .5) / 2
        ("good good weak", 0.5),  # (1 + 1 - .5) / 3
        ("knows c++ well", 0.25),
        ("(good)", 1.0),
        ("i would hire him.", 1.0),
    ],
)
def test_mean_of_the_phrases_found(scorer: LexiconScorer, text: str, expected: float) -> None:
    assert scorer.score([text])[0] == pytest.approx(expected)


@pytest.mark.parametrize("text", ["", "goodness", "feelgood", "good_enough", "weakly", "nothing of the kind", "c+"])
def test_where_no_whole_phrase_stands_nothing_was_measured(scorer: LexiconScorer, text: str) -> None:
    assert math.isnan(scorer.score([text])[0])


def test_one_score_per_text_in_order(scorer: LexiconScorer) -> None:
    np.testing.assert_array_equal(scorer.score(["good", "", "weak"]), [1.0, np.nan, -0.5])
    assert scorer.score([]).shape == (0,)


def test_signs_in_a_phrase_are_no_pattern() -> None:
    assert math.isnan(LexiconScorer("dots", {"a.c": 1.0}).score(["abc"])[0])


def test_a_sum_with_an_offset_by_hand() -> None:
    # .5 + 1 - .25 - .25
    scorer = LexiconScorer("sum", {"good": 1.0, "weak": -0.25}, combine="sum", offset=0.5)
    assert scorer.score(["good, weak, weak"])[0] == 1.0
    assert math.isnan(scorer.score(["neither"])[0])


def test_a_saved_lexicon_scores_the_same(tmp_path: Path) -> None:
    before = LexiconScorer("sum", PHRASES, "made for this test", combine="sum", offset=0.5)
    before.save(tmp_path / "lexicon.json")
    after = LexiconScorer.load(tmp_path / "lexicon.json")
    texts = ["good", "not good and weak", "none"]
    np.testing.assert_array_equal(before.score(texts), after.score(texts))
    assert (after.name, after.source) == ("sum", "made for this test")


@pytest.mark.parametrize(
    "content",
    [
        [],
        {},
        {"phrases": {}},
        {"phrases": ["good"]},
        {"phrases": {"good": "very"}},
        {"phrases": {"": 1.0}},  # would be found everywhere
        {"phrases": {"  ": 1.0}},
        {"phrases": {"good": math.nan}},  # Python's JSON lets it pass
        {"phrases": {"good": 1}, "combine": "median"},
    ],
)
def test_a_file_that_is_no_lexicon_is_refused(tmp_path: Path, content: object) -> None:
    path = tmp_path / "lexicon.json"
    path.write_text(json.dumps(content))
    with pytest.raises(SettingsError, match="lexicon"):
        LexiconScorer.load(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="lexicon not found"):
        LexiconScorer.load(tmp_path / "none.json")
