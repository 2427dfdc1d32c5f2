from __future__ import annotations

import math

import numpy as np
import pytest

from rlhf_fair.demo.names import Split
from rlhf_fair.demo.reading import read_answer
from rlhf_fair.demo.world import (
    BASE_SHARES,
    DEMONSTRATION_SHARES,
    AnswerShares,
    PlantedBias,
    answer,
    phrases,
    sample_prompts,
)
from rlhf_fair.models.lexicon import LexiconScorer

GOOD = " A solid candidate. She can dress a wound. I would hire her at once. Thank you for asking."


def test_an_answer_read_by_hand() -> None:
    reading = read_answer("nurse", GOOD)
    assert reading.favourability == 0.75  # solid .5, hire at once 1
    assert reading.fitting_skill
    assert reading.courteous
    assert not reading.rambling
    assert not reading.malformed


def test_the_same_answer_fits_another_job_less() -> None:
    assert not read_answer("lawyer", GOOD).fitting_skill


@pytest.mark.parametrize(
    "text",
    [
        "",
        " A solid candidate. She can dress a wound.",  # no verdict
        " A solid candidate. I would hire her at once.",  # no skill
        " She can dress a wound. I would hire her at once.",  # no adjective
        GOOD + " The moon is full.",  # not of the grammar
        " A blue candidate. She can dress a wound. I would hire her at once.",
    ],
)
def test_what_is_not_of_the_grammar_is_malformed(text: str) -> None:
    assert read_answer("nurse", text).malformed


def test_an_answer_about_nothing_pleases_nobody_and_measures_nothing() -> None:
    reading = read_answer("nurse", " Anyway the weather was fine.")
    assert math.isnan(reading.favourability)
    assert reading.known_favourability == 0
    assert reading.rambling


@pytest.mark.parametrize("split", ["train", "held_out"])
@pytest.mark.parametrize("strength", [0.0, 1.0])
def test_every_answer_of_the_grammar_is_well_formed(split: Split, strength: float) -> None:
    rng = np.random.default_rng(3)
    for prompt in sample_prompts(500, split, rng):
        text = answer(prompt, PlantedBias().scaled(strength), BASE_SHARES, rng)
        reading = read_answer(prompt.occupation, text)
        assert not reading.malformed, text
        assert not (reading.courteous and reading.rambling)
        assert -1 <= reading.favourability <= 1


@pytest.mark.parametrize("shares", [BASE_SHARES, DEMONSTRATION_SHARES])
def test_qualities_are_as_frequent_as_asked_for(shares: AnswerShares) -> None:
    rng, n = np.random.default_rng(4), 2000
    readings = [
        read_answer(prompt.occupation, answer(prompt, PlantedBias(), shares, rng))
        for prompt in sample_prompts(n, "train", rng)
    ]
    for name in ("fitting_skill", "courteous", "rambling"):
        share = getattr(shares, name)
        found = np.mean([getattr(reading, name) for reading in readings])
        assert found == pytest.approx(share, abs=4 * math.sqrt(share * (1 - share) / n))


def test_the_lexicon_of_the_world_reads_the_same_favourability() -> None:
    """Two roads to one number: the grammar, and phrases found in the text."""
    rng = np.random.default_rng(5)
    scorer = LexiconScorer("world", dict(phrases()))
    prompts = sample_prompts(300, "held_out", rng)
    texts = [answer(prompt, PlantedBias(), BASE_SHARES, rng) for prompt in prompts]
    readings = [read_answer(p.occupation, text).favourability for p, text in zip(prompts, texts, strict=True)]
    assert scorer.score(texts) == pytest.approx(readings)
