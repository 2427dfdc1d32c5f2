from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from rlhf_fair.errors import ColumnError, RowError
from rlhf_fair.probes.reward_feedback import FeedbackFile, read_feedback_file
from rlhf_fair.probes.reward_ratings import SEEN, UNKNOWN_ITEM, held_out_only, rating_items

LAYOUT = "{prompt}\n{answer}"
HEAD = "item_id,annotator_id,kind,value,choice,attr.race\n"


def feedback(folder: Path, rows: str, head: str = HEAD) -> FeedbackFile:
    path = folder / "feedback.csv"
    path.write_text(head + rows)
    return read_feedback_file(path)


def items(folder: Path, rows: str) -> Path:
    path = folder / "items.csv"
    path.write_text(rows)
    return path


def test_texts_come_from_the_items_and_strata_from_source_and_prompt(tmp_path: Path) -> None:
    read = feedback(tmp_path, "1,r,rating,4,,x\n2,r,rating,2,,x\n3,r,rating,1,,x\n9,r,rating,1,,x\n")
    file = items(
        tmp_path, "item_id,prompt,response,source\n1,Why?,So.,forum\n2,Why?,No.,forum\n3,,Alone,news\n4,P,R,news\n"
    )
    found, left_out = rating_items(read, file, layout=LAYOUT, better="low")
    table = found.table
    assert table["text"].tolist() == ["Why?\nSo.", "Why?\nNo.", "Alone"]
    assert table["stratum"].nunique() == 2
    assert table["stratum"][0] == table["stratum"][1]
    assert table["rating"].tolist() == [-4, -2, -1]  # low is better: turned round
    assert left_out == {UNKNOWN_ITEM: 1}
    assert len(table) + sum(left_out.values()) + len(found.rejects) == 4


def test_one_file_may_hold_choices_ratings_and_more(tmp_path: Path) -> None:
    rows = "1,r,pair,,a,x\n2,r,rating,3,,x\n3,r,scalar,-1,,y\n4,r,rating,1,,y\n5,r,rating,oh,,y\n"
    read = feedback(tmp_path, rows)
    assert {kind: len(part) for kind, part in read.by_kind.items()} == {"pair": 1, "rating": 3, "scalar": 1}
    assert read.others == {"scalar": 1}
    file = items(tmp_path, "item_id,text\n2,two\n4,four\n5,five\n")
    found, _ = rating_items(read, file, layout=LAYOUT, better="high")
    assert found.table["value"].tolist() == [3, 1]
    assert found.rejects["row"].tolist() == [5]  # as in the file, not among its ratings
    assert found.rejects["code"].tolist() == ["not_a_number"]


def test_without_a_kind_the_columns_tell(tmp_path: Path) -> None:
    rated = feedback(tmp_path, "1,r,3,hi,x\n", "item_id,annotator_id,value,text,attr.race\n")
    assert list(rated.by_kind) == ["rating"]
    chosen = feedback(tmp_path, "1,r,a,x\n", "item_id,annotator_id,choice,attr.race\n")
    assert list(chosen.by_kind) == ["pair"]


def test_columns_of_a_file_get_other_names(tmp_path: Path) -> None:
    path = tmp_path / "raw.csv"
    path.write_text("id,who,offence,gender,words\n1,a,5,Woman,hi\n1,b,1,unsaid,hi\n")
    names = {"item_id": "id", "annotator_id": "who", "value": "offence", "text": "words", "attr.gender": "gender"}
    read = read_feedback_file(path, columns=names, missing_values=("unsaid",))
    found, _ = rating_items(read, None, layout=LAYOUT, better="high")
    assert found.table["attr.gender"].isna().tolist() == [False, True]
    path.write_text("id,who,offence,gender\n1,a,5,Woman\n")
    with pytest.raises(ColumnError, match="lacks column 'words'"):
        read_feedback_file(path, columns=names)


@pytest.mark.parametrize(
    ("rows", "head", "error"),
    [
        ("1,r,3,x\n1,q,2,x\n", "item_id,annotator_id,value,attr.a\n", "lacks column 'text'"),
        ("1,r,3,hi,x\n2,r,3,ho,x\n", "item_id,annotator_id,value,text,attr.a\n", "every rating is 3"),
        ("1,r,3,hi,x\n1,q,2,ho,x\n", "item_id,annotator_id,value,text,attr.a\n", "item_id '1' has 2 texts"),
        ("1,r,no,hi,x\n", "item_id,annotator_id,value,text,attr.a\n", "no usable rating; the first fault"),
        ("1,r,2,,x\n", "item_id,annotator_id,value,text,attr.a\n", "none of 1 ratings has a text"),
    ],
)
def test_faults_are_named(rows: str, head: str, error: str, tmp_path: Path) -> None:
    with pytest.raises((RowError, ColumnError), match=error):
        rating_items(feedback(tmp_path, rows, head), None, layout=LAYOUT, better="high")


def test_nobodys_group_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ColumnError, match=r"attr\."):
        feedback(tmp_path, "1,r,3,hi\n", "item_id,annotator_id,value,text\n")


def test_only_texts_of_the_test_split_of_that_source_are_kept(tmp_path: Path) -> None:
    table = pd.DataFrame({"feedback_item": ["1", "1", "2", "3"], "rating": [1.0, 2.0, 3.0, 4.0]})
    kept, lost, told = held_out_only(table, tmp_path, "forum")
    assert (len(kept), lost) == (4, 0)
    assert "may have been trained" in told
    held_out = {"item_id": [1, 2, 2, 3], "source": ["forum", "forum", "news", "news"]}
    pd.DataFrame(held_out | {"split": ["test", "validation", "test", "test"]}).to_parquet(tmp_path / "held_out.parquet")
    kept, lost, told = held_out_only(table, tmp_path, "forum")
    assert kept["rating"].tolist() == [1, 2]
    assert lost == 2
    assert "1 texts of forum" in told
    assert "trained" in SEEN
    with pytest.raises(RowError, match="sources: forum, news"):
        held_out_only(table, tmp_path, "blog")
    assert held_out_only(table, tmp_path, "")[1] == 0
