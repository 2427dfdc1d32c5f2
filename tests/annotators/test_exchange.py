"""Feedback out and back: only what is declared is lost; files as the tools write them are read; nothing vanishes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlhf_fair.annotators.exchange.formats import (
    FORMATS,
    SUFFIX,
    Format,
    carried,
    declared_losses,
    export_feedback,
    import_feedback,
)
from rlhf_fair.annotators.exchange.label_studio import blank_tasks, labelling_config
from rlhf_fair.errors import MissingFileError, RowError, SettingsError
from rlhf_fair.tables import FEEDBACK, validate

KEY = list(FEEDBACK.key)
IDS = st.text(st.characters(codec="utf-8", exclude_categories=["C"]), min_size=1, max_size=4)
TEXTS = st.one_of(st.none(), st.text(st.characters(codec="utf-8", exclude_categories=["Cs"], exclude_characters="\0")))
NUMBERS = st.floats(-1e6, 1e6, allow_nan=False)
VALUES = st.one_of(st.integers(0, 10).map(float), NUMBERS)


@st.composite
def feedback(draw: st.DrawFn) -> pd.DataFrame:
    """A validated table of every kind, with attributes and further columns."""
    rows = draw(st.lists(st.tuples(IDS, IDS, st.sampled_from(["pair", "rating", "scalar", "edit"])), min_size=1))
    table = pd.DataFrame(rows, columns=KEY, dtype="str")

    def column(cells: st.SearchStrategy[Any]) -> list[Any]:
        return draw(st.lists(cells, min_size=len(table), max_size=len(table)))

    table["choice"] = column(st.sampled_from(["a", "b", "tie"]))
    table["value"] = column(VALUES)
    table["text"] = column(st.text("ab 01\n,\"'é", min_size=1))
    table["seconds"] = column(st.one_of(st.none(), st.floats(0, 1e6)))
    table["attr.gender"] = pd.Series(column(st.sampled_from(["woman", "man", None])), dtype="str")
    table["order"] = pd.Series(column(st.sampled_from(["ab", "ba", None])), dtype="str")
    table["comment"] = pd.Series(column(TEXTS), dtype="str")
    table["strength"] = column(st.integers(1, 3))
    table["simulated"] = column(st.sampled_from([True, None]))
    return validate(table, FEEDBACK).table


@pytest.mark.parametrize("name", FORMATS)
@settings(deadline=None, max_examples=60)
@given(table=feedback())
def test_only_what_is_declared_is_lost(
    name: Format, table: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory
) -> None:
    if table.empty:
        return
    path = tmp_path_factory.mktemp("x") / f"f{SUFFIX[name]}"
    kept = carried(table, name)
    assert {lost.code for lost in kept.lost} <= {loss.code for loss in declared_losses(name)}
    if kept.table.empty:
        with pytest.raises(RowError, match="no feedback row is left"):
            export_feedback(table, path, name)
        return
    assert export_feedback(table, path, name) == kept.lost
    back = import_feedback(path, name)
    assert back.rejects.empty
    same(back.table, kept.table)
    # and what is not said to be lost is as it was
    touched = {lost.column for lost in kept.lost if lost.code != "formula"}  # marked in the file only
    if "" not in touched:
        rest = [column for column in table.columns if column not in touched]
        same(back.table[[c for c in rest if c in back.table]], table[rest])


def same(found: pd.DataFrame, wanted: pd.DataFrame) -> None:
    """Equal cells, whatever the order of rows and columns; a column without any cell may be absent."""
    found, wanted = (
        t.dropna(axis=1, how="all").sort_values(KEY, ignore_index=True).sort_index(axis=1) for t in (found, wanted)
    )
    assert list(found) == list(wanted)
    for name in found:
        if pd.api.types.is_numeric_dtype(found[name].dropna().infer_objects()):
            numbers = [t[name].astype(float).to_numpy() for t in (found, wanted)]
            np.testing.assert_allclose(*numbers, rtol=1e-14, atol=1e-15)
        else:
            assert found[name].astype(object).where(found[name].notna(), None).tolist() == (
                wanted[name].astype(object).where(wanted[name].notna(), None).tolist()
            )


TABLE = validate(
    pd.DataFrame(
        {
            "item_id": ["1", "1", "2", "2"],
            "annotator_id": ["007", "7", "7", "p"],
            "kind": ["pair", "pair", "rating", "edit"],
            "choice": ["a", "tie", None, None],
            "value": [None, None, 4.0, None],
            "text": [None, None, None, "better"],
            "seconds": [3.5, None, 8, 1],
            "order": ["ba", "ba", None, None],
            "attr.gender": ["woman", None, None, "man"],
        }
    ),
    FEEDBACK,
).table
ITEMS = pd.DataFrame(
    {"item_id": ["1", "2"], "prompt": ["Q1", "Q2"], "response_a": ["A1", "A2"], "response_b": ["B1", "B2"]}
)


def test_label_studio_tasks_by_hand(tmp_path: Path) -> None:
    path = tmp_path / "tasks.json"
    lost = export_feedback(TABLE, path, "label-studio", items=ITEMS)
    assert [(entry.code, entry.column, entry.cells) for entry in lost] == [("attributes", "attr.gender", 2)]
    one, two = json.loads(path.read_text())
    # order ba: b is shown on the left, so a choice of a is one of the right
    assert one["data"] == {"item_id": "1", "order": "ba", "prompt": "Q1", "left": "B1", "right": "A1"}
    first, second = one["annotations"]
    assert first["result"] == [
        {"from_name": "pair", "to_name": "left,right", "type": "pairwise", "value": {"selected": "right"}}
    ]
    assert first["completed_by"] == {"email": "007"}  # 7 would be somebody else
    assert (first["lead_time"], second["lead_time"], second["completed_by"]) == (3.5, None, 7)
    assert second["result"][0]["value"] == {"choices": ["tie"]}
    assert [a["result"][0]["value"] for a in two["annotations"]] == [{"rating": 4}, {"text": ["better"]}]


def ls_task(*results: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A task as the tool exports one, with fields that mean nothing here."""
    annotation = {
        "id": 31,
        "completed_by": {"id": 5, "email": "p@example.org", "first_name": "P"},
        "result": list(results),
        "was_cancelled": False,
        "ground_truth": False,
        "created_at": "2025-02-03T10:00:00.000000Z",
        "lead_time": 12.5,
        "result_count": 0,
    } | more
    return {
        "id": 40,
        "data": {"text1": "x", "text2": "y"},
        "annotations": [annotation],
        "drafts": [],
        "predictions": [],
    }


def result(kind: str, value: dict[str, Any], name: str = "c") -> dict[str, Any]:
    return {"id": "x7", "from_name": name, "to_name": "text1", "type": kind, "value": value, "origin": "manual"}


def ls_import(path: Path, *tasks: Any) -> Any:
    path.write_text(json.dumps(tasks))
    return import_feedback(path, "label-studio")


def test_a_label_studio_project_of_ones_own(tmp_path: Path) -> None:
    task = ls_task(
        result("pairwise", {"selected": "left"}, "pw"),
        result("rating", {"rating": 3}, "stars"),
        result("textarea", {"text": ["because", "it is so"]}, "why"),
        result("choices", {"choices": ["rude", "false"]}, "faults"),
        result("labels", {"start": 1, "end": 4, "labels": ["X"]}, "span"),
    )
    task["predictions"] = [{"model_version": "m", "result": []}]
    found = ls_import(tmp_path / "t.json", task)
    assert found.rejects.empty
    assert found.table["annotator_id"].tolist() == ["5", "5"]
    assert found.table["item_id"].tolist() == ["40", "40"]
    assert found.table["kind"].tolist() == ["pair", "rating"]
    assert found.table["choice"].tolist()[0] == "a"
    assert found.table["why"].tolist()[0] == "because\nit is so"
    assert json.loads(found.table["faults"].tolist()[0]) == ["rude", "false"]
    assert found.table["seconds"].tolist()[0] == 12.5
    assert found.table["seconds"].isna().tolist() == [False, True]
    assert {(lost.code, lost.column, lost.cells) for lost in found.lost} == {
        ("control", "labels", 1),
        ("predictions", "", 1),
        ("shared_seconds", "seconds", 1),
    }


def test_nothing_of_a_label_studio_file_vanishes(tmp_path: Path) -> None:
    pair = result("pairwise", {"selected": "right"})
    found = ls_import(
        tmp_path / "t.json",
        ls_task(pair),
        ls_task(pair),  # the same annotator on the same task again
        ls_task(pair, was_cancelled=True),
        ls_task(),
        ls_task(result("textarea", {"text": ["only a comment"]})),
        ls_task(pair, completed_by=None),
        ls_task(result("rating", {"rating": "many"})),
        {"id": 1, "annotations": []},
        ls_task(pair, result="none"),
        "no task",
    )
    assert len(found.table) == 1
    assert list(zip(found.rejects["row"], found.rejects["column"], found.rejects["code"], strict=True)) == [
        (2, "item_id", "duplicate"),
        (3, "was_cancelled", "skipped"),
        (4, "result", "no_judgement"),
        (5, "result", "no_judgement"),
        (6, "annotator_id", "missing"),
        (7, "value", "not_a_number"),
        (8, "data", "malformed"),
        (9, "annotations", "malformed"),
        (10, "data", "malformed"),
    ]


def test_tasks_to_label_and_the_interface_for_them() -> None:
    first, _ = blank_tasks(ITEMS)
    assert first == {
        "id": 1,
        "data": {"item_id": "1", "prompt": "Q1", "left": "A1", "right": "B1"},
        "annotations": [],
        "predictions": [],
    }
    from xml.etree import ElementTree

    root = ElementTree.fromstring(labelling_config(["why <now>"]))
    assert {tag.tag for tag in root} == {"Text", "Pairwise", "Choices", "Rating", "Number", "TextArea"}
    shown = {tag.get("name") for tag in root if tag.tag == "Text"}
    for tag in root:
        assert set((tag.get("toName") or "prompt").split(",")) <= shown


def test_argilla_records_by_hand(tmp_path: Path) -> None:
    path = tmp_path / "records.json"
    lost = export_feedback(TABLE, path, "argilla", items=ITEMS)
    assert {(entry.code, entry.cells) for entry in lost} == {("attributes", 2), ("seconds", 3)}
    pair, rating, edit = json.loads(path.read_text())
    assert pair["fields"] == {"prompt": "Q1", "response_a": "A1", "response_b": "B1"}
    assert [answer["value"] for answer in pair["responses"]["choice"]] == ["a", "tie"]
    assert all(UUID(answer["user_id"]).version == 5 for answer in pair["responses"]["choice"])
    assert all(isinstance(value, str) for value in pair["metadata"].values())
    assert rating["responses"]["rating"][0]["value"] == 4
    assert list(edit["responses"]) == ["edit"]
    assert len({pair["id"], rating["id"], edit["id"]}) == 3


def test_an_argilla_data_set_of_ones_own(tmp_path: Path) -> None:
    user, other = "9d5fbd2c-8f3a-4a52-9a4b-6f1a0e2b7c11", "1b9e2c58-2f4e-4a0f-8b8b-5a9d7f3c2e10"
    record = {
        "id": "conv-1",
        "fields": {"prompt": "Q", "response_a": "A", "response_b": "B"},
        "metadata": {"source": "web"},
        "suggestions": {"preference": {"value": "a", "score": 0.4, "agent": "m"}},
        "responses": {
            "preference": [
                {"value": ["response_b", "response_a"], "user_id": user},
                {"value": "tie", "user_id": other},
            ],
            "quality": [{"value": 7, "user_id": user}],
            "why": [{"value": "shorter", "user_id": user}, {"value": "?", "user_id": "5c0e"}],
            "broken": [{"value": 1}],
        },
        "vectors": {},
        "_server_id": "0f",
    }
    path = tmp_path / "r.json"
    path.write_text(json.dumps([record, {"id": "x", "responses": None}]))
    found = import_feedback(path, "argilla", choice_question="preference", rating_question="quality")
    rows = found.table.set_index(["annotator_id", "kind"])
    assert rows.loc[(user, "pair"), "choice"] == "b"
    assert rows.loc[(other, "pair"), "choice"] == "tie"
    assert rows.loc[(user, "rating"), "value"] == 7
    assert rows.loc[(user, "pair"), "why"] == "shorter"
    assert found.rejects["code"].tolist() == ["malformed", "no_judgement", "malformed"]
    assert {lost.code for lost in found.lost} == {"suggestions", "status"}


@pytest.mark.parametrize(("ranks", "choice"), [((1, 2), "a"), ((2, 1), "b"), ((1, 1), "tie")])
def test_rankings_with_ranks(tmp_path: Path, ranks: tuple[int, int], choice: str) -> None:
    value = [{"value": name, "rank": rank} for name, rank in zip(("response_a", "response_b"), ranks, strict=True)]
    path = tmp_path / "r.json"
    path.write_text(json.dumps([{"id": "i", "responses": {"choice": [{"value": value, "user_id": "u"}]}}]))
    assert import_feedback(path, "argilla").table["choice"].tolist() == [choice]


def test_losses_of_a_csv_by_hand(tmp_path: Path) -> None:
    further = pd.DataFrame({"code": ["007", "1", "2", "3"], "note": ["", "x", "y", None]}, dtype="str")
    table = TABLE.assign(code=further["code"], note=further["note"])
    table["text"] = table["text"].mask(table["text"].notna(), "007")  # the text of an edit stays one
    lost = export_feedback(table, tmp_path / "f.csv", "csv")
    assert {(entry.code, entry.column, entry.cells) for entry in lost} == {
        ("read_as_number", "code", 4),
        ("empty_text", "note", 1),
    }
    back = import_feedback(tmp_path / "f.csv", "csv").table
    assert back["annotator_id"].tolist() == ["007", "7", "7", "p"]
    assert back["text"].tolist()[-1] == "007"
    assert export_feedback(table, tmp_path / "f.parquet", "parquet") == ()


def test_no_text_of_a_csv_is_run_by_a_spreadsheet(tmp_path: Path) -> None:
    notes = ['=HYPERLINK("http://x")', "+1 for b", "-", "@SUM(A1)", "\t=1", "'=1", "''-x", "'tis", "a=b", None]
    table = pd.DataFrame({"item_id": [f"i{n}" for n in range(len(notes))], "annotator_id": "-7", "kind": "rating"})
    table["value"], table["note"] = -1.5, pd.Series(notes, dtype="str")
    table = validate(table, FEEDBACK).table
    lost = export_feedback(table, tmp_path / "f.csv", "csv")
    assert {(entry.code, entry.column, entry.cells) for entry in lost} == {
        ("formula", "annotator_id", 10),
        ("formula", "note", 7),
    }
    raw = pd.read_csv(tmp_path / "f.csv", dtype="str", keep_default_na=False)
    assert raw["value"].tolist() == ["-1.5"] * 10  # numbers stay numbers
    for name in ("annotator_id", "note"):
        assert not raw[name].str.match(r"[=+\-@\t\r\n]").any()
    back = import_feedback(tmp_path / "f.csv", "csv").table
    same(back, table)


@pytest.mark.parametrize("name", ["label-studio", "argilla"])
def test_deep_nesting_is_one_clear_error(tmp_path: Path, name: Format) -> None:
    (tmp_path / "f.json").write_text("[" * 200_000 + "]" * 200_000)
    with pytest.raises(SettingsError, match="nested too deeply"):
        import_feedback(tmp_path / "f.json", name)


@pytest.mark.parametrize("number", [7, 7.0])
def test_ids_that_are_numbers_are_one_id_however_spelled(tmp_path: Path, number: float) -> None:
    task = {"id": 1, "data": {"item_id": number}, "annotations": []}
    task["annotations"] = [{"completed_by": number, "result": [result("rating", {"rating": 3})]}]
    found = ls_import(tmp_path / "t.json", task).table
    assert found[["item_id", "annotator_id"]].to_numpy().tolist() == [["7", "7"]]
    record = {"metadata": {"item_id": number}, "responses": {"rating": [{"value": 3, "user_id": "u"}]}}
    (tmp_path / "r.json").write_text(json.dumps([record]))
    assert import_feedback(tmp_path / "r.json", "argilla").table["item_id"].tolist() == ["7"]


def test_faults_are_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"label-studio is kept in a file that ends with \.json"):
        export_feedback(TABLE, tmp_path / "f.csv", "label-studio")
    with pytest.raises(MissingFileError, match="feedback file not found"):
        import_feedback(tmp_path / "f.json", "argilla")
    (tmp_path / "f.json").write_text("{}")
    with pytest.raises(RowError, match="is no argilla export"):
        import_feedback(tmp_path / "f.json", "argilla")
    (tmp_path / "f.json").write_text("[{")
    with pytest.raises(SettingsError, match="not JSON: line 1"):
        import_feedback(tmp_path / "f.json", "label-studio")
    halves = TABLE.assign(kind="scalar", value=0.5)
    with pytest.raises(RowError, match="no feedback row is left that argilla can carry"):
        export_feedback(halves, tmp_path / "g.json", "argilla")
    assert not (tmp_path / "g.json").exists()
