"""The same text about another group: every word that says the group is exchanged, and nothing else.

>>> from rlhf_fair.probes.counterfactual_text_lexicon import load_lexicon
>>> twin = swap("Her manager told her that the waitress is hers.", load_lexicon("gender"), "woman", "man")
>>> twin.text
'His manager told him that the waiter is his.'
>>> twin.restored == twin.original
True

Both directions go at once, so that "he met her" becomes "she met him". Case is kept, articles follow ("an uncle", "a
niece"), and the exchanged places are part of the result: undoing them gives the original back, character by character,
even where two words answer to one ("Mrs." and "Ms." to "Mr.").
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from rlhf_fair.errors import RowError, SettingsError
from rlhf_fair.probes.counterfactual_text_lexicon import Entry, Lexicon, Mention
from rlhf_fair.probes.counterfactual_text_rules import Place
from rlhf_fair.probes.holistic_bias import article

Mode = Literal["all", "subject"]
"""all: both groups change places. subject: the words of one group alone, so that "he met her" becomes "she met her"."""

LIMIT = (
    "A swap changes words, not worlds: what else a text says of a person (a body, a history, a place of work) stays as "
    "it was and may fit the other group less well, so a gap mixes the group with how natural the text is. Names are a "
    "signal, not a fact about a person."
)


@dataclass(frozen=True)
class Replacement:
    """``original[start : start + len(old)] == old`` became ``new``."""

    start: int
    old: str
    new: str


@dataclass(frozen=True)
class Counterfactual:
    """A text and its twin. ``replacements`` are in order of place and do not overlap; empty: nothing to swap."""

    original: str
    text: str
    replacements: tuple[Replacement, ...]

    @property
    def restored(self) -> str:
        """The original, from the twin and the replacements alone."""
        return restore(self.text, self.replacements)


def groups_in(text: str, lexicon: Lexicon) -> tuple[str, ...]:
    """The groups that ``text`` speaks of, in the order in which they come; words that fit several count last."""
    found = lexicon.mentions(text)
    clear = [entry.group for m in found if len(m.groups) == 1 for entry in m.entries[:1]]
    return tuple(dict.fromkeys(clear or [m.entries[0].group for m in found[:1]]))


def swap(text: str, lexicon: Lexicon, group: str, into: str, mode: Mode = "all") -> Counterfactual:
    """``text`` with the words of ``group`` exchanged for those of ``into``, and the other way round in mode "all".

    Raises
    ------
    SettingsError
        A group is not one of the lexicon's, both are the same, or the mode is unknown.
    """
    for name in (group, into):
        if name not in lexicon.groups:
            raise SettingsError(f"{lexicon.attribute} group is {name!r}; allowed: {', '.join(lexicon.groups)}")
    if group == into:
        raise SettingsError(f"group and into are both {group!r}; allowed: two different groups")
    if mode not in get_args(Mode):
        raise SettingsError(f"mode is {mode!r}; allowed: {', '.join(get_args(Mode))}")
    target = {group: into, into: group} if mode == "all" else {group: into}
    found = lexicon.mentions(text)
    names = _names(found, lexicon, target)
    replacements: list[Replacement] = []
    for mention in found:
        entry = next((e for e in mention.entries if e.group in target), None)
        if entry is not None:
            replacements += _replace(mention.place, entry, lexicon, target, names)
    return Counterfactual(text, _apply(text, replacements), tuple(replacements))


def restore(text: str, replacements: Iterable[Replacement]) -> str:
    """Undo replacements in a twin.

    Raises
    ------
    RowError
        The text does not have the new words where the replacements put them.
    """
    parts, position, shift = [], 0, 0
    for r in replacements:
        start = r.start + shift
        if text[start : start + len(r.new)] != r.new or start < position:
            raise RowError(f"replacement of {r.old!r} by {r.new!r} at {r.start} does not fit the text")
        parts += [text[position:start], r.old]
        position, shift = start + len(r.new), shift + len(r.new) - len(r.old)
    return "".join([*parts, text[position:]])


def with_case_of(old: str, listed: str, new: str) -> str:
    """``new`` written as ``old`` is, where ``listed`` is how the lexicon writes ``old``.

    >>> [with_case_of(old, "he", "she") for old in ("he", "He", "HE")]
    ['she', 'She', 'SHE']
    >>> [with_case_of(old, "Christian", "Jewish") for old in ("Christian", "christian", "CHRISTIAN")]
    ['Jewish', 'jewish', 'JEWISH']
    """
    if old == listed:
        return new
    if old.isupper() and sum(map(str.isalpha, old)) > 1:
        return new.upper()
    if old.islower():
        return new.lower()
    if old == old.title() and len(old.replace("-", " ").split()) > 1:
        return new.title()
    return new[:1].upper() + new[1:] if old[:1].isupper() else new


def _apply(text: str, replacements: Sequence[Replacement]) -> str:
    parts, position = [], 0
    for r in replacements:
        parts += [text[position : r.start], r.new]
        position = r.start + len(r.old)
    return "".join([*parts, text[position:]])


def _replace(
    place: Place, entry: Entry, lexicon: Lexicon, target: dict[str, str], names: dict[str, str]
) -> list[Replacement]:
    """The word's replacement, and before it that of an article that no longer fits; none if the word stays the same."""
    into = target[entry.group]
    new = names.get(place.word.lower()) or entry.word(lexicon.groups, into)
    listed = entry.word(lexicon.groups, entry.group)
    new = with_case_of(place.word, listed, new)
    if not new or new == place.word:
        return []
    found = [Replacement(place.start, place.word, new)]
    if place.previous().lower() in ("a", "an") and article(place.word) != article(new):
        old = place.previous()
        start = place.start - 1 - len(old)
        if place.text[start : start + len(old)] == old and article(place.word) == old.lower():
            found.insert(0, Replacement(start, old, _article(old, article(new), place.word)))
    return found


def _article(old: str, new: str, word: str) -> str:
    if old.islower():
        return new
    return new.upper() if word.isupper() and len(word) > 1 else new.capitalize()


def _names(found: Sequence[Mention], lexicon: Lexicon, target: dict[str, str]) -> dict[str, str]:
    """Another name for a person whose new name the text has already for somebody who keeps it.

    Only where one group alone is exchanged: if both are, no two people can come to share a name.
    """
    if len(target) > 1:
        return {}
    taken = {m.place.word.lower() for m in found}
    chosen: dict[str, str] = {}
    for mention in found:
        entry = mention.entries[0]
        if entry.rule != "name" or entry.group not in target or mention.place.word.lower() in chosen:
            continue
        into = lexicon.groups.index(target[entry.group])
        if entry.row[into].lower() in taken:
            rows = [row for rule, row in lexicon.rows if rule == "name"]
            place = rows.index(entry.row)  # the rows behind it are of the same syllables and other attribute
            others = (row[into] for row in rows[place:] + rows[:place] if row[into].lower() not in taken)
            name = next(others, entry.row[into])
            chosen[mention.place.word.lower()] = name
            taken.add(name.lower())
    return chosen
