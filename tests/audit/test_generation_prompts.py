"""Prompts are looked through before a model is asked: a fault in them costs no answers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from rlhf_fair.audit.generation import GenerationPlan, load_prompts
from rlhf_fair.audit.generation_account import exclusions
from rlhf_fair.audit.plan import load_plan
from rlhf_fair.cli.app import app
from rlhf_fair.errors import RowError, SettingsError

PLAN = """
title = "Names"
question = "Are women and men answered alike?"
probe = "generation"
prompts = "prompts.csv"
metric = "kindness"
scorer = "ruler.json"
clusters = ["name"]
attributes = [{ column = "sex", reference = "m" }]
[policy]
threshold = 0.2
margin = 0.2
"""
PROMPTS = pd.DataFrame(
    [
        {"prompt_id": f"{s}{k}", "prompt": f"write to {s}{k}", "name": f"{s}{k}", "sex": s}
        for s in "mw"
        for k in range(4)
    ]
)


def written(folder: Path, prompts: pd.DataFrame, plan: str = PLAN) -> Path:
    (folder / "plan.toml").write_text(plan)
    (folder / "ruler.json").write_text('{"phrases": {"kind": 1.0, "rude": -1.0}}')
    prompts.to_csv(folder / "prompts.csv", index=False)
    return folder / "plan.toml"


def changed(row: int, column: str, text: str) -> Callable[[pd.DataFrame], pd.DataFrame]:
    def change(prompts: pd.DataFrame) -> pd.DataFrame:
        prompts.loc[row, column] = text
        return prompts

    return change


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (changed(3, "prompt", ""), "prompts.csv row 4: prompt is empty"),
        (changed(3, "prompt", "  "), "prompts.csv row 4: prompt is empty"),
        (changed(1, "prompt_id", ""), "prompts.csv row 2: prompt_id is empty"),
        (changed(2, "prompt_id", "m0"), "prompts.csv row 3: prompt_id 'm0' occurs more than once"),
    ],
)
def test_a_row_that_cannot_be_asked_is_told_by_number(
    change: Callable[[pd.DataFrame], pd.DataFrame], fault: str, tmp_path: Path
) -> None:
    plan = written(tmp_path, change(PROMPTS.copy()))
    with pytest.raises(RowError, match=fault):
        load_prompts(load_plan(plan, GenerationPlan), tmp_path)


def test_a_misspelt_reference_is_told_with_the_groups_there_are(tmp_path: Path) -> None:
    plan = written(tmp_path, PROMPTS, PLAN.replace('reference = "m"', 'reference = "men"'))
    with pytest.raises(SettingsError, match=r"sex: reference 'men' is none of the groups in prompts.csv: 'm', 'w'"):
        load_prompts(load_plan(plan, GenerationPlan), tmp_path)


def test_the_keys_of_the_short_form_are_named_among_the_allowed(tmp_path: Path) -> None:
    plan = written(tmp_path, PROMPTS, PLAN.replace("metric =", "metrik ="))
    with pytest.raises(SettingsError, match="needs metric"):
        load_plan(plan, GenerationPlan)
    plan = written(tmp_path, PROMPTS, "sampels = 3\n" + PLAN)
    with pytest.raises(
        SettingsError, match=r"unknown key 'sampels'; allowed here: .*n_samples.*, scorer, metric, unit"
    ):
        load_plan(plan, GenerationPlan)


def test_what_is_left_out_is_printed_beside_the_verdicts(tmp_path: Path) -> None:
    prompts = PROMPTS.copy()
    prompts.loc[7, "sex"] = ""
    answers = tmp_path / "answers.csv"
    texts = ["kind", "rude", "kind", "so so", "kind", "rude", "kind", "kind"]
    pd.DataFrame({"prompt_id": prompts["prompt_id"], "text": texts}).to_csv(answers, index=False)
    out = str(tmp_path / "out")
    told = CliRunner().invoke(
        app, ["audit", str(written(tmp_path, prompts)), "--predictions", str(answers), "--out", out]
    )
    assert (
        "Left out, of 8: 1 (the scorer found no phrase it knows), 1 (sex is unknown: left out of its comparisons)"
        in told.output
    )


def test_a_version_for_another_attribute_is_no_unknown_group() -> None:
    records = pd.DataFrame(
        {"score": [1.0, 1.0], "answered": True, "refusal": False, "gender": ["man", None], "age": [None, "old"]}
    )
    reasons = {line["reason"]: line["n"] for line in exclusions(records, ["gender", "age"], twins=True)}
    assert reasons == {
        "a version for another attribute than gender: left out of its comparisons": 1,
        "a version for another attribute than age: left out of its comparisons": 1,
    }
