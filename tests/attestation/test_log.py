"""The chained log: worked by hand once, then every way to break it."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from rlhf_fair.artifacts import LOG_NAME
from rlhf_fair.attestation.log import Event, extended, log_bytes, now, read_log, write_log
from rlhf_fair.errors import IntegrityError, SettingsError

TIME = "2026-01-01T00:00:00Z"
CHAIN = extended((), *(Event("begun", {"n": n}, TIME) for n in range(4)))


def read(folder: Path, data: bytes) -> object:
    (folder / LOG_NAME).write_bytes(data)
    return read_log(folder)


def test_a_chain_worked_by_hand() -> None:
    first = '{"details":{"n":0},"event":"begun","previous":"' + "0" * 64 + f'","sequence":1,"time":"{TIME}"}}'
    one = hashlib.sha256(first.encode()).hexdigest()
    second = f'{{"details":{{"n":1}},"event":"begun","previous":"{one}","sequence":2,"time":"{TIME}"}}'
    two = hashlib.sha256(second.encode()).hexdigest()
    assert [entry.hash for entry in CHAIN[:2]] == [one, two]
    assert log_bytes(CHAIN[:1]) == first.replace('"begun",', f'"begun","hash":"{one}",').encode() + b"\n"


def test_what_was_written_is_read_again_and_can_be_extended(tmp_path: Path) -> None:
    write_log(tmp_path, CHAIN)
    again = read_log(tmp_path)
    assert again == CHAIN
    write_log(tmp_path, extended(again, Event("signed")))
    assert read_log(tmp_path)[:4] == CHAIN
    assert read_log(tmp_path)[4].sequence == 5


LINES = [entry.line() for entry in CHAIN]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([*LINES[:1], *LINES[2:]], "line 2 (is not as it was written|does not follow)"),  # one from the middle dropped
        (LINES[1:], "line 1"),
        ([LINES[0], LINES[2], LINES[1], LINES[3]], "line 2"),
        ([*LINES, LINES[3]], "line 5"),
        ([*LINES[:2], b"\n", *LINES[2:]], "line 3"),
        ([LINES[0].replace(b'"n":0', b'"n":7')], "line 1"),
        ([LINES[0].replace(b":", b": ", 1)], "line 1"),  # the same content, otherwise written
        ([b"[]\n"], "line 1 is not an entry"),
        ([*LINES[:3], LINES[3][:-1]], "middle of a line"),
        ([], "empty"),
    ],
)
def test_a_broken_chain_is_named_by_its_line(tmp_path: Path, lines: list[bytes], message: str) -> None:
    with pytest.raises(IntegrityError, match=message):
        read(tmp_path, b"".join(lines))


def test_one_changed_entry_breaks_the_next_even_with_a_hash_of_its_own(tmp_path: Path) -> None:
    forged = extended((), Event("begun", {"n": 7}, TIME))
    with pytest.raises(IntegrityError, match="line 2 does not follow"):
        read(tmp_path, forged[0].line() + b"".join(LINES[1:]))


def test_no_log_is_an_integrity_failure(tmp_path: Path) -> None:
    with pytest.raises(IntegrityError, match="missing"):
        read_log(tmp_path)


def test_the_clock_can_be_set_for_reproducible_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "86400")
    assert now() == "1970-01-02T00:00:00Z"
    for wrong in ("tomorrow", "1" * 30):
        monkeypatch.setenv("SOURCE_DATE_EPOCH", wrong)
        with pytest.raises(SettingsError, match="SOURCE_DATE_EPOCH"):
            now()
