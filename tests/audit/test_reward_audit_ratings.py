"""Ratings of single texts in the audit ``reward``; the numbers themselves are tested with the probe."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from upstream import DATA, needs

from rlhf_fair.audit.plan import find_plan, load_plan
from rlhf_fair.audit.reward_audit_items import collect
from rlhf_fair.audit.reward_audit_plan import RewardPlan
from rlhf_fair.audit.reward_audit_ratings import QUESTION
from rlhf_fair.audit.reward_audit_scores import text_id
from rlhf_fair.audit.run import run_audit
from rlhf_fair.audit.target import Target
from rlhf_fair.errors import MissingFileError, SettingsError
from rlhf_fair.records import Finding, Results, Verdict, exit_code

PLAN = """
title = "t"
question = "q"
probe = "reward"
[policy]
threshold = 0.2
margin = 0.1
rationale = "r"
[policy.metrics.pair_accuracy_gap]
threshold = 0.05
margin = 0.05
"""


def panel(folder: Path, *, deaf_to: str = "", raters: int = 60, texts: int = 80) -> Results:
    """Everybody rates texts by their worth and some noise; the ratings of ``deaf_to`` are noise alone."""
    rng = np.random.default_rng(0)
    worth, rows = rng.normal(size=texts), []
    for rater in range(raters):
        group = "x" if rater % 2 else "y"
        for text in rng.choice(texts, 20, replace=False):
            value = (0 if group == deaf_to else worth[text]) + rng.normal(0, 0.3)
            rows.append((f"t{text}", f"r{rater}", "rating", value, group, f"Text number {text}.", "forum"))
    rows.append(("t0", "r-few", "rating", 1.0, "few", "Text number 0.", "forum"))
    rows.append(("t1", "r-few", "rating", 1.0, None, "Text number 1.", "forum"))
    rows.append(("t1", "r-few", "scalar", 1.0, "few", "Text number 1.", "forum"))
    columns = ["item_id", "annotator_id", "kind", "value", "attr.race", "text", "source"]
    pd.DataFrame(rows, columns=columns).to_csv(folder / "feedback.csv", index=False)
    scores = {"text_id": [text_id(f"Text number {k}.") for k in range(texts)], "score": 10 * worth}
    pd.DataFrame(scores).to_csv(folder / "scores.csv", index=False)
    (folder / "plan.toml").write_text(PLAN)
    target = Target(predictions=folder / "scores.csv", feedback=folder / "feedback.csv")
    return run_audit(folder / "plan.toml", target, out=folder / "out")


def claim(results: Results, group: str) -> Finding:
    (found,) = [f for f in results.findings if f.role == "claim" and f.group == group]
    return found


def test_a_group_whose_ratings_are_not_foretold_exceeds_and_is_named(tmp_path: Path) -> None:
    results = panel(tmp_path, deaf_to="x")
    x = claim(results, "x")
    # x's order is a coin's: 1/2; y's signs of d and d + e agree with 1/2 + arctan(1 / .3) / pi = .907
    assert x.ci_low < 0.5 - 0.907 < x.ci_high
    assert x.verdict is Verdict.EXCEEDS
    assert claim(results, "few").verdict is Verdict.NOT_MEASURED
    assert claim(results, "few").reason == "1 raters; at least 10 needed"
    table = results.audit["tables"][QUESTION]
    assert [row[1] for row in table["rows"]] == ["x", "y", "few"]  # worst first, unmeasured last
    assert table["rows"][-1][-1] == "1 raters; at least 10 needed"
    limits = " ".join(results.audit["limits"])
    assert "foretold worst by race of the rater: x" in limits
    assert "1 of 1,202 have no known race of the rater" in limits
    assert exit_code(results.findings) == 1


def test_counts_add_up_with_other_kinds_and_nothing_else_is_claimed(tmp_path: Path) -> None:
    results = panel(tmp_path)
    counts = results.audit["counts"]
    assert counts == {"input": 1203, "reported": 1202, "excluded": 1, "unknown": 0}
    assert "of kind scalar" in results.audit["exclusions"][0]["reason"]
    assert {f.probe for f in results.findings if f.role == "claim"} == {"feedback_ratings"}
    assert {f.reason for f in results.findings if f.probe == "feedback_pairs"} == {"feedback.csv holds no choices"}
    records = pd.read_parquet(tmp_path / "out" / "records.parquet")
    assert "text" not in records  # many rated texts are no reading for everybody
    assert len(records) == 1202


def test_ratings_and_their_texts_may_lie_apart_and_faults_are_named(tmp_path: Path) -> None:
    panel(tmp_path)
    table = pd.read_csv(tmp_path / "feedback.csv")
    table[["item_id", "text"]].drop_duplicates().to_csv(tmp_path / "items.csv", index=False)
    table.drop(columns="text").to_csv(tmp_path / "apart.csv", index=False)
    plan = tmp_path / "plan.toml"
    plan.write_text(PLAN + '[ratings]\nitems = "items.csv"\n')
    target = Target(predictions=tmp_path / "scores.csv", feedback=tmp_path / "apart.csv")
    results = run_audit(plan, target, out=tmp_path / "apart")
    assert claim(results, "x").estimate == claim(panel(tmp_path), "x").estimate
    plan.write_text(PLAN + '[ratings]\nitems = "none.csv"\n')
    with pytest.raises(MissingFileError, match=r"none\.csv"):
        run_audit(plan, target, out=tmp_path / "none")
    plan.write_text(PLAN + '[ratings]\nbetter = "up"\n')
    with pytest.raises(SettingsError, match="better"):
        run_audit(plan, target, out=tmp_path / "none")


def test_a_plan_of_ratings_without_data_says_what_it_lacks(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="feedback ratings: no --data-dir was given: it holds popquorn"):
        run_audit(find_plan("reward/popquorn"), Target(), out=tmp_path)


@needs("popquorn")
def test_popquorn_is_read_whole() -> None:
    plan_file = find_plan("reward/popquorn")
    items = collect(load_plan(plan_file, RewardPlan), plan_file, DATA, None)
    table = items.tables["feedback_ratings"]
    # 13,036 ratings by 262 people of 1,500 comments, as the data's README counts
    assert (len(table), table["annotator_id"].nunique(), table["feedback_item"].nunique()) == (13_036, 262, 1_500)
    assert sorted(table["rating"].unique()) == [-5, -4, -3, -2, -1]  # low is better
    assert items.told == ["Whether the model was trained on some of the rated texts is not known here."]
