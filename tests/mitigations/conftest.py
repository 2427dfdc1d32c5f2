"""One finished comparison of all methods at a size that says nothing about bias: does everything run and add up?"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest

from rlhf_fair.audit.plan import PLAN_NAME, find_plan
from rlhf_fair.mitigations.comparison import Comparison, compare, open_kit, plan_hash
from rlhf_fair.mitigations.kit import Kit
from rlhf_fair.mitigations.settings import QUICK, MitigationSettings


@dataclass(frozen=True)
class Finished:
    """A comparison, where it lies, and the kit of its only seed."""

    comparison: Comparison
    out: Path
    config: Path
    kit: Kit

    def records(self, method: str) -> pd.DataFrame:
        return pd.read_parquet(self.out / "seed-0" / f"records-{method}" / "records.parquet")


@pytest.fixture(scope="package")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A config whose audit is the shipped one with 2 of its 48 scenarios."""
    shipped, folder = find_plan("hiring").parent, tmp_path_factory.mktemp("plan")
    prompts = pd.read_csv(shipped / "prompts.csv")
    prompts[prompts["scenario"].isin(prompts["scenario"].unique()[::24])].to_csv(folder / "prompts.csv", index=False)
    for name in (PLAN_NAME, "favourability.json"):
        (folder / name).write_bytes((shipped / name).read_bytes())
    path = folder / "comparison.toml"
    path.write_text(f'plan = "{folder}"\n', encoding="utf-8")
    return path


@pytest.fixture(scope="package")
def finished(config: Path, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """All methods with one seed."""
    out = tmp_path_factory.mktemp("mitigations")
    settings = MitigationSettings(plan=str(config.parent), **QUICK)
    comparison = compare(settings, out)
    kit = open_kit(settings, 0, out, plan_hash(settings), lambda what, done, total: None)
    return Finished(comparison, out, config, kit)
