from __future__ import annotations

import numpy as np
import pytest

from rlhf_fair.demo.names import ETHNICITIES, GENDERS, Split, names
from rlhf_fair.demo.reading import read_answer
from rlhf_fair.demo.world import (
    ANSWER_MARK,
    BASE_SHARES,
    FAMILY,
    LEVEL_SHARES,
    LEVELS,
    SKILLS,
    TEMPLATES,
    PlantedBias,
    answer,
    crossed_prompts,
    favourability_truth,
    level_distribution,
    phrases,
    sample_prompts,
)

CELLS = [f"{gender} & {ethnicity}" for gender in GENDERS for ethnicity in ETHNICITIES]


@pytest.fixture(scope="module")
def simulated() -> dict[str, np.ndarray]:
    """Favourability of 600 answers per cell, read back from the text."""
    rng = np.random.default_rng(1)
    found: dict[str, list[float]] = {cell: [] for cell in CELLS}
    for prompt in sample_prompts(4800, "held_out", rng):
        text = answer(prompt, PlantedBias(), BASE_SHARES, rng)
        found[prompt.name.cell].append(read_answer(prompt.occupation, text).favourability)
    return {cell: np.array(values) for cell, values in found.items()}


@pytest.mark.parametrize("cell", CELLS)
def test_the_truth_of_a_cell_is_what_its_answers_show(simulated: dict[str, np.ndarray], cell: str) -> None:
    values = simulated[cell]
    truth = favourability_truth(PlantedBias())["gender × ethnicity"][cell]
    assert values.mean() == pytest.approx(truth, abs=4 * values.std() / np.sqrt(len(values)))


@pytest.mark.parametrize(("attribute", "groups"), [("gender", GENDERS), ("ethnicity", ETHNICITIES)])
def test_the_truth_of_a_group_is_the_mean_of_its_cells(
    simulated: dict[str, np.ndarray], attribute: str, groups: tuple[str, ...]
) -> None:
    truth = favourability_truth(PlantedBias())[attribute]
    assert truth.keys() == set(groups)
    for group in groups:
        cells = [simulated[cell] for cell in CELLS if group in cell.split(" & ")]
        error = np.sqrt(sum(c.var() / len(c) for c in cells)) / len(cells)
        assert np.mean([c.mean() for c in cells]) == pytest.approx(truth[group], abs=4 * error)


def test_a_tilted_distribution_by_hand() -> None:
    # tilt ln 4: weights 4^level = 1/4 1/2 1 2 4 times the shares .16 .22 .24 .22 .16
    weights = np.array([0.04, 0.11, 0.24, 0.44, 0.64])
    assert level_distribution(np.log(4)) == pytest.approx(weights / 1.47)


def test_without_a_tilt_levels_have_their_shares_and_mean_zero() -> None:
    assert level_distribution(0.0) == pytest.approx(LEVEL_SHARES)
    assert LEVEL_SHARES.sum() == pytest.approx(1)
    assert pytest.approx(0) == LEVEL_SHARES @ LEVELS


def test_a_higher_tilt_is_more_favour() -> None:
    means = [level_distribution(tilt) @ LEVELS for tilt in np.linspace(-2, 2, 9)]
    assert (np.diff(means) > 0).all()


def test_without_planted_bias_all_groups_are_equal() -> None:
    for groups in favourability_truth(PlantedBias().scaled(0.0)).values():
        assert list(groups.values()) == pytest.approx([0.0] * len(groups))


def test_scaling_the_bias_down_brings_groups_together() -> None:
    def gap(factor: float) -> float:
        truth = favourability_truth(PlantedBias().scaled(factor))["gender"]
        return truth["man"] - truth["woman"]

    assert 0 < gap(0.5) < gap(1.0) < gap(2.0)


def test_training_and_held_out_share_no_name_and_no_template() -> None:
    training, held_out = ({name.text for name in names(split)} for split in ("train", "held_out"))
    assert not training & held_out
    assert not set(TEMPLATES["train"]) & set(TEMPLATES["held_out"])
    assert training | held_out == {name.text for name in names()}


def test_every_name_stands_in_one_cell_and_every_cell_has_enough() -> None:
    everyone = names()
    assert len({name.text for name in everyone}) == len(everyone)
    for cell in CELLS:
        assert sum(name.cell == cell for name in everyone) >= 12
        for split in ("train", "held_out"):
            assert sum(name.cell == cell for name in names(split)) == len(names(split)) / len(CELLS)


def test_occupations_are_many_and_each_has_skills_that_fit() -> None:
    assert len(FAMILY) >= 20
    assert set(FAMILY.values()) == set(SKILLS)
    every_skill = [skill for listed in SKILLS.values() for skill in listed]
    assert len(set(every_skill)) == len(every_skill)  # a skill fits one family only


@pytest.mark.parametrize("split", ["train", "held_out"])
def test_every_scenario_asks_about_every_name(split: Split) -> None:
    prompts = crossed_prompts(split, np.random.default_rng(0), occupations=3)
    people = {name.text for name in names(split)}
    scenarios = {prompt.scenario for prompt in prompts}
    assert len(scenarios) == 3 * len(TEMPLATES[split])
    assert len({prompt.id for prompt in prompts}) == len(prompts) == len(scenarios) * len(people)
    for scenario in scenarios:
        asked = [prompt for prompt in prompts if prompt.scenario == scenario]
        assert {prompt.name.text for prompt in asked} == people
        # but for the name, the text is the same
        assert len({prompt.text.replace(prompt.name.text, "X") for prompt in asked}) == 1


def test_prompts_name_the_candidate_and_the_job_and_end_with_the_mark() -> None:
    for prompt in sample_prompts(200, "train", np.random.default_rng(0)):
        assert prompt.name.text in prompt.text
        assert prompt.occupation in prompt.text
        assert prompt.text.endswith(ANSWER_MARK)
        assert "{" not in prompt.text
        assert prompt.text[0].isupper()


def test_phrases_are_distinct_and_none_stands_inside_another() -> None:
    found = dict(phrases())
    assert set(found.values()) == set(LEVELS)
    for phrase in found:
        assert not any(f" {phrase} " in f" {other} " for other in found if other != phrase)


def test_the_same_seed_gives_the_same_answers() -> None:
    def drawn(seed: int) -> list[str]:
        rng = np.random.default_rng(seed)
        return [answer(p, PlantedBias(), BASE_SHARES, rng) for p in sample_prompts(20, "train", rng)]

    assert drawn(1) == drawn(1)
    assert drawn(1) != drawn(2)
