from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from tiny import tiny_bert, tiny_tokenizer

from rlhf_fair.errors import MissingFileError, ModelLoadError, SettingsError
from rlhf_fair.settings import Settings, read_toml
from rlhf_fair.training.group_source import (
    FromClassifier,
    FromColumns,
    FromLexicon,
    FromWords,
    GroupSourceSettings,
    LexiconGroups,
    PredictedGroups,
    group_source,
)

PROMPTS = ["Write about her sister.", "Write about his brother.", "Write about the weather.", "He asked his mother."]


class Config(Settings):
    groups: tuple[GroupSourceSettings, ...]


class Certain:
    """A classifier that knows its answers."""

    label_names = ("woman", "man", "other")

    def __init__(self, rows: list[tuple[float, float, float]]) -> None:
        self.rows = rows

    def probabilities(self, texts: list[str]) -> pd.DataFrame:
        return pd.DataFrame(self.rows[: len(texts)], columns=list(self.label_names))


@pytest.fixture
def classifier_folder(tmp_path: Path) -> Path:
    labels = {0: "woman", 1: "man", 2: "other"}
    folder = tmp_path / "classifier"
    tiny_bert(num_labels=3, id2label=labels, label2id={v: k for k, v in labels.items()}).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


def test_the_projects_lexicon_tells_the_only_group_that_is_spoken_of() -> None:
    groups = LexiconGroups.load("gender")(PROMPTS, {})
    female, male = groups[0], groups[1]
    assert {female, male} <= set(LexiconGroups.load("gender").lexicon.groups)
    assert female != male
    assert groups[2:] == [None, None]  # nobody; both


def test_a_prediction_counts_where_it_is_sure_and_a_group() -> None:
    rows = [(0.9, 0.05, 0.05), (0.4, 0.35, 0.25), (0.1, 0.1, 0.8), (float("nan"),) * 3, (0.2, 0.7, 0.1)]
    source: Any = PredictedGroups(Certain(rows), minimum_probability=0.5, ignored=["other"])  # type: ignore[arg-type]
    assert source(["a", "b", "c", " ", "e"], {}) == ["woman", None, None, None, "man"]


def test_a_saved_classifier_predicts_its_labels(classifier_folder: Path) -> None:
    source = PredictedGroups.load(classifier_folder, minimum_probability=0.0)
    labels = source(["good day", "hate", ""], {})
    assert set(labels[:2]) <= {"woman", "man", "other"}
    assert labels[2] is None
    unsure = PredictedGroups.load(classifier_folder, minimum_probability=0.999)
    assert unsure(["good day", "hate"], {}) == [None, None]


def test_options_that_do_not_fit_and_untrained_heads_are_refused(classifier_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="ignored label 'nobody' is none of"):
        PredictedGroups.load(classifier_folder, ignored=["nobody"])
    with pytest.raises(SettingsError, match=r"minimum_probability = 1\.0"):
        PredictedGroups.load(classifier_folder, minimum_probability=1.0)
    folder = tmp_path / "headless"
    tiny_bert(num_labels=3).bert.save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    with pytest.raises(ModelLoadError, match="not a trained classifier of groups"):
        PredictedGroups.load(folder)


def test_sources_are_read_from_a_config_and_crossed(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(
        '[[groups]]\nkind = "words"\nwords = { woman = ["she", "her"], man = ["he", "his"] }\n'
        '[[groups]]\nkind = "columns"\ncolumns = ["age"]\n'
    )
    source = group_source(read_toml(path, Config).groups, tmp_path)
    assert source(PROMPTS, {"age": ["old", "young", "old", "old"]}) == ["woman & old", "man & young", None, "man & old"]


def test_every_kind_is_built(classifier_folder: Path) -> None:
    prompts = ["her", "x"]
    assert group_source([FromColumns(kind="columns", columns=("g",))])(prompts, {"g": ["a", None]}) == ["a", None]
    assert group_source([FromWords(kind="words", patterns={"w": ("^h",)})])(prompts, {}) == ["w", None]
    assert group_source([FromLexicon(kind="lexicon", attribute="gender")])(["the weather"], {}) == [None]
    found = group_source([FromClassifier(kind="classifier", model="classifier")], classifier_folder.parent)(["x"], {})
    assert json.dumps(found)


@pytest.mark.parametrize(
    "words", [FromWords(kind="words"), FromWords(kind="words", words={"a": ("x",)}, patterns={"a": ("x",)})]
)
def test_words_and_patterns_are_one_or_the_other(words: FromWords) -> None:
    with pytest.raises(SettingsError, match="either words or patterns"):
        group_source([words])


def test_no_source_and_no_such_lexicon_are_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="groups have no source"):
        group_source([])
    with pytest.raises(MissingFileError, match=r"mine\.toml"):
        group_source([FromLexicon(kind="lexicon", attribute="mine.toml")], tmp_path)
