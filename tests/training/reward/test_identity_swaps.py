from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from rlhf_fair.errors import RowError
from rlhf_fair.training.reward.identity_swaps import NOUNS, SENTENCES, swapped_pairs
from rlhf_fair.training.reward.mitigations import Swaps


def terms(folder: Path) -> Callable[[str], Path]:
    table = pd.DataFrame({"term": ["old", "Muslim", "old"], "axis": ["age", "religion", "age"]})
    table.to_csv(folder / "terms.csv", index=False)
    pd.DataFrame({"term": ["tall", "busy"]}).to_csv(folder / "neutral.csv", index=False)
    return lambda name: folder / name


def nowhere(name: str) -> Path:
    raise AssertionError(f"{name} is not to be read")


def test_training_texts_are_swapped_both_ways() -> None:
    texts = ["He thanked the nurse.", "Nobody came.", "He thanked the nurse."]
    pairs = swapped_pairs(texts, Swaps(lexicons=("gender",)), nowhere, seed=0)
    assert pairs == {"gender in texts: man and woman": [("He thanked the nurse.", "She thanked the nurse.")]}


def test_each_term_stands_in_every_sentence_half_of_them_against_no_term(tmp_path: Path) -> None:
    pairs = swapped_pairs([], Swaps(terms="terms.csv"), terms(tmp_path), seed=0)
    assert set(pairs) == {"age", "religion"}
    assert len(pairs["age"]) == len(SENTENCES)  # a term that is listed twice counts once
    plain = [one for _, one in pairs["age"] if not re.search(r"\b(old|Muslim)\b", one)]
    assert len(plain) == len(SENTENCES) / 2
    assert all(any(noun in one for noun in NOUNS) for one in plain)
    named = [one for one, _ in pairs["age"]]
    assert any(one.startswith("An old ") for one in named)
    assert not any(" a old" in one.lower() for one in named)


def test_pairs_of_texts_all_point_one_way() -> None:
    """A mean of signed gaps over them must not cancel because half the texts speak of the one, half of the other."""
    texts = ["He thanked the nurse.", "She saw the baker."]
    pairs = swapped_pairs(texts, Swaps(lexicons=("gender",)), nowhere, seed=0)
    assert pairs == {
        "gender in texts: man and woman": [
            ("He thanked the nurse.", "She thanked the nurse."),
            ("He saw the baker.", "She saw the baker."),
        ]
    }


def test_neutral_traits_are_a_third_of_the_partners(tmp_path: Path) -> None:
    swaps = Swaps(terms="terms.csv", neutral="neutral.csv", limit=1000)
    partners = [one for rows in swapped_pairs([], swaps, terms(tmp_path), seed=0).values() for _, one in rows]
    neutral = [one for one in partners if re.search(r"\b(tall|busy)\b", one)]
    named = [one for one in partners if re.search(r"\b(old|Muslim)\b", one)]
    assert len(neutral) == 2 * (len(SENTENCES) // 3)  # of every three sentences the third
    assert len(named) == 2 * -(-len(SENTENCES) // 3)


def test_draws_depend_on_the_seed_alone_and_keep_the_limit(tmp_path: Path) -> None:
    find = terms(tmp_path)
    few = Swaps(terms="terms.csv", limit=3)
    assert [len(rows) for rows in swapped_pairs([], few, find, seed=1).values()] == [3, 3]
    assert swapped_pairs([], few, find, seed=1) == swapped_pairs([], few, find, seed=1)
    assert swapped_pairs([], few, find, seed=1) != swapped_pairs([], few, find, seed=2)


def test_texts_that_name_nobody_are_an_error() -> None:
    with pytest.raises(RowError, match="no training text names a group"):
        swapped_pairs(["It rains."], Swaps(lexicons=("gender",)), nowhere, seed=0)


def test_no_sentence_of_ours_is_one_of_the_audits() -> None:
    from upstream import DATA

    from rlhf_fair.probes.holistic_bias import load_holistic_bias

    if not (DATA / "holistic-bias").is_dir():
        pytest.skip("the data set holistic-bias is not on this machine")
    upstream = {template.text for template in load_holistic_bias(DATA / "holistic-bias/v1.1").templates}
    ours = {sentence.format(a="{a}", A="{A}", person="{noun}") for sentence in SENTENCES}
    opening = {text.split("{")[0].strip().lower() for text in upstream}
    assert not {text.split("{")[0].strip().lower() for text in ours} & (opening - {""})
