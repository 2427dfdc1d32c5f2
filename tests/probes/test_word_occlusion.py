from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from bag_of_words import bag_of_words

from rlhf_fair.probes.word_occlusion import left_out_words

PAIRS = pd.DataFrame(
    {
        "id": ["1", "2", "3"],
        "kind": "gender: woman against man",
        "cluster": ["p", "q", "r"],
        "text_a": ["kind woman", "cruel woman", "woman x"],
        "text_b": ["kind man", "cruel man", "man x"],
    }
)


def test_exchanged_words_get_their_price_and_shared_ones_nothing() -> None:
    model = bag_of_words({"woman": (-3.0, 0, 0), "man": (0.5, 0, 0), "kind": (2.0, 0, 0), "cruel": (-1.5, 0, 0)})
    heard: list[int] = []
    words, n = left_out_words(model, PAIRS, scale=2.0, limit=10, rng=np.random.default_rng(0), on_progress=heard.append)
    found = words.set_index(["word", "side"])["contribution"].to_dict()
    # in SDs of 2: -3 / 2 for the group's word, -(.5 / 2) for the reference's, and 0 for what both have
    assert found == {
        ("woman", "a"): -1.5,
        ("man", "b"): -0.25,
        ("kind", "both"): 0,
        ("cruel", "both"): 0,
        ("x", "both"): 0,
    }
    assert words["word"].tolist()[:2] == ["woman", "man"]  # the largest share of the gap first
    assert (n, heard) == (3, [3])


def test_a_word_that_is_paid_only_in_company_of_the_group_is_shared_and_carries() -> None:
    # x is worth 6 beside woman (3 * 2) and 0 beside man
    model = bag_of_words({"woman": (0, 3.0, 0), "x": (0, 0, 2.0)})
    words, _ = left_out_words(model, PAIRS[PAIRS["id"] == "3"], scale=1.0, limit=5, rng=np.random.default_rng(0))
    found = words.set_index(["word", "side"])["contribution"].to_dict()
    assert found == {("woman", "a"): 6.0, ("man", "b"): pytest.approx(0), ("x", "both"): 6.0}


def test_no_more_pairs_than_the_limit_are_read() -> None:
    model = bag_of_words({"woman": (-3.0, 0, 0)})
    assert left_out_words(model, PAIRS, scale=1.0, limit=2, rng=np.random.default_rng(0))[1] == 2
