"""Whose prompt is it: one group label for each row, or None where it cannot be told.

Labels come from metadata columns or from the prompt's own words; a classifier that predicts them needs a model and
lives above this package (`rlhf_fair.training.group_source`). Where labels are guessed, the gap is that between guessed
groups: errors mix the groups and make it look smaller than it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from rlhf_fair.errors import ColumnError, SettingsError

Labels = list[str | None]
UNKNOWN = "unknown"
"""The stratum of samples without one."""


class GroupSource(Protocol):
    """Anything that tells groups from prompts and their metadata columns."""

    def __call__(self, prompts: Sequence[str], columns: Mapping[str, Sequence[Any]]) -> Labels: ...


def as_labels(values: Iterable[Any]) -> Labels:
    """Text labels; None, NaN and blank values are unknown.

    >>> as_labels(["woman", None, float("nan"), " ", 3])
    ['woman', None, None, None, '3']
    """
    return [None if _missing(value) else str(value) for value in values]


def crossed(parts: Sequence[Labels]) -> Labels:
    """Intersections, joined by " & "; unknown where any part is.

    >>> crossed([["woman", "man", None], ["Black", None, "White"]])
    ['woman & Black', None, None]
    """
    rows = zip(*parts, strict=True)
    return [None if None in row else " & ".join(str(label) for label in row) for row in rows]


class ColumnGroups:
    """Groups are the values of one column, or the intersections of several."""

    def __init__(self, names: Sequence[str]) -> None:
        if not names:
            raise SettingsError("group_by is empty; allowed: one or several column names")
        self.names = tuple(names)

    def __call__(self, prompts: Sequence[str], columns: Mapping[str, Sequence[Any]]) -> Labels:
        for name in self.names:
            if name not in columns:
                raise ColumnError("prompts", name, columns)
        return crossed([as_labels(columns[name]) for name in self.names])


def strata_labels(columns: Mapping[str, Sequence[Any]], names: Sequence[str]) -> list[str] | None:
    """One stratum for each row, of one column or several crossed; None where none are asked for.

    >>> strata_labels({"topic": ["law", None]}, ["topic"])
    ['law', 'unknown']
    """
    return [label or UNKNOWN for label in ColumnGroups(names)((), columns)] if names else None


class PatternGroups:
    """A prompt belongs to the group whose patterns it holds; to none if several groups' patterns, or none, occur."""

    def __init__(self, patterns: Mapping[str, Sequence[str]]) -> None:
        """``patterns``: group -> regular expressions, read without regard to case."""
        if not patterns:
            raise SettingsError("patterns of groups are empty; allowed: group -> list of regular expressions")
        self._compiled: dict[str, re.Pattern[str]] = {}
        for group, expressions in patterns.items():
            if not expressions:
                raise SettingsError(f"group {group!r} has no pattern; allowed: at least one")
            for expression in expressions:
                _check(group, expression)
            self._compiled[group] = re.compile("|".join(f"(?:{e})" for e in expressions), re.IGNORECASE)

    @classmethod
    def of_words(cls, words: Mapping[str, Sequence[str]]) -> PatternGroups:
        """Whole words or phrases, taken literally.

        >>> groups = PatternGroups.of_words({"woman": ["she", "Ms. Lee"], "man": ["he"]})
        >>> groups(["Has she been there?", "He met Ms. Lee.", "They left."], {})
        ['woman', None, None]
        """
        return cls({group: [rf"(?<!\w){re.escape(word)}(?!\w)" for word in row] for group, row in words.items()})

    def __call__(self, prompts: Sequence[str], columns: Mapping[str, Sequence[Any]]) -> Labels:
        return [self._label(prompt) for prompt in prompts]

    def _label(self, prompt: str) -> str | None:
        found = [group for group, pattern in self._compiled.items() if pattern.search(prompt)]
        return found[0] if len(found) == 1 else None


class CrossedGroups:
    """Intersections of several sources, such as a column and the prompt's words."""

    def __init__(self, sources: Sequence[GroupSource]) -> None:
        self.sources = tuple(sources)

    def __call__(self, prompts: Sequence[str], columns: Mapping[str, Sequence[Any]]) -> Labels:
        return crossed([source(prompts, columns) for source in self.sources])


def _missing(value: Any) -> bool:
    if value is None:
        return True
    try:
        return bool(value != value) or not str(value).strip()
    except TypeError:  # pandas.NA is neither equal to itself nor unequal
        return True


def _check(group: str, expression: str) -> None:
    try:
        pattern = re.compile(expression)
    except re.error as error:
        raise SettingsError(f"pattern {expression!r} of group {group!r} is no regular expression: {error}") from error
    if pattern.search(""):
        raise SettingsError(
            f"pattern {expression!r} of group {group!r} matches any text; allowed: one that needs a word"
        )
