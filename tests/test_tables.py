"""Tables: what comes in is accepted or rejected with a reason, and never changed on the way."""

from __future__ import annotations

import gzip
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlhf_fair import tables
from rlhf_fair.errors import ColumnError, MissingFileError, RowError, SettingsError


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_ids_and_attributes_stay_text_and_none_is_a_level(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "\ufeffannotator_id,attr.religion,cost\n007,None,1\n010,,2\n")
    table = tables.read_table(path)
    assert table["annotator_id"].tolist() == ["007", "010"]
    assert table["attr.religion"].tolist()[0] == "None"
    assert table["attr.religion"].isna().tolist() == [False, True]
    assert table["cost"].tolist() == [1, 2]


def test_missing_values_is_an_argument(tmp_path: Path) -> None:
    for name, text in {"a.csv": "attr.age\nNA\n30\n", "a.json": '[{"attr.age": "NA"}, {"attr.age": 30}]'}.items():
        path = write(tmp_path / name, text)
        assert tables.read_table(path)["attr.age"].tolist() == ["NA", "30"]
        assert tables.read_table(path, missing_values=["NA"])["attr.age"].isna().tolist() == [True, False]


@pytest.mark.parametrize("extension", tables.FORMATS)
def test_written_tables_read_back_equal(tmp_path: Path, extension: str) -> None:
    table = pd.DataFrame({"item_id": ["01", "2"], "prompt": ['a, "b"\n\tc', "ü"], "value": [0.1, 1 / 3]})
    path = tmp_path / f"t{extension}"
    tables.write_table(path, table)
    pd.testing.assert_frame_equal(tables.read_table(path), table, check_dtype=False, rtol=1e-14)
    first = path.read_bytes()
    tables.write_table(path, table)
    assert path.read_bytes() == first
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize(
    ("name", "content", "error", "says"),
    [
        ("absent.csv", None, MissingFileError, "absent.csv"),
        ("t.xlsx", "x", SettingsError, ".parquet"),
        ("t.csv", "", RowError, "cannot be read"),
        ("t.csv", "a,b\n", RowError, "no rows"),
        ("t.csv", "a,a\n1,2\n", RowError, "repeated column names"),
        ("t.csv", "a,b\n1,2\n1,2,3\n", RowError, "line 3"),
        ("t.csv", "a,b\n1,2,3\n4,5,6\n", RowError, "more cells"),
        ("t.csv", 'a,b\n1,"2\n', RowError, "EOF"),
        ("t.jsonl", '{"a": 1}\n{"a": \n', RowError, "row 2: is not JSON"),
        ("t.jsonl", '{"a": 1}\n\n[3]\n', RowError, "row 3: is not a JSON object"),
        ("t.json", '{"a": 1}', RowError, "array of objects"),
        ("t.parquet", "no", RowError, "cannot be read"),
        ("t.csv.gz", "not gzip", RowError, "cannot be read"),
        ("t.jsonl.gz", "not gzip", RowError, "cannot be read"),
    ],
)
def test_bad_files_are_one_clear_error(
    tmp_path: Path, name: str, content: str | None, error: type[Exception], says: str
) -> None:
    path = tmp_path / name
    if content is not None:
        write(path, content)
    with pytest.raises(error, match=says) as caught:
        tables.read_table(path)
    assert name in str(caught.value)


def test_latin1_and_broken_gzip(tmp_path: Path) -> None:
    for name in ("t.csv", "t.jsonl"):
        (tmp_path / name).write_bytes('{"a": "é"}\n'.encode("latin-1"))
        with pytest.raises(RowError, match="not UTF-8"):
            tables.read_table(tmp_path / name)
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(b"a,b\n1,2\n" * 99)[:-9])
    with pytest.raises(RowError, match="cannot be read"):
        tables.read_table(tmp_path / "t.csv.gz")


def test_malformed_lines_are_set_aside_with_their_line_number(tmp_path: Path) -> None:
    path = write(
        tmp_path / "f.jsonl", '{"item_id": 1}\n\nnonsense\n{"item_id": "2", "x": ["a", "b"]}\n7\n{"x": "\\ud800"}\n'
    )
    read = tables.read_jsonl_with_rejects(path)
    assert read.table.index.tolist() == [1, 4]
    assert read.table["item_id"].tolist() == ["1", "2"]
    assert read.table["x"].tolist()[1] == '["a", "b"]'
    assert read.rejects["row"].tolist() == [3, 5, 6]
    assert tuple(read.rejects.columns) == tables.REJECT_COLUMNS


def test_every_fault_has_its_code_row_and_column(tmp_path: Path) -> None:
    lines = [
        '{"item_id": "i1", "annotator_id": "p", "kind": "pair", "choice": "a", "seconds": 3}',  # sound
        '{"item_id": "", "annotator_id": "p", "kind": "pair", "choice": "a"}',
        '{"item_id": "i1", "annotator_id": "p", "kind": "pair", "choice": "b"}',
        '{"item_id": "i1", "annotator_id": "q", "kind": "pair"}',
        '{"item_id": "i1", "annotator_id": "q", "kind": "rating", "value": "high"}',
        '{"item_id": "i1", "annotator_id": "q", "kind": "rating", "value": 4, "seconds": -1}',
        '{"item_id": "i1", "annotator_id": "z", "kind": "rating", "value": 4}',
        '{"item_id": "i1", "annotator_id": "q", "kind": "star", "value": 4}',
        "{",
        '{"item_id": "i1", "annotator_id": "q", "kind": "pair", "choice": "c"}',
        '{"item_id": "i1", "annotator_id": "q", "kind": "rating", "value": 4}',  # sound
    ]
    path = write(tmp_path / "f.jsonl", "\n".join(lines))
    read = tables.read_validated(path, tables.FEEDBACK, known={"annotator_id": ["p", "q"]})
    assert read.rejects["row"].tolist() == [2, 3, 4, 5, 6, 7, 8, 9, 10]
    assert read.rejects["code"].tolist() == [
        "missing",
        "duplicate",
        "inconsistent",
        "not_a_number",
        "out_of_range",
        "unknown_id",
        "not_allowed",
        "malformed",
        "not_allowed",
    ]
    assert read.rejects["message"][8] == "feedback row 10, column 'choice': 'c' is not allowed; allowed: a, b, tie"
    assert read.table["annotator_id"].tolist() == ["p", "q"]
    assert read.table["value"].tolist()[1] == 4


def test_a_faulty_row_does_not_make_its_sound_repetition_a_duplicate() -> None:
    table = pd.DataFrame({"annotator_id": ["p", "p"], "cost": [-1.0, 2.0]})
    checked = tables.validate(table, tables.ANNOTATORS)
    assert checked.table["cost"].tolist() == [2.0]
    assert checked.rejects["code"].tolist() == ["out_of_range"]
    assert table["cost"].tolist() == [-1.0, 2.0]  # the input is left alone


def test_missing_column_names_table_and_what_it_has() -> None:
    with pytest.raises(ColumnError, match="feedback lacks column 'annotator_id'; has \\['item_id', 'label'\\]"):
        tables.validate(pd.DataFrame({"label": ["a"], "item_id": ["1"]}), tables.FEEDBACK)


def test_numbers_are_numbers(tmp_path: Path) -> None:
    values = ["3", "true", '"3"', '"x"', "1e999", "NaN", "[1]", "9" * 400, '"nan"']
    rows = [f'{{"item_id": "i{k}", "annotator_id": "p", "kind": "rating", "value": {v}}}' for k, v in enumerate(values)]
    read = tables.read_validated(write(tmp_path / "f.jsonl", "\n".join([*rows, "[" * 100_000])), tables.FEEDBACK)
    assert read.table["value"].tolist() == [3, 3]
    codes = ["not_a_number", "not_a_number", "out_of_range", "inconsistent", *["not_a_number"] * 3, "malformed"]
    assert read.rejects["code"].tolist() == codes


cell = st.none() | st.text(max_size=2) | st.integers(-2, 9) | st.floats() | st.lists(st.booleans(), max_size=1)
feedback_row = st.fixed_dictionaries(
    {
        "item_id": cell | st.sampled_from(["i1", "i2"]),
        "annotator_id": st.sampled_from(["p", "q"]),
        "kind": st.sampled_from(["pair", "rating", "pair", "other"]) | cell,
        "choice": st.sampled_from(["a", "b", "tie"]) | cell,
        "value": cell,
    }
)


@settings(deadline=None)
@given(st.lists(feedback_row, min_size=1, max_size=12))
def test_accepted_and_rejected_rows_add_up_and_accepted_rows_are_sound(rows: list[dict[str, object]]) -> None:
    table = pd.DataFrame(rows)
    checked = tables.validate(table, tables.FEEDBACK)
    assert len(checked.table) + len(checked.rejects) == len(table)
    assert checked.rejects["row"].is_unique
    assert not checked.table.duplicated(["item_id", "annotator_id", "kind"]).any()
    if len(checked.table):
        again = tables.validate(checked.table, tables.FEEDBACK)
        assert len(again.rejects) == 0
        pd.testing.assert_frame_equal(again.table, checked.table)


def test_scalars_edits_and_revised_instructions_need_what_they_are_made_of() -> None:
    rows = [
        {"kind": "scalar", "value": -1.5, "text": None},
        {"kind": "scalar", "value": None, "text": None},
        {"kind": "edit", "value": None, "text": "a better answer"},
        {"kind": "edit", "value": None, "text": ""},
        {"kind": "revised_instruction", "value": None, "text": "a clearer instruction"},
        {"kind": "revised_instruction", "value": None, "text": None},
    ]
    table = pd.DataFrame(rows).assign(item_id=[f"i{k}" for k in range(6)], annotator_id="p")
    checked = tables.validate(table, tables.FEEDBACK)
    assert checked.table["item_id"].tolist() == ["i0", "i2", "i4"]
    assert checked.rejects["code"].tolist() == ["inconsistent"] * 3
    assert checked.rejects["column"].tolist() == ["value", "text", "text"]


def test_numbers_of_typed_formats_are_one_id_however_spelled(tmp_path: Path) -> None:
    (tmp_path / "f.jsonl").write_text('{"item_id": 1}\n{"item_id": 1.0}\n{"item_id": "1.0"}\n{"item_id": 1.5}\n')
    assert tables.read_table(tmp_path / "f.jsonl")["item_id"].tolist() == ["1", "1", "1.0", "1.5"]
    pd.DataFrame({"item_id": [7.0, 7.5, None]}).to_parquet(tmp_path / "f.parquet")
    found = tables.read_table(tmp_path / "f.parquet")["item_id"]
    assert found.tolist()[:2] == ["7", "7.5"]
    assert found.isna().tolist() == [False, False, True]
