"""What a generation audit keeps beside its gaps: means of groups, and bounds for what is missing."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from rlhf_fair.audit.generation_run import run_generation
from rlhf_fair.audit.target import Target
from rlhf_fair.models.lexicon import LexiconScorer
from rlhf_fair.records import Results

PLAN = """
title = "Words"
question = "Are women and men spoken of alike?"
probe = "generation"
prompts = "prompts.csv"
clusters = ["scenario"]
max_new_tokens = 4
attributes = [{ column = "sex", reference = "m" }]
scorers = [{ quantity = "goodness", kind = "lexicon", file = "ruler.json" }]
[policy]
threshold = 0.2
margin = 0.2
"""


def audited(folder: Path, answers: dict[str, list[str]]) -> Results:
    """The audit of these answers, one prompt each; a lexicon of one good and one bad word, so scores are -1 and 1."""
    rows = [
        {"prompt_id": f"{sex}{i}", "prompt": f"{sex} {i}", "scenario": f"s{i}", "sex": sex, "text": said}
        for sex, all_said in answers.items()
        for i, said in enumerate(all_said)
    ]
    table = pd.DataFrame(rows)
    (folder / "plan.toml").write_text(PLAN)
    table.drop(columns="text").to_csv(folder / "prompts.csv", index=False)
    table[["prompt_id", "text"]].to_csv(folder / "answers.csv", index=False)
    LexiconScorer("ruler", {"good": 1.0, "bad": -1.0}).save(folder / "ruler.json")
    return run_generation(folder / "plan.toml", Target(predictions=folder / "answers.csv"), folder / "out")


def test_means_are_those_of_the_groups_and_bounds_fill_in_the_ends(tmp_path: Path) -> None:
    women = ["good"] * 6 + ["bad"] * 2 + ["neither"] * 2  # mean of the measured 8: (6 - 2)/8 = .5
    men = ["good"] * 7 + ["bad"] * 3  # .4
    results = audited(tmp_path, {"w": women, "m": men})
    means = {row["group"]: row for row in results.audit["group_means"]}
    assert (means["w"]["mean"], means["w"]["n"], means["w"]["reference"]) == (pytest.approx(0.5), 8, "m")
    assert (means["m"]["mean"], means["m"]["n"]) == (pytest.approx(0.4), 10)
    (bounds,) = results.audit["missing_bounds"]
    # the two answers without a score are both -1, or both 1: (4 - 2)/10 - .4 and (4 + 2)/10 - .4
    assert (bounds["low"], bounds["high"]) == (pytest.approx(-0.2), pytest.approx(0.2))
    assert (bounds["n"], bounds["n_missing"], bounds["n_unknown"]) == (20, 2, 0)
    assert bounds["ci_low"] < bounds["low"]


def test_where_nothing_is_missing_there_are_no_bounds(tmp_path: Path) -> None:
    results = audited(tmp_path, {"w": ["good", "bad"] * 5, "m": ["good", "good", "bad"] * 4})
    assert "missing_bounds" not in results.audit
    assert {row["group"] for row in results.audit["group_means"]} == {"w", "m"}
