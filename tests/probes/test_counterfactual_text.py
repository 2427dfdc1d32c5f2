from __future__ import annotations

import tomllib
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlhf_fair.errors import RowError, SettingsError
from rlhf_fair.probes.counterfactual_text import Replacement, groups_in, restore, swap
from rlhf_fair.probes.counterfactual_text_lexicon import ATTRIBUTES, load_lexicon
from rlhf_fair.probes.counterfactual_text_rules import LEXICONS
from rlhf_fair.tables import read_table

FILE = Path(__file__).with_name("counterfactual_text_cases.toml")
SECTIONS = tomllib.loads(FILE.read_text(encoding="utf-8"))
CASES = [
    pytest.param(section.get("attribute", name), section["group"], section["into"], section.get("mode", "all"), *case)
    for name, section in SECTIONS.items()
    for case in section["cases"]
]


@pytest.mark.parametrize(("attribute", "group", "into", "mode", "text", "twin"), CASES)
def test_hard_cases(attribute: str, group: str, into: str, mode: str, text: str, twin: str) -> None:
    lexicon = load_lexicon(attribute)
    made = swap(text, lexicon, group, into, mode)  # type: ignore[arg-type]
    assert made.text == twin
    assert made.restored == text
    if mode == "all":
        assert swap(text, lexicon, into, group).text == twin


def test_there_are_many_hard_cases() -> None:
    assert len(CASES) >= 60
    assert {case.values[0] for case in CASES} == set(ATTRIBUTES)


def generated_sentences(n: int, seed: int) -> list[tuple[str, str, str, str]]:
    """(attribute, group, other group, sentence): random words of a group in templates, in random case."""
    rng = np.random.default_rng(seed)
    frames = (
        "{0} met {1} at noon.",
        "I asked {0}; then {1} called {2}.",
        "A {0}, an {1} and the {2} came from {0}",
        '"{0}!" said {1}, her brother and his {2}.',
        "{0}/{1}-{2} or ({2}) and\n\nher {0} is hers, his {1} his",
        "It made her {0}, a 23-year-old {1} man of 60 years old.",
    )
    cases = (str, str.lower, str.upper, str.title, str.capitalize)
    made = []
    for _ in range(n):
        attribute = ATTRIBUTES[rng.integers(len(ATTRIBUTES))]
        lexicon = load_lexicon(attribute)
        group, other = rng.permutation(lexicon.groups)[:2]
        words = [w for g in (group, other) for w in lexicon.words(g)]
        picked = [cases[rng.integers(len(cases))](words[rng.integers(len(words))]) for _ in range(3)]
        made.append((attribute, str(group), str(other), frames[rng.integers(len(frames))].format(*picked)))
    return made


def test_undoing_a_swap_gives_the_original_in_ten_thousand_sentences() -> None:
    """Exact although several words answer to one, and although the twin alone does not tell which."""
    changed = 0
    for attribute, group, other, sentence in generated_sentences(10_000, seed=1):
        made = swap(sentence, load_lexicon(attribute), group, other)
        assert restore(made.text, made.replacements) == sentence
        changed += made.text != sentence
    assert changed > 9_000


def one_to_one(attribute: str, group: str, other: str) -> list[tuple[str, str]]:
    """Pairs of words that answer to each other and to nothing else, wherever they stand."""
    lexicon = load_lexicon(attribute)
    g, o = lexicon.groups.index(group), lexicon.groups.index(other)
    every = [(row[g], row[o]) for _, row in lexicon.rows]
    rows = [(row[g], row[o]) for rule, row in lexicon.rows if rule in ("always", "name")]
    return [
        (a, b) for a, b in rows if a != b and sum(a == x for x, _ in every) == 1 and sum(b == y for _, y in every) == 1
    ]


@pytest.mark.parametrize("attribute", ATTRIBUTES)
def test_swapping_twice_is_the_identity_for_words_that_answer_to_each_other(attribute: str) -> None:
    lexicon = load_lexicon(attribute)
    for group, other in combinations(lexicon.groups, 2):
        for a, b in one_to_one(attribute, group, other):
            text = f"Yesterday {a} met {b}, ({a}) and {b}."
            once = swap(text, lexicon, group, other).text
            assert once == f"Yesterday {b} met {a}, ({b}) and {a}."
            assert swap(once, lexicon, group, other).text == text


@given(st.text(alphabet="aehimnorsw'’-. \n/A", max_size=60))
def test_any_text_is_restored(text: str) -> None:
    made = swap(text, load_lexicon("gender"), "woman", "man")
    assert made.restored == text
    assert bool(made.replacements) == (made.text != text)


def test_words_inside_words_are_untouched() -> None:
    lexicon = load_lexicon("gender")
    inside = " ".join(f"x{word}x un{word} {word}2".replace(" ", "") for word in lexicon.words("man") if word.isalpha())
    assert swap(inside, lexicon, "woman", "man").text == inside


def test_groups_in_order_of_mention() -> None:
    assert groups_in("The woman met her husband.", load_lexicon("gender")) == ("woman", "man")
    assert groups_in("It rains.", load_lexicon("gender")) == ()


def test_restoring_another_text_is_refused() -> None:
    with pytest.raises(RowError, match="'she'"):
        restore("he left", [Replacement(0, "he", "she")])


def test_unknown_settings_are_named() -> None:
    lexicon = load_lexicon("gender")
    with pytest.raises(SettingsError, match=r"'boy'.*man, woman"):
        swap("he", lexicon, "boy", "man")
    with pytest.raises(SettingsError, match="two different"):
        swap("he", lexicon, "man", "man")
    with pytest.raises(SettingsError, match="allowed: all, subject"):
        swap("he", lexicon, "man", "woman", "some")  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match="'height'"):
        load_lexicon("height")


def test_own_lexicon(tmp_path: Path) -> None:
    path = tmp_path / "region.toml"
    path.write_text('groups = ["north", "south"]\nlimit = "Two words."\nalways = [["northerner", "southerner"]]\n')
    assert swap("A Northerner", load_lexicon(path), "north", "south").text == "A Southerner"
    path.write_text('groups = ["north", "south"]\nlimit = ""\nalways = [["northerner"]]\n')
    with pytest.raises(SettingsError, match="allowed: 2"):
        load_lexicon(path)


def test_names_form_sets_of_equal_syllables_and_their_classes_follow_the_counts() -> None:
    table = read_table(LEXICONS / "names.csv")
    assert table["name"].is_unique
    assert (table.groupby("set")["syllables"].nunique() == 1).all()
    full = table.dropna(subset="ethnicity").groupby("set").size()
    assert (full == 8).all()
    classes = table.assign(per=table["per_million"].astype(float)).groupby("frequency")["per"]
    assert (
        classes.min()["high"] >= 500 > classes.max()["middle"] >= classes.min()["middle"] >= 80 > classes.max()["low"]
    )
