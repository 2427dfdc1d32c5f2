"""Words of acquittal stand nowhere in what the package says of an audited system."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import rlhf_fair
from rlhf_fair.compliance.loading import FOLDER

ROOT = Path(rlhf_fair.__file__).parent
VERDICTS = re.compile(
    r"\b(?:is|are|was|were|be|being|seems?|proven|certified|found)\s+(?:\w+ly\s+)?(?:fair|safe|lawful|legal|ethical)\b"
    r"|\b(?:unbiased|bias-free|free (?:of|from) bias|no bias|without bias|debiased|non-discriminatory)\b"
    r"|\b(?:compliant|complies|in compliance|compliance (?:is )?(?:achieved|proven|passed)|meets the (?:clause|law))\b"
    r"|\b(?:fully|100 %) (?:fair|conformant|conforming)\b",
    re.IGNORECASE,
)
SPOKEN = sorted([*(ROOT / "report").rglob("*.py"), *(ROOT / "compliance").rglob("*.py")])
WRITTEN = sorted([*(ROOT / "report" / "templates").iterdir(), *FOLDER.glob("*.toml")])


def spoken(path: Path) -> Iterator[str]:
    """The strings of a module that are no docstrings."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    docs = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs:
            yield node.value


@pytest.mark.parametrize("path", SPOKEN, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_modules_say_no_such_word(path) -> None:
    assert not [text for text in spoken(path) if VERDICTS.search(text)]


@pytest.mark.parametrize("path", WRITTEN, ids=lambda path: path.name)
def test_templates_and_clause_maps_say_no_such_word(path) -> None:
    assert not VERDICTS.findall(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    "said", ["The model is fair.", "an unbiased model", "Compliant with Article 10", "is fully fair", "bias-free"]
)
def test_the_pattern_knows_what_it_looks_for(said) -> None:
    assert VERDICTS.search(said)
