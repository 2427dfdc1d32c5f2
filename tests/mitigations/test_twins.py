"""Twins differ from their original in who it is about, and in nothing that the world's own reader can see."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from rlhf_fair.demo.corpus import demonstrations
from rlhf_fair.demo.hiring import prompt_table
from rlhf_fair.demo.names import names
from rlhf_fair.demo.reading import read_answer
from rlhf_fair.demo.world import FAMILY, PlantedBias, sample_prompts
from rlhf_fair.errors import ColumnError, RowError
from rlhf_fair.mitigations.balanced_sft import balanced_demonstrations
from rlhf_fair.mitigations.preference_optimisation import balanced_pairs, counterfactual_pairs, decided_pairs
from rlhf_fair.mitigations.twins import Roster

GROUPS = ("gender", "ethnicity")


@pytest.fixture(scope="module")
def roster() -> Roster:
    return Roster.of(prompt_table(sample_prompts(2000, "train", np.random.default_rng(0))), GROUPS)


def occupation(prompt: str) -> str:
    return next(job for job in FAMILY if f" {job}" in prompt)


def test_the_roster_has_the_training_names_and_no_other(roster: Roster) -> None:
    assert set(roster.group_of) == {name.text for name in names("train")}
    assert len(roster.groups) == 8
    assert roster.group_of["Keisha"] == "woman & Black"


def test_a_twin_by_hand(roster: Roster) -> None:
    prompt = "Candidate: Keisha. Role: waiter. Give your recommendation.\nAnswer:"
    answer = " A weak candidate. She can plan a budget. I would hire her at once."
    twin = roster.twin(prompt, [answer, " Keisha is fine."], "man & White", np.random.default_rng(0))
    assert roster.group_of[twin.name] == "man & White"
    assert twin.prompt == prompt.replace("Keisha", twin.name)  # the waiter stays a waiter
    assert twin.answers == (
        " A weak candidate. He can plan a budget. I would hire him at once.",
        f" {twin.name} is fine.",
    )


def test_a_twin_of_ones_own_group_is_the_text_itself(roster: Roster) -> None:
    twin = roster.twin("Please assess Keisha.", [" She can."], "woman & Black", np.random.default_rng(0))
    assert (twin.prompt, twin.answers, twin.name) == ("Please assess Keisha.", (" She can.",), "Keisha")


def test_balanced_demonstrations_say_the_same_of_every_group(roster: Roster) -> None:
    rng = np.random.default_rng(1)
    given = [(prompt.text, text) for prompt, text in demonstrations(60, PlantedBias(), rng)]
    data = balanced_demonstrations(given, roster, rng)
    assert (data.groupby("demonstration")["group"].agg(["size", "nunique"]) == 8).all(axis=None)
    readings = [read_answer(occupation(p), a) for p, a in zip(data["prompt"], data["answer"], strict=True)]
    data = data.assign(reading=[str(reading) for reading in readings], level=[r.favourability for r in readings])
    assert (data.groupby("demonstration")["reading"].nunique() == 1).all()
    means = data.groupby("group")["level"].mean()
    assert means.max() == pytest.approx(means.min(), abs=1e-12)  # the planted bias is gone, exactly
    told = [roster.group_of[roster.find(prompt)] for prompt in data["prompt"]]
    assert told == data["group"].tolist()
    originals = set(zip(data["prompt"], data["answer"], strict=True))
    assert set(given) <= originals


def test_pairs_are_balanced_and_decided() -> None:
    items = pd.DataFrame(
        {
            "prompt": [f"p{k}" for k in range(8)],
            "response_a": list("aaaaaaax"),
            "response_b": list("bbbbbbbx"),
            "p_a": [0.9, 0.2, 0.5, 0.7, 0.8, 0.1, 1.0, 1.0],
        }
    )
    groups = pd.Series(["m", "w", "m", "m", "m", "w", "m", "w"])
    pairs = decided_pairs(items, groups)  # p2 is a tie, p7 has two equal answers
    assert pairs["prompt"].tolist() == ["p0", "p1", "p3", "p4", "p5", "p6"]
    assert pairs["chosen"].tolist() == ["a", "b", "a", "a", "b", "a"]
    assert pairs["rejected"].tolist() == ["b", "a", "b", "b", "a", "b"]
    balanced = balanced_pairs(pairs, 100, np.random.default_rng(0))
    assert balanced["group"].value_counts().to_dict() == {"m": 2, "w": 2}
    assert not balanced.duplicated("prompt").any()
    assert balanced_pairs(pairs, 2, np.random.default_rng(0))["group"].value_counts().to_dict() == {"m": 1, "w": 1}


def test_pairs_with_twins_have_one_preference_for_all_groups(roster: Roster) -> None:
    rng = np.random.default_rng(2)
    prompts = prompt_table(sample_prompts(40, "train", rng))
    answers = [text for _, text in demonstrations(80, PlantedBias(), rng)]
    items = prompts.assign(response_a=answers[:40], response_b=answers[40:], p_a=rng.random(40))
    pairs = decided_pairs(items, pd.Series([roster.group_of[name] for name in items["name"]]))
    data = counterfactual_pairs(pairs, roster, 100, rng)
    assert data["group"].value_counts().tolist() == [12] * 8  # 12 pairs, the most whose twins are within 100
    job = [occupation(prompt) for prompt in data["prompt"]]
    for side in ("chosen", "rejected"):
        read = pd.Series([str(read_answer(*row)) for row in zip(job, data[side], strict=True)])
        assert (read.groupby(np.arange(96) // 8).nunique() == 1).all()


def test_faults_are_named(roster: Roster) -> None:
    with pytest.raises(RowError, match="no name of the roster"):
        roster.find("Please assess nobody.")
    with pytest.raises(ColumnError, match="ethnicity"):
        Roster.of(pd.DataFrame({"name": ["Wei"], "gender": ["man"]}), GROUPS)
    two = pd.DataFrame({"name": ["Kim", "Kim"], "gender": ["man", "woman"], "ethnicity": ["Asian", "Asian"]})
    with pytest.raises(RowError, match="'Kim' stands for more than one group"):
        Roster.of(two, GROUPS)
    undecided = pd.DataFrame({"prompt": ["p"], "response_a": ["a"], "response_b": ["b"], "p_a": [0.5]})
    with pytest.raises(RowError, match="none of 1 is decided"):
        decided_pairs(undecided, pd.Series(["m"]))
