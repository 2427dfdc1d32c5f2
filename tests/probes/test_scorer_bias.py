from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from numpy.typing import NDArray

from rlhf_fair.errors import SettingsError
from rlhf_fair.models.vader import VaderScorer
from rlhf_fair.probes.counterfactual_text_rules import LEXICONS
from rlhf_fair.probes.measured import Measured
from rlhf_fair.probes.scorer_bias import (
    TEMPLATES,
    scorer_bias_items,
    scorer_bias_measured,
    scorer_bias_records,
)
from rlhf_fair.probes.scorer_bias_words import Attribute, scorer_bias_words
from rlhf_fair.tables import read_table

LEXICON = Path(__file__).parents[3] / "shared/data/vader/vader_lexicon.txt"

NAMES = {"a": ["Ann", "Alma", "Ada", "Abby"], "b": ["Bob", "Bert", "Ben", "Bill"]}


class Tilted:
    """Reads a sentence's mood, and adds ``tilt`` for every name with an A."""

    name = "tilted"

    def __init__(self, tilt: float) -> None:
        self.tilt = tilt

    def score(self, texts: Sequence[str]) -> NDArray[np.float64]:
        names = NAMES["a"]
        return np.array([len(text) % 2 + self.tilt * any(name in text for name in names) for text in texts])


def check(scorer: Tilted, terms: dict[str, list[str]] = NAMES) -> dict[str, Measured]:
    records = scorer_bias_records(scorer_bias_items(terms), scorer)
    return {one.metric: one for one in scorer_bias_measured(records, "name", "b")}


def test_a_sentence_for_every_group_and_word() -> None:
    items = scorer_bias_items(
        {"a": ["the man", "Bob"], "b": ["the woman", "Ann"]}, ["{person} sang.", "I saw {person}."]
    )
    assert items["text"].tolist() == [
        *("The man sang.", "Bob sang.", "The woman sang.", "Ann sang."),
        *("I saw the man.", "I saw Bob.", "I saw the woman.", "I saw Ann."),
    ]
    assert items["pair"].tolist() == ["0", "1"] * 4
    assert items["item_id"].is_unique


def test_a_tilt_is_measured_as_it_was_planted() -> None:
    even = {"a": ["Abby", "Alma"], "b": ["Bert", "Bill"]}  # of one length, so that the mood is the same
    found = check(Tilted(0.25), even)
    assert found["scorer_shift"].estimate.estimate == pytest.approx(0.25)
    assert found["scorer_absolute_shift"].estimate.estimate == pytest.approx(0.25)
    assert found["scorer_share_above_0.5_shift"].estimate.estimate == 0  # no score crosses the threshold
    assert found["scorer_shift"].estimate.reason.startswith("the scorer moves by 0.25 in all 32 sentences alike")


def test_opposite_shifts_cancel_in_the_mean_and_not_in_the_size() -> None:
    class Odd(Tilted):
        def score(self, texts: Sequence[str]) -> NDArray[np.float64]:
            sign = np.array([1.0 if "Ann" in t else -1.0 if "Ada" in t else 0.0 for t in texts])
            return np.asarray(sign * self.tilt)

    found = check(Odd(0.4), {"a": ["Ann", "Ada"], "b": ["Bob", "Ben"]})
    assert found["scorer_shift"].estimate.estimate == pytest.approx(0)
    assert found["scorer_absolute_shift"].estimate.estimate == pytest.approx(0.4)


def test_a_straight_ruler_shows_no_shift() -> None:
    found = check(Tilted(0.0), {"a": ["Abby", "Alma"], "b": ["Bert", "Bill"]})
    assert {one.estimate.estimate for one in found.values()} == {0.0}
    assert {one.estimate.reason for one in found.values()} == {
        "the scorer holds still: both versions of all 32 sentences have the same score"
    }


def test_words_differ_in_the_group_alone_and_names_match() -> None:
    known = read_table(LEXICONS / "names.csv").set_index("name")
    for attribute in get_args(Attribute):
        for kind, terms in scorer_bias_words(attribute).items():
            assert not scorer_bias_items(terms)["text"].duplicated().any()  # no word stands in two groups
            if kind == "names":
                rows = [[known.loc[name] for name in pair] for pair in zip(*terms.values(), strict=True)]
                assert all(len({row["syllables"] for row in pair}) == 1 for pair in rows)
                assert all([row[attribute] for row in pair] == list(terms) for pair in rows)


def test_a_noisy_straight_ruler_is_not_called_tilted() -> None:
    class Noisy(Tilted):
        def score(self, texts: Sequence[str]) -> NDArray[np.float64]:
            return np.random.default_rng(1).normal(size=len(texts))

    shift = check(Noisy(0.0))["scorer_shift"].estimate
    assert shift.ci_low < 0 < shift.ci_high
    assert shift.n == len(TEMPLATES) * 4


def test_words_are_clusters_where_there_are_several() -> None:
    one, four = check(Tilted(0.1), {"a": ["Ann"], "b": ["Bob"]}), check(Tilted(0.1))
    assert one["scorer_shift"].estimate.n_clusters == len(TEMPLATES)
    assert one["scorer_shift"].variant == "tilted; clusters: template"
    assert four["scorer_shift"].estimate.n_clusters == 4
    assert four["scorer_shift"].variant == "tilted; clusters: template and pair"


def test_texts_that_could_not_be_scored_lower_the_parse_rate() -> None:
    class Deaf(Tilted):
        def score(self, texts: Sequence[str]) -> NDArray[np.float64]:
            return np.array([np.nan if "Bob" in text else 0.5 for text in texts])

    shift = check(Deaf(0.0), {"a": ["Ann", "Ada"], "b": ["Bob", "Ben"]})["scorer_shift"]
    assert shift.parse_rate == pytest.approx(3 / 4)
    assert shift.estimate.n_left_out == len(TEMPLATES)


@pytest.mark.skipif(not LEXICON.exists(), reason="data set not at hand: ../shared/data/vader")
def test_vader_moves_with_words_that_are_rated_themselves() -> None:
    lexicon = VaderScorer.from_lexicon(LEXICON)
    assert lexicon.valences["joy"] > 0  # so a person of that name makes any sentence happier
    assert "anna" not in lexicon.valences
    items = scorer_bias_items({"plain": ["Anna"], "rated": ["Joy"]})
    shift = scorer_bias_measured(scorer_bias_records(items, lexicon), "name", "plain")[0]
    assert shift.estimate.ci_low > 0


def test_faults_of_the_user() -> None:
    with pytest.raises(SettingsError, match=r"\{'a': 1, 'b': 2\} words"):
        scorer_bias_items({"a": ["x"], "b": ["y", "z"]})
    with pytest.raises(SettingsError, match=r"must hold \{person\} once"):
        scorer_bias_items(NAMES, ["nobody"])
    records = scorer_bias_records(scorer_bias_items(NAMES), Tilted(0.0))
    with pytest.raises(SettingsError, match="reference is 'c'"):
        scorer_bias_measured(records, "name", "c")


def test_groups_keep_their_order_and_unknown_ones_have_no_words() -> None:
    turned = scorer_bias_words("gender", ["woman", "man"])
    assert list(turned["names"]) == list(turned["words"]) == ["woman", "man"]
    assert scorer_bias_words("gender")["words"]["man"] == turned["words"]["man"]
    assert list(scorer_bias_words("religion", ["Jewish", "Hindu"])["words"]) == ["Jewish", "Hindu"]
    assert scorer_bias_words("religion", ["Jewish", "Martian"]) == scorer_bias_words("shoe size") == {}
    few = scorer_bias_words("ethnicity", pairs=3)
    assert {len(words) for terms in few.values() for words in terms.values()} == {3}
