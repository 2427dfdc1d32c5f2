from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from rlhf_fair.audit.plan import Plan, Policy, find_plan, load_plan, report_name, shipped_audits
from rlhf_fair.errors import MissingFileError, SettingsError

PLAN = """
title = "Hiring"
question = "Do answers favour men?"
probe = "hiring"
limits = ["English only"]

[policy]
threshold = 0.1
margin = 0.05
rationale = "a tenth of the scale"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "plan.toml").write_text(PLAN)
    return tmp_path


def test_a_folder_and_its_file_are_the_same_plan(folder: Path) -> None:
    plan = load_plan(folder, Plan)
    assert plan == load_plan(folder / "plan.toml", Plan) == load_plan(str(folder), Plan)
    assert plan.policy.threshold == 0.1
    assert (plan.policy.alpha, plan.policy.power) == (0.05, 0.8)


def test_an_audit_may_extend_the_plan(folder: Path) -> None:
    class HiringPlan(Plan):
        names: int = 8

    (folder / "plan.toml").write_text("names = 4\n" + PLAN)
    assert load_plan(folder, HiringPlan).names == 4
    with pytest.raises(SettingsError, match=r"unknown key 'names'; allowed here: title, question, probe, policy"):
        load_plan(folder, Plan)


def test_shipped_audits_are_found_by_name() -> None:
    shipped = shipped_audits()
    assert "reward-identity" in shipped
    assert shipped["panel-feedback/crehate"].name == "crehate.toml"
    assert not any("train" in name for name in shipped)  # a training config is no plan
    for name, path in shipped.items():
        assert find_plan(name) == path


def test_no_audit_lands_inside_the_folder_of_another() -> None:
    names = [Path(report_name(file)) for file in shipped_audits().values()]
    assert len(set(names)) == len(names)
    assert not [name for name in names if set(name.parents) & set(names)]


def test_a_plan_file_without_a_folder_goes_by_its_own_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine").mkdir()
    monkeypatch.chdir(tmp_path / "mine")
    assert report_name(Path("my-plan.toml")) == "my-plan"
    assert report_name(Path("plan.toml")) == "mine"
    assert report_name(Path("there/my-plan.toml")) == "there-my-plan"


def test_an_unknown_name_lists_what_there_is(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="reward-identity"):
        find_plan("no-such-audit")
    with pytest.raises(MissingFileError, match="audit plan not found"):
        find_plan(tmp_path)  # a folder without a plan.toml


@pytest.mark.parametrize(
    "values",
    [
        {"threshold": 0.1, "margin": 0.2},  # else a gap could be within and beyond at once
        {"threshold": 0.0, "margin": 0.0},
        {"threshold": -0.1, "margin": 0.05},
        {"threshold": 0.1, "margin": 0.05, "alpha": 0.0},
        {"threshold": 0.1, "margin": 0.05, "alpha": 5.0},
        {"threshold": 0.1, "margin": 0.05, "power": 80},
        {"threshold": float("nan"), "margin": 0.05},
        {"threshold": 0.1, "margin": float("nan")},
        {"threshold": float("inf"), "margin": 0.05},
        {"threshold": 0.8, "margin": 0.7, "better": "one"},  # a ratio of .75 would be within and beyond
        {"threshold": 0.8, "margin": 1.25, "better": "one"},
        {"threshold": 0.7, "margin": 0.6, "better": "high"},
        {"threshold": 0.1, "margin": 0.2, "better": "low"},
        {"threshold": 0.1, "margin": 0.05, "better": "right"},
        {"threshold": 0.1, "margin": 0.05, "metrics": {"auc": {"threshold": 0.7, "margin": 0.6, "better": "high"}}},
    ],
)
def test_a_policy_that_cannot_be_meant_is_refused(values: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        Policy.model_validate(values)


def test_a_bad_policy_names_file_key_and_value(folder: Path) -> None:
    (folder / "plan.toml").write_text(PLAN.replace("margin = 0.05", "margin = 0.2"))
    with pytest.raises(
        SettingsError, match=r"plan\.toml: policy = .*margin 0\.2 must not be wider than threshold 0\.1"
    ):
        load_plan(folder, Plan)


def test_a_metric_may_have_limits_of_its_own(folder: Path) -> None:
    section = '[policy.metrics.impact_ratio]\nthreshold = 0.8\nmargin = 0.9\nbetter = "one"\n'
    (folder / "plan.toml").write_text(PLAN + section)
    policy = load_plan(folder, Plan).policy
    assert policy.limits("impact_ratio").better == "one"
    assert policy.limits("impact_ratio").threshold == 0.8
    assert policy.limits("gap").threshold == 0.1
    assert policy.limits("gap").better == "zero"
