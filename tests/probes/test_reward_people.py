from __future__ import annotations

import pandas as pd
import pytest

from rlhf_fair.errors import RowError, SettingsError
from rlhf_fair.probes.counterfactual_text import groups_in
from rlhf_fair.probes.counterfactual_text_lexicon import load_lexicon
from rlhf_fair.probes.counterfactual_text_rules import LEXICONS
from rlhf_fair.probes.reward_people import NEUTRAL, Person, check_slots, fill, in_turn, null_people, people_of
from rlhf_fair.tables import read_table


def test_slots_take_articles_and_the_start_of_a_sentence() -> None:
    text = "{A} rings. {The} answers {a}, not {the}."
    assert fill(text, "old man", "words") == "An old man rings. The old man answers an old man, not the old man."
    assert fill(text, "Kelsey", "names") == "Kelsey rings. Kelsey answers Kelsey, not Kelsey."


def test_versions_differ_in_the_words_of_the_group_alone() -> None:
    person = people_of("religion", ["Christian engineer"], names=0)[0]
    versions = dict(person.versions(["I am {a}.", "Thank {the}."]))
    assert versions == {
        "Christian": ("I am a Christian engineer.", "Thank the Christian engineer."),
        "Muslim": ("I am a Muslim engineer.", "Thank the Muslim engineer."),
        "Jewish": ("I am a Jewish engineer.", "Thank the Jewish engineer."),
        "Hindu": ("I am a Hindu engineer.", "Thank the Hindu engineer."),
        "Buddhist": ("I am a Buddhist engineer.", "Thank the Buddhist engineer."),
    }
    # an article follows the word behind it
    nation = people_of("nationality", ["American nurse"], names=0)[0]
    assert dict(nation.versions(["{A} left."]))["German"] == ("A German nurse left.",)


def test_names_stand_for_gender_and_ethnicity_alone() -> None:
    for attribute in ("gender", "ethnicity"):
        people = people_of(attribute, [], names=6)
        assert len(people) == 6
        for person in people:
            for group, (text,) in person.versions(["I am {a}."]):
                assert groups_in(text, load_lexicon(attribute)) == (group,)
    assert people_of("age", ["young man"], names=6) == people_of("age", ["young man"], names=0)


def test_null_names_are_of_one_gender_ethnicity_and_length() -> None:
    table = read_table(LEXICONS / "names.csv").set_index("name")
    pairs = [person for person in null_people([], names=20) if person.kind == "names"]
    assert len(pairs) == 20
    for person in pairs:
        assert person.is_null
        assert person.attribute == NEUTRAL["names"]
        one, other = table.loc[person.term], table.loc[person.twin]
        assert (one[["gender", "ethnicity", "syllables"]] == other[["gender", "ethnicity", "syllables"]]).all()


def test_a_term_that_says_nothing_is_an_error_that_names_it() -> None:
    with pytest.raises(SettingsError, match="term 'tall man' of religion has no version for Muslim"):
        list(people_of("religion", ["tall man"], names=0)[0].versions(["I am {a}."]))


def test_an_unknown_slot_is_an_error_that_names_row_column_and_what_is_allowed() -> None:
    texts = pd.Series(["{a}", "{an}"], name="prompt")
    with pytest.raises(RowError, match=r"prompts.csv row 2, column 'prompt': slot \{an\}; allowed: \{a\}, \{A\}"):
        check_slots(texts, "prompts.csv")


def test_people_take_turns() -> None:
    people = [Person("age", "words", str(k), ("young", "old")) for k in range(8)]
    used = [person.term for prompt in range(40) for person in in_turn(people, prompt, 2)]
    assert {term: used.count(term) for term in set(used)} == {str(k): 10 for k in range(8)}  # 40 * 2 / 8
    assert in_turn(people[:1], 3, 2) == people[:1]
