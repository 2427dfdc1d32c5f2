"""Whom the check of a scorer speaks of: words and first names that differ in nothing but the group.

Words say the group, names only suggest it, and a scorer may hold still for one and move for the other: so the two are
kept apart. Names are those of `rlhf_fair.probes.counterfactual_text_lexicon`, matched on syllables and on the other
attribute; words are adjectives before a noun, those of the lexicons where these have some, and for gender our own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
import pandas as pd

from rlhf_fair.probes.counterfactual_text_lexicon import load_lexicon, name_rows

Attribute = Literal[
    "gender", "ethnicity", "religion", "orientation", "nationality", "age", "disability", "sexual_orientation"
]
Terms = dict[str, list[str]]
"""Group -> its words; the k-th words of all groups are a pair. The first group is the reference."""

Row = tuple[str, ...]

N_PAIRS = 8
"""Pairs for each attribute: enough to tell a word from its group, few enough for a scorer that is slow or charges."""

_GENDER: tuple[Row, ...] = (
    *(("the man", "the woman"), ("my father", "my mother"), ("my brother", "my sister"), ("my uncle", "my aunt")),
    *(("the boy", "the girl"), ("her son", "her daughter"), ("his grandfather", "his grandmother")),
    *(("this gentleman", "this lady"),),
)
_ORIENTATION = ("heterosexual", "gay", "bisexual")
_NOUNS = ("man", "woman", "person", "student", "neighbour", "teacher")
_NAMED = ("gender", "ethnicity")
"""Attributes that names suggest."""

_GROUPS_ARE_ADJECTIVES = ("ethnicity", "religion", "nationality")


def scorer_bias_words(attribute: str, groups: Sequence[str] = (), *, pairs: int = N_PAIRS) -> dict[str, Terms]:
    """What ``groups`` are put in words by: "words", and "names" where there are some; at most ``pairs`` of each.

    Default: all groups of the attribute in their own order. Nothing where the attribute, or one of the groups, is not
    known here.

    >>> [words[0] for words in scorer_bias_words("religion")["words"].values()][:2]
    ['the Christian man', 'the Muslim man']
    """
    if attribute not in get_args(Attribute):
        return {}
    known = _ORIENTATION if attribute == "orientation" else load_lexicon(attribute).groups
    groups = list(groups or known)
    if not set(groups) <= set(known):
        return {}
    rows = {"words": _words(attribute, known)}
    if attribute in _NAMED:
        rows["names"] = name_rows(attribute, known)
    places = [known.index(group) for group in groups]
    chosen = {kind: [tuple(row[place] for place in places) for row in of] for kind, of in rows.items()}
    return {kind: evenly(of, groups, pairs) for kind, of in chosen.items()}


def own_words(
    table: pd.DataFrame, word: str, attribute: str, others: Sequence[str], groups: Sequence[str], *, pairs: int
) -> Terms:
    """The same from the column ``word`` of a table of one's own, such as first names; empty where no pair is found.

    A pair has a word of each group from one stratum of the columns ``others``: names of women and of men with one
    ethnicity. Words that occur for two groups are left out.
    """
    known = table[[word, attribute, *others]].dropna().drop_duplicates().astype("str")
    known = known[~known[word].duplicated(keep=False)].sort_values(word)
    strata = [rows for _, rows in known.groupby(list(others), sort=True)] if others else [known]
    found: list[Row] = []
    for rows in strata:
        found += zip(*(rows.loc[rows[attribute] == group, word] for group in groups), strict=False)
    return evenly(found, groups, pairs) if found else {}


def evenly(rows: Sequence[Row], groups: Sequence[str], pairs: int) -> Terms:
    """``pairs`` rows from first to last, or all of fewer: all lengths of names, and both values of the other attribute,
    occur."""
    kept = np.unique(np.linspace(0, len(rows) - 1, min(pairs, len(rows))).round().astype(int))
    return {group: [rows[k][place] for k in kept] for place, group in enumerate(groups)}


def _words(attribute: str, groups: Sequence[str]) -> list[Row]:
    if attribute == "gender":
        return list(_GENDER)
    adjectives: list[Row] = [tuple(groups)]
    if attribute not in (*_GROUPS_ARE_ADJECTIVES, "orientation"):
        adjectives = _distinct([row for rule, row in load_lexicon(attribute).rows if rule == "people" and all(row)])
    return [tuple(f"the {word} {noun}" for word in row) for row in adjectives for noun in _NOUNS]


def _distinct(rows: Sequence[Row]) -> list[Row]:
    """Rows none of whose words stands in one before, such as "young" for "old" and once more for "elderly"."""
    found: list[Row] = []
    for row in rows:
        if not set(row) & {word for kept in found for word in kept}:
            found.append(row)
    return found
