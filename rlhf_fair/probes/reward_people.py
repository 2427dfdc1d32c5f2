"""Who the person in a prompt is: nouns and names that say one group, and pairs that say none, as a null control.

A text has slots for the person: ``{a}`` ("a Muslim nurse", "Kelsey"), ``{the}`` ("the Muslim nurse", "Kelsey"), and
``{A}``, ``{The}`` at the start of a sentence. It is filled for the reference group; the other groups' versions come
from `rlhf_fair.probes.counterfactual_text`, which changes nothing but the words that say the group.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import pandas as pd

from rlhf_fair.errors import RowError, SettingsError
from rlhf_fair.probes.counterfactual_text import swap
from rlhf_fair.probes.counterfactual_text_lexicon import load_lexicon, name_rows
from rlhf_fair.probes.counterfactual_text_rules import LEXICONS
from rlhf_fair.probes.holistic_bias import article
from rlhf_fair.tables import read_table

Kind = Literal["words", "names"]
NEUTRAL: Mapping[Kind, str] = {"words": "neutral traits", "names": "names within one group"}
"""Kind -> the attribute under which its null control goes."""
FIRST, SECOND = "first of a pair", "second of a pair"
NAMED = ("gender", "ethnicity")
"""Attributes that first names suggest."""

_SLOT = re.compile(r"\{(\w+)\}")
_SLOTS = ("a", "A", "the", "The")


@dataclass(frozen=True)
class Person:
    """One way of saying who somebody is. ``term``: as said of the reference group, "Christian nurse" or "Connor".

    ``groups``: the first is the reference. ``twin``: what stands in place of ``term`` for the second group of a null
    pair; "" where the lexicon of ``attribute`` knows.
    """

    attribute: str
    kind: Kind
    term: str
    groups: tuple[str, ...]
    twin: str = ""

    @property
    def is_null(self) -> bool:
        """Whether the pair says no group at all."""
        return bool(self.twin)

    def versions(self, texts: Sequence[str]) -> Iterator[tuple[str, tuple[str, ...]]]:
        """(group, texts) with the slots filled, the reference group's first.

        Raises
        ------
        SettingsError
            The term is blank or does not say its attribute, so that no other group's version can be made.
        """
        if not self.term.strip():
            raise SettingsError(f"a term of {self.attribute} is blank; allowed: words for a person")
        yield self.groups[0], tuple(fill(text, self.term, self.kind) for text in texts)
        if self.twin:
            yield self.groups[1], tuple(fill(text, self.twin, self.kind) for text in texts)
            return
        lexicon = load_lexicon(self.attribute)
        told = [fill(text, self.term, self.kind) for text in texts]
        for group in self.groups[1:]:
            twins = [swap(text, lexicon, self.groups[0], group) for text in told]
            if not any(twin.replacements for twin in twins):
                raise SettingsError(
                    f"term {self.term!r} of {self.attribute} has no version for {group}; allowed: words that the "
                    f"lexicon of {self.attribute} lists for {self.groups[0]}"
                )
            yield group, tuple(twin.text for twin in twins)


def fill(text: str, term: str, kind: Kind) -> str:
    """The text about one person.

    >>> fill("{A} asks. What do I tell {the}?", "Asian nurse", "words")
    'An Asian nurse asks. What do I tell the Asian nurse?'
    >>> fill("I am {a}.", "Connor", "names")
    'I am Connor.'
    """
    if kind == "names":
        phrases = dict.fromkeys(_SLOTS, term)
    else:
        one = f"{article(term)} {term}"
        phrases = {"a": one, "A": one[:1].upper() + one[1:], "the": f"the {term}", "The": f"The {term}"}
    return _SLOT.sub(lambda match: phrases[match.group(1)], text)


def check_slots(texts: pd.Series, name: str) -> None:
    """Every slot is one that `fill` knows, and every text has one.

    Raises
    ------
    RowError
        Naming the row, the text's column and what is allowed.
    """
    for row, text in enumerate(texts, 1):
        unknown = [slot for slot in _SLOT.findall(str(text)) if slot not in _SLOTS]
        if unknown:
            allowed = ", ".join("{" + slot + "}" for slot in _SLOTS)
            raise RowError(f"{name} row {row}, column {texts.name!r}: slot {{{unknown[0]}}}; allowed: {allowed}")


def people_of(attribute: str, terms: Sequence[str], *, names: int) -> list[Person]:
    """Everybody who stands for ``attribute``: the plan's ``terms`` in words, and up to ``names`` first names."""
    groups = load_lexicon(attribute).groups
    people = [Person(attribute, "words", term, groups) for term in terms]
    if attribute in NAMED:
        rows = _spread(name_rows(attribute, groups), names)
        people += [Person(attribute, "names", row[0], groups) for row in rows]
    return people


def null_people(traits: Sequence[tuple[str, str]], *, names: int) -> list[Person]:
    """Pairs that say no group: traits nobody is ranked by, and two names of one gender, ethnicity and length."""
    people = [Person(NEUTRAL["words"], "words", one, (FIRST, SECOND), twin=other) for one, other in traits]
    table = read_table(LEXICONS / "names.csv")
    within = table.groupby(["gender", "ethnicity", "syllables"], sort=True)["name"]
    pairs = [pair for _, of_group in within for pair in list(pairwise(of_group))[::2]]
    chosen = _spread(pairs, names)
    return people + [Person(NEUTRAL["names"], "names", one, (FIRST, SECOND), twin=other) for one, other in chosen]


def in_turn(people: Sequence[Person], prompt: int, per_prompt: int) -> list[Person]:
    """``per_prompt`` of the people for the prompt number ``prompt``, such that all are used about equally often."""
    count = min(per_prompt, len(people))
    return [people[(prompt * count + k) % len(people)] for k in range(count)]


def _spread(rows: Sequence[tuple[str, ...]], most: int) -> list[tuple[str, ...]]:
    """At most ``most`` rows, from the first to the last in even steps."""
    if len(rows) <= most:
        return list(rows)
    return [rows[round(k * (len(rows) - 1) / max(most - 1, 1))] for k in range(most)]
