"""Scores of generated texts: which part of an answer is scored, what a refusal counts as, and by which scorer.

All three change what a number means, so they make up the name of a score column: ``score.<quantity>:<variant>`` with
a variant such as ``vader, continuation, refusals left out``. One quantity may be scored by several scorers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol, get_args

import numpy as np
import pandas as pd

from rlhf_fair.errors import SettingsError
from rlhf_fair.models.requests import ScoresQuality
from rlhf_fair.records import NAN

Part = Literal["continuation", "first sentence", "prompt and continuation", "prompt and first sentence"]
Refusals = Literal["left out", "scored"]
PREFIX = "score."

_SENTENCE_END = re.compile(r"[.!?]+[\"')\]]*(?=\s|$)|\n")


class ReadsLabels(Protocol):
    """Classifiers: one row per text and one column of probabilities per label, NaN where a text was not measured."""

    name: str

    def probabilities(self, texts: list[str]) -> pd.DataFrame: ...


@dataclass(frozen=True)
class Scoring:
    """What is measured: quantity -> scorer. A classifier gives one quantity per label: ``regard_negative`` and so on.

    ``refusals``: "left out" makes them missing, so that a gap is one between answers; it then holds for the prompts
    that were answered, and the gap in refusals stands beside it. "scored" treats them as any text.
    ``prompt_column``: what "prompt" means in ``part``; a column in which the group is masked hides it from a scorer.
    """

    scorers: Mapping[str, ScoresQuality] = field(default_factory=dict)
    classifiers: Mapping[str, ReadsLabels] = field(default_factory=dict)
    part: Part = "continuation"
    refusals: Refusals = "left out"
    prompt_column: str = "prompt"

    def __post_init__(self) -> None:
        for name, value, allowed in (("part", self.part, Part), ("refusals", self.refusals, Refusals)):
            if value not in get_args(allowed):
                raise SettingsError(f"{name} is {value!r}; allowed: {', '.join(get_args(allowed))}")

    def column(self, quantity: str, scorer: str) -> str:
        """The name of the score column."""
        return f"{PREFIX}{quantity}:{scorer}, {self.part}, refusals {self.refusals}"


@dataclass(frozen=True)
class ScoreColumn:
    """A column of scores in records, taken apart."""

    column: str
    quantity: str
    variant: str


def score_columns(records: pd.DataFrame) -> list[ScoreColumn]:
    """The columns that `add_scores` made, in their order."""
    names = [str(name) for name in records.columns if str(name).startswith(PREFIX)]
    return [ScoreColumn(name, *name.removeprefix(PREFIX).split(":", maxsplit=1)) for name in names]


def add_scores(records: pd.DataFrame, scoring: Scoring) -> pd.DataFrame:
    """``records`` with one column per quantity; NaN where there is no answer, a refusal left out, or no score."""
    eligible = records["answered"].astype(bool)
    if scoring.refusals == "left out":
        eligible &= ~records["refused"].astype(bool)
    rows = records[eligible]
    texts = scored_texts(rows, scoring)
    columns: dict[str, np.ndarray] = {}
    for quantity, scorer in scoring.scorers.items():
        columns[scoring.column(quantity, scorer.name)] = _placed(scorer.score(texts), eligible)
    for quantity, classifier in scoring.classifiers.items():
        for label, shares in classifier.probabilities(texts).items():
            columns[scoring.column(f"{quantity}_{label}", classifier.name)] = _placed(shares.to_numpy(), eligible)
    return records.assign(**columns)


def scored_texts(records: pd.DataFrame, scoring: Scoring) -> list[str]:
    """The text that is handed to a scorer, one per row."""
    texts = [str(text) for text in records["text"]]
    if scoring.part.endswith("first sentence"):
        texts = [first_sentence(text) for text in texts]
    if scoring.part.startswith("prompt"):
        texts = [joined(str(prompt), text) for prompt, text in zip(records[scoring.prompt_column], texts, strict=True)]
    return texts


def first_sentence(text: str) -> str:
    """Up to the first full stop, question or exclamation mark before white space, or the first line's end.

    >>> first_sentence(" a nurse at St.John's. She liked it.")
    " a nurse at St.John's."
    """
    start = len(text) - len(text.lstrip())
    end = _SENTENCE_END.search(text, start)
    return text if end is None else text[: end.end()].rstrip("\n")


def joined(prompt: str, text: str) -> str:
    """Prompt and continuation with one space between, unless white space or punctuation stands there.

    >>> [joined("The cat", text) for text in ("sat", " sat", ", tired, sat")]
    ['The cat sat', 'The cat sat', 'The cat, tired, sat']
    """
    close = not prompt or prompt[-1].isspace() or text[:1].isspace() or text[:1] in set(",.;:!?'")
    return prompt + text if close or not text else f"{prompt} {text}"


def parse_rate(records: pd.DataFrame, column: str) -> float:
    """Share of the answers that could be scored, of those that do not refuse; NaN where there are none."""
    spoken = records["answered"].astype(bool) & ~records["refused"].astype(bool)
    return float(np.isfinite(records.loc[spoken, column]).mean()) if spoken.any() else NAN


def _placed(scores: np.ndarray, eligible: pd.Series) -> np.ndarray:
    column = np.full(len(eligible), np.nan)
    column[eligible.to_numpy()] = scores
    return column
