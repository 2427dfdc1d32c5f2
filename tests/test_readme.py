"""The README's Python examples run, and print what stands below them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

README = Path(__file__).parents[1] / "README.md"
EXAMPLES = re.findall(r"```python\n([^`]*)```\n\n((?:    [^\n]*\n)+)", README.read_text(encoding="utf-8"))


@pytest.mark.parametrize(("code", "shown"), EXAMPLES)
def test_example(code: str, shown: str) -> None:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    printed = [" ".join(line.split()) for line in done.stdout.splitlines()]
    for line in filter(str.strip, shown.splitlines()):
        assert " ".join(line.split()) in printed


def test_there_are_examples() -> None:
    assert EXAMPLES
