"""The whole loop at a size that says nothing about bias: does every stage run, resume and account for itself?"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from tiny import tiny_llama, tiny_tokenizer

from rlhf_fair.artifacts import read_results, write_json
from rlhf_fair.audit.plan import PLAN_NAME, find_plan
from rlhf_fair.demo.run import run_demo
from rlhf_fair.errors import SettingsError
from rlhf_fair.integrity.verify import verify_folder
from rlhf_fair.models.reward_heads import RewardHeads, declare_heads
from rlhf_fair.models.reward_model import RewardModel
from rlhf_fair.pipeline import QUICK_PIPELINE, PolicyReward


@pytest.fixture(scope="module")
def small_plan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped audit with 4 of its 48 scenarios."""
    shipped, folder = find_plan("hiring").parent, tmp_path_factory.mktemp("plan")
    prompts = pd.read_csv(shipped / "prompts.csv")
    prompts[prompts["scenario"].isin(prompts["scenario"].unique()[::12])].to_csv(folder / "prompts.csv", index=False)
    for name in (PLAN_NAME, "favourability.json"):
        (folder / name).write_bytes((shipped / name).read_bytes())
    return folder


@pytest.fixture(scope="module")
def finished(small_plan: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was stopped in its third stage and then resumed."""
    out = tmp_path_factory.mktemp("run") / "demo"

    def stop(what: str, done: int, total: int) -> None:
        if what.startswith("reward model"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_demo(out, settings=QUICK_PIPELINE, plan_name=small_plan, progress=stop)
    kept = {path.name for path in (out / "stages").iterdir()}
    assert {"base", "sft", "pairs", "panel-diverse"} <= kept
    assert not any("reward" in name for name in kept), "a half-built stage was left behind"
    reused: list[str] = []
    run_demo(
        out,
        settings=QUICK_PIPELINE,
        plan_name=small_plan,
        on_stage=lambda name, ready: reused.append(name) if ready else None,
    )
    assert {"base", "sft", "pairs"} <= set(reused)
    return out


def test_ledger_has_every_stage_for_both_attributes(finished: Path) -> None:
    rows = read_results(finished).ledger
    stages = {"base", "sft", "reward_model", "ppo", "fair_ppo"}
    assert {(row.stage, row.attribute) for row in rows} == {(s, a) for s in stages for a in ("gender", "ethnicity")}
    assert {row.panel for row in rows if row.stage == "ppo"} == {"convenience", "diverse"}


def test_runs_record_what_the_contract_names(finished: Path) -> None:
    runs = {run.name: run for run in read_results(finished).training.runs}
    assert set(runs) >= {"base", "sft", "reward-diverse", "ppo-diverse", "fair-ppo-diverse"}
    for name in ("ppo-diverse", "fair-ppo-diverse"):
        run = runs[name]
        assert run.steps == QUICK_PIPELINE.ppo.steps == len(run.kappa) == len(run.curve)
        assert run.seconds > 0
        assert all(value == value for value in (run.reward_mean, run.kl))
    assert set(runs["ppo-diverse"].kappa) == {0.0}


def test_records_recompute_the_group_means(finished: Path) -> None:
    records, results = pd.read_parquet(finished / "records.parquet"), read_results(finished)
    row = next(r for r in results.ledger if (r.stage, r.attribute) == ("sft", "ethnicity"))
    mine = records[records["stage"] == "sft"].groupby("ethnicity")["score"].mean()
    for group in row.groups:
        assert group.mean == pytest.approx(mine[group.group], nan_ok=True)


def test_every_input_row_is_accounted_for(finished: Path) -> None:
    counts = read_results(finished).audit["counts"]
    assert counts["input"] == counts["reported"] + counts["excluded"] + counts["unknown"]


def test_report_and_manifest_verify(finished: Path) -> None:
    assert (finished / "index.html").is_file()
    assert verify_folder(finished).files > 10


def test_panels_differ_in_who_annotates(finished: Path) -> None:
    table = read_results(finished).audit["tables"]["Who annotates"]
    rows = {(row[0], row[1]): dict(zip(table["columns"][2:], row[2:], strict=True)) for row in table["rows"]}
    men = rows["gender", "man"]
    assert abs(men["diverse"] - men["population"]) < 0.05  # quotas hold to one person in 40
    assert men["convenience"] > men["population"] + 0.15


def test_another_seed_in_the_same_folder_is_refused(finished: Path, small_plan: Path) -> None:
    with pytest.raises(SettingsError, match="other settings, seed or version"):
        run_demo(finished, seed=1, settings=QUICK_PIPELINE, plan_name=small_plan)


@pytest.mark.parametrize(
    ("combine", "expected"),
    [
        ("mean", lambda o: o.mean(1)),
        ("min", lambda o: o.min(1)),
        ("mean_less_variance", lambda o: o.mean(1) - o.var(1)),
    ],
)
def test_an_ensemble_pays_ppo_its_conservative_reward(
    tmp_path: Path, combine: str, expected: Callable[[NDArray[np.float64]], NDArray[np.float64]]
) -> None:
    model = tiny_llama(num_labels=3, initializer_range=0.3)
    heads = RewardHeads.model_validate(
        {"kind": "ensemble", "names": ("1", "2", "3"), "combine": combine, "penalty": 1.0}
    )
    declare_heads(model.config, heads)
    RewardModel(model, tiny_tokenizer(), device="cpu").save(tmp_path)
    write_json(tmp_path / "scale.json", {"mean": 0.25, "sd": 2.0})
    prompts, answers = ["good cat", "bad"], [" nice dog", " awful day"]
    outputs = RewardModel.load(tmp_path, device="cpu").outputs(["good cat nice dog[EOS]", "bad awful day[EOS]"])
    assert outputs.std() > 0
    found = PolicyReward(tmp_path)(prompts, answers, gender=["woman", "man"])
    np.testing.assert_allclose(found, (expected(outputs) - 0.25) / 2.0, rtol=1e-6)
