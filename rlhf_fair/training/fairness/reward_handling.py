"""What a trainer does to rewards after shaping must leave the penalty its size; what does not is refused."""

from __future__ import annotations

from collections.abc import Sequence

from rlhf_fair.errors import SettingsError

NORMALIZES_EACH = ("normalize_then_sum", "gdpo")
"""Ways of combining reward functions that bring each to unit spread first (TRL's name; GDPO, arXiv 2601.05242)."""


def check_reward_handling(
    *,
    aggregation: str | None = None,
    clip_range: Sequence[float] | None = None,
    scale_rewards: str | bool | None = None,
) -> list[str]:
    """Refuse handling that cuts or rescales the penalty; return one note for each that bends it.

    aggregation
        How several reward functions are combined. Bringing each to unit spread divides the size of the penalty out:
        a small gap would be pushed as hard as a large one, and ``strength`` would mean nothing.
    clip_range
        Bounds that rewards are cut to. Exactly the samples that carry the largest penalty would lose it. Rewards can be
        clipped before they are shaped.
    scale_rewards
        GRPO's division by the spread of rewards: of the whole batch it is harmless; within each prompt ("group" or
        True) it weighs prompts by 1 / spread, so that the gradient is that of a reweighted objective.

    Raises
    ------
    SettingsError
        The setting, its value, and what to use in its place.
    """
    if aggregation is not None and aggregation.lower() in NORMALIZES_EACH:
        raise SettingsError(
            f"aggregation = {aggregation!r} brings every reward to unit spread and so divides the size of the fairness "
            "penalty out; allowed: one shaped reward, or 'sum_then_normalize'"
        )
    if clip_range is not None and any(abs(bound) != float("inf") for bound in clip_range):
        raise SettingsError(
            f"clip range of rewards = {list(clip_range)} would cut the fairness penalty where it is largest; allowed: "
            "none, with the reward clipped before it is shaped"
        )
    if scale_rewards is True or scale_rewards == "group":
        return [
            f"scale_rewards = {scale_rewards!r} divides by the spread within each prompt: the penalty then follows the "
            "gradient of a reweighted disparity; 'batch' or 'none' keep it exact"
        ]
    return []
