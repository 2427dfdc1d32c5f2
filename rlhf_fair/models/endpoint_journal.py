"""Answers on disk as they arrive, so that a run that was killed asks for nothing a second time.

One line of JSON for each answer, only ever appended. A key is a hash of everything that was sent, so that another
prompt, model, server or temperature is another key; neither prompts nor secrets are written.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import TracebackType

from rlhf_fair.errors import OutputError, SettingsError

Answer = str | tuple[float, int]
"""Words, or a sum of log probabilities with the number of tokens it is over."""

HEADER = {"format": "rlhf-fair endpoint journal", "version": 1}


class Journal:
    """Answers by key: in memory, and in ``path`` where one is given.

    A process killed while writing leaves half a line. It is counted in ``torn`` and asked for again.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self.torn = 0
        self._answers: dict[str, Answer] = {}
        self._descriptor: int | None = None
        if path is not None and path.exists():
            self._read(path)

    def __len__(self) -> int:
        return len(self._answers)

    def get(self, key: str) -> Answer | None:
        return self._answers.get(key)

    def keep(self, key: str, id: str, answer: Answer) -> None:
        """Remember an answer; it is with the operating system when this returns."""
        self._answers[key] = answer
        if self._descriptor is not None:
            self._append({"key": key, "id": id, "answer": answer})

    def __enter__(self) -> Journal:
        if self.path is not None:
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                # readable for its owner alone: answers to a bias audit may offend or hold personal data
                self._descriptor = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
                self._start_a_line(self._descriptor)
            except OSError as error:
                self.__exit__(None, None, None)
                raise OutputError(self.path, error.strerror or error) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _start_a_line(self, descriptor: int) -> None:
        size = os.fstat(descriptor).st_size
        if not size:
            self._append(HEADER)
        elif os.pread(descriptor, 1, size - 1) != b"\n":
            os.write(descriptor, b"\n")

    def _append(self, record: object) -> None:
        assert self._descriptor is not None
        line = json.dumps(record).encode("ascii") + b"\n"
        try:
            written = os.write(self._descriptor, line)  # one call, so that two processes never mix their lines
        except OSError as error:
            raise OutputError(self.path or "", error.strerror or error) from error
        if written < len(line):
            raise OutputError(self.path or "", "no space left for a whole answer")

    def _read(self, path: Path) -> None:
        if not path.is_file():
            raise SettingsError(f"endpoint journal {path} is not a file")
        try:
            lines = path.read_bytes().split(b"\n")
        except OSError as error:
            raise SettingsError(f"endpoint journal {path} cannot be read: {error.strerror or error}") from error
        if lines[0] and _parse(lines[0]) != HEADER and not json.dumps(HEADER).encode().startswith(lines[0]):
            raise SettingsError(f"{path} is not an endpoint journal: its first line does not say so")
        for line in lines[1:]:
            if line:
                self._take(_parse(line))

    def _take(self, record: object) -> None:
        match record:
            case {"key": str(key), "answer": str(words)}:
                self._answers[key] = words
            case {"key": str(key), "answer": [int() | float() as total, int(n_tokens)]} if abs(total) < 1e100:
                self._answers[key] = (float(total), n_tokens)
            case _:
                self.torn += 1


def _parse(line: bytes) -> object:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None
