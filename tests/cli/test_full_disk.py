"""Commands on a disk that is full, read-only or allows only small files: one error, exit code 2, nothing to trust."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rlhf_fair.integrity.verify import verify_folder

COMMAND = "from rlhf_fair.cli.app import main; main()"
RATING = '{{"item_id": "i{}", "annotator_id": "a", "kind": "rating", "value": 3}}\n'
ITEM = '{{"item_id": "i{}", "prompt": "p", "response_a": "a", "response_b": "b"}}\n'
LINKS = "annotate links --assignments {tables}/a.csv --items {tables}/i.jsonl --consent {tables}/c.txt --db {out}/s.db"
WRITES = {
    "audit ll144 --out {out}/audit": "audit",
    "feedback validate {tables}/f.jsonl --out {out}/checked": "checked/accepted.jsonl",
    "feedback export {tables}/f.jsonl --format label-studio --out {out}/tasks.json": "tasks.json",
    LINKS: "s.db",
}
"""Command line -> what it cannot write, as its message begins."""


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tables")
    (folder / "f.jsonl").write_text("".join(RATING.format(k) for k in range(400)))
    (folder / "a.csv").write_text("item_id,annotator_id,slot,order\n" + "".join(f"i{k},r,0,ab\n" for k in range(400)))
    (folder / "i.jsonl").write_text("".join(ITEM.format(k) for k in range(400)))
    (folder / "c.txt").write_text("I agree.")
    return folder


def run(line: str, tables: Path, out: Path, most_bytes: int | None = None) -> subprocess.CompletedProcess[str]:
    def limit() -> None:
        if most_bytes is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes))

    command = [sys.executable, "-c", COMMAND, *line.format(tables=tables, out=out).split()]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300, preexec_fn=limit)


def check_failed(done: subprocess.CompletedProcess[str], place: Path) -> None:
    """Exit code 2 and one line that names the place."""
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    said = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(said) == 1
    assert said[0].startswith(f"error: cannot write to {place}")


@pytest.mark.parametrize("line", WRITES)
def test_a_file_that_does_not_fit_is_one_error_and_leaves_nothing_half_written(
    line: str, tables: Path, tmp_path: Path
) -> None:
    check_failed(run(line, tables, tmp_path, 8_000), tmp_path / WRITES[line])
    left = [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()]
    # of an audit what is whole may stay; without results and manifest nobody takes it for finished
    assert set(left) <= {"audit/begun.json", "audit/rejects.csv", "audit/records.parquet"}


def test_with_room_again_the_same_command_finishes(tables: Path, tmp_path: Path) -> None:
    line = "audit ll144 --out {out}/audit"
    for most_bytes in (0, 100_000):  # before anything, at the page
        check_failed(run(line, tables, tmp_path, most_bytes), tmp_path / "audit")
        assert not (tmp_path / "audit" / "manifest.json").exists()
    assert run(line, tables, tmp_path).returncode == 1  # the example's claim exceeds its threshold
    verify_folder(tmp_path / "audit")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(place)]
    try:
        allowed = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        allowed = False
    if not allowed:
        pytest.skip("file systems cannot be mounted here")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk_and_a_read_only_one_are_told_as_such(small_disk: Path, tables: Path) -> None:
    line = "audit ll144 --out {out}/audit"
    full = run(line, tables, small_disk)
    check_failed(full, small_disk / "audit")
    assert os.strerror(28) in full.stderr
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    barred = run(line, tables, small_disk)
    check_failed(barred, small_disk / "audit")
    assert os.strerror(30) in barred.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
def test_output_that_cannot_be_printed_is_one_error() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-c", COMMAND, "list", "audits"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert os.strerror(28) in done.stderr
