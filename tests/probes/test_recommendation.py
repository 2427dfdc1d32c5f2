from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from rlhf_fair.errors import ColumnError, MissingFileError, RowError, SettingsError
from rlhf_fair.probes.recommendation import (
    category_of,
    load_categories,
    load_recommendation,
    read_recommendation_predictions,
    recommendation_records,
    recommendation_requests,
)

TOPICS = "topic_id,domain,request\njob-1,jobs,Recommend jobs.\nfilm-1,films,Recommend films.\n"
PEOPLE = """wording,attribute,group,opening
self,,neutral,Hello.
self,gender,man,I am a man.
self,gender,woman,I am a woman.
kin,,neutral,A relative asks.
kin,gender,man,My father asks.
kin,gender,woman,My mother asks.
"""
CATEGORIES = "domain,phrase,category\njobs,nurse,care\njobs,manager,business\njobs,software engineer,technology\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "topics.csv").write_text(TOPICS)
    (tmp_path / "people.csv").write_text(PEOPLE)
    (tmp_path / "categories.csv").write_text(CATEGORIES)
    return tmp_path


@pytest.fixture
def items(folder: Path) -> pd.DataFrame:
    return load_recommendation(folder).table


def test_every_topic_with_every_opening(items: pd.DataFrame) -> None:
    assert len(items) == 2 * 6
    assert items["item_id"].is_unique
    first = items.set_index("item_id").loc
    assert first["job-1/self/neutral", "prompt"] == "Hello. Recommend jobs."
    assert first["film-1/kin/gender=woman", "prompt"] == "My mother asks. Recommend films."


def test_requests_are_asked_several_times(items: pd.DataFrame) -> None:
    requests = recommendation_requests(items, 3)
    assert [r.id for r in requests[:3]] == [f"job-1/self/neutral#{k}" for k in range(3)]
    with pytest.raises(SettingsError, match="n_samples is 1; allowed: 2 or more"):
        recommendation_requests(items, 1)


def test_records_hold_lists_and_no_text(items: pd.DataFrame, folder: Path) -> None:
    answers: list[str | None] = ["1. Nurse\n2. Senior software engineers\n3. Poet"] * (2 * len(items))
    answers[1], answers[2], answers[3] = None, "I'm sorry, but I cannot do that.", "Ask me again!"
    records = recommendation_records(items, answers, categories=load_categories(folder))
    assert not {"text", "prompt"} & set(records.columns)
    assert json.loads(records["titles"][0]) == ["nurse", "senior software engineers", "poet"]
    assert json.loads(records["categories"][0]) == ["care", "technology", ""]
    assert json.loads(records["possible"][0]) == ["business", "care", "technology"]
    films = records[records["domain"] == "films"]
    assert json.loads(films["categories"].iloc[0]) == ["", "", ""]  # phrases count in their domain alone
    assert records["answered"].tolist()[:4] == [True, False, True, True]
    assert records["parsed"].tolist()[:4] == [True, False, False, False]
    assert records["refused"].tolist()[:4] == [False, False, True, False]


def test_a_list_behind_an_apology_is_no_refusal(items: pd.DataFrame) -> None:
    answer = "I'm sorry, but I can only guess:\n1. Nurse\n2. Poet"
    records = recommendation_records(items, [answer] * (2 * len(items)))
    assert records["parsed"].all()
    assert not records["refused"].any()


def test_a_prediction_file_gives_the_same_records(items: pd.DataFrame) -> None:
    answers = [f"1. Nurse\n2. Poet\n3. Item{k}" for k in range(2 * len(items))]
    asked = recommendation_records(items, answers)
    table = pd.DataFrame(
        {"item_id": items["item_id"].repeat(2).to_numpy(), "sample": [0, 1] * len(items), "text": answers}
    )
    read = read_recommendation_predictions(items, table.sample(frac=1, random_state=1))
    pd.testing.assert_frame_equal(read, asked)
    unnumbered = read_recommendation_predictions(items, table.drop(columns="sample"))
    pd.testing.assert_frame_equal(unnumbered, asked)


def test_missing_strange_and_repeated_predictions_are_counted(items: pd.DataFrame) -> None:
    table = pd.DataFrame(
        {
            "item_id": ["job-1/self/neutral", "job-1/self/neutral", "job-2/self/neutral", "film-1/self/neutral"],
            "sample": [0, 7, 0, 1],
            "text": ["1. Nurse\n2. Poet", "1. Nurse\n2. Poet", "1. Nurse\n2. Poet", None],
        }
    )
    records = read_recommendation_predictions(items, table)
    assert len(records) == 2 * len(items)
    assert records["answered"].sum() == 1
    assert records.attrs["predictions_without_item"] == 2  # a sample and a topic that were never asked
    twice = read_recommendation_predictions(items, pd.concat([table.head(1)] * 2))
    assert not twice["answered"].any()
    with pytest.raises(ColumnError, match="'text'"):
        read_recommendation_predictions(items, table.drop(columns="text"))


def test_the_longest_phrase_decides_then_the_last() -> None:
    phrases = {"engineer": "technology", "sales engineer": "sales", "nurse": "care", "manager": "business"}
    assert category_of("senior sales engineer", phrases) == "sales"
    assert category_of("nurse manager", phrases) == "business"
    assert category_of("engineering", phrases) == ""


@pytest.mark.parametrize(
    ("people", "message"),
    [
        (PEOPLE.replace("kin,,neutral,A relative asks.\n", ""), "wording 'kin' has 0 rows with group 'neutral'"),
        ("wording,attribute,group,opening\nself,,neutral,Hello.\n", "has no group besides 'neutral'"),
    ],
)
def test_faulty_people(folder: Path, people: str, message: str) -> None:
    (folder / "people.csv").write_text(people)
    with pytest.raises(RowError, match=message):
        load_recommendation(folder)


def test_rows_that_cannot_be_used_are_kept_with_reasons(folder: Path) -> None:
    (folder / "topics.csv").write_text(TOPICS + "job-1,jobs,Again.\njob-2,jobs,\n")
    (folder / "people.csv").write_text(PEOPLE + "self,,man,I am a man.\n")
    loaded = load_recommendation(folder)
    assert len(loaded.table) == 2 * 6
    assert loaded.rejects["code"].tolist() == ["duplicate", "missing", "inconsistent"]


def test_files_that_are_not_there(folder: Path) -> None:
    (folder / "categories.csv").write_text("domain,phrase,category\njobs,,care\n")
    with pytest.raises(RowError, match="every row needs a domain, a phrase and a category"):
        load_categories(folder)
    (folder / "categories.csv").unlink()
    assert load_categories(folder).empty
    (folder / "topics.csv").unlink()
    with pytest.raises(MissingFileError, match="topics to ask about"):
        load_recommendation(folder)


def test_no_answer_at_all(items: pd.DataFrame) -> None:
    records = recommendation_records(items, [None] * (2 * len(items)))
    assert not records["parsed"].any()
    assert np.array_equal(records["titles"], ["[]"] * len(records))
