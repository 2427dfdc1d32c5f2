"""Counting the words that stand for groups in texts."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd

from rlhf_fair.errors import SettingsError


def count_terms(texts: Iterable[str | None], vocabularies: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    """How often the terms of each vocabulary occur in each text: one row per text, one column per vocabulary.

    Case does not matter, whole words only, and a term may have several words (any white space between them). Of
    overlapping terms the longest counts, so "mother in law" is no "mother". A missing text is a row of NaN. A term in
    two vocabularies is an error: it would count for both groups.

    >>> count_terms(["She said he'd met the HE-man; the shed"], {"female": ["she"], "male": ["he"]}).iloc[0].tolist()
    [1.0, 2.0]
    """
    owner = _owners(vocabularies)
    names = list(vocabularies)
    if not owner:
        raise SettingsError(f"vocabularies {names} hold no terms")
    longest_first = sorted(owner, key=len, reverse=True)
    alternatives = "|".join(r"\s+".join(map(re.escape, term.split(" "))) for term in longest_first)
    pattern = re.compile(rf"(?<!\w)(?:{alternatives})(?!\w)")
    rows = [_count(text, pattern, owner, len(names)) for text in texts]
    return pd.DataFrame(np.array(rows, dtype=float).reshape(len(rows), len(names)), columns=names)


def _count(text: str | None, pattern: re.Pattern[str], owner: Mapping[str, int], n_groups: int) -> list[float]:
    if not isinstance(text, str):
        return [np.nan] * n_groups
    counts = [0.0] * n_groups
    for match in pattern.findall(_plain(text)):
        counts[owner[" ".join(match.split())]] += 1
    return counts


def _owners(vocabularies: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """Plain term -> place of its vocabulary."""
    owner: dict[str, int] = {}
    names = list(vocabularies)
    for place, name in enumerate(names):
        if isinstance(vocabularies[name], str):
            raise SettingsError(f"vocabulary {name!r} is one string; needs a list of terms")
        for term in vocabularies[name]:
            plain = " ".join(_plain(term).split())
            if not plain:
                raise SettingsError(f"vocabulary {name!r} holds an empty term")
            if owner.setdefault(plain, place) != place:
                raise SettingsError(f"term {term!r} is in {names[owner[plain]]!r} and in {name!r}; needs one of them")
    return owner


def _plain(text: str) -> str:
    """Composed characters, straight apostrophes, one case."""
    return unicodedata.normalize("NFC", text).replace("’", "'").casefold()
