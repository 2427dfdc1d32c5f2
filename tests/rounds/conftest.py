"""A finished run of two rounds that all tests of this folder share, and the small audit that it is measured by."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from rlhf_fair.audit.plan import PLAN_NAME, find_plan
from rlhf_fair.rounds.files import write_rounds
from rlhf_fair.rounds.run import AllRounds, run_rounds
from rounds.tiny_rounds import TINY, with_rounds


@pytest.fixture(scope="package")
def small_plan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped audit with 2 of its 48 scenarios."""
    shipped, folder = find_plan("hiring").parent, tmp_path_factory.mktemp("plan")
    prompts = pd.read_csv(shipped / "prompts.csv")
    prompts[prompts["scenario"].isin(prompts["scenario"].unique()[::24])].to_csv(folder / "prompts.csv", index=False)
    for name in (PLAN_NAME, "favourability.json"):
        (folder / name).write_bytes((shipped / name).read_bytes())
    return folder


@pytest.fixture(scope="package")
def finished(small_plan: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, AllRounds]:
    """One round, then a second one by the same command with more rounds; nothing disturbs them."""
    out = tmp_path_factory.mktemp("run") / "rounds"
    assert run_rounds(TINY, out, plan_name=small_plan).alarms == ()
    reused: list[str] = []
    found = run_rounds(
        with_rounds(count=2),
        out,
        plan_name=small_plan,
        on_stage=lambda name, ready: reused.append(name) if ready else None,
    )
    assert {"fair-ppo-diverse", "answers-sft", "round-1-watched"} <= set(reused)
    write_rounds(out, found)
    return out, found
