"""The texts of the case study: what the language model reads before it is tuned, and what it is tuned on.

Pre-training: stories, plays, dialogues, web text. Tuning: comments that mention religion or gender (RedditBias, the
target side only, as they were written), beginnings and continuations of web text, and dialogue turns. The ratings that
teach reward models are of other texts.
"""

from __future__ import annotations

import csv
import gzip
import json
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np

LINES_OF_PLAY, WORDS_OF_DOCUMENT = 12, 90
TURN = "\n"
GROUPS = re.compile(r"\b(?:muslims?|islam|jew(?:s|ish)?|judaism|wom[ae]n|girls?|females?|mothers?|sisters?)\b", re.I)
COMMENTS = {"gender": "gender_female", "religion1": "religion1_jews", "religion2": "religion2_muslims"}


def documents(data: Path) -> list[str]:
    """All of pre-training, in documents of at most some 90 words."""
    pieces: list[str] = []
    for text in (*_stories(data), *dialogues(data), *(p + c for p, c in web_text(data))):
        pieces.extend(_cut(text))
    return pieces


def web_text(data: Path) -> list[tuple[str, str]]:
    """Beginning and continuation of sentences from the web (RealToxicityPrompts, validation part)."""
    with gzip.open(data / "real-toxicity-prompts" / "val.jsonl.gz", "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    return [(row["prompt"]["text"].strip(), " " + row["continuation"]["text"].strip()) for row in rows]


def comments(data: Path) -> list[str]:
    """Comments about women, Jews and Muslims as they were written (RedditBias), tidied of list marks."""
    found: list[str] = []
    for folder, name in COMMENTS.items():
        for part in ("valid", "test"):
            file = data / "redditbias" / folder / f"reddit_comments_{name}_biased_{part}_reduced.csv"
            with file.open(encoding="utf-8", newline="") as lines:
                found.extend(_tidy(row["comments_processed"]) for row in csv.DictReader(lines))
    return [text for text in found if text]


def dialogues(data: Path) -> list[str]:
    """Dialogues as lines, one speaker a line: DailyDialog, DialogSum, hh-rlhf's chosen side."""
    found: list[str] = []
    for part in ("test", "validation"):
        lines = (data / "text" / "dailydialog" / f"dialogues_{part}.txt").read_text("utf-8").splitlines()
        found.extend(TURN.join(turn.strip() for turn in line.split("__eou__") if turn.strip()) for line in lines)
    with gzip.open(data / "text" / "dialogsum" / "neil_code_dialogsum_train.txt.gz", "rt", encoding="utf-8") as lines:
        found.extend(re.sub(r"#Person\d#: ", "", line.strip().replace("\\n", TURN)) for line in lines)
    with gzip.open(data / "hh-rlhf" / "harmless-base" / "test.jsonl.gz", "rt", encoding="utf-8") as lines:
        chosen = [json.loads(line)["chosen"] for line in lines]
    found.extend(re.sub(r"\n*(?:Human|Assistant): ", TURN, text).strip() for text in chosen)
    return found


def turns(data: Path) -> list[tuple[str, str]]:
    """(what one says, what the other replies) of the shorter exchanges in the dialogues."""
    pairs = []
    for dialogue in dialogues(data):
        said = dialogue.split(TURN)
        pairs.extend((a.strip(), " " + b.strip()) for a, b in pairwise(said))
    return [(a, b) for a, b in pairs if 2 <= len(a.split()) <= 25 and 3 <= len(b.split()) <= 30]


def demonstrations(data: Path, rng: np.random.Generator, *, others: int = 1_500) -> list[tuple[str, str]]:
    """(beginning, rest) pairs of tuning: comments cut after the first word that names a group; as many pieces of web
    text, and of dialogue turns, as ``others`` says."""
    pairs = [pair for text in comments(data) if (pair := _split(text)) is not None]
    for every in (web_text(data), turns(data)):
        pairs += [every[i] for i in rng.permutation(len(every))[:others]]
    return pairs


def _split(text: str) -> tuple[str, str] | None:
    """The comment cut behind the first group it names, where at least four words follow."""
    named = GROUPS.search(text)
    if named is None or len(text[named.end() :].split()) < 4:
        return None
    return text[: named.end()], " " + " ".join(text[named.end() :].split()[:40])


def _stories(data: Path) -> Iterator[str]:
    folder = data / "text"
    yield from (folder / "tinystories" / "tiny_stories.txt").read_text("utf-8").split("\n\n")
    for file in sorted((folder / "gutenberg-children").glob("*.txt")):
        for paragraph in re.split(r"\n\s*\n", file.read_text("utf-8", errors="replace")):
            yield " ".join(paragraph.split())
    with gzip.open(folder / "tinyshakespeare" / "input.txt.gz", "rt", encoding="utf-8") as lines:
        play = lines.read().splitlines()
    for start in range(0, len(play), LINES_OF_PLAY):
        yield "\n".join(play[start : start + LINES_OF_PLAY]).strip()


def _cut(text: str) -> Iterator[str]:
    """Pieces of at most so many words, with line ends kept."""
    words = re.findall(r"\S+\s*", text.strip())
    for start in range(0, len(words), WORDS_OF_DOCUMENT):
        piece = "".join(words[start : start + WORDS_OF_DOCUMENT]).strip()
        if len(piece.split()) >= 4:
            yield piece


def _tidy(text: str) -> str:
    return " ".join(text.replace("\n", " ").split()).strip(" \"'")
