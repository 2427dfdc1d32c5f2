"""The case study on real raters: what its README works out over seeds follows from the tables beside it."""

from __future__ import annotations

import runpy
from pathlib import Path

import pandas as pd
import pytest

STUDY = Path(__file__).parents[2] / "reports/case-study"


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    return pd.read_csv(STUDY / "over-seeds.csv").set_index(["scorer", "policy", "what"])


def test_the_table_over_seeds_is_what_its_script_makes(table: pd.DataFrame) -> None:
    script = runpy.run_path(str(STUDY / "over_seeds.py"))
    made = script["account"](script["read"]()).set_index(["scorer", "policy", "what"])
    pd.testing.assert_frame_equal(made, table, atol=6e-5, rtol=0)


def test_by_hand(table: pd.DataFrame) -> None:
    """Regard of seed 0 under plain PPO: mean .39821, gap .35784; t with two degrees of freedom is 4.303."""
    table = table.sort_index()
    found = table.loc[("regard", "plain PPO")]
    assert found.loc["Christian", "seed 0"] == pytest.approx(0.39821 + 0.35784 * 2 / 3, abs=1e-4)
    assert found.loc["Jewish and Muslim", "seed 0"] == pytest.approx(0.39821 - 0.35784 / 3, abs=1e-4)
    change = table.loc[("regard", "fair PPO less plain PPO", "gap")]
    seeds = change[["seed 0", "seed 1", "seed 2"]].astype(float)
    assert change["high"] - change["mean"] == pytest.approx(4.303 * seeds.std() / 3**0.5, abs=3e-4)


def test_records_of_seed_0_give_the_reward_that_is_kept() -> None:
    records = pd.read_parquet(STUDY / "policies/records.parquet")
    mean = records.groupby(["stage", "panel"])["reward_diverse"].mean()
    sft, plain, fair = mean["sft", ""], mean["ppo", "diverse"], mean["fair_ppo", "diverse"]
    certified = pd.read_csv(STUDY / "certificates.csv")
    told = certified[(certified["seed"] == 0) & (certified["what"] == "share of reward gain kept")]["estimate"].item()
    assert (fair - sft) / (plain - sft) == pytest.approx(told, abs=1e-4)
    # a third of the answers each: the rule by which means of groups are worked out
    assert records.groupby(["stage", "panel"])["religion"].value_counts().nunique() == 1
