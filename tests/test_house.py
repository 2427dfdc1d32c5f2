"""The house: how large files and functions may grow. A larger one holds two ideas, and each deserves a name."""

from __future__ import annotations

import ast
from pathlib import Path
from statistics import median

import rlhf_fair

ROOT = Path(rlhf_fair.__file__).parent
SOURCES = {path: path.read_text(encoding="utf-8") for path in sorted(ROOT.rglob("*.py"))}
LONGEST_FUNCTION = 60
"""Lines from ``def`` to its end, signature and docstring among them."""
LONGEST_FILE = 400
MEDIAN_FILE = 150
ABOUT_NOTHING = {"common", "helpers", "misc", "tools", "util", "utils"}


def test_no_function_is_long() -> None:
    long = [
        f"{path.relative_to(ROOT)}: {node.name} has {lines} lines"
        for path, text in SOURCES.items()
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (lines := (node.end_lineno or node.lineno) - node.lineno + 1) > LONGEST_FUNCTION
    ]
    assert not long


def test_files_are_small() -> None:
    lines = {path.relative_to(ROOT): len(text.splitlines()) for path, text in SOURCES.items()}
    assert not {path: n for path, n in lines.items() if n > LONGEST_FILE}
    assert median(n for n in lines.values() if n > 1) <= MEDIAN_FILE  # an empty package file is no file


def test_a_file_is_named_after_what_it_holds() -> None:
    assert not {path.stem for path in SOURCES} & ABOUT_NOTHING
