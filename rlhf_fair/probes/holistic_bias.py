"""HolisticBias v1.1: the same sentence with and without a descriptor of a person.

Reads the upstream files (descriptors.json, nouns.json, sentence_templates.json, standalone_noun_phrases.json) of
Smith et al. 2022, "I'm sorry to hear that": Finding New Biases in Language Models with a Holistic Descriptor Dataset.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rlhf_fair.artifacts import read_json
from rlhf_fair.errors import SettingsError

SPELLED_OUT = frozenset({"LGBT", "LGBTQ", "LGBTQ+", "FTM", "F2M", "MTF", "M2F", "FoC", "MoC"})
"""Said letter by letter, the first letter's name beginning with a vowel sound: an F, an L, an M."""

_VOWEL_SOUND = re.compile(
    r"(?!eu|ut[eo]|uni(?=[^mn])|us[ae-]|one\b|one-|once)[aeiou]|hour|honest|heir|8|1[18]\b|1[18]-", re.I
)


@dataclass(frozen=True)
class Noun:
    """A word for a person, in both numbers; ``gender`` is female, male or neutral."""

    singular: str
    plural: str
    gender: str


@dataclass(frozen=True)
class Template:
    """A sentence with ``{noun_phrase}`` or ``{plural_noun_phrase}``."""

    text: str

    @property
    def plural(self) -> bool:
        """Whether it speaks of several people."""
        return "{plural_noun_phrase}" in self.text

    def fill(self, phrase: str) -> str:
        """The sentence about ``phrase``."""
        return self.text.replace("{plural_noun_phrase}", phrase).replace("{noun_phrase}", phrase)


@dataclass(frozen=True)
class Descriptor:
    """What is said of a person. ``singular`` and ``plural`` are patterns around ``{noun}``.

    ``preference`` is upstream's: "" (not reviewed), reviewed, polarizing or dispreferred. ``gender`` restricts nouns.
    """

    axis: str
    bucket: str
    name: str
    singular: str
    plural: str
    preference: str = ""
    gender: str = ""

    def fits(self, noun: Noun) -> bool:
        """A gendered descriptor goes with nouns of its gender and neutral ones."""
        return not self.gender or noun.gender in (self.gender, "neutral")

    def phrase(self, noun: Noun, *, plural: bool) -> str:
        """``a Deaf woman`` or ``Deaf women``."""
        if plural:
            return self.plural.replace("{noun}", noun.plural)
        return self.singular.replace("{article}", article(noun.singular)).replace("{noun}", noun.singular)


@dataclass(frozen=True)
class HolisticBias:
    """The whole set. ``without_noun`` counts phrases that name a person by themselves ("a widow").

    Those have no sentence without the descriptor to compare with, so they are not among ``descriptors``.
    """

    descriptors: tuple[Descriptor, ...]
    nouns: tuple[Noun, ...]
    templates: tuple[Template, ...]
    without_noun: int

    @property
    def axes(self) -> tuple[str, ...]:
        """Axis names in upstream's order."""
        return tuple(dict.fromkeys(descriptor.axis for descriptor in self.descriptors))


@dataclass(frozen=True)
class Cell:
    """One template with one noun: the unit that every descriptor is put into."""

    template: Template
    noun: Noun

    @property
    def base(self) -> str:
        """The sentence without any descriptor."""
        if self.template.plural:
            return self.template.fill(self.noun.plural)
        return self.template.fill(f"{article(self.noun.singular)} {self.noun.singular}")

    def sentence(self, descriptor: Descriptor) -> str:
        """The same sentence with ``descriptor``."""
        return self.template.fill(descriptor.phrase(self.noun, plural=self.template.plural))


def load_holistic_bias(folder: Path) -> HolisticBias:
    """Read the four files of ``folder``."""
    raw = {name: read_json(folder / f"{name}.json", f"HolisticBias {name}") for name in _FILES}
    try:
        adjectives = [
            _adjective(axis, bucket, entry)
            for axis, buckets in raw["descriptors"].items()
            for bucket, entries in buckets.items()
            for entry in entries
        ]
        entries = [
            (axis, _as_dict(e, "noun_phrase")) for axis, many in raw["standalone_noun_phrases"].items() for e in many
        ]
        phrases = [_phrase(axis, entry) for axis, entry in entries if "{noun}" in entry["noun_phrase"]]
        nouns = [Noun(one, many, gender) for gender, pairs in raw["nouns"].items() for one, many in pairs]
        templates = [Template(text) for text in raw["sentence_templates"]]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise SettingsError(
            f"HolisticBias files in {folder} are not laid out as in v1.1: {repr(error)[:200]}"
        ) from error
    return HolisticBias((*adjectives, *phrases), tuple(nouns), tuple(templates), len(entries) - len(phrases))


def sample_cells(templates: tuple[Template, ...], nouns: tuple[Noun, ...], per_template: int, seed: int) -> list[Cell]:
    """``per_template`` nouns for every template, all nouns used about equally often; the same cells for a seed."""
    order = np.random.default_rng(seed).permutation(len(nouns))
    per_template = min(per_template, len(nouns))
    return [
        Cell(template, nouns[order[(index * per_template + k) % len(nouns)]])
        for index, template in enumerate(templates)
        for k in range(per_template)
    ]


def article(phrase: str) -> str:
    """``a`` or ``an`` by the sound of the first word.

    >>> [article(word) for word in ("Asian", "European", "LGBTQ+", "80-year-old", "NIMBY", "unhoused", "Unitarian")]
    ['an', 'a', 'an', 'an', 'a', 'an', 'a']
    """
    first = phrase.split()[0] if phrase.strip() else ""
    return "an" if first in SPELLED_OUT or _VOWEL_SOUND.match(first) else "a"


_FILES = ("descriptors", "nouns", "sentence_templates", "standalone_noun_phrases")


def _as_dict(entry: Any, key: str) -> dict[str, str]:
    return {key: entry} if isinstance(entry, str) else dict(entry)


def _adjective(axis: str, bucket: str, entry: Any) -> Descriptor:
    fields = _as_dict(entry, "descriptor")
    name = fields["descriptor"]
    if not name.strip():
        raise ValueError(f"a descriptor of {axis}, {bucket} is blank")
    return Descriptor(
        axis,
        bucket,
        name,
        singular=f"{fields.get('article') or article(name)} {name} {{noun}}",
        plural=f"{name} {{noun}}",
        preference=fields.get("preference", ""),
        gender=fields.get("gender", ""),
    )


def _phrase(axis: str, fields: dict[str, str]) -> Descriptor:
    singular = fields["noun_phrase"]
    plural = fields.get("plural_noun_phrase", singular).replace("{article} ", "")
    name = singular.replace("{article} ", "").replace("{noun}", "").strip()
    return Descriptor(axis, "standalone", name, singular, plural, fields.get("preference", ""))
