from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest
from bag_of_words import bag_of_words

from rlhf_fair.probes.word_attribution import WordAttributions, flip_attributions
from rlhf_fair.probes.word_attribution_record import as_record

pytest.importorskip("captum.attr", reason="the extra 'explain' is not installed", exc_type=ImportError)


def attributed(*texts: tuple[str, str], kinds: Sequence[str] = ()) -> WordAttributions:
    # she costs 1 for each unit of the noun's right: gaps of 0, -.5, -2, shared half and half with the noun
    model = bag_of_words({"day": (0, 0, 0), "cat": (0, 0, 0.5), "dog": (0, 0, 2), "she": (0, -1, 0), "he": (0, 0, 0)})
    rows = [(f"p{k}", a, b, f"c{k}", kinds[k] if kinds else "gender") for k, (a, b) in enumerate(texts)]
    pairs = pd.DataFrame(rows, columns=["id", "text_a", "text_b", "cluster", "kind"])
    return flip_attributions(model, pairs, scale=1.0, rng=np.random.default_rng(0))


PAIRS = (("she day", "he day"), ("cat she", "cat he"), ("she dog", "he dog"))


def test_texts_are_kept_only_if_asked_for() -> None:
    record = as_record(attributed(*PAIRS))
    assert record["examples"] == []
    assert "she day" not in json.dumps(record, allow_nan=False)


def test_examples_are_the_largest_gap_and_a_typical_one_with_words_that_add_up() -> None:
    examples = as_record(attributed(*PAIRS), examples=1)["examples"]
    assert [(one["id"], one["why"]) for one in examples] == [("p2", "among the largest gaps"), ("p1", "a typical gap")]
    for one in examples:
        total = sum(word["contribution"] for text in one["texts"] for word in text["words"])
        assert total == pytest.approx(one["gap"])
    # "cat she": of the gap of -.5, half lies in "she" (4 to 7), half in "cat" (0 to 3)
    marked: list[dict[str, Any]] = examples[1]["texts"][0]["words"]
    assert [(word["start"], word["end"]) for word in marked] == [(0, 3), (4, 7)]
    assert [word["contribution"] for word in marked] == pytest.approx([-0.25, -0.25])


def test_typical_examples_come_from_every_kind() -> None:
    texts = [("she dog", "he dog")] * 3 + [("she cat", "he cat")] * 3
    examples = as_record(attributed(*texts, kinds=["x"] * 3 + ["y"] * 3), examples=2)["examples"]
    assert [one["kind"] for one in examples] == ["x", "x", "x", "y"]  # the largest gaps are all of x


def test_counts_add_up_and_what_is_not_known_is_null() -> None:
    record = as_record(attributed(*PAIRS, ("", "he")), most_words=1)
    assert record["n_pairs"] + sum(row["n"] for row in record["left_out"]) == 4
    assert len(record["words"]) == 2  # one for each method
    assert record["n_words"] > 2
    assert record["words"][0]["occlusion"] is None  # between the texts nothing is left out
    nothing = as_record(attributed())
    assert (nothing["reason"], nothing["words"]) == ("no pairs were given", [])
    assert nothing["completeness"]["largest"] is None
