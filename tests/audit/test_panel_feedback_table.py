"""Ratings files of many layouts become one table, and no row is lost on the way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlhf_fair.audit.panel_feedback import counts
from rlhf_fair.audit.panel_feedback_attributes import (
    CONFLICTING,
    REFUSED,
    UNKNOWN,
    account,
    cross,
    declared_attributes,
    label_ratings,
)
from rlhf_fair.audit.panel_feedback_cells import UNMAPPED
from rlhf_fair.audit.panel_feedback_plan import FeedbackPlan
from rlhf_fair.audit.panel_feedback_table import Ratings, read_ratings
from rlhf_fair.errors import ColumnError, RowError, SettingsError

POLICY = {"threshold": 5.0, "margin": 5.0}
COLUMNS = {"item": "post", "annotator": "worker", "value": "score", "low": 1, "high": 5}
GENDER = {"name": "gender", "column": "sex", "reference": "woman"}


def plan(ratings: dict[str, Any] | None = None, *attributes: dict[str, Any], **more: Any) -> FeedbackPlan:
    content = {
        "title": "t",
        "question": "q",
        "probe": "panel_feedback",
        "policy": POLICY,
        "ratings": COLUMNS | (ratings or {}),
        "attributes": attributes or (GENDER,),
    }
    return FeedbackPlan.model_validate(content | more)


def read(folder: Path, text: str, settings: FeedbackPlan, name: str = "r.csv", raters: str = "") -> Ratings:
    (folder / name).write_text(text)
    if raters:
        (folder / "people.tsv").write_text(raters)
    return read_ratings(settings, [folder / name], folder / "people.tsv" if raters else None)


def test_columns_are_mapped_and_the_score_runs_from_0_to_100(tmp_path: Path) -> None:
    found = read(tmp_path, "post,worker,score,sex\n1,7,1,woman\n1,8,5,man\n2,7,2,woman\n", plan())
    assert found.table["item"].tolist() == ["1", "1", "2"]
    assert found.table["rater"].tolist() == ["7", "8", "7"]
    assert found.table["score"].tolist() == [0, 100, 25]  # (2 - 1) / (5 - 1)
    assert found.n_input == 3


def test_every_reason_to_set_a_row_aside(tmp_path: Path) -> None:
    text = """post,worker,score,sex
a,1,5,woman
a,1,4,woman
,2,4,man
a,,4,man
a,3,,man
a,4,high,man
a,5,6,man
a,6,dk,man
a,7,3,man
"""
    found = read(tmp_path, text, plan({"no_rating": ("DK",)}))
    assert found.table["rater"].tolist() == ["1", "7"]
    assert found.rejects[["row", "code"]].to_numpy().tolist() == [
        [2, "duplicate"],
        [3, "missing"],
        [4, "missing"],
        [5, "missing"],
        [6, "not_a_number"],
        [7, "out_of_range"],
        [8, "no_rating"],
    ]
    assert found.rejects["value"].tolist() == ["a", "", "", "", "high", "6", "dk"]
    assert found.n_input == 9


def test_values_are_mapped_and_others_are_refused(tmp_path: Path) -> None:
    settings = plan({"values": {"Yes": 1, "no": 0}, "low": 0, "high": 1})
    found = read(tmp_path, "post,worker,score,sex\na,1,yes,woman\na,2, NO ,man\na,3,maybe,man\n", settings)
    assert found.table["value"].tolist() == [1, 0]
    assert found.rejects["code"].tolist() == ["not_allowed"]


def test_several_item_columns_several_files_and_gz(tmp_path: Path) -> None:
    settings = plan({"item": ("set", "post")})
    table = pd.DataFrame({"set": ["x", "y"], "post": [1, 1], "worker": [1, 1], "score": [1.0, 2.5], "sex": "woman"})
    table.to_csv(tmp_path / "one.tsv", index=False, sep="\t")
    table.assign(worker=2).to_csv(tmp_path / "two.csv.gz", index=False)
    found = read_ratings(settings, [tmp_path / "one.tsv", tmp_path / "two.csv.gz"])
    assert found.table["item"].tolist() == ["x/1", "y/1", "x/1", "y/1"]
    assert found.table["file"].tolist() == ["one.tsv", "one.tsv", "two.csv.gz", "two.csv.gz"]


def test_an_item_that_is_a_text_leaves_only_its_hash(tmp_path: Path) -> None:
    found = read(tmp_path, "post,worker,score,sex\nrude words,1,1,woman\n", plan({"item_is_text": True}))
    assert len(found.table["item"].iloc[0]) == 12
    assert "rude" not in found.table["item"].iloc[0]


LISTS = plan({"lists": ("worker", "score"), "values": {"yes": 5, "no": 1}}, raters={"file": "f", "key": "id"})
PEOPLE = "id\tsex\nA1\twoman\nA2\tman\nA9\tman\n"


def test_lists_are_unfolded_and_joined_to_a_rater_table(tmp_path: Path) -> None:
    text = "post\tworker\tscore\np\t\"['A1', 'A2']\"\t\"['yes', 'no']\"\nq\t\"['A1', 'A3']\"\t\"['no', 'no']\"\n"
    found = read(tmp_path, text, LISTS, "r.tsv", PEOPLE)
    assert found.table[["item", "rater", "value"]].to_numpy().tolist() == [
        ["p", "A1", 5],
        ["p", "A2", 1],
        ["q", "A1", 1],
        ["q", "A3", 1],
    ]
    assert label_ratings(found, LISTS.attributes)["gender"].tolist() == ["woman", "man", "woman", UNKNOWN]


@pytest.mark.parametrize(
    "cells",
    [
        "\"['A1', 'A2']\"\t\"['yes']\"",  # lengths differ
        "\"['A1', 'A2'\"\t\"['yes', 'no']\"",  # not a list
        "\"__import__('os').getcwd()\"\t\"['yes']\"",  # code is not run
        "A1\tyes",
        "[]\t[]",
        "\t\"['yes']\"",
    ],
)
def test_lists_that_cannot_be_read_are_one_reject(cells: str, tmp_path: Path) -> None:
    text = f"post\tworker\tscore\np\t{cells}\nq\t\"['A1']\"\t\"['no']\"\n"
    found = read(tmp_path, text, LISTS, "r.tsv", PEOPLE)
    assert found.rejects[["row", "code"]].to_numpy().tolist() == [[1, "malformed"]]
    assert found.n_input == 2


def test_a_rater_with_two_rows_in_the_rater_table_is_an_error(tmp_path: Path) -> None:
    text = "post\tworker\tscore\np\t\"['A1']\"\t\"['yes']\"\n"
    with pytest.raises(RowError, match="rater 'A1' has more than one row"):
        read(tmp_path, text, LISTS, "r.tsv", PEOPLE + "A1\tman\n")


def labels(folder: Path, cells: list[str], **attribute: Any) -> list[str]:
    settings = plan({}, {"name": "x", "column": "sex", "reference": "r"} | attribute)
    rows = "".join(f'a,{i},3,"{cell}"\n' for i, cell in enumerate(cells))
    found = read(folder, "post,worker,score,sex\n" + rows, settings)
    return label_ratings(found, settings.attributes)["x"].tolist()


def test_spellings_are_merged_and_nothing_is_guessed(tmp_path: Path) -> None:
    levels = {"r": ("Woman", "femal"), "man": ("man",)}
    cells = ["woman", " FEMAL ", "man", "Man", "agender", "", "no answer", "na"]
    found = labels(tmp_path, cells, levels=levels, prefer_not_to_say=("no answer",), missing=("NA",))
    assert found == ["r", "r", "man", "man", UNMAPPED, UNKNOWN, REFUSED, UNKNOWN]


def test_numbers_are_binned_half_open(tmp_path: Path) -> None:
    bins = {"r": (18, 35), "old": (35, 100)}
    found = labels(tmp_path, ["18", "34.9", "35", "100", "17", "{}", "x", ""], bins=bins, missing=("{}",))
    assert found == ["r", "r", "old", UNMAPPED, UNMAPPED, UNKNOWN, UNMAPPED, UNKNOWN]


def test_a_rater_with_two_answers_is_of_no_group_but_an_empty_cell_is_no_answer(tmp_path: Path) -> None:
    text = "post,worker,score,sex\na,1,3,woman\nb,1,3,man\nc,1,3,\na,2,3,woman\nb,2,3,\n"
    records = label_ratings(read(tmp_path, text, plan()), plan().attributes)
    assert records["gender"].tolist() == [CONFLICTING, CONFLICTING, UNKNOWN, "woman", UNKNOWN]


def test_item_types_by_level_prefix_and_filled_from_other_rows(tmp_path: Path) -> None:
    text = "post,worker,score,sex,kind\nUS-1,1,3,woman,x\nUS-1,2,3,man,\nGB-1,1,3,woman,z\nGB-2,1,3,man,\n"
    by_level = {"column": "kind", "reference": "K", "levels": {"K": ("x",)}, "fill": True}
    found = read(tmp_path, text, plan(item_type=by_level)).table["item_type"]
    assert [None if pd.isna(kind) else kind for kind in found] == ["K", "K", UNMAPPED, None]
    by_prefix = {"column": "post", "reference": "American", "prefixes": {"American": ("US-",)}}
    found = read(tmp_path, text, plan(item_type=by_prefix)).table["item_type"]
    assert found.tolist() == ["American", "American", UNMAPPED, UNMAPPED]


def test_weights_must_be_positive_numbers(tmp_path: Path) -> None:
    text = "post,worker,score,sex,w\na,1,3,woman,2\na,2,3,man,0\na,3,3,man,x\n"
    found = read(tmp_path, text, plan({"weight": "w"}))
    assert found.table["weight"].tolist() == [2.0]
    assert found.rejects["code"].tolist() == ["bad_weight", "bad_weight"]


def test_crossed_labels_need_every_part() -> None:
    records = pd.DataFrame({"a": ["x", "x", UNKNOWN, UNMAPPED], "b": ["p", REFUSED, "p", "p"]})
    assert cross(records, ["a", "b"]).tolist() == ["x & p", f"x & {REFUSED}", UNKNOWN, UNKNOWN]


cell = st.sampled_from(["1", "2", "5", "9", "dk", "", "x"])
row = st.tuples(st.sampled_from(["a", "b", ""]), st.sampled_from(["1", "2", "3", ""]), cell, st.sampled_from("wmo? "))


@given(rows=st.lists(row, min_size=1, max_size=30))
def test_every_row_is_reported_excluded_or_unknown(rows: list[tuple[str, ...]], tmp_path_factory: Any) -> None:
    levels = {"woman": ("w",), "man": ("m",)}
    settings = plan({"no_rating": ("dk",)}, GENDER | {"levels": levels, "missing": ("?",)})
    first = ("first", "9", "3", "w")  # so that there is a rating and a reference
    text = "post,worker,score,sex\n" + "".join(",".join(cells) + "\n" for cells in [first, *rows])
    found = read(tmp_path_factory.mktemp("t"), text, settings)
    records = label_ratings(found, settings.attributes)
    for line in account(records, ["gender"], len(found.rejects)):
        assert line["input"] == len(rows) + 1 == line["reported"] + line["excluded"] + line["unknown"]
    told = counts(records, settings.attributes, found)
    total = told["counts"]
    assert total["input"] == len(rows) + 1 == total["reported"] + total["excluded"] + total["unknown"]
    assert sum(line["n"] for line in told["exclusions"]) == total["excluded"]
    both = [*found.table["row"], *found.rejects["row"]]
    assert sorted(both) == list(range(1, len(rows) + 2))
    assert (found.rejects["message"] != "").all()


FEEDBACK = """item_id,annotator_id,kind,choice,value,attr.region,attr.gender
i,a,rating,,1,north,w
i,b,rating,,3,south,m
j,b,rating,,2,south,m
j,c,rating,,2,south,
j,c,pair,a,,south,
j,c,rating,,1,south,
j,,rating,,1,south,
"""


def own_format(**ratings: Any) -> FeedbackPlan:
    content = {"title": "t", "question": "q", "probe": "panel_feedback", "policy": POLICY}
    return FeedbackPlan.model_validate(content | {"ratings": {"format": "feedback"} | ratings})


def test_the_projects_own_table_and_its_attributes(tmp_path: Path) -> None:
    settings = own_format()
    found = read(tmp_path, FEEDBACK, settings)
    assert found.table["score"].tolist() == [0, 100, 50, 50]  # scale: 1 to 3, as rated
    assert found.notes == ()
    assert "the lowest and highest rating given, 1 and 3" in found.scale_note
    rejects = sorted(found.rejects[["row", "code"]].to_numpy().tolist())
    assert rejects == [[5, "other_kind"], [6, "duplicate"], [7, "missing"]]
    assert found.n_input == 7
    attributes = declared_attributes(settings, found)
    # region: two raters in the south, one in the north; gender: one w and one m, the tie goes to the first name
    assert [(a.name, a.reference, a.role) for a in attributes] == [
        ("region", "south", "claim"),
        ("gender", "m", "claim"),
    ]
    fixed = read(tmp_path, FEEDBACK, own_format(low=1, high=5))
    assert fixed.table["score"].tolist() == [0, 50, 25, 25]
    assert fixed.scale_note == ""


def test_choices_become_the_preference_for_answer_a(tmp_path: Path) -> None:
    text = "item_id,annotator_id,kind,choice,attr.g\ni,a,pair,a,x\ni,b,pair,tie,y\nj,a,pair,b,x\n"
    assert read(tmp_path, text, own_format()).table["score"].tolist() == [100, 50, 0]


@pytest.mark.parametrize(
    ("text", "ratings", "said"),
    [
        ("post,worker,score\na,1,3\n", {}, r"r\.csv lacks column 'sex'; has \['post', 'score', 'worker'\]"),
        ("post,worker,score,sex\na,1,9,woman\n", {}, r"no rating is left \(the rating lies outside the scale: 1\)"),
        ("post,worker,score,sex\n", {}, "has no rows"),
        ("post,worker,score,sex\na,1,3,man\n", {}, r"no rating from the reference 'woman'; has \['man'\]"),
    ],
)
def test_bad_files_are_one_clear_line(text: str, ratings: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises((ColumnError, RowError, SettingsError), match=said) as fault:
        label_ratings(read(tmp_path, text, plan(ratings)), plan().attributes)
    assert "\n" not in str(fault.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("item_id,annotator_id,kind,value\ni,a,rating,1\n", "no attr"),
        ("item_id,annotator_id,kind,value,attr.g\ni,a,rating,1,x\nj,a,rating,1,x\n", "every rating has the value 1"),
        ("item_id,kind,value,attr.g\ni,rating,1,x\n", "lacks column 'annotator_id'"),
    ],
)
def test_bad_feedback_tables(text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises((ColumnError, RowError, SettingsError), match=said):
        read(tmp_path, text, own_format())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"ratings": {"item": "i"}}, "key 'value' is needed"),
        ({"ratings": COLUMNS | {"low": 5}}, "low < high"),
        ({"attributes": [GENDER | {"levels": {"man": ("m",)}}]}, "reference 'woman' is none of its groups"),
        ({"attributes": [GENDER | {"levels": {"woman": ("x",), "man": ("X",)}}]}, "stand in more than one group"),
        ({"attributes": [GENDER | {"bins": {"woman": (5, 5)}}]}, "is empty"),
        ({"attributes": [GENDER, GENDER]}, "occur more than once"),
        ({"attributes": []}, "no .*attributes"),
        ({"intersections": [["gender", "race"]]}, "intersections name 'race'"),
        ({"intersections": [["gender"]]}, "needs two different attributes"),
        ({"min_raters": 1}, "greater than or equal to 2"),
        ({"sed": 1}, "Extra inputs"),
    ],
)
def test_a_plan_that_cannot_be_meant_is_refused(change: dict[str, Any], said: str) -> None:
    content = {"title": "t", "question": "q", "probe": "panel_feedback", "policy": POLICY, "ratings": COLUMNS}
    with pytest.raises(ValueError, match=said):
        FeedbackPlan.model_validate(content | {"attributes": [GENDER]} | change)


def test_numbers_and_texts_read_alike(tmp_path: Path) -> None:
    text = "post,worker,score,sex\n1,1,3,woman\n1,2,3.5,man\n1.0,3,3,man\n"
    assert np.unique(read(tmp_path, text, plan()).table["item"]).tolist() == ["1"]  # a column of whole numbers
