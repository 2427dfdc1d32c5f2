"""The log of a folder: one line of canonical JSON per event, each with the hash of the line before it.

A line is ``{"details", "event", "hash", "previous", "sequence", "time"}``. Its ``hash`` is the SHA-256 of the RFC 8785
form of the other five, ``previous`` the ``hash`` of the line before (64 zeros in the first). So no line can be changed,
dropped from the middle or put elsewhere without all later ones being made again; that the newest lines are all there
follows from the folder, whose manifest the last of them names (Haber and Stornetta 1991; Schneier and Kelsey 1999).

``time`` is what the machine's clock said, in UTC, and proves nothing by itself. It stands here and nowhere else, so
that equal inputs give equal results, pages and manifests. ``SOURCE_DATE_EPOCH`` (reproducible-builds.org) replaces it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rlhf_fair.artifacts import LOG_NAME, canonical_json, sha256_bytes, write_bytes
from rlhf_fair.errors import IntegrityError, SettingsError

BEGUN, FINISHED, RENDERED, SIGNED, REPLACED = "begun", "finished", "rendered again", "signed", "log begun anew"
NOTHING_BEFORE = "0" * 64
MOST_BYTES = 2**24
"""A log is a handful of lines; a longer one is refused rather than read."""
FIELDS = {"sequence", "event", "time", "details", "previous", "hash"}


def now() -> str:
    """The time in UTC, to the second, or that of ``SOURCE_DATE_EPOCH``."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH", "")
    try:
        moment = datetime.fromtimestamp(int(epoch), UTC) if epoch else datetime.now(UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise SettingsError(f"SOURCE_DATE_EPOCH = {epoch!r}; allowed: seconds since 1970") from error
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(frozen=True)
class Entry:
    """One line. ``sequence`` counts from 1."""

    sequence: int
    event: str
    time: str
    details: Mapping[str, Any]
    previous: str
    hash: str

    def line(self) -> bytes:
        """The line as it stands in the file."""
        return canonical_json(asdict(self)) + b"\n"

    def own_hash(self) -> str:
        """The hash that the other fields give."""
        return sha256_bytes(canonical_json({k: v for k, v in asdict(self).items() if k != "hash"}))


@dataclass(frozen=True)
class Event:
    """What is to be logged; ``time`` is when this was made."""

    name: str
    details: Mapping[str, Any] = field(default_factory=dict)
    time: str = field(default_factory=now)


def extended(entries: Sequence[Entry], *events: Event) -> tuple[Entry, ...]:
    """The chain with one more line for each event."""
    chain = list(entries)
    for event in events:
        previous = chain[-1].hash if chain else NOTHING_BEFORE
        open_entry = Entry(len(chain) + 1, event.name, event.time, dict(event.details), previous, "")
        chain.append(Entry(**{**asdict(open_entry), "hash": open_entry.own_hash()}))
    return tuple(chain)


def log_bytes(entries: Sequence[Entry]) -> bytes:
    """The whole file."""
    return b"".join(entry.line() for entry in entries)


def write_log(folder: Path, entries: Sequence[Entry]) -> None:
    """Replace the file as a whole: a reader sees the old chain or the new one, never half a line."""
    write_bytes(folder / LOG_NAME, log_bytes(entries))


def read_log(folder: Path) -> tuple[Entry, ...]:
    """The chain of ``folder``, checked line by line.

    Raises
    ------
    IntegrityError
        There is no log, a line is not as it was written, or the chain is broken.
    """
    path = folder / LOG_NAME
    if not path.is_file():
        raise IntegrityError(f"missing: {LOG_NAME}")
    if path.stat().st_size > MOST_BYTES:
        raise IntegrityError(f"{LOG_NAME} is longer than {MOST_BYTES:,} bytes: not read")
    data = path.read_bytes()
    entries: list[Entry] = []
    for number, line in enumerate(data.split(b"\n")[:-1], start=1):
        entry = _entry(line + b"\n", number)
        if entry.previous != (entries[-1].hash if entries else NOTHING_BEFORE):
            raise IntegrityError(f"{LOG_NAME} line {number} does not follow from the line before it")
        entries.append(entry)
    if not entries or not data.endswith(b"\n"):
        raise IntegrityError(f"{LOG_NAME} ends in the middle of a line" if data else f"{LOG_NAME} is empty")
    return tuple(entries)


def _entry(line: bytes, number: int) -> Entry:
    try:
        content = json.loads(line)
        if not isinstance(content, dict) or content.keys() != FIELDS or not isinstance(content["details"], dict):
            raise IntegrityError(f"{LOG_NAME} line {number} is not an entry")
        entry = Entry(**content)
        as_written = entry.line() == line and entry.hash == entry.own_hash()
    except (ValueError, RecursionError, SettingsError) as error:
        raise IntegrityError(f"{LOG_NAME} line {number} is not as it was written") from error
    if not as_written or entry.sequence != number:
        raise IntegrityError(f"{LOG_NAME} line {number} is not as it was written")
    return entry
