"""The files of SEAT: 46 association tests on words and sentences (May, Wang, Bordia, Bowman & Rudinger 2019).

Each file is one JSON object, in spite of its extension: two sets of targets and two of attributes, each a category and
its examples. Sentence tests (``sent-…``) put the words of a word test into up to a dozen sentences that say nothing, so
their sentences are not independent: ``word`` tells which word a sentence is about.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from rlhf_fair.errors import MissingFileError, RowError
from rlhf_fair.probes.upstream_files import read_json_object
from rlhf_fair.tables import Column, Contract, Quarantined, validate

PARTS = ("targ1", "targ2", "attr1", "attr2")

SENTENCES = "sent-"

EMPTY_WORDS = frozenset(
    {"a", "an", "are", "here", "is", "it", "name", "names", "people", "person", "person's", "that", "the", "there"}
    | {"these", "they", "thing", "things", "this", "those"}
)
"""What the sentences are made of, apart from the word they are about."""

CONTRACT = Contract(
    "SEAT",
    {
        "test": Column(),
        "part": Column(allowed=PARTS),
        "category": Column(),
        "text": Column(),
        "word": Column(),
    },
    key=("test", "part", "text"),
)


def load_seat(folder: Path) -> Quarantined:
    """One row for each example of each test of ``folder/tests`` (or ``folder``): test, part, category, text, word.

    ``part``: targ1, targ2, attr1 or attr2. In a word test, and in a sentence test without its word test beside it,
    every text is a word of its own.
    """
    home = folder / "tests" if (folder / "tests").is_dir() else folder
    paths = sorted([*home.glob("*.jsonl"), *home.glob("*.jsonl.gz")])
    if not paths:
        raise MissingFileError(home, "SEAT tests", "files *.jsonl")
    tests = {path.name.partition(".jsonl")[0]: read_json_object(path) for path in paths}
    rows = []
    for name, test in tests.items():
        twin = tests.get(name.removeprefix(SENTENCES)) if name.startswith(SENTENCES) else None
        for part in PARTS:
            category, examples = _part(home, name, test, part)
            words = _part(home, name.removeprefix(SENTENCES), twin, part)[1] if twin else []
            rows += [(name, part, category, text, word_of(text, words) if words else text) for text in examples]
    return validate(pd.DataFrame(rows, columns=list(CONTRACT.columns)), CONTRACT)


def word_of(sentence: str, words: Sequence[str]) -> str:
    """Which of ``words`` a sentence is about: the longest it holds, in the singular or the plural, else the closest.

    >>> word_of("Those are flies.", ["flea", "fly"]), word_of("These are women of color.", ["woman of color", "man"])
    ('fly', 'woman of color')
    """
    tokens = re.findall(r"[^\W\d_][\w'-]*", sentence.lower())
    text = f" {' '.join(tokens)} "
    singular = f" {' '.join(_singular(token) for token in tokens)} "
    lowered = {word.lower(): word for word in words}
    held = [word for word in lowered if f" {word} " in text or f" {word} " in singular]
    if held:
        return lowered[max(held, key=len)]
    said = " ".join(token for token in tokens if token not in EMPTY_WORDS)
    return lowered[difflib.get_close_matches(said, list(lowered), n=1, cutoff=0.0)[0]]


def _singular(token: str) -> str:
    if token.endswith("men"):
        return token[:-3] + "man"
    if token.endswith("ies"):
        return token[:-3] + "y"
    if token.endswith(("ches", "shes", "sses", "xes", "uses", "ises")):
        return token[:-2]
    return token[:-1] if token.endswith("s") and not token.endswith("ss") else token


def _part(home: Path, name: str, test: dict[str, Any], part: str) -> tuple[str, list[str]]:
    try:
        category, examples = test[part]["category"], test[part]["examples"]
    except (KeyError, TypeError) as error:
        raise RowError(f"{home / name}.jsonl: {part} has no category and examples") from error
    if not isinstance(examples, list) or not all(isinstance(text, str) for text in examples):
        raise RowError(f"{home / name}.jsonl: the examples of {part} are not a list of texts")
    return str(category), examples
