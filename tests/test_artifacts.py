from __future__ import annotations

import hashlib
import json
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from rlhf_fair.artifacts import (
    atomic_path,
    canonical_json,
    environment,
    make_folder,
    read_json,
    read_results,
    replaced_files,
    sha256_bytes,
    sha256_tree,
    verify_manifest,
    write_bytes,
    write_json,
    write_manifest,
    write_results,
)
from rlhf_fair.errors import IntegrityError, MissingFileError, OutputError, SettingsError
from rlhf_fair.records import Estimate, Results, Training


@pytest.fixture
def audit_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "audit"
    write_bytes(folder / "results.json", b"{}\n")
    write_bytes(folder / "data" / "records.csv", b"a,b\n1,2\n")
    write_manifest(folder, inputs={"policy": sha256_bytes(b"policy")}, seeds={"audit": 1})
    return folder


def flip_one_bit(folder: Path) -> None:
    path = folder / "data" / "records.csv"
    content = bytearray(path.read_bytes())
    content[-2] ^= 1
    path.write_bytes(content)


def swap_two_files(folder: Path) -> None:
    one, other = folder / "results.json", folder / "data" / "records.csv"
    content = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(content)


def test_sha256_against_the_standard() -> None:
    # FIPS 180-2, appendix B.1
    assert sha256_bytes(b"abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_canonical_json_does_not_depend_on_order_and_refuses_nan() -> None:
    assert canonical_json({"b": 1, "a": "é"}) == canonical_json({"a": "é", "b": 1}) == '{"a":"é","b":1}'.encode()
    with pytest.raises(ValueError, match="JSON compliant"):
        canonical_json({"a": math.nan})


def test_a_failed_write_keeps_the_old_file_and_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    write_bytes(path, b"old")

    def half_a_write() -> None:
        with atomic_path(path) as temporary:
            temporary.write_bytes(b"ne")
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        half_a_write()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_value_that_is_no_json_keeps_the_old_file(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"kept": True})
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(tmp_path / "a.json", {"kept": math.nan})
    assert json.loads((tmp_path / "a.json").read_text()) == {"kept": True}


def test_a_folder_is_replaced_as_a_whole(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint"
    write_bytes(folder / "old.bin", b"old")
    with atomic_path(folder) as temporary:
        write_bytes(temporary / "new.bin", b"new")
    assert [path.name for path in folder.iterdir()] == ["new.bin"]
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]


def test_files_of_an_earlier_run_go_and_those_of_others_stay(tmp_path: Path) -> None:
    for name in ("a.csv", "b.csv", "own.txt"):
        (tmp_path / name).write_text("old")
    with replaced_files(tmp_path, ["a.csv", "b.csv"]) as folder:
        (folder / "a.csv").write_text("new")
    found = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert found == {"a.csv": "new", "own.txt": "old"}


def test_a_set_of_files_that_fails_leaves_the_old_one(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("old")

    def half_a_set() -> None:
        with replaced_files(tmp_path, ["a.csv", "b.csv"]) as folder:
            (folder / "b.csv").write_text("new")
            (folder / "nowhere" / "a.csv").write_text("new")

    with pytest.raises(OutputError):
        half_a_set()
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"a.csv": "old"}


WRITE_AND_DIE = """
import os, signal, sys
from pathlib import Path
from rlhf_fair.artifacts import atomic_path
with atomic_path(Path(sys.argv[1])) as temporary:
    temporary.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_run_left_behind_is_removed_by_the_next_and_that_of_a_live_one_is_not(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", WRITE_AND_DIE, str(tmp_path / "a.json")], check=False)
    assert [path.suffix for path in tmp_path.iterdir()] == [".partial"]
    with atomic_path(tmp_path / "a.json") as ours:
        ours.write_text("2\n")
        write_json(tmp_path / "a.json", 1)
        assert {path.name for path in tmp_path.iterdir()} == {ours.name, "a.json"}
    assert (tmp_path / "a.json").read_text() == "2\n"
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_a_place_that_cannot_be_written_to_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="file/below"):
        write_bytes(tmp_path / "file" / "below", b"")
    with pytest.raises(OutputError, match="file"):
        make_folder(tmp_path / "file")


def test_an_untouched_folder_verifies(audit_folder: Path) -> None:
    assert verify_manifest(audit_folder) == 2
    manifest = json.loads((audit_folder / "manifest.json").read_text())
    assert manifest["files"]["results.json"] == hashlib.sha256(b"{}\n").hexdigest()
    assert manifest["seeds"] == {"audit": 1}


def test_a_moved_folder_verifies(audit_folder: Path, tmp_path: Path) -> None:
    assert verify_manifest(audit_folder.rename(tmp_path / "elsewhere")) == 2


@pytest.mark.parametrize(
    ("tamper", "message"),
    [
        (flip_one_bit, "changed: data/records.csv"),
        (swap_two_files, "changed: results.json"),
        (lambda folder: (folder / "results.json").unlink(), "missing: results.json"),
        (lambda folder: write_bytes(folder / "data" / "more.csv", b""), "not in the manifest: data/more.csv"),
        (lambda folder: (folder / "results.json").rename(folder / "data" / "results.json"), "missing: results.json"),
    ],
)
def test_any_change_is_found_and_named(audit_folder: Path, tamper: Callable[[Path], object], message: str) -> None:
    tamper(audit_folder)
    with pytest.raises(IntegrityError, match=message) as caught:
        verify_manifest(audit_folder)
    assert caught.value.exit_code == 4


def test_many_changes_are_counted(tmp_path: Path) -> None:
    write_manifest(tmp_path, inputs={}, seeds={})
    for index in range(8):
        write_bytes(tmp_path / f"{index}.txt", b"")
    with pytest.raises(IntegrityError, match="and 3 more"):
        verify_manifest(tmp_path)


def test_no_manifest_is_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"manifest\.json"):
        verify_manifest(tmp_path)


@pytest.mark.parametrize("content", ["[]", '{"files": []}', '{"files": {"results.json": 1}}', "null", '{"seeds": {}}'])
def test_a_manifest_of_the_wrong_shape_verifies_nothing(audit_folder: Path, content: str) -> None:
    (audit_folder / "manifest.json").write_text(content)
    with pytest.raises(IntegrityError):
        verify_manifest(audit_folder)


def test_the_hash_of_a_tree_sees_names_and_content(tmp_path: Path) -> None:
    for folder, name, content in [("a", "x", b"1"), ("b", "x", b"1"), ("c", "y", b"1"), ("d", "x", b"2")]:
        write_bytes(tmp_path / folder / name, content)
    a, b, c, d = (sha256_tree(tmp_path / folder) for folder in "abcd")
    assert a == b
    assert len({a, c, d}) == 3
    assert sha256_tree(tmp_path / "a" / "x") == sha256_bytes(b"1")


@pytest.mark.parametrize(
    ("content", "message"),
    [(b'{"a": 1,\n"b"}', "line 2"), (b"\xff\xfe", "UTF-8"), (b"", "is not JSON"), (b"[" * 200_000, "too deep")],
)
def test_broken_json_is_one_clear_error(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "feedback.json"
    path.write_bytes(content)
    with pytest.raises(SettingsError, match=message):
        read_json(path, "feedback")


def test_results_can_be_written_and_read_with_numbers_missing(tmp_path: Path) -> None:
    missing = Estimate.not_estimable("one run only")
    results = Results(audit={"truth": math.nan}, training=Training(comparisons={"fair - plain": missing}))
    path = write_results(tmp_path, results)
    for source in (tmp_path, path):
        found = read_results(source).training.comparisons["fair - plain"]
        assert math.isnan(found.estimate)
        assert found.reason == "one run only"


@pytest.mark.parametrize(
    ("content", "where"),
    [
        ('{"schema_version": "1"}', "audit"),
        ('{"schema_version": "9", "audit": {}}', "schema_version"),
        ('{"audit": {}, "findings": [{"id": "a"}]}', r"findings\.0\."),
    ],
)
def test_results_of_the_wrong_shape_name_the_place(tmp_path: Path, content: str, where: str) -> None:
    (tmp_path / "results.json").write_text(content)
    with pytest.raises(SettingsError, match=where):
        read_results(tmp_path)


def test_the_environment_names_versions_and_no_place() -> None:
    found = environment()
    assert {"python", "torch", "numpy"} <= found.keys()
    assert not any("/" in value for value in found.values())
