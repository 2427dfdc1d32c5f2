"""What a run writes while it runs: curve.jsonl, groups.jsonl and, if asked for, samples.jsonl; exact after a kill.

A step's lines are appended in one write and are on the disk before its checkpoint is. A run that goes on cuts what was
written beyond the checkpoint, half a line among it, and writes it again.
"""

from __future__ import annotations

import html
import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rlhf_fair.artifacts import read_json, write_bytes, write_json
from rlhf_fair.errors import OutputError
from rlhf_fair.training.ppo.job.config import Samples

CURVE_NAME = "curve.jsonl"
GROUPS_NAME = "groups.jsonl"
SAMPLES_NAME = "samples.jsonl"
PENDING_NAME = "step.json"
OF_GROUPS = frozenset({"mean", "se", "share", "count", "reward", "refused", "length", "moved", "moved_se"})
"""What a curve's row says of single groups, as ``mean:woman``; ``gap:refused`` is of none."""
Row = Mapping[str, Any]


class JsonLines:
    """A file of rows that each know their ``step``; steps rise."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def cut(self, last_step: int) -> None:
        """Keep the rows up to ``last_step``; 0 keeps none."""
        kept = [line for line in self._lines() if self._step(line) <= last_step]
        write_bytes(self.path, b"".join(kept))

    def append(self, rows: Sequence[Row]) -> None:
        """Add rows in one write, and wait for the disk."""
        text = "".join(json.dumps(plain_numbers(row), ensure_ascii=False, allow_nan=False) + "\n" for row in rows)
        try:
            with self.path.open("ab", buffering=0) as stream:
                stream.write(text.encode())
                os.fsync(stream.fileno())
        except OSError as error:
            raise OutputError(self.path, error.strerror or error) from error

    def rows(self) -> list[dict[str, Any]]:
        """All whole rows."""
        return [json.loads(line) for line in self._lines()]

    def _lines(self) -> list[bytes]:
        if not self.path.is_file():
            return []
        return [line for line in self.path.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]

    @staticmethod
    def _step(line: bytes) -> float:
        return float(json.loads(line)["step"])


class RunFiles:
    """The files of one run's folder.

    A step is told in two parts: `expect` while its answers are at hand, `hear` when it is done and its checkpoint may
    have been kept. What was expected is on the disk first, so that a kill between the two loses nothing.
    """

    def __init__(self, folder: Path, samples: Samples | None) -> None:
        self.curve, self.groups = JsonLines(folder / CURVE_NAME), JsonLines(folder / GROUPS_NAME)
        self.samples, self._kept = samples, JsonLines(folder / SAMPLES_NAME)
        self._pending_path = folder / PENDING_NAME
        self._pending, self._before = dict[str, Any](), dict[str, Any]()
        self._begun = False

    def expect(self, step: int, observed: Row, answers: Sequence[Row]) -> None:
        """What is ``observed`` of a step's answers besides the trainer's numbers, and the answers as they may be kept.

        ``answers``: prompt, completion, reward of each.
        """
        s = self.samples
        shown: list[dict[str, Any]] = []
        if s is not None and (step - 1) % s.every == 0:
            show = html.escape if s.text == "escaped" else str
            shown = [{k: show(v) if isinstance(v, str) else v for k, v in one.items()} for one in answers[: s.n]]
        if not self._begun and self._pending_path.is_file():
            self._before = read_json(self._pending_path, "pending step")
        self._pending = {"step": step, "observed": plain_numbers(observed), "answers": shown}
        write_json(self._pending_path, self._pending)

    def hear(self, row: Row, done: Sequence[Row]) -> dict[str, Any]:
        """Write one step, the last of all ``done`` so far; returns the whole row."""
        if not self._begun:
            self.begin(done[:-1])
        return self._write(row, self._pending)

    def begin(self, done: Sequence[Row]) -> None:
        """Bring the files to where the run stands: ``done`` are the rows of the steps that its checkpoint knows."""
        last = int(done[-1]["step"]) if done else 0
        for file in (self.curve, self.groups, self._kept):
            file.cut(last)
        written = {row["step"] for row in self.curve.rows()}
        for row in done:
            if row["step"] not in written:
                self._write(row, self._before)
        if self.samples is None and self._kept.path.is_file():
            self._kept.path.unlink()
        self._begun = True

    def _write(self, row: Row, pending: Row) -> dict[str, Any]:
        known = pending if pending.get("step") == row["step"] else {"observed": {}, "answers": []}
        self.curve.append([{**scalars(row), **known["observed"]}])
        if entries := by_group(row):
            self.groups.append(entries)
        if known["answers"]:
            self._kept.append([{"step": row["step"], **answer} for answer in known["answers"]])
        return {**row, **known["observed"]}

    def finish(self, done: Sequence[Row]) -> None:
        """After the last step: a run that had no step left is brought to its files too."""
        if not self._begun:
            if self._pending_path.is_file():
                self._before = read_json(self._pending_path, "pending step")
            self.begin(done)
        self._pending_path.unlink(missing_ok=True)

    def whole_rows(self) -> list[dict[str, Any]]:
        """The rows of the curve with what is known of groups, ``mean:woman`` and so on; None is NaN."""
        rows = {row["step"]: row for row in self.curve.rows()}
        for entry in self.groups.rows():
            step, group = entry.pop("step"), entry.pop("group")
            rows[step] |= {f"{what}:{group}": value for what, value in entry.items()}
        return [{k: math.nan if v is None else v for k, v in row.items()} for row in rows.values()]


def scalars(row: Row) -> dict[str, Any]:
    """The entries of a curve's row that are not about one group."""
    return {name: value for name, value in row.items() if name.partition(":")[0] not in OF_GROUPS or ":" not in name}


def by_group(row: Row) -> list[dict[str, Any]]:
    """The entries about one group each, such as ``mean:woman``, as one row for each group.

    >>> by_group({"step": 1.0, "gap": 0.2, "mean:man": 0.5, "mean:woman": 0.3, "share:man": 0.5})
    [{'step': 1.0, 'group': 'man', 'mean': 0.5, 'share': 0.5}, {'step': 1.0, 'group': 'woman', 'mean': 0.3}]
    """
    groups: dict[str, dict[str, Any]] = {}
    for name, value in row.items():
        what, colon, group = name.partition(":")
        if colon and what in OF_GROUPS:
            groups.setdefault(group, {"step": row["step"], "group": group})[what] = value
    return list(groups.values())


def plain_numbers(row: Row) -> dict[str, Any]:
    """The row as JSON takes it: a number that is not finite is None."""
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in row.items()}
