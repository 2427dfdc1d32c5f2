"""Score text by the phrases it contains: a transparent ruler that runs anywhere.

A lexicon file is JSON: ``{"name", "source", "combine", "offset", "phrases": {phrase: score}}``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from rlhf_fair.artifacts import read_json, write_json
from rlhf_fair.errors import SettingsError, about_file

Combine = Literal["mean", "sum"]

HUGE = 1e100
"""No score is as large; a whole number in JSON may be larger than any float."""


class LexiconScorer:
    """The mean (or the sum, plus an offset) of the scores of the phrases found in a text.

    NaN where no phrase is found, for then nothing was measured.

    Matching ignores case, needs word boundaries, and lets the longest phrase win, so that "not good" can be its own
    entry beside "good".
    """

    def __init__(
        self,
        name: str,
        phrases: Mapping[str, float],
        source: str = "",
        *,
        combine: Combine = "mean",
        offset: float = 0.0,
    ) -> None:
        if not phrases:
            raise SettingsError(f"lexicon {name!r} has no phrases")
        unusable = [phrase for phrase, score in phrases.items() if not phrase.strip() or not abs(score) < HUGE]
        if unusable:
            raise SettingsError(f"lexicon {name!r}: phrase {unusable[0][:80]!r} is blank or has no finite score")
        self.name = name
        self.source = source
        self.combine = combine
        self.offset = offset
        self.phrases = {phrase.lower(): float(score) for phrase, score in phrases.items()}
        longest_first = sorted(self.phrases, key=len, reverse=True)
        self._pattern = re.compile(r"(?<!\w)(?:" + "|".join(map(re.escape, longest_first)) + r")(?!\w)")

    @classmethod
    def load(cls, path: Path) -> LexiconScorer:
        """Read a lexicon file."""
        content = read_json(path, "lexicon")
        phrases = content.get("phrases") if isinstance(content, dict) else None
        if not isinstance(phrases, dict) or not all(isinstance(score, int | float) for score in phrases.values()):
            raise SettingsError(f"lexicon {path}: 'phrases' must map each phrase to a number")
        combine, offset = content.get("combine", "mean"), content.get("offset", 0.0)
        if combine not in get_args(Combine) or not isinstance(offset, int | float) or not abs(offset) < HUGE:
            raise SettingsError(f"lexicon {path}: 'combine' must be mean or sum, 'offset' a finite number")
        name, source = str(content.get("name", path.stem)), str(content.get("source", ""))
        with about_file(path):
            return cls(name, phrases, source, combine=combine, offset=float(offset))

    @property
    def bounds(self) -> tuple[float, float]:
        """The lowest and the highest score a text can get; a sum has none, since it grows with the text."""
        if self.combine == "sum":
            return -math.inf, math.inf
        return min(self.phrases.values()) + self.offset, max(self.phrases.values()) + self.offset

    def save(self, path: Path) -> None:
        """Write the lexicon as JSON."""
        head = {"name": self.name, "source": self.source, "combine": self.combine, "offset": self.offset}
        write_json(path, {**head, "phrases": self.phrases})

    def score(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """(n,) score of each text, NaN where no phrase occurs."""
        scores = np.full(len(texts), np.nan)
        for index, text in enumerate(texts):
            found = self._pattern.findall(text.lower())
            if found:
                total = sum(self.phrases[phrase] for phrase in found)
                scores[index] = self.offset + (total if self.combine == "sum" else total / len(found))
        return scores
