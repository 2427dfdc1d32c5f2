"""VADER: the sentiment of a short English text from a rated lexicon and a handful of rules (Hutto & Gilbert 2014).

The lexicon is not ours: `VaderScorer.installed` reads the one inside the package ``vaderSentiment`` (MIT licence, by
the method's authors), which is installed along with this package and of which no code runs; `VaderScorer.from_lexicon`
reads another file of that format. The rules here give the compound score of their program, version 3.3.2, before its
rounding to four decimals, quirks included, with one exception: words before and after "but" are told by their place,
where the program looks for their values and may take another word of the same value. To the program, and to
`VaderScorer.compound`, a "can't" with a curly apostrophe negates nothing; `VaderScorer.score` makes it straight.
"""

from __future__ import annotations

import math
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rlhf_fair.artifacts import read_text
from rlhf_fair.errors import MissingFileError, SettingsError
from rlhf_fair.models.refusal import straightened

LIMIT = (
    "VADER was rated on short social-media texts by ten people; it reads words, not meanings, gives 0 to any text "
    "without a rated word (Hutto & Gilbert 2014). Names and identity words move scorers of sentiment (Kiritchenko & "
    "Mohammad 2018): check it with identity swaps before it measures a gap."
)

PACKAGE, LEXICON, EMOJI = "vaderSentiment", "vader_lexicon.txt", "emoji_utf8_lexicon.txt"

BOOST = 0.293
"""Added to a word's valence by an adverb of degree before it."""
CAPITALS = 0.733
"""Added for a word in capitals where not all words are."""
NEGATED = -0.74
"""Factor of a negated word."""
NORMALISER = 15.0
"""compound = s / sqrt(s² + 15)."""
FADING = {1: 1.0, 2: 0.95, 3: 0.9}
"""How much of a boost arrives, by the distance in words."""

_MORE = """
absolutely amazingly awfully completely considerable considerably decidedly deeply effing enormous enormously entirely
especially exceptional exceptionally extreme extremely fabulously flipping flippin frackin fracking fricking frickin
frigging friggin fully fuckin fucking fuggin fugging greatly hella highly hugely incredible incredibly intensely major
majorly more most particularly purely quite really remarkably so substantially thoroughly total totally tremendous
tremendously uber unbelievably unusually utter utterly very
"""
_LESS = """
almost barely hardly kinda kindof kind-of less little marginal marginally occasional occasionally partly scarce scarcely
slight slightly somewhat sorta sortof sort-of
"""
BOOSTERS = dict.fromkeys(_MORE.split(), BOOST) | dict.fromkeys(
    [*_LESS.split(), "just enough", "kind of", "sort of"], -BOOST
)

_NEGATIONS = """
aint arent cannot cant couldnt darent didnt doesnt dont hadnt hasnt havent isnt mightnt mustnt neednt oughtnt shant
shouldnt wasnt werent wont wouldnt neither never none nope nor not nothing nowhere rarely seldom despite uhuh uh-uh
without
"""
NEGATIONS = frozenset(_NEGATIONS.split())
"""Words that negate, besides all that hold ``n't``."""

PHRASES = {
    **{"the shit": 3.0, "the bomb": 3.0, "bad ass": 1.5, "badass": 1.5, "bus stop": 0.0, "yeah right": -2.0},
    **{"kiss of death": -1.5, "to die for": 3.0, "beating heart": 3.1, "broken heart": -2.9},
}
"""Valence of phrases that mean something else than their words."""


@dataclass(frozen=True)
class Words:
    """The words of one text: as written, in lower case, and whether capitals set some of them apart."""

    written: Sequence[str]
    lower: Sequence[str]
    mixed_case: bool

    @classmethod
    def of(cls, text: str) -> Words:
        """Split at white space; punctuation around words of three letters or more goes, short ones may be emoticons."""
        bare = [(token, token.strip(string.punctuation)) for token in text.split()]
        written = [stripped if len(stripped) > 2 else token for token, stripped in bare]
        shouted = sum(word.isupper() for word in written)
        return cls(written, [word.lower() for word in written], 0 < shouted < len(written))

    def emphasis(self, place: int, valence: float) -> float:
        """What capitals add to a word, in the direction of ``valence``."""
        if not (self.mixed_case and self.written[place].isupper()):
            return 0.0
        return CAPITALS if valence > 0 else -CAPITALS

    def phrase(self, start: int, stop: int) -> str:
        """The words from ``start`` to before ``stop``, in lower case; "" if they do not all exist."""
        return " ".join(self.lower[start:stop]) if start >= 0 and stop <= len(self.lower) else ""


class VaderScorer:
    """``score`` gives the compound score in [-1, 1]; 0 = neutral or no rated word; NaN for a text without words.

    ``valences``: token -> mean rating from -4 to 4. ``emoji``: character -> description in words.
    """

    name = "vader"
    bounds = (-1.0, 1.0)

    def __init__(self, valences: Mapping[str, float], *, emoji: Mapping[str, str] | None = None) -> None:
        if not valences:
            raise SettingsError("VADER lexicon holds no tokens")
        self.valences = dict(valences)
        self.emoji = dict(emoji or {})

    @classmethod
    def installed(cls) -> VaderScorer:
        """With the lexicon and the emoji of the installed package ``vaderSentiment``."""
        lexicon, emoji = installed_files()
        return cls.from_lexicon(lexicon, emoji)

    @classmethod
    def from_lexicon(cls, path: Path, emoji_path: Path | None = None) -> VaderScorer:
        """Read the upstream ``vader_lexicon.txt`` (token, tab, mean, ...) and, if given, ``emoji_utf8_lexicon.txt``."""
        valences = {}
        for number, (token, rating) in enumerate(_two_columns(path), start=1):
            try:
                valences[token] = float(rating)
                if not math.isfinite(valences[token]):
                    raise ValueError(rating)
            except ValueError as error:
                raise SettingsError(f"{path} row {number}: {rating[:80]!r} is not a finite number") from error
        return cls(valences, emoji=None if emoji_path is None else dict(_two_columns(emoji_path)))

    def score(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """(n,) compound scores in the order of ``texts``; an apostrophe counts as one however it is written."""
        return np.array([self.compound(straightened(text)) for text in texts], dtype=np.float64)

    def compound(self, text: str) -> float:
        """The score of one text."""
        text = self._spell_out(text)
        words = Words.of(text)
        if not words.written:
            return math.nan
        valences = [self._valence(words, place) for place in range(len(words.written))]
        if "but" in words.lower:
            turn = words.lower.index("but")
            valences = [v * (0.5 if i < turn else 1.5 if i > turn else 1.0) for i, v in enumerate(valences)]
        total = sum(valences)
        if total != 0:
            total += math.copysign(_punctuation(text), total)
        return total / math.sqrt(total**2 + NORMALISER)

    def _spell_out(self, text: str) -> str:
        spelled = ""
        for character in text:
            description = self.emoji.get(character)
            if description is None:
                spelled += character
            else:
                spelled += description if not spelled or spelled[-1] == " " else " " + description
        return spelled

    def _valence(self, words: Words, place: int) -> float:
        """The valence of one word after what the up to three words before it do to it."""
        word, before = words.lower[place], words.lower[:place][::-1]
        if word not in self.valences or word in BOOSTERS or words.phrase(place, place + 2) == "kind of":
            return 0.0
        valence = self._own_valence(words, place)
        valence += words.emphasis(place, valence)
        for distance, other in enumerate(before[:3], start=1):
            if other in self.valences:
                continue
            boost = BOOSTERS.get(other, 0.0)
            if boost:
                boost = (-boost if valence < 0 else boost) + words.emphasis(place - distance, valence)
            valence += boost * FADING[distance]
            valence *= _negation(before, distance)
            if distance == 3:
                valence = _idioms(words, place, valence)
        if "least" in before[:1] and "least" not in self.valences and before[1:2] not in (["at"], ["very"]):
            valence *= NEGATED
        return valence

    def _own_valence(self, words: Words, place: int) -> float:
        """The lexicon's, except around "no", which is rated and negates as well."""
        lower = words.lower
        before = lower[:place][::-1]
        if "no" in before[:2] or (before[2:3] == ["no"] and before[0] in ("or", "nor")):
            return self.valences[lower[place]] * NEGATED
        if lower[place] == "no" and place + 1 < len(lower) and lower[place + 1] in self.valences:
            return 0.0
        return self.valences[lower[place]]


def installed_files() -> tuple[Path, Path]:
    """The lexicon and the emoji of the package ``vaderSentiment``, found without importing it."""
    spec = find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise MissingFileError(PACKAGE, "installed package", f"pip install {PACKAGE}, or name a lexicon of your own")
    folder = Path(spec.origin).parent
    return folder / LEXICON, folder / EMOJI


def _negation(before: Sequence[str], distance: int) -> float:
    """The factor of the word at ``distance``; ``before``: the words before the rated one, nearest first."""
    word, between = before[distance - 1], before[: distance - 1]
    stressed = word == "never" and not {"so", "this"}.isdisjoint(between)
    # The authors' program also takes a bare "so" or "this" for "never so", if there are three words before.
    if stressed or (distance == 3 and before[0] in ("so", "this")):
        return 1.25
    if word == "without" and "doubt" in between:
        return 1.0
    return NEGATED if word in NEGATIONS or "n't" in word else 1.0


def _idioms(words: Words, place: int, valence: float) -> float:
    """Phrases around the word take its place; then adverbs of degree in two words ("sort of") have their say."""
    spans = [(-1, 1), (-2, 1), (-2, 0), (-3, 0), (-3, -1)]
    around = [words.phrase(place + start, place + stop) for start, stop in spans]
    valence = next((PHRASES[phrase] for phrase in around if phrase in PHRASES), valence)
    for stop in (2, 3):
        valence = PHRASES.get(words.phrase(place, place + stop), valence)
    # As in the authors' program these are not turned round for a negative word: "sort of bad" is worse than "bad".
    return valence + sum(BOOSTERS.get(around[index], 0.0) for index in (3, 4, 2))


def _punctuation(text: str) -> float:
    """Up to four exclamation marks count 0.292 each, two or three question marks 0.18 each, more of them 0.96."""
    questions = text.count("?")
    asked = 0.0 if questions < 2 else 0.18 * questions if questions < 4 else 0.96
    return 0.292 * min(text.count("!"), 4) + asked


def _two_columns(path: Path) -> list[tuple[str, str]]:
    """The first two tab-separated cells of every line; quotes and blanks are part of a token."""
    rows = [line.split("\t") for line in read_text(path, "VADER lexicon").split("\n") if line.strip()]
    short = [row for row in rows if len(row) < 2]
    if short or not rows:
        raise SettingsError(f"{path} is not tab-separated in two or more columns; see vader_lexicon.txt")
    return [(row[0].strip(), row[1].strip()) for row in rows]
