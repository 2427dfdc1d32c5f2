"""Matched words for groups, with which a scorer is checked: the plan's own names, or those of the lexicons."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from rlhf_fair.audit.generation import Attribute, GenerationPlan
from rlhf_fair.metrics.gaps import group_labels, group_names
from rlhf_fair.probes.counterfactual_text_lexicon import ATTRIBUTES, Lexicon, load_lexicon, name_rows

PEOPLE = ("my {} neighbour", "the {} student", "our {} colleague", "my {} cousin")
"""What an adjective is said of; no article that depends on the next letter."""

Row = tuple[str, ...]


def matched_words(plan: GenerationPlan, prompts: pd.DataFrame, attribute: Attribute) -> dict[str, list[str]]:
    """Group -> words, the k-th words of all groups matched; the reference first; empty where the plan knows none.

    The plan's own words (``[scorer_check] words``) are matched on its other attributes: names of women and of men with
    one ethnicity. Else the lexicon of that attribute is taken, if it knows every group: first names of equal syllables
    (gender, ethnicity), or an adjective before the same noun. Of more than ``pairs`` rows an even selection is used.
    """
    groups = group_names(group_labels(prompts, attribute.column))
    if attribute.reference not in groups or len(groups) < 2:
        return {}
    groups.sort(key=lambda group: group != attribute.reference)
    rows: Sequence[Row] = []
    if plan.scorer_check.words:
        rows = _own_rows(prompts, plan.scorer_check.words, attribute.column, plan.columns, groups)
    elif attribute.column in ATTRIBUTES and set(groups) <= set(load_lexicon(attribute.column).groups):
        rows = _lexicon_rows(load_lexicon(attribute.column), groups)
    if not rows:
        return {}
    kept = np.unique(np.linspace(0, len(rows) - 1, min(plan.scorer_check.pairs, len(rows))).round().astype(int))
    return {group: [rows[k][place] for k in kept] for place, group in enumerate(groups)}


def _own_rows(
    prompts: pd.DataFrame, words: str, attribute: str, columns: Sequence[str], groups: Sequence[str]
) -> list[Row]:
    """Rows of words, one per group, from each stratum of the other attributes; words of two groups are left out."""
    others = [column for column in columns if column != attribute]
    table = prompts[[words, attribute, *others]].dropna().drop_duplicates().astype("str")
    table = table[~table[words].duplicated(keep=False)].sort_values(words)
    strata = [rows for _, rows in table.groupby(others, sort=True)] if others else [table]
    found: list[Row] = []
    for rows in strata:
        found += zip(*(rows.loc[rows[attribute] == group, words] for group in groups), strict=False)
    return found


def _lexicon_rows(lexicon: Lexicon, groups: Sequence[str]) -> list[Row]:
    places = [lexicon.groups.index(group) for group in groups]
    if lexicon.attribute in ("gender", "ethnicity"):
        return [tuple(row[place] for place in places) for row in name_rows(lexicon.attribute, lexicon.groups)]
    people = [row for rule, row in lexicon.rows if rule == "people"]
    people = people or [next(row for rule, row in lexicon.rows if rule == "always")]
    said = [tuple(row[place] for place in places) for row in people]
    return [tuple(person.format(word) for word in row) for row in said if all(row) for person in PEOPLE]
