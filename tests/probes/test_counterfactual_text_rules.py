"""How often the rule for "her" is right, on text in which the answer is known: men's pronouns, both made "her"."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from rlhf_fair.probes.counterfactual_text_rules import Place, is_noun, names_person, owns

DATA = Path(__file__).parents[3] / "shared" / "data"
TEXTS = {
    "dialogues": DATA / "hh-rlhf" / "harmless-base" / "test.jsonl.gz",
    "web": DATA / "real-toxicity-prompts" / "val.jsonl.gz",
    "posts": DATA / "sbic" / "SBIC.v2.dev.csv.gz",
}


def texts(name: str) -> Iterator[str]:
    with gzip.open(TEXTS[name], "rt", encoding="utf-8") as lines:
        if name == "posts":
            yield from lines
            return
        for line in lines:
            row = json.loads(line)
            yield row["chosen"] if name == "dialogues" else row["prompt"]["text"] + row["continuation"]["text"]


def hits(name: str) -> tuple[int, int, int]:
    """(right, all, all "his"): occurrences in different surroundings; the true word is him or his."""
    right, every, owned, seen = 0, 0, 0, set()
    for text in texts(name):
        for match in re.finditer(r"\b(him|his)\b", text):
            masked = f"{text[: match.start()]}her{text[match.end() :]}"
            around = masked[max(0, match.start() - 40) : match.end() + 40]
            if around in seen or not text[match.end() :].strip():
                continue
            seen.add(around)
            every += 1
            owned += match.group() == "his"
            right += owns(Place(masked, match.start(), match.start() + 3)) == (match.group() == "his")
    return right, every, owned


@pytest.mark.parametrize("name", TEXTS)
def test_her_in_running_text(name: str) -> None:
    if not TEXTS[name].is_file():
        pytest.skip(f"needs {TEXTS[name].name} of the public data sets")
    right, every, owned = hits(name)
    assert every > 100
    # most are "his": always saying so would be right owned / every of the time
    assert right / every > max(0.9, owned / every + 0.1)


def place(text: str, word: str) -> Place:
    start = text.index(word)
    return Place(text, start, start + len(word))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a young nurse", True),
        ("a young and tired nurse", False),  # one adjective list too far for the rule
        ("the young of the fox", False),
        ("She is very young.", True),
        ("The company is young.", False),
        ("I'm young!", True),
        ("two young female doctors", True),
        ("a young-looking nurse", False),
    ],
)
def test_said_of_a_person(text: str, said: bool) -> None:
    assert names_person(place(text, "young")) is said


@pytest.mark.parametrize(
    ("text", "noun"),
    [
        ("a Christian who", True),
        ("a Christian.", True),
        ("a Christian school", False),
        ("She is Christian.", False),
        ("an observant Christian and", True),
    ],
)
def test_adjective_or_noun(text: str, noun: bool) -> None:
    assert is_noun(place(text, "Christian")) is noun
