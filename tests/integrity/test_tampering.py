"""Whatever is done to a finished folder, verify notices: bytes, lengths, names, and files that come or go."""

from __future__ import annotations

import itertools
import json
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from rlhf_fair.artifacts import ENVELOPE_NAME, LOG_NAME, MANIFEST_NAME, STATEMENT_NAME, canonical_json, sha256_file
from rlhf_fair.errors import IntegrityError, MissingFileError
from rlhf_fair.integrity.verify import examine_folder, verify_folder

FILES = (MANIFEST_NAME, STATEMENT_NAME, ENVELOPE_NAME, LOG_NAME, "results.json", "index.html", "summary.md")
FILES += ("records.parquet",)


def noticed(folder: Path) -> bool:
    """Exit code 4, with no other way out than our own error."""
    with pytest.raises(IntegrityError) as caught:
        verify_folder(folder)
    return caught.value.exit_code == 4


def test_an_untouched_folder_verifies_in_every_respect(audit: Path) -> None:
    found = verify_folder(audit)
    assert {check.outcome for check in found.checks} == {"agrees"}
    assert [check.name for check in found.checks] == [
        *("files", "log", "statement", "signature"),
        *("page, data inside", "page, rendered again", "findings, measured again"),
    ]
    assert {path.name for path in audit.iterdir()} == set(FILES)


def test_200_of_200_flipped_bytes_are_noticed(audit: Path) -> None:
    """25 bytes of each of the 8 files, each changed to any of the 255 other values."""
    rng, seen = np.random.default_rng(20261121), Counter[str]()
    for name in FILES:
        path = audit / name
        whole = path.read_bytes()
        for place, shift in zip(rng.integers(len(whole), size=25), rng.integers(1, 256, size=25), strict=True):
            spoilt = bytearray(whole)
            spoilt[place] = (spoilt[place] + shift) % 256
            path.write_bytes(spoilt)
            seen[name] += noticed(audit)
        path.write_bytes(whole)
    assert seen == dict.fromkeys(FILES, 25)
    verify_folder(audit)  # and nothing else was wrong


@pytest.mark.parametrize("name", [MANIFEST_NAME, STATEMENT_NAME, ENVELOPE_NAME, LOG_NAME])
def test_one_bit_anywhere_in_what_no_manifest_lists_counts(audit: Path, name: str) -> None:
    """From end to end, lowest bit: white space, seeds, unsigned hints, base64's spare bits."""
    path = audit / name
    whole = path.read_bytes()
    for place in [*range(0, len(whole), len(whole) // 40), len(whole) - 1]:
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        assert examine_folder(audit, recompute=False).problems, f"byte {place} of {name}"


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.unlink(),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[:-1]),
        lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
        lambda path: path.write_bytes(path.read_bytes() + b"\n"),
        lambda path: path.rename(path.with_name("other")),
        lambda path: path.write_bytes(b"[" * 100_000),
        lambda path: path.write_bytes(b"\xff\xfe\x00"),
    ],
    ids=["deleted", "emptied", "shorter", "half", "longer", "renamed", "nested", "binary"],
)
def test_lengths_names_and_rubbish(audit: Path, name: str, spoil: Callable[[Path], object]) -> None:
    spoil(audit / name)
    assert noticed(audit)


@pytest.mark.parametrize("name", ["note.txt", "deep/down/note.txt", ".hidden"])
def test_an_added_file_is_noticed(audit: Path, name: str) -> None:
    (audit / name).parent.mkdir(parents=True, exist_ok=True)
    (audit / name).write_text("")
    assert noticed(audit)


def test_swapped_files_are_noticed(audit: Path) -> None:
    for one, other in itertools.pairwise(FILES):
        first, second = (audit / one).read_bytes(), (audit / other).read_bytes()
        (audit / one).write_bytes(second)
        (audit / other).write_bytes(first)
        assert noticed(audit), (one, other)
        (audit / one).write_bytes(first)
        (audit / other).write_bytes(second)


def test_a_link_in_place_of_a_file_is_noticed(audit: Path, tmp_path: Path) -> None:
    (audit / "summary.md").rename(tmp_path / "elsewhere.md")
    (audit / "summary.md").symlink_to(tmp_path / "elsewhere.md")
    assert noticed(audit)


def test_new_hashes_for_changed_results_do_not_hide_them(unsigned: Path) -> None:
    """The manifest made consistent again by hand: the log and the statement still tell of the first one."""
    results = json.loads((unsigned / "results.json").read_bytes())
    results["audit"]["title"] = "Another"
    (unsigned / "results.json").write_bytes(canonical_json(results) + b"\n")
    manifest = json.loads((unsigned / MANIFEST_NAME).read_bytes())
    manifest["files"]["results.json"] = sha256_file(unsigned / "results.json")
    (unsigned / MANIFEST_NAME).write_bytes(canonical_json(manifest) + b"\n")
    with pytest.raises(IntegrityError, match="ends at other files"):
        verify_folder(unsigned)


def test_seals_taken_off_a_sealed_manifest_are_missed(unsigned: Path) -> None:
    for name in (STATEMENT_NAME, LOG_NAME):
        (unsigned / name).unlink()
    assert noticed(unsigned)


def test_a_folder_that_was_never_finished_is_bad_usage(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(MissingFileError):
            verify_folder(folder)


def test_a_moved_folder_verifies(audit: Path, tmp_path: Path) -> None:
    verify_folder(Path(shutil.move(audit, tmp_path / "elsewhere")))
