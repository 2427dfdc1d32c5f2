from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from rlhf_fair.errors import ColumnError, SettingsError
from rlhf_fair.training.fairness import FairnessShaper
from rlhf_fair.training.fairness.groups import ColumnGroups, CrossedGroups, PatternGroups, as_labels
from rlhf_fair.training.fairness.settings import FairnessSettings


def test_columns_cross_into_intersections_and_what_is_missing_is_unknown() -> None:
    columns = {"gender": ["woman", "man", None, "man"], "ethnicity": ["Black", "White", "Black", float("nan")]}
    assert ColumnGroups(["gender"])([""] * 4, columns) == ["woman", "man", None, "man"]
    assert ColumnGroups(["gender", "ethnicity"])([""] * 4, columns) == ["woman & Black", "man & White", None, None]


def test_a_column_that_is_not_there_is_named() -> None:
    with pytest.raises(ColumnError, match=r"prompts lacks column 'age'; has \['gender'\]"):
        ColumnGroups(["age"])(["x"], {"gender": ["man"]})
    with pytest.raises(SettingsError, match="group_by is empty"):
        ColumnGroups([])


def test_labels_that_are_numbers_are_names() -> None:
    assert as_labels(np.array([1, 2])) == ["1", "2"]
    assert as_labels([np.nan, "", "a", pd.NA, pd.NaT]) == [None, None, "a", None, None]


def test_patterns_of_one_group_decide_and_of_two_do_not() -> None:
    groups = PatternGroups({"woman": [r"\bshe\b", r"\bMrs?s\b"], "man": [r"\bhe\b", r"\bMr\b"]})
    prompts = ["She works.", "Mr Hill works.", "He met her; she left.", "They work.", "The shelf."]
    assert groups(prompts, {}) == ["woman", "man", None, None, None]


def test_words_are_whole_and_literal() -> None:
    groups = PatternGroups.of_words({"c": ["C++"], "rust": ["rust"]})
    assert groups(["I write C++.", "trusted", "Rust, of course", "Cxx"], {}) == ["c", None, "rust", None]


@pytest.mark.parametrize(
    ("patterns", "message"),
    [
        ({}, "are empty"),
        ({"woman": []}, "'woman' has no pattern"),
        ({"woman": ["("]}, r"'\(' of group 'woman' is no regular expression"),
        ({"woman": ["x*"]}, "matches any text"),
    ],
)
def test_patterns_that_cannot_tell_are_refused(patterns: dict[str, list[str]], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        PatternGroups(patterns)


def test_sources_cross() -> None:
    source = CrossedGroups([PatternGroups.of_words({"woman": ["she"], "man": ["he"]}), ColumnGroups(["age"])])
    assert source(["she", "he", "they"], {"age": [30, 60, 60]}) == ["woman & 30", "man & 60", None]


def test_rows_of_unknown_group_carry_no_penalty_and_are_counted() -> None:
    settings = FairnessSettings(strength=5.0, minimum_count=0.0)
    groups: list[str | None] = ["a", "a", "b", "b", None, None]
    scores = np.array([1.0, 2.0, 5.0, 7.0, 100.0, np.nan])
    shaped = FairnessShaper(settings).shape(np.ones(6), scores, groups)
    known = FairnessShaper(settings).shape(np.ones(4), scores[:4], groups[:4])
    # gradients average over all 6 rows, of which 4 can pay: each pays 6 / 4 as much, and the mean is that of the 4
    assert shaped.penalties[:4] == pytest.approx(1.5 * known.penalties)
    assert shaped.metrics["kappa"] == pytest.approx(1.5 * known.metrics["kappa"])
    assert shaped.penalties[4:].tolist() == [0.0, 0.0]
    assert shaped.rewards[4:].tolist() == [1.0, 1.0]
    assert shaped.metrics["unknown"] == pytest.approx(2 / 6)
    assert shaped.metrics["gap"] == known.metrics["gap"]
