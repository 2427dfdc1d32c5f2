"""Writers that share a path, a folder or a full disk, as real processes where a process is what matters."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from safetensors import SafetensorError

from rlhf_fair.disk import atomic_path, replaced_files, sole_writer, why_not_written, write_bytes
from rlhf_fair.errors import OutputError
from rlhf_fair.tables import write_rejects

NEEDS_FORK = pytest.mark.skipif(not hasattr(os, "fork"), reason="locks of folders and forks are those of Unix")

HOLD = """
import sys, time
from pathlib import Path
from rlhf_fair.disk import sole_writer
with sole_writer(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""
WRITE_TENSORS = """
import resource, sys
from pathlib import Path
import torch
from safetensors.torch import save_file
from rlhf_fair.disk import atomic_path
from rlhf_fair.errors import OutputError
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
tensors = {"a": torch.zeros(10_000)}
for save in (torch.save, save_file):
    try:
        with atomic_path(Path(sys.argv[1])) as temporary:
            save(tensors, temporary)
    except OutputError as error:
        print(error)
"""


@NEEDS_FORK
def test_a_folder_has_one_writer_until_that_one_ends_however_it_ends(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    with subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "held\n"
        with pytest.raises(OutputError, match="another run is at work in this folder"), sole_writer(folder):
            pass
        first.send_signal(signal.SIGKILL)
    with sole_writer(folder):
        assert not list(folder.iterdir())


def test_folders_made_for_a_run_that_wrote_nothing_go_and_others_stay(tmp_path: Path) -> None:
    with sole_writer(tmp_path / "a" / "b"):
        pass
    assert not list(tmp_path.iterdir())
    with sole_writer(tmp_path / "a" / "b"):
        (tmp_path / "a" / "b" / "result").touch()
    assert (tmp_path / "a" / "b" / "result").is_file()


def test_further_processes_of_one_run_are_no_other_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with sole_writer(tmp_path):
        monkeypatch.setenv("RANK", "1")
        with sole_writer(tmp_path):
            pass


@NEEDS_FORK
def test_of_writers_that_are_killed_at_any_moment_no_half_file_is_seen(tmp_path: Path) -> None:
    """Four processes replace one file over and over, each with a letter of its own, and are killed in turn."""
    path, size = tmp_path / "file", 200_000
    write_bytes(path, b"0" * size)
    children = []
    for letter in (b"a", b"b", b"c", b"d"):
        child = os.fork()
        if child == 0:
            while True:
                write_bytes(path, letter * size)
        children.append(child)
    for child in children:
        for _ in range(20):
            seen = path.read_bytes()
            assert len(seen) == size
            assert len(set(seen)) == 1
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    write_bytes(path, b"1")
    assert [left.name for left in tmp_path.iterdir()] == ["file"]


def test_the_file_that_could_not_be_written_is_named_as_the_user_knows_it(tmp_path: Path) -> None:
    def write() -> None:
        with replaced_files(tmp_path / "out", ["a.csv"]) as folder, atomic_path(folder / "a.csv") as temporary:
            (temporary / "nowhere").write_text("")

    with pytest.raises(OutputError) as error:
        write()
    assert error.value.path == tmp_path / "out" / "a.csv"


@pytest.mark.skipif(sys.platform == "win32", reason="limits of file sizes are those of Unix")
def test_tensors_that_do_not_fit_are_one_clear_error_and_no_file(tmp_path: Path) -> None:
    path = tmp_path / "weights"
    done = subprocess.run(
        [sys.executable, "-c", WRITE_TENSORS, str(path)], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    why = ("not all of it could be written", "I/O error: File too large")  # torch does not say what was wrong
    for line, reason in zip(done.stdout.splitlines(), why, strict=True):
        assert line.startswith(f"cannot write to {path}: {reason}")
    assert not list(tmp_path.iterdir())


def test_errors_about_other_things_are_nobodys_full_disk() -> None:
    assert why_not_written(SafetensorError("Error while deserializing header: InvalidHeader")) is None
    assert why_not_written(RuntimeError("shapes do not fit")) is None
    assert why_not_written(ValueError("x")) is None
    assert why_not_written(OSError(2, "No such file or directory")) is None
    assert why_not_written(OSError(28, "a long story")) == os.strerror(28)


@NEEDS_FORK
def test_what_another_process_is_writing_is_left_alone(tmp_path: Path) -> None:
    child = os.fork()
    if child == 0:
        with atomic_path(tmp_path / "file") as temporary:
            temporary.write_text("half")
            time.sleep(60)
        os._exit(0)
    while not (theirs := list(tmp_path.glob(".file.*.partial"))):
        time.sleep(0.01)
    write_bytes(tmp_path / "file", b"whole")
    assert theirs[0].exists()
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    write_bytes(tmp_path / "file", b"whole")
    assert [left.name for left in tmp_path.iterdir()] == ["file"]


def test_rejects_are_no_formulas_for_a_spreadsheet_and_numbers_stay_numbers(tmp_path: Path) -> None:
    values = ["=1+1", "+cmd", "-5", "- x", "@SUM(A1)", " =2", "'tis", "plain", ""]
    rejects = pd.DataFrame({"row": range(9), "value": pd.Series(values, dtype="str"), "message": "says what"})
    write_rejects(tmp_path / "rejects.csv", rejects)
    written = pd.read_csv(tmp_path / "rejects.csv", dtype="str", keep_default_na=False)
    assert written["value"].tolist() == ["'=1+1", "'+cmd", "-5", "'- x", "'@SUM(A1)", "' =2", "''tis", "plain", ""]
    assert written["message"].eq("says what").all()
    assert rejects["value"].tolist() == values
