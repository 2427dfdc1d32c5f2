from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from rlhf_fair.errors import ColumnError, RowError, SettingsError
from rlhf_fair.probes.generation_scores import (
    Scoring,
    add_scores,
    first_sentence,
    joined,
    parse_rate,
    score_columns,
    scored_texts,
)
from rlhf_fair.probes.generations import generation_records, generation_requests, read_generations, refusal_rate

ITEMS = pd.DataFrame({"item_id": ["x/a", "x/b"], "prompt": ["A was", "B was"], "group": ["a", "b"]})
REFUSAL = "I'm sorry, but I cannot help with that."


class Length:
    name = "length"

    def score(self, texts: Sequence[str]) -> NDArray[np.float64]:
        return np.array([float(len(text)) if text.strip() else np.nan for text in texts])


class Labels:
    name = "labels"

    def probabilities(self, texts: Sequence[str]) -> pd.DataFrame:
        kind = np.array([float("kind" in text) for text in texts])
        return pd.DataFrame({"positive": kind, "negative": 1 - kind})


def test_requests_have_stable_ids_item_by_item() -> None:
    requests = generation_requests(ITEMS, 2)
    assert [(r.id, r.prompt) for r in requests] == [
        ("x/a#0", "A was"),
        ("x/a#1", "A was"),
        ("x/b#0", "B was"),
        ("x/b#1", "B was"),
    ]
    assert generation_requests(ITEMS.iloc[[1]], 2) == requests[2:]  # other items change nothing


def test_records_count_every_failure() -> None:
    records = generation_records(ITEMS, ["kind", None, REFUSAL, ""], 2)
    assert records["sample"].tolist() == [0, 1, 0, 1]
    assert records["group"].tolist() == ["a", "a", "b", "b"]
    assert records["answered"].tolist() == [True, False, True, True]
    assert records["refused"].tolist() == [False, False, True, False]
    assert refusal_rate(records) == pytest.approx(1 / 3)
    assert math.isnan(refusal_rate(generation_records(ITEMS, [None, None])))


def test_an_answer_for_every_request() -> None:
    with pytest.raises(RowError, match="1 answers for 2 items with 2 samples; needs 4"):
        generation_records(ITEMS, ["one"], 2)
    with pytest.raises(SettingsError, match="n_samples is 0"):
        generation_requests(ITEMS, 0)


def test_a_prediction_file_gives_the_same_records() -> None:
    table = pd.DataFrame(
        [
            {"item_id": "x/b", "sample": 1, "text": "late"},
            {"item_id": "x/a", "sample": 0, "text": "kind"},
            {"item_id": "x/b", "sample": 0, "text": REFUSAL},
        ]
    )
    read = read_generations(ITEMS, table, 2)
    pd.testing.assert_frame_equal(read.table, generation_records(ITEMS, ["kind", None, REFUSAL, "late"], 2))
    assert read.rejects.empty


def test_without_sample_numbers_the_order_of_the_file_counts() -> None:
    table = pd.DataFrame({"item_id": ["x/a", "x/b", "x/a"], "text": ["one", "two", "three"]})
    assert read_generations(ITEMS, table, 2).table["text"].tolist()[:3] == ["one", "three", "two"]


def test_rows_that_cannot_be_used_are_listed_not_guessed() -> None:
    table = pd.DataFrame(
        {
            "item_id": ["x/a", "x/c", "x/a", "x/b", "x/b", "x/b", None],
            "sample": [0, 0, 0, 7, 0.5, 0, 0],
            "text": ["one", "two", "three", "four", "five", None, "six"],
        }
    )
    read = read_generations(ITEMS, table, 2)
    assert read.rejects["code"].tolist() == ["unknown_id", "duplicate", "out_of_range", "inconsistent", "missing"]
    assert not read.table["answered"].any()  # two rows for a sample are no answer, nor is a row whose text is missing
    assert read.table["problem"].tolist() == ["duplicate", *["missing"] * 3]
    with pytest.raises(ColumnError, match="'text'"):
        read_generations(ITEMS, table.drop(columns="text"))


def test_scores_are_missing_where_nothing_was_said_and_refusals_as_asked() -> None:
    records = generation_records(ITEMS, ["kind", None, REFUSAL, ""], 2)
    out = add_scores(records, Scoring({"length": Length()}))
    scored = add_scores(records, Scoring({"length": Length()}, refusals="scored"))
    (column,), (other,) = score_columns(out), score_columns(scored)
    assert (column.quantity, column.variant) == ("length", "length, continuation, refusals left out")
    np.testing.assert_array_equal(out[column.column], [4, np.nan, np.nan, np.nan])
    np.testing.assert_array_equal(scored[other.column], [4, np.nan, len(REFUSAL), np.nan])
    assert parse_rate(out, column.column) == 1 / 2  # of "kind" and the empty answer


def test_a_classifier_gives_a_quantity_per_label() -> None:
    records = add_scores(generation_records(ITEMS, ["kind", "late"]), Scoring(classifiers={"regard": Labels()}))
    columns = {score.quantity: score.column for score in score_columns(records)}
    assert records[columns["regard_positive"]].tolist() == [1, 0]
    assert records[columns["regard_negative"]].tolist() == [0, 1]


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        ("continuation", " kind. Then left."),
        ("first sentence", " kind."),
        ("prompt and continuation", "A was kind. Then left."),
        ("prompt and first sentence", "A was kind."),
    ],
)
def test_parts(part: str, expected: str) -> None:
    records = generation_records(ITEMS.iloc[:1], [" kind. Then left."])
    assert scored_texts(records, Scoring(part=part)) == [expected]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a. b", "a."),
        ("no end", "no end"),
        ('He said "no!" Then', 'He said "no!"'),
        ("version 1.5 came", "version 1.5 came"),
        ("\n\nfirst line\nsecond", "\n\nfirst line"),
        ("", ""),
    ],
)
def test_first_sentence(text: str, expected: str) -> None:
    assert first_sentence(text) == expected


def test_joined_keeps_one_space() -> None:
    assert [joined("A ", "b"), joined("A", "b"), joined("A", ""), joined("", "b")] == ["A b", "A b", "A", "b"]


def test_unknown_options_are_named() -> None:
    with pytest.raises(SettingsError, match="part is 'half'; allowed: continuation"):
        Scoring(part="half")  # type: ignore[arg-type]
