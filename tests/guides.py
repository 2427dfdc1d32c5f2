"""What READMEs show: Python with what it prints, files to save, and console sessions; tests run them as they stand.

A fenced ``python`` block that is followed by an indented block prints that. A fenced block of any language whose first
line is ``# NAME`` with a suffix is a file to save under that name. A fenced ``console`` block is a session: lines after
``$ `` are commands, the others what they print; ``…`` alone stands for lines left out, and within one for anything. A
backslash continues either.
"""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PRINTING = re.compile(r"^```python\n(.*?)^```\n\n((?:    [^\n]*\n)+)", re.MULTILINE | re.DOTALL)
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILE_NAME = re.compile(r"# ([\w./-]+\.\w+)(?:$|:)", re.MULTILINE)
NUMBER = re.compile(r"[−+-]?\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?")


@dataclass(frozen=True)
class Saved:
    """A file that the reader is told to save."""

    name: str
    text: str


@dataclass(frozen=True)
class Command:
    """One command of a session, and the lines that it is shown to print."""

    line: str
    shown: tuple[str, ...]


def printing_examples(guide: Path) -> list[tuple[str, str]]:
    """(code, what it prints) of every Python block that shows its output."""
    return [(code, shown) for code, shown in PRINTING.findall(guide.read_text(encoding="utf-8"))]


def printed_by(code: str) -> str:
    """What ``code`` prints, run here in a namespace of its own."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile(code, "guide", "exec"), {"__name__": "guide"})
    return out.getvalue()


def steps(guide: Path) -> Iterator[Saved | Command]:
    """Files to save and commands to give, in the guide's order."""
    for language, body in BLOCK.findall(guide.read_text(encoding="utf-8")):
        name = FILE_NAME.match(body)
        if language == "console":
            yield from _commands(body)
        elif name:
            yield Saved(name[1], body)


def spaced(line: str) -> str:
    """One blank wherever there are any."""
    return " ".join(line.split())


def without_numbers(line: str) -> str:
    """The wording alone: how numbers come out differs from one processor to another."""
    return spaced(NUMBER.sub("#", line))


def is_printed(shown: str, printed: str) -> bool:
    """Whether a line of ``printed`` reads as ``shown`` does, whatever its numbers."""
    pattern = re.compile(re.escape(without_numbers(shown)).replace("…", ".*"))
    return any(pattern.fullmatch(without_numbers(line)) for line in printed.splitlines())


def _commands(session: str) -> Iterator[Command]:
    joined = re.sub(r"\\\n *", " ", session)
    for part in re.split(r"^\$ ", joined, flags=re.MULTILINE)[1:]:
        line, *shown = part.splitlines()
        yield Command(line.strip(), tuple(text for text in shown if text.strip() not in ("", "…")))
