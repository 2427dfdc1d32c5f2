from __future__ import annotations

import numpy as np
import pytest

from rlhf_fair.errors import SettingsError
from rlhf_fair.training.fairness.reward_handling import check_reward_handling


def test_what_keeps_the_penalty_whole_passes_without_a_word() -> None:
    assert check_reward_handling() == []
    assert check_reward_handling(aggregation="sum_then_normalize", scale_rewards="batch") == []
    assert check_reward_handling(scale_rewards=False, clip_range=(-np.inf, np.inf)) == []


@pytest.mark.parametrize("name", ["normalize_then_sum", "GDPO"])
def test_bringing_each_reward_to_unit_spread_is_refused(name: str) -> None:
    with pytest.raises(SettingsError, match=f"{name}.*divides the size of the fairness penalty out"):
        check_reward_handling(aggregation=name)


def test_clipping_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"\[-10.0, 10.0\] would cut the fairness penalty where it is largest"):
        check_reward_handling(clip_range=(-10.0, 10.0))


@pytest.mark.parametrize("value", [True, "group"])
def test_scaling_within_prompts_is_noted(value: bool | str) -> None:
    (note,) = check_reward_handling(scale_rewards=value)
    assert "reweighted" in note


def test_why_unit_spread_first_makes_strength_meaningless() -> None:
    """With each part normalized, penalties of any size give one and the same sum."""
    rng = np.random.default_rng(0)
    rewards, penalties = rng.normal(size=100), rng.normal(size=100)
    unit = lambda x: (x - x.mean()) / x.std()  # noqa: E731
    small, large = (unit(rewards) + unit(-strength * penalties) for strength in (1e-3, 1e3))
    assert small == pytest.approx(large)
    small, large = (unit(rewards - strength * penalties) for strength in (1e-3, 1e3))
    assert np.corrcoef(small, rewards)[0, 1] > 0.99
    assert abs(np.corrcoef(large, rewards)[0, 1]) < 0.5
