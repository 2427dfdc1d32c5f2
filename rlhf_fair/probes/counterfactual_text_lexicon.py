"""Which word of one group answers to which word of another, for one attribute: the files of ``lexicons/``.

A lexicon is a TOML file. ``groups`` names its columns, and each section named in `RULES` is a list of rows with one
word or phrase per group. A phrase in ``keep`` is never touched; a text with a phrase of ``only_one`` is not swapped,
since the other group's version would be impossible. ``names`` adds first names, whose rows are sets of equal syllables.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property, lru_cache
from pathlib import Path
from typing import Literal

from pydantic import Field

from rlhf_fair.errors import SettingsError
from rlhf_fair.probes.counterfactual_text_rules import LEXICONS, RULES, Place
from rlhf_fair.settings import Settings, read_toml
from rlhf_fair.tables import read_table

ATTRIBUTES = ("gender", "ethnicity", "religion", "nationality", "age", "disability", "sexual_orientation")
"""The lexicons that come with the package."""

RECENT = 64
"""So many texts a lexicon remembers the mentions of."""

Row = tuple[str, ...]
_NEVER_INSIDE = r"https?://\S+|www\.\S+|[\w.+-]+@[\w-]+\.\w+|[@#]\w+"
_AGE = r"\d{2}(?=(?:-|\s)(?:year|yr)s?(?:-|\s)olds?\b|\s*y/o\b)|(?<=\baged )\d{2}|(?<=\bage )\d{2}|(?<=\bage of )\d{2}"


class _File(Settings):
    groups: tuple[str, ...]
    limit: str
    names: Literal["", "gender", "ethnicity"] = ""
    years: dict[str, tuple[int, int]] = Field(default_factory=dict)
    keep: tuple[str, ...] = ()
    only_one: tuple[str, ...] = ()
    object: tuple[Row, ...] = ()
    pronoun: tuple[Row, ...] = ()
    determiner: tuple[Row, ...] = ()
    before_name: tuple[Row, ...] = ()
    after_determiner: tuple[Row, ...] = ()
    noun: tuple[Row, ...] = ()
    people: tuple[Row, ...] = ()
    origin: tuple[Row, ...] = ()
    always: tuple[Row, ...] = ()


@dataclass(frozen=True)
class Entry:
    """A word as one group's cell of a row; ``rule`` says where it counts."""

    group: str
    row: Row
    rule: str

    def word(self, groups: Sequence[str], group: str) -> str:
        """The row's word for another group; "" if it has none."""
        return self.row[groups.index(group)]


@dataclass(frozen=True)
class Mention:
    """A place in a text that says the attribute; ``entries``: what it may stand for, the first decides."""

    place: Place
    entries: tuple[Entry, ...]

    @property
    def groups(self) -> frozenset[str]:
        """The groups it may speak of; nearly always one."""
        return frozenset(entry.group for entry in self.entries)


@dataclass(frozen=True)
class Lexicon:
    """One attribute's words. ``groups``: the first is the usual reference. ``rows``: (rule, row), in order of rule."""

    attribute: str
    groups: tuple[str, ...]
    rows: tuple[tuple[str, Row], ...]
    keep: tuple[str, ...] = ()
    only_one: tuple[str, ...] = ()
    years: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    limit: str = ""

    def mentions(self, text: str) -> list[Mention]:
        """The places of ``text`` that say the attribute, in order; whole words, the longest phrase first."""
        return list(self._recent_mentions(text))

    def impossible(self, text: str) -> str:
        """The first phrase of ``only_one`` in ``text``; "" if there is none."""
        found = self._only_one.search(text) if self.only_one else None
        return found.group() if found else ""

    def words(self, group: str) -> tuple[str, ...]:
        """All words of one group, such as for counting them."""
        column = self.groups.index(group)
        return tuple(dict.fromkeys(row[column] for _, row in self.rows if row[column]))

    @cached_property
    def _recent_mentions(self) -> Callable[[str], tuple[Mention, ...]]:
        """As `mentions`; the last texts are remembered, for a text is swapped into one group after the other."""

        @lru_cache(maxsize=RECENT)
        def found(text: str) -> tuple[Mention, ...]:
            return tuple(
                Mention(place, entries) for place in self._places(text) if (entries := self._entries_at(place))
            )

        return found

    def _places(self, text: str) -> Iterator[Place]:
        for match in self._pattern.finditer(text):
            if match.lastgroup == "word":
                yield Place(text, match.start(), match.end())

    def _entries_at(self, place: Place) -> tuple[Entry, ...]:
        if place.word[:1].isdigit():
            return self._ages(place)
        entries = self._index.get(plain(place.word), ())
        return tuple(entry for entry in entries if RULES[entry.rule](place))

    def _ages(self, place: Place) -> tuple[Entry, ...]:
        age = int(place.word)
        for group, (low, high) in self.years.items():
            if low <= age <= high:
                row = tuple(str(age - low + self.years[other][0]) for other in self.groups)
                return (Entry(group, row, "always"),)
        return ()

    @cached_property
    def _index(self) -> dict[str, list[Entry]]:
        index: dict[str, list[Entry]] = {}
        for rule, row in self.rows:
            for group, word in zip(self.groups, row, strict=True):
                if word:
                    index.setdefault(plain(word), []).append(Entry(group, row, rule))
        return index

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        kept = "|".join(filter(None, [_NEVER_INSIDE, _phrases(self.keep)]))
        words = "|".join(filter(None, [_AGE if self.years else "", _phrases(self._index)]))
        return re.compile(rf"(?:{kept})|(?<!\w)(?P<word>{words})(?!\w)", re.IGNORECASE)

    @cached_property
    def _only_one(self) -> re.Pattern[str]:
        return re.compile(_phrases(self.only_one), re.IGNORECASE)


def plain(word: str) -> str:
    """One case, straight apostrophes, single blanks.

    >>> plain("Father’s   Day")
    "father's day"
    """
    return " ".join(word.replace("’", "'").lower().split())


def load_lexicon(attribute: str | Path, *, names: bool = True) -> Lexicon:
    """A lexicon of the package by its attribute, or one's own TOML file; ``names``: first and last names too."""
    if isinstance(attribute, Path):
        return _read_lexicon(attribute, names)
    if attribute not in ATTRIBUTES:
        raise SettingsError(f"attribute is {attribute!r}; allowed: {', '.join(ATTRIBUTES)}")
    return _shipped(attribute, names)


@cache
def _shipped(attribute: str, names: bool) -> Lexicon:
    return _read_lexicon(LEXICONS / f"{attribute}.toml", names)


def _read_lexicon(path: Path, names: bool) -> Lexicon:
    content = read_toml(path, _File, "lexicon")
    groups = content.groups
    rows = [(rule, row) for rule in RULES for row in getattr(content, rule, ())]
    wrong = [row for _, row in rows if len(row) != len(groups)]
    if wrong:
        raise SettingsError(f"lexicon {path}: row {wrong[0]} has {len(wrong[0])} words; allowed: {len(groups)}")
    if names and content.names:
        rows += [("name", row) for row in name_rows(content.names, groups)]
    if names and content.names == "ethnicity":
        rows += [("surname", row) for row in _sets("surnames.csv", ["set"], "ethnicity", groups, "surname")]
    return Lexicon(path.stem, groups, tuple(rows), content.keep, content.only_one, content.years, content.limit)


def name_rows(attribute: str, groups: Sequence[str]) -> list[Row]:
    """First names of ``names.csv`` that differ in one attribute only, with one column per group.

    The names of a row have the same number of syllables and the same other attribute. ``per_million`` in the file is
    their frequency among children born in the United States in seven years from 1976 to 2005 (Social Security
    Administration), and ``frequency`` its class. Sets are matched on the class as far as there are names: those that
    most readers take to be Asian are all of the lowest class, so only sets 2-6 to 2-8 and 3-4 match there.
    """
    other = {"gender": "ethnicity", "ethnicity": "gender"}[attribute]
    return _sets("names.csv", ["syllables", other, "set"], attribute, groups, "name")


def _sets(file: str, key: Sequence[str], column: str, groups: Sequence[str], word: str) -> list[Row]:
    table = read_table(LEXICONS / file)
    table = table[table[column].isin(list(groups))].fillna("")
    wide = table.pivot(index=list(key), columns=column, values=word).reindex(columns=list(groups))
    return [tuple(row) for row in wide.dropna().itertuples(index=False)]


def _phrases(phrases: Iterable[str]) -> str:
    """A pattern of whole phrases, the longest first; blanks and apostrophes as they come; "" for none.

    At the start of a word only phrases with its first character are tried, which makes long lists several times faster.
    """
    initials: dict[str, list[str]] = {}
    for phrase in sorted(phrases, key=len, reverse=True):
        parts = phrase.split() or [""]
        initials.setdefault(parts[0][:1].lower(), []).append(r"\s+".join(map(_as_written, parts)))
    found = (f"(?={_as_written(first)})(?:{'|'.join(patterns)})" for first, patterns in initials.items())
    return rf"(?<!\w)(?:{'|'.join(found)})(?!\w)" if initials else ""


def _as_written(part: str) -> str:
    return re.escape(part).replace("'", "['’]")
