"""Rounds at a size with which everything runs within seconds and nothing is learnt."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from rlhf_fair.rounds.settings import QUICK, RoundsConfig, RoundSettings, SelectionSettings
from rlhf_fair.stages import KEY_NAME

TINY = RoundsConfig(
    pipeline=QUICK["pipeline"],
    rounds=RoundSettings(count=1, selection=SelectionSettings(candidates=48, budget=24, members=4), ageing=0.5),
)


def with_rounds(**changes: Any) -> RoundsConfig:
    """`TINY` with other settings of its rounds."""
    return TINY.model_copy(update={"rounds": TINY.rounds.model_copy(update=changes)})


def with_first_round_of(finished: Path, out: Path) -> Path:
    """``out`` with a copy of the stages of the first round in ``finished``; no setting of rounds has a part in them."""
    later = shutil.ignore_patterns("round-[2-9]-*", ".*", KEY_NAME)
    shutil.copytree(finished / "stages", out / "stages", ignore=later)
    return out
