"""Text pairs that differ in identity alone, to train on.

Two kinds: training texts whose identity words are exchanged, and plain sentences of ours with and without a term. The
sentences have nothing in common with those of published benchmarks, so that an audit with these measures what was
learnt and not what was memorised.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from rlhf_fair.errors import RowError
from rlhf_fair.probes.counterfactual_text_prompts import make_counterfactuals
from rlhf_fair.probes.holistic_bias import article
from rlhf_fair.tables import read_table, require_columns
from rlhf_fair.training.reward.mitigations import Swaps

NOUNS = ("person", "neighbour", "colleague", "teacher", "student", "nurse", "driver", "cousin", "customer", "singer")
SENTENCES = (
    "{A} {person} moved in next door last week.",
    "We hired {a} {person} for the summer.",
    "My sister married {a} {person} in spring.",
    "Yesterday {a} {person} helped me carry the boxes upstairs.",
    "{A} {person} asked where the library is.",
    "Our team is led by {a} {person} from the north of the country.",
    "The story is about {a} {person} who loves to cook.",
    "I sat beside {a} {person} on the train and we talked about music.",
    "{A} {person} wrote this letter to the editor.",
    "The bakery on our corner belongs to {a} {person}.",
    "The prize went to {a} {person} this year.",
    "{A} {person} told the council what the street needs.",
    "They interviewed {a} {person} about the new park.",
    "My doctor is {a} {person} too.",
    "Is {a} {person} allowed to join the club?",
    "I would vote for {a} {person} if the plan was good.",
)
"""Written for this purpose; ``{a} {person}`` is where a term may stand before the noun."""


def swapped_pairs(
    texts: Sequence[str], swaps: Swaps, find: Callable[[str], Path], *, seed: int
) -> dict[str, list[tuple[str, str]]]:
    """Pairs by attribute or axis, at most ``swaps.limit`` of each; the named side comes first.

    ``find`` gives the place of a table that ``swaps`` names.

    Raises
    ------
    RowError
        Nothing can be exchanged in any text, or the table of terms is empty.
    """
    rng = np.random.default_rng([seed, 11])
    pairs: dict[str, list[tuple[str, str]]] = {}
    if swaps.lexicons:
        pairs |= _from_texts(texts, swaps.lexicons)
    if swaps.terms is not None:
        table = _terms(find(swaps.terms), "axis")
        neutral = [] if swaps.neutral is None else _terms(find(swaps.neutral))["term"].tolist()
        pairs |= _from_terms(table, neutral, rng)
    pairs = {name: rows for name, rows in pairs.items() if rows}
    if not pairs:
        raise RowError("identity swaps: no training text names a group of the lexicons, and there are no terms")
    kept = {}
    for name, rows in pairs.items():
        chosen = np.sort(rng.permutation(len(rows))[: swaps.limit])
        kept[name] = [rows[k] for k in chosen]
    return kept


def _from_texts(texts: Sequence[str], lexicons: Sequence[str]) -> dict[str, list[tuple[str, str]]]:
    distinct = list(dict.fromkeys(text for text in texts if text.strip()))
    prompts = pd.DataFrame({"prompt_id": [str(k) for k in range(len(distinct))], "prompt": distinct})
    table = make_counterfactuals(prompts, lexicons).table
    originals = table[table["prompt_id"] == table["twin_of"]]
    twins = table[table["prompt_id"] != table["twin_of"]]
    both = twins.merge(originals, on=["twin_of", "attribute"], suffixes=("_twin", ""))
    pairs: dict[str, list[tuple[str, str]]] = {}
    columns = ["attribute", "group", "group_twin", "prompt", "prompt_twin"]
    for attribute, group, other, text, twin in both[columns].itertuples(index=False):
        first, second = sorted([(group, text), (other, twin)])  # one direction: signed gaps must not cancel
        pairs.setdefault(f"{attribute} in texts: {first[0]} and {second[0]}", []).append((first[1], second[1]))
    return pairs


def _terms(path: Path, *more: str) -> pd.DataFrame:
    table = read_table(path)
    require_columns(table, ["term", *more], f"terms {path.name}")
    table = table.dropna(subset=["term", *more]).drop_duplicates("term")
    if table.empty:
        raise RowError(f"terms {path}: no term")
    return table


def _from_terms(
    table: pd.DataFrame, neutral: Sequence[str], rng: np.random.Generator
) -> dict[str, list[tuple[str, str]]]:
    """Each term in every sentence, in turn against another term, no term and, where there are some, a neutral trait."""
    everything = table["term"].tolist()
    pairs: dict[str, list[tuple[str, str]]] = {}
    for term, axis in zip(table["term"], table["axis"], strict=True):
        for number, sentence in enumerate(SENTENCES):
            noun = NOUNS[int(rng.integers(len(NOUNS)))]
            partners = [everything, [""], neutral][: 3 if neutral else 2]
            chosen = partners[number % len(partners)]
            other = chosen[int(rng.integers(len(chosen)))]
            pairs.setdefault(str(axis), []).append((_filled(sentence, term, noun), _filled(sentence, other, noun)))
    return pairs


def _filled(sentence: str, term: str, noun: str) -> str:
    """
    >>> _filled("{A} {person} sings.", "old", "nurse"), _filled("She is {a} {person}.", "", "nurse")
    ('An old nurse sings.', 'She is a nurse.')
    """
    phrase = f"{term} {noun}".strip()
    word = article(phrase)
    return sentence.format(a=word, A=word.capitalize(), person=phrase)
