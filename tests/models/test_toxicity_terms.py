from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from rlhf_fair.errors import MissingFileError, SettingsError
from rlhf_fair.models.toxicity_terms import MILD_TERMS, ToxicTerms

SCORER = ToxicTerms({"fool": 0.9, "silly": 0.3, "go away": 0.6})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A silly fool", 0.9),  # the worst term counts
        ("Silly, silly, silly", 0.3),  # not the number of terms
        ("Go\n away!", 0.6),
        ("a foolish day", 0.0),  # whole words
        ("a fine day", 0.0),
    ],
)
def test_the_worst_term_counts(text: str, expected: float) -> None:
    assert SCORER.score([text])[0] == expected


def test_a_text_that_says_nothing_was_not_measured() -> None:
    np.testing.assert_array_equal(SCORER.score(["", "...", "fool"]), [np.nan, np.nan, 0.9])
    assert SCORER.score([]).shape == (0,)


def test_lists_from_files(tmp_path: Path) -> None:
    (tmp_path / "own.txt").write_text("fool\n\n go away \n")
    (tmp_path / "own.json").write_text(json.dumps({"phrases": {"fool": 0.9}}))
    plain, graded = ToxicTerms.load(tmp_path / "own.txt"), ToxicTerms.load(tmp_path / "own.json")
    assert (plain.name, plain.score(["Go away"])[0], graded.score(["fool"])[0]) == ("own", 1.0, 0.9)


def test_the_shipped_list_is_small_and_graded() -> None:
    assert len(MILD_TERMS) < 40
    assert ToxicTerms().score(["You are stupid.", "You are kind."]).tolist() == [0.7, 0.0]


def test_faults_of_the_user(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"'x' has severity 2; allowed: \(0, 1\]"):
        ToxicTerms({"x": 2})
    with pytest.raises(SettingsError, match="holds no terms"):
        ToxicTerms({})
    with pytest.raises(MissingFileError, match="toxicity list"):
        ToxicTerms.load(tmp_path / "none.txt")
