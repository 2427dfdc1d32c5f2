from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlhf_fair.errors import SettingsError
from rlhf_fair.metrics.term_counts import count_terms

GENDER = {"female": ["she", "her", "mother", "first lady"], "male": ["he", "his", "mother in law's son"]}


def counted(text: str) -> list[float]:
    return count_terms([text], GENDER).iloc[0].tolist()


@pytest.mark.parametrize(
    ("text", "female", "male"),
    [
        ("She sees HER; he sees her.", 3, 1),
        ("The sheep there is theirs, hers or herself", 0, 0),
        ("he-man, (he) 'he' he’s", 0, 4),
        ("the First\n  Lady and the first ladybird", 1, 0),
        ("her mother in law's son", 1, 1),
        ("her mother in law’s son", 1, 1),
        ("", 0, 0),
    ],
)
def test_whole_words_in_any_case(text: str, female: int, male: int) -> None:
    assert counted(text) == [female, male]


def test_a_letter_and_its_accent_may_be_one_character_or_two() -> None:
    assert count_terms(["cafe\u0301 CAFÉ"], {"a": ["caf\u00e9"], "b": ["x"]}).iloc[0].tolist() == [2, 0]


def test_missing_texts_stay_missing() -> None:
    table = count_terms(["she", None, ""], GENDER)
    assert table.columns.tolist() == ["female", "male"]
    assert np.isnan(table.iloc[1]).all()
    assert table.iloc[2].tolist() == [0, 0]


@given(st.lists(st.sampled_from(["she", "he", "tree", "HIS", "first lady"]), max_size=20))
def test_counts_add_up_over_words(words: list[str]) -> None:
    expected = sum(word in ("she", "first lady") for word in words), sum(word in ("he", "HIS") for word in words)
    assert tuple(counted(", ".join(words))) == expected


def test_faults_are_named() -> None:
    with pytest.raises(SettingsError, match="term 'THEY' is in 'a' and in 'b'"):
        count_terms(["x"], {"a": ["they"], "b": ["THEY"]})
    with pytest.raises(SettingsError, match="holds an empty term"):
        count_terms(["x"], {"a": [" "], "b": ["y"]})
    with pytest.raises(SettingsError, match="one string"):
        count_terms(["x"], {"a": "she"})
    with pytest.raises(SettingsError, match="hold no terms"):
        count_terms(["x"], {"a": []})
