from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit
from sklearn.metrics import brier_score_loss

from rlhf_fair.errors import ColumnError, RowError
from rlhf_fair.probes.reward_preferences import (
    OTHERS,
    accuracy_gaps,
    accuracy_gaps_at_equal_length,
    judged,
    quality_table,
    read_feedback,
)


def choices(rng: np.random.Generator, *, worse_for: str = "", n: int = 3000) -> pd.DataFrame:
    """Raters of two groups choose by the model's own P(a); those of ``worse_for`` toss a coin."""
    margin = rng.normal(0, 2, n)
    rater = rng.integers(0, 60, n)
    group = np.where(rater % 2 == 0, "x", "y")
    p = np.where(group == worse_for, 0.5, expit(margin))
    return pd.DataFrame(
        {
            "annotator_id": [f"r{k}" for k in rater],
            "feedback_item": [f"i{k}" for k in rng.integers(0, 300, n)],
            "attr.race": group,
            "choice": np.where(rng.random(n) < p, "a", "b"),
            "reward": margin,
            "base_reward": 0.0,
            "length_difference": rng.integers(-20, 20, n),
            "refusal_difference": 0.0,
        }
    )


def test_judgements_worked_by_hand() -> None:
    table = pd.DataFrame(
        {"reward": [2.0, 0.0, 1.0, 1.0], "base_reward": [1.0, 1.0, 1.0, np.nan], "choice": ["a", "a", "b", "a"]}
    )
    found = judged(table)
    assert found["right"].tolist() == pytest.approx([1, 0, 0.5, np.nan], nan_ok=True)
    # 1 / (1 + e^-1) = .7311: Brier (1 - .7311)^2 = .0723; 1 - .7311 = .2689: (1 - .2689)^2 = .5344; at 1/2: .25
    assert found["brier"][:3].tolist() == pytest.approx([0.0723, 0.5344, 0.25], abs=1e-4)
    assert judged(table.assign(choice="tie"))["right"][:3].tolist() == [0.5, 0.5, 0.5]


def test_a_group_that_is_not_known_is_found_and_a_fair_model_shows_none() -> None:
    rng = np.random.default_rng(0)
    (x, y) = accuracy_gaps(choices(rng, worse_for="x"), least=10, alpha=0.05, power=0.8)
    # of margins N(0, 2): E max(p, 1 - p) less 1/2
    margin = np.random.default_rng(1).normal(0, 2, 400_000)
    expected = 0.5 - np.maximum(expit(margin), expit(-margin)).mean()
    assert x.estimate.ci_low < expected < x.estimate.ci_high
    assert y.estimate.estimate == pytest.approx(-x.estimate.estimate)
    assert (x.attribute, x.reference) == ("race of the rater", OTHERS)
    assert x.estimate.n_clusters == 60
    for m in accuracy_gaps(choices(rng), least=10, alpha=0.05, power=0.8):
        assert m.estimate.ci_low < 0 < m.estimate.ci_high


def test_length_does_not_pass_for_a_gap() -> None:
    """Longer answers are chosen, and those that x sees are longer: the gap goes with length partialled out."""
    rng = np.random.default_rng(2)
    t = choices(rng, n=6000)
    long = np.where(t["attr.race"] == "x", 15, 0) + rng.integers(-5, 6, len(t))
    t["length_difference"] = long
    right = rng.random(len(t)) < 0.5 + 0.02 * np.abs(long)
    t["choice"] = "a"
    t["reward"], t["base_reward"] = np.where(right, 1.0, -1.0), 0.0
    raw = accuracy_gaps(t, least=10, alpha=0.05, power=0.8)[0].estimate
    left = accuracy_gaps_at_equal_length(t, least=10, alpha=0.05, power=0.8)[0].estimate
    assert raw.ci_low > 0.15
    assert abs(left.estimate) < abs(raw.estimate) / 2


def test_calibration_of_a_model_that_is_right_and_of_one_that_is_too_sure() -> None:
    rng = np.random.default_rng(3)
    right = choices(rng, n=4000)
    sure = right.assign(reward=3 * right["reward"])
    for table, slope in ((right, 1.0), (sure, 1 / 3)):
        made = quality_table(table, least=10, alpha=0.05, rng=rng)
        rows = pd.DataFrame(made["rows"], columns=made["columns"])
        assert len(rows) == 2
        assert (rows["calibration_slope_low"] < slope).all()
        assert (rows["calibration_slope_high"] > slope).all()
        mine = table[table["attr.race"] == rows["group"][0]]
        expected = brier_score_loss(mine["choice"] == "a", expit(mine["reward"]))
        assert rows["Brier_score"][0] == pytest.approx(expected)
    assert rows["calibration_error"].min() > 0.05  # too sure; the corrected error of the other is about 0
    made = quality_table(right, least=10, alpha=0.05, rng=rng)
    assert max(row[made["columns"].index("calibration_error")] for row in made["rows"]) < 0.02


def test_small_groups_are_named_and_not_measured() -> None:
    table = choices(np.random.default_rng(4))
    table.loc[table["annotator_id"].isin(["r0", "r2"]), "attr.race"] = "z"
    (z,) = [m for m in accuracy_gaps(table, least=10, alpha=0.05, power=0.8) if m.group == "z"]
    assert np.isnan(z.estimate.estimate)
    assert z.estimate.reason == "2 raters; at least 10 needed"


def test_a_feedback_file_is_read_and_faults_are_named(tmp_path: Path) -> None:
    path = tmp_path / "pairs.csv"
    head = "item_id,annotator_id,prompt,response_a,response_b,choice,attr.race\n"
    path.write_text(head + "1,r1,Hi,Hello,I cannot help with that.,a,x\n1,r2,Hi,Hello,Ho,maybe,x\n")
    read = read_feedback(path, "{prompt}|{answer}")
    assert read.table["text"].tolist() == ["Hi|Hello"]
    assert read.table["base_refused"].tolist() == [True]
    assert read.rejects["code"].tolist() == ["not_allowed"]
    path.write_text(head.replace(",attr.race", "") + "1,r1,Hi,Hello,Ho,a\n")
    with pytest.raises(ColumnError, match=r"attr\.\*"):
        read_feedback(path, "{prompt}|{answer}")
    path.write_text(head + "1,r1,Hi,Hello,Ho,maybe,x\n")
    with pytest.raises(RowError, match="no usable choice"):
        read_feedback(path, "{prompt}|{answer}")
