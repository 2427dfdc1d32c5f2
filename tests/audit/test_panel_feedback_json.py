"""Ratings as JSON objects: read as the same table that a long CSV gives, refused with a name and a place."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlhf_fair.audit.panel_feedback_json import answer_lists, read_keyed
from rlhf_fair.audit.panel_feedback_plan import FeedbackPlan
from rlhf_fair.audit.panel_feedback_table import read_ratings
from rlhf_fair.errors import MissingFileError, RlhfFairError, RowError

ITEMS = {
    "7": {"lang": "en", "annotations": {"Ann1": "0", "Ann2": "1"}},
    "9": {"lang": "de", "annotations": {"Ann2": "1", "Ann3": "1"}},
}
RATERS = {"1": {"gender": "f"}, "2": {"gender": "m"}, "3": {"gender": None}}


def plan(**ratings: Any) -> FeedbackPlan:
    return FeedbackPlan.model_validate(
        {
            "title": "t",
            "question": "q",
            "probe": "panel_feedback",
            "policy": {"threshold": 5.0, "margin": 5.0},
            "ratings": {"item": "name", "annotator": "who", "value": "label", "low": 0, "high": 1, **ratings},
            "raters": {"file": "raters.json", "key": "who", "keyed": True, "prefix": "Ann"},
            "item_type": {"column": "lang", "reference": "en"},
            "attributes": [{"name": "gender", "column": "gender", "reference": "m"}],
        }
    )


KEYED = {"keyed": "name", "answers": "annotations"}


def write(path: Path, content: object) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def test_a_tree_of_items_and_the_long_table_are_one(tmp_path: Path) -> None:
    raters = write(tmp_path / "raters.json", RATERS)
    tree = read_ratings(plan(**KEYED), [write(tmp_path / "tree.json", ITEMS)], raters)
    rows = [
        (name, item["lang"], rater, label)
        for name, item in ITEMS.items()
        for rater, label in item["annotations"].items()
    ]
    pd.DataFrame(rows, columns=["name", "lang", "who", "label"]).to_csv(tmp_path / "long.csv", index=False)
    long = read_ratings(plan(), [tmp_path / "long.csv"], raters)
    kept = ["item", "rater", "value", "score", "item_type", "gender"]
    pd.testing.assert_frame_equal(tree.table[kept], long.table[kept])
    assert tree.table["gender"].tolist() == ["f", "m", "m", None]
    assert tree.n_input == 4


def test_gzipped_trees_are_read(tmp_path: Path) -> None:
    path = tmp_path / "tree.json.gz"
    path.write_bytes(gzip.compress(json.dumps(ITEMS).encode()))
    assert read_keyed(path, "name")["name"].tolist() == ["7", "9"]
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(RowError, match=r"tree\.json\.gz cannot be read as JSON"):
        read_keyed(path, "name")


def test_an_item_without_an_object_of_ratings_is_one_reject(tmp_path: Path) -> None:
    items = ITEMS | {"10": {"lang": "en", "annotations": {}}, "11": {"lang": "en"}, "12": {"annotations": "Ann1"}}
    raters = write(tmp_path / "raters.json", RATERS)
    found = read_ratings(plan(**KEYED), [write(tmp_path / "tree.json", items)], raters)
    assert found.rejects[["row", "code"]].to_numpy().tolist() == [[3, "malformed"], [4, "malformed"], [5, "malformed"]]
    assert found.n_input == 4 + 3


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[]", "its top level is not an object"),
        ("{}", "has no rows"),
        ('{"7": 1}', "'7' is not an object"),
        ('{"7": {}, "7": {}}', "the name '7' stands twice"),
        ('{"7": {"a": {"Ann1": 0, "Ann1": 1}}}', "the name 'Ann1' stands twice"),
        ('{"7": {"name": 3}}', "'7' has a column 'name'"),
        ('{"7": {"text": "\\ud800"}}', "unpaired surrogate"),
        ('{"7": ', "cannot be read as JSON"),
        ("[" * 100_000, "cannot be read as JSON"),
    ],
)
def test_what_is_no_tree_is_refused(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(RowError, match=message):
        read_keyed(write(tmp_path / "tree.json", content), "name")


def test_a_missing_tree_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="absent"):
        read_keyed(tmp_path / "absent.json", "name")


def test_raters_that_nobody_is_are_told(tmp_path: Path) -> None:
    """Two files that spell their raters otherwise: the join would leave every attribute unknown."""
    raters = write(tmp_path / "raters.json", {"Ann1": {"gender": "f"}})  # with the prefix: AnnAnn1
    with pytest.raises(
        RowError, match=r"none of its raters \('AnnAnn1', \.\.\.\) gave a rating; the ratings' are 'Ann1'"
    ):
        read_ratings(plan(**KEYED), [write(tmp_path / "tree.json", ITEMS)], raters)


def test_plans_that_name_answers_twice_are_refused() -> None:
    with pytest.raises(ValueError, match="'answers' needs 'annotator'"):
        plan(answers="annotations", annotator="")
    with pytest.raises(ValueError, match="no 'lists'"):
        plan(answers="annotations", lists=["annotations"])


TREES = st.recursive(st.none() | st.text(max_size=3), lambda x: st.dictionaries(st.text(max_size=3), x), max_leaves=6)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=30) | TREES.map(json.dumps).map(str.encode))
def test_any_bytes_are_a_table_or_our_error(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.json"
    path.write_bytes(content)
    try:
        table = read_keyed(path, "name")
    except RlhfFairError:
        return
    assert len(table) == len(json.loads(content))


@settings(deadline=None)
@given(st.lists(st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5)), min_size=1, max_size=5))
def test_no_answer_is_lost(items: list[dict[str, int | str]]) -> None:
    cells = pd.Series([json.dumps(item) for item in items], dtype=object)
    lists = answer_lists(cells, "who", "label")
    assert [
        dict(zip(who, label, strict=True)) for who, label in zip(lists["who"], lists["label"], strict=True)
    ] == items
