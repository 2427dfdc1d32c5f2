"""What is checked of the untrained policy's answers before a run begins."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from rlhf_fair.errors import SettingsError
from rlhf_fair.training.ppo.job.config import PPOConfig
from rlhf_fair.training.ppo.job.parts import first_scales, levels_before
from rlhf_fair.training.ppo.job.prompt_table import ASKED
from rlhf_fair.training.ppo.rewards.total import RewardSum, open_part

SCORER = {"quantity": "warmth", "kind": "lexicon", "file": "warm_words.json"}


class Numbers:
    """A ruler for texts that are numbers."""

    def score(self, texts: Any) -> np.ndarray:
        return np.array([float(text) for text in texts])


def config(*, rewards: list[dict[str, Any]] | None = None, **fairness: Any) -> PPOConfig:
    return PPOConfig.model_validate(
        {
            "title": "t",
            "model": "m",
            "prompts": {"path": "p.csv", "groups": ("who",)},
            "rewards": rewards or [{"kind": "python", "function": "pay.py:kindness"}],
            "fairness": {"scorer": SCORER, "objective": "contrast", "reference": "a", **fairness},
            "training": {"batch_size": 80},
        }
    )


def answers(topics: list[str], scores: list[float]) -> pd.DataFrame:
    who = np.tile(["a", "b"], len(scores) // 2)
    return pd.DataFrame({"prompt": "p", "who": who, "topic": topics, "text": [str(score) for score in scores]})


@pytest.mark.parametrize("name", ["length", "score", "reward.kindness"])
def test_a_group_is_not_called_as_a_measure(name: str) -> None:
    plain = config().model_dump(exclude_unset=True)
    prompts, fairness = plain["prompts"], plain["fairness"]
    for change in (
        {"prompts": prompts | {"groups": ("who", name)}},
        {"prompts": prompts | {"clusters": (name,)}},
        {"fairness": fairness | {"strata_by": (name,)}},
    ):
        with pytest.raises(ValidationError, match=f"'{name}' cannot be a group, a stratum or a cluster"):
            PPOConfig.model_validate(plain | change)


def dual(tolerance: float) -> dict[str, Any]:
    return {"kind": "dual", "tolerance": tolerance}


def test_the_tolerance_is_held_against_the_noise_within_strata() -> None:
    """Two topics at +10 and -10, in which scores are 1 apart from their mean; memory .8 makes 9 batches of 80.

    Over all answers the sd is sqrt(101): .798 * 10.05 * sqrt(2 / 360) = .598, so that 1 would be refused. Within a
    topic it is 1, with 180 effective samples of each group: .798 * sqrt(2 / 180) = .0841, twice that .168.
    """
    table = answers(["law"] * 20 + ["art"] * 20, [11.0, 11.0, 9.0, 9.0] * 5 + [-11.0, -11.0, -9.0, -9.0] * 5)
    with pytest.raises(SettingsError, match=r"too close to the noise floor 0\.598|below the noise floor 0\.598"):
        levels_before(config(multiplier=dual(0.17)), Numbers(), table)
    within = {"strata_by": ("topic",)}
    levels = levels_before(config(multiplier=dual(0.17), **within), Numbers(), table)
    assert levels == pytest.approx({"a": 0.0, "b": 0.0})
    with pytest.raises(SettingsError, match=r"tolerance = 0\.16 lies too close to the noise floor 0\.0841"):
        levels_before(config(multiplier=dual(0.16), **within), Numbers(), table)


def test_many_strata_leave_few_samples_in_each() -> None:
    """Ten topics: 36 effective samples of a group in each, .798 * sqrt(2 / 36) = .188; over all of them .0595."""
    table = answers([f"t{n // 4}" for n in range(40)], [1.0, 1.0, -1.0, -1.0] * 10)
    levels_before(config(multiplier=dual(0.2)), Numbers(), table)
    with pytest.raises(SettingsError, match=r"tolerance = 0\.2 lies too close to the noise floor 0\.188"):
        levels_before(config(multiplier=dual(0.2), strata_by=("topic",)), Numbers(), table)


def test_a_scorer_that_scores_no_answer_is_refused() -> None:
    silent = answers(["law"] * 4, [np.nan] * 4)
    with pytest.raises(SettingsError, match=r"fairness.scorer 'warm_words' scored none of 4 answers"):
        levels_before(config(), Numbers(), silent)
    of_nobody = answers(["law"] * 4, [1.0, np.nan, 2.0, np.nan]).assign(who=[None, "b", None, "b"])
    with pytest.raises(SettingsError, match="scored none of 4 answers"):
        levels_before(config(), Numbers(), of_nobody)
    assert levels_before(config(), Numbers(), answers(["law"] * 4, [1.0, np.nan, 3.0, np.nan])) == {"a": 2.0}


def test_a_ruler_that_alone_pays_must_find_something(tmp_path: Path) -> None:
    (tmp_path / "warm_words.json").write_text(json.dumps({"name": "w", "source": "t", "phrases": {"kind": 1}}))
    (tmp_path / "pay.py").write_text("def kindness(prompts, completions, **columns):\n    return [1.0] * 2\n")
    ruler, function = {"kind": "scorer", "scorer": SCORER}, {"kind": "python", "function": "pay.py:kindness"}

    def scales(texts: list[str], *rewards: dict[str, Any]) -> dict[str, tuple[float, float]]:
        asked = config(rewards=list(rewards))
        table = pd.DataFrame({"prompt_id": ["a", "b"], "prompt": ["p", "q"], ASKED: ["p", "q"], "text": texts})
        parts = [open_part(source, tmp_path, tmp_path, "cpu") for source in asked.rewards]
        return first_scales(asked, RewardSum(parts), table, table)

    with pytest.raises(SettingsError, match=r"'warmth' \(scorer 'warm_words'\) found nothing in any of 2 answers"):
        scales(["the dog", "a cat"], ruler)
    assert scales(["the dog", "kind"], ruler) == {"warmth": (0.0, 1.0)}
    # beside another reward it may be a guard that is rarely needed
    assert scales(["the dog", "a cat"], ruler, function) == {"warmth": (0.0, 1.0), "kindness": (0.0, 1.0)}
