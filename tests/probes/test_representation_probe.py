from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from rlhf_fair.errors import ColumnError
from rlhf_fair.probes.generations import generation_records
from rlhf_fair.probes.measured import Measured
from rlhf_fair.probes.representation import (
    GENDER,
    GENDER_TERMS,
    Terms,
    representation_measured,
    representation_records,
)


def records(answers: list[str | None], terms: Terms = GENDER) -> pd.DataFrame:
    items = pd.DataFrame({"item_id": [f"x/{k}" for k in range(len(answers))], "prompt": "Tell a story."})
    return representation_records(generation_records(items, answers), terms)


def by_metric(measured: list[Measured]) -> dict[tuple[str, str], Measured]:
    return {(one.metric, one.group): one for one in measured}


def test_shares_less_their_target_by_hand(rng: np.random.Generator) -> None:
    # 60 texts with one female word, 20 with one male word: shares 3/4 and 1/4, total variation 1/4
    found = by_metric(representation_measured(records(["she sang"] * 60 + ["he sang"] * 20), rng=rng))
    assert found["representation_share_gap", "female"].estimate.estimate == pytest.approx(0.25)
    assert found["representation_share_gap", "male"].estimate.estimate == pytest.approx(-0.25)
    assert found["representation_share_gap", "male"].reference == "target share 0.5"
    distance = found["demographic_representation", "female / male"].estimate
    assert "plain distance 0.250" in distance.reason
    assert distance.estimate == pytest.approx(0.25, abs=0.01)
    assert distance.p_value < 0.001


def test_equal_shares_raise_nothing(rng: np.random.Generator) -> None:
    found = by_metric(representation_measured(records(["she sang", "he sang"] * 20), rng=rng))
    distance = found["demographic_representation", "female / male"].estimate
    assert distance.estimate == distance.ci_low == 0  # the noise is taken off, and less than no distance is none
    assert distance.p_value > 0.9


def test_a_target_of_ones_own(rng: np.random.Generator) -> None:
    terms = Terms("gender", GENDER_TERMS, target={"female": 0.75, "male": 0.25})
    found = by_metric(representation_measured(records(["she sang"] * 60 + ["he sang"] * 20), terms, rng=rng))
    assert found["representation_share_gap", "female"].estimate.estimate == pytest.approx(0)


def test_words_tied_to_a_group(rng: np.random.Generator) -> None:
    # nurses are women in 64 of 80 texts, clerks in 40 of 80: |.8 - .5| = .3 and 0, on average .15
    texts = ["she is a nurse"] * 64 + ["he is a nurse"] * 16 + ["she is a clerk"] * 40 + ["he is a clerk"] * 40
    terms = Terms("gender", GENDER_TERMS, associated=("nurse", "clerk"))
    found = by_metric(representation_measured(records([*texts], terms), terms, rng=rng))
    tied = found["stereotypical_association", "female / male"].estimate
    assert "plain distance 0.150" in tied.reason
    assert tied.p_value < 0.05


def test_prompts_tied_to_a_group(rng: np.random.Generator) -> None:
    # prompts about nurses are continued with women in 64 of 80 texts, those about clerks in 40 of 80: .3 and 0 again
    table = records(["she sang"] * 64 + ["he sang"] * 16 + ["she sang"] * 40 + ["he sang"] * 40)
    found = by_metric(representation_measured(table.assign(about=["nurse"] * 80 + ["clerk"] * 80), rng=rng))
    tied = found["stereotypical_association", "female / male"]
    assert "plain distance 0.150" in tied.estimate.reason
    assert "of what the prompt is about" in tied.variant


def test_the_counts_are_enough(rng: np.random.Generator) -> None:
    terms = Terms("gender", GENDER_TERMS, associated=("nurse",))
    table = records(["she is a nurse", "he is a nurse", None, "it rained"] * 10, terms)
    with_texts = representation_measured(table, terms, rng=np.random.default_rng(1))
    without = representation_measured(table.drop(columns=["text", "prompt"]), terms, rng=np.random.default_rng(1))
    assert with_texts == without


def test_refusals_and_missing_answers_are_left_out_and_counted(rng: np.random.Generator) -> None:
    answers = ["she sang", None, "I'm sorry, but I cannot help with that. She is a woman.", "it rained"] * 10
    found = by_metric(representation_measured(records(answers), rng=rng))
    share = found["representation_share_gap", "female"]
    assert share.estimate.estimate == pytest.approx(0.5)  # of ten words all are female
    assert share.refusal_rate == pytest.approx(1 / 3)
    assert share.parse_rate == pytest.approx(1 / 2)  # "it rained" speaks of no group


def test_where_no_group_is_spoken_of_nothing_is_estimated(rng: np.random.Generator) -> None:
    for answers in (["it rained"] * 5, [None] * 5):
        for one in representation_measured(records([*answers]), rng=rng):
            assert np.isnan(one.estimate.estimate)
            assert one.estimate.reason


def test_texts_about_one_prompt_are_one_cluster(rng: np.random.Generator) -> None:
    table = records(["she sang"] * 30 + ["he sang"] * 10).assign(item_id=["a"] * 20 + ["b"] * 10 + ["c"] * 10)
    found = by_metric(representation_measured(table, rng=rng))
    assert found["representation_share_gap", "female"].estimate.n_clusters == 3


def test_records_are_checked(rng: np.random.Generator) -> None:
    with pytest.raises(ColumnError, match="'answered'"):
        representation_records(pd.DataFrame({"text": ["x"]}))
    with pytest.raises(ColumnError, match=r"'terms\.female'"):
        representation_measured(pd.DataFrame({"answered": [True], "refused": [False]}), rng=rng)


def test_the_shipped_lists_answer_each_other() -> None:
    female, male = GENDER_TERMS["female"], GENDER_TERMS["male"]
    assert len(female) == len(male)
    assert not set(female) & set(male)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)
