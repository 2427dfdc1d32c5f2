"""What stands around a word: the rules that decide which word answers to it, or whether it is to be touched at all.

"her" is "his" before what she owns and "him" elsewhere; "his" is "hers" where nothing owned follows; "a Christian" is
"a Jew" but "a Christian nurse" is "a Jewish nurse"; "Miss" is a title only before a name. No tagger: each rule looks at
a few words on either side and at the lists of ``lexicons/grammar.toml``, so every decision can be read off.
Measured on running text whose men's pronouns were all made "her" (`tests/probes/test_counterfactual_text_rules.py`),
the rule finds him or his in 94 to 96 of 100 places; what it misses is mostly "her" before a bare verb or a name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

from rlhf_fair.settings import read_toml_table

LEXICONS = Path(__file__).with_name("lexicons")
REACH = 80
"""Characters on either side that a rule may look at."""

_TOKEN = re.compile(r"\n\s*\n|\w+(?:['’.\-]\w+)*\.?(?=\W|$)|[^\w\s]")
_WORD = re.compile(r"\w")
_QUOTES = frozenset("\"“‘'")


@cache
def grammar() -> Mapping[str, frozenset[str]]:
    """The word lists of ``lexicons/grammar.toml``, lower case."""
    content = read_toml_table(LEXICONS / "grammar.toml", "grammar")
    return {name: frozenset(str(words).split()) for name, words in content.items()}


def is_in(word: str, *lists: str) -> bool:
    """Whether a word, in any case, is in one of the lists of the grammar."""
    return any(word.lower().rstrip(".") in grammar()[name] or word.lower() in grammar()[name] for name in lists)


@dataclass(frozen=True)
class Place:
    """A word of a text: ``text[start:end]``."""

    text: str
    start: int
    end: int

    @property
    def word(self) -> str:
        """As it stands there."""
        return self.text[self.start : self.end]

    @cached_property
    def before(self) -> list[str]:
        """Words and marks before it, the nearest first; a blank line counts as a mark."""
        return [_clean(t) for t in _TOKEN.findall(self.text[max(0, self.start - REACH) : self.start])][::-1]

    @cached_property
    def after(self) -> list[str]:
        """Words and marks behind it, the nearest first."""
        return [_clean(t) for t in _TOKEN.findall(self.text[self.end : self.end + REACH])]

    def previous(self, k: int = 0) -> str:
        """The k-th word or mark before it; "" where the text begins."""
        return self.before[k] if k < len(self.before) else ""

    def next(self, k: int = 0) -> str:
        """The k-th word or mark behind it; "" where the text ends."""
        return self.after[k] if k < len(self.after) else ""


def owns(place: Place) -> bool:
    """Whether "her" or "his" stands before what is owned, as in "her manager".

    Not before marks, prepositions, conjunctions, auxiliaries, articles and other pronouns, nor where a verb before
    "her" takes a person and then a thing, a verb or a quality ("gave her advice", "let her go", "made her happy").
    """
    following = place.next()
    if following == "/" or is_in(following, "joining"):  # "his or her opinion" goes with its last part
        other = place.next(1)
        return is_in(other, "possessive") and _starts_noun_phrase(place.next(2), place.next(3))
    if _ends_clause(following) or is_in(following, "closing"):
        return False
    if place.word.lower() == "his":
        return _his_owns(place)
    return _starts_noun_phrase(following, place.next(1)) and not _verb_takes_person(place)


def names_person(place: Place) -> bool:
    """Whether a word such as "young" or "Black" is said of a person: "a young nurse", "she is young"."""
    if place.text[place.end : place.end + 1] == "-" or place.text[: place.start].endswith("-"):
        return False  # part of a compound
    for token in place.after[:3]:
        if is_in(token, "people"):
            return True
        if _ends_clause(token) or is_in(token, "closing"):
            break
    return _is_predicate(place)


def is_noun(place: Place) -> bool:
    """Whether a word that may be adjective or noun stands as the noun: "a Christian who", not "a Christian nurse"."""
    k = 0
    while is_in(place.previous(k), "qualifiers"):
        k += 1
    following = place.next()
    stops = _ends_clause(following) or is_in(following, "closing", "finite_verbs")
    return is_in(place.previous(k), "determiners") and stops


def is_title(place: Place) -> bool:
    """Whether a capitalised name follows, as behind a title."""
    return place.word[:1].isupper() and place.next()[:1].isupper()


def is_name(place: Place) -> bool:
    """Whether a word is written as a name, and is not a part of a hyphenated one."""
    outside = place.text[max(0, place.start - 2) : place.start], place.text[place.end : place.end + 2]
    hyphenated = re.search(r"\w-$", outside[0]) or re.match(r"-\w", outside[1])
    return place.word[:1].isupper() and not hyphenated


def is_surname(place: Place) -> bool:
    """Whether a name follows a title or a capitalised first name that is not the first word of a sentence."""
    previous = place.previous()
    first_name = previous[:1].isupper() and previous.istitle() and not is_in(previous, "closing", "determiners")
    return is_name(place) and (is_in(previous, "titles") or (first_name and previous.lower() in first_names()))


@cache
def first_names() -> frozenset[str]:
    """The listed first names, lower case."""
    lines = (LEXICONS / "names.csv").read_text(encoding="utf-8").splitlines()
    column = lines[0].split(",").index("name")
    return frozenset(line.split(",")[column].lower() for line in lines[1:])


RULES: Mapping[str, Callable[[Place], bool]] = {
    "object": lambda place: place.word.lower() != "her" or not owns(place),
    "pronoun": lambda place: place.word.lower() != "his" or not owns(place),
    "determiner": owns,
    "before_name": is_title,
    "after_determiner": lambda place: is_in(place.previous(), "determiners"),
    "noun": is_noun,
    "people": names_person,
    "origin": lambda place: place.previous().lower() == "from",
    "always": lambda place: True,
    "name": is_name,
    "surname": is_surname,
}
"""Sections of a lexicon and the condition under which their words are swapped; the first that holds decides."""


def _clean(token: str) -> str:
    return "\n" if token.isspace() else token.replace("’", "'").rstrip(".") if len(token) > 1 else token


def _ends_clause(token: str) -> bool:
    return not token or not (_WORD.match(token) or token in _QUOTES or token in "$£€#@")


def _starts_noun_phrase(first: str, second: str) -> bool:
    """``first`` could be a noun or what stands before one; an -ly adverb is so only with a noun behind it."""
    if _ends_clause(first) or is_in(first, "closing"):
        return False
    adverb = first.lower().endswith("ly") and not is_in(first, "ly_nouns")
    return not (adverb and (_ends_clause(second) or is_in(second, "closing")))


def _his_owns(place: Place) -> bool:
    """ "a friend of his called" has the pronoun, "a friend of his mother" has not."""
    partitive = place.previous().lower() == "of" and is_in(place.previous(2), "determiners")
    following = place.next()
    return not (partitive and (is_in(following, "finite_verbs") or following.lower().endswith("ed")))


def _verb_takes_person(place: Place) -> bool:
    """The verb before "her" is one that takes a person, and what follows is not what she owns."""
    verb, first, second = place.previous(), place.next(), place.next(1)
    closed = _ends_clause(second) or is_in(second, "closing")
    if first in _QUOTES or first.istitle():
        return is_in(verb, "naming") and verb.lower() not in ("name", "nickname")
    if first in "$£€" or first[:1].isdigit():
        return is_in(verb, "giving")
    if is_in(first, "places") and closed:
        return is_in(verb, "moving", "giving")
    return (
        (is_in(verb, "giving") and is_in(first, "given"))
        or (verb.lower() in ("let", "lets", "letting") and not _ends_clause(second))
        or (is_in(verb, "causing") and is_in(first, "bare_verbs") and (closed or not is_in(first, "verb_or_noun")))
        or (is_in(verb, "perceiving") and first.lower().endswith("ing"))
        or (is_in(verb, "making") and is_in(first, "qualities") and closed)
    )


def _is_predicate(place: Place) -> bool:
    """ "she is blind", "who was very old": a pronoun or a word for a person, a form of "to be", then the word."""
    following = place.next()
    if not (_ends_clause(following) or is_in(following, "closing")):
        return False
    k = 0
    while is_in(place.previous(k), "degrees"):
        k += 1
    verb, subject = place.previous(k), place.previous(k + 1)
    pronoun, _, clitic = verb.partition("'")
    if clitic in ("s", "m", "re"):
        return is_in(pronoun, "personal")
    return is_in(verb, "copulas") and (is_in(subject, "personal", "people") or subject.lower() in first_names())
