"""Gaps of scores: rows of unknown group are counted and in no group, and scores are never taken for rates."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from rlhf_fair.audit.generation import GenerationPlan
from rlhf_fair.audit.generation_account import counts, exclusions
from rlhf_fair.audit.generation_gaps import comparisons
from rlhf_fair.audit.ledger import StageRecords, Yardstick, gap_change, ledger_rows, worst_group_change
from rlhf_fair.audit.plan import find_plan, load_plan
from rlhf_fair.metrics.gaps import gap_to_reference, group_labels, group_means, group_names, ledger_gap

ATTRIBUTES = ("gender", "ethnicity")


def scored(seed: int = 0) -> pd.DataFrame:
    """60 answers about 20 names; one name has no gender, another no ethnicity, a third neither; two have no score."""
    rng = np.random.default_rng(seed)
    name = np.repeat(np.arange(20), 3)
    gender = np.where(name % 2 == 0, "man", "woman").astype(object)
    ethnicity = np.where(name % 4 < 2, "Black", "white").astype(object)
    gender[np.isin(name, [3, 5])] = None
    ethnicity[np.isin(name, [3, 6])] = np.nan
    score = rng.normal(size=60)
    score[[0, 1]] = np.nan
    return pd.DataFrame(
        {"prompt_id": range(60), "name": name, "gender": gender, "ethnicity": ethnicity, "score": score}
    ).assign(answered=True, refusal=False)


def test_rows_of_unknown_group_are_in_no_group_and_counted() -> None:
    records = scored()
    assert group_names(group_labels(records, "gender")) == ["man", "woman"]
    crossed = group_labels(records, "gender × ethnicity")
    assert group_names(crossed) == ["man & Black", "man & white", "woman & Black", "woman & white"]
    assert crossed.isna().sum() == 9  # three names of three answers lack one or both
    gap = gap_to_reference(records, "gender", "woman", "man", clusters=["name"], alpha=0.05)
    known = records.dropna(subset=["gender", "score"])
    means = known.groupby("gender")["score"].mean()
    assert gap.estimate == pytest.approx(means["woman"] - means["man"])
    assert (gap.n, gap.n_left_out) == (52, 8)  # 60 = 52 + 6 without a gender + 2 without a score
    assert ledger_gap(records, "gender", "man", clusters=["name"], alpha=0.05).estimate == pytest.approx(-gap.estimate)
    assert [mean.group for mean in group_means(records, "ethnicity", clusters=["name"], alpha=0.05)] == [
        "Black",
        "white",
    ]


def test_the_account_of_a_generation_audit_adds_up() -> None:
    records = scored()
    # name 3 has neither attribute: its three answers are in no comparison
    assert counts(records, ATTRIBUTES) == {"input": 60, "reported": 55, "excluded": 2, "unknown": 3}
    told = {line["reason"]: line["n"] for line in exclusions(records, ATTRIBUTES)}
    assert told["gender is unknown: left out of its comparisons"] == 6
    assert told["ethnicity is unknown: left out of its comparisons"] == 6
    complete = records.assign(gender="man", ethnicity="white")
    assert counts(complete, ATTRIBUTES) == {"input": 60, "reported": 58, "excluded": 2, "unknown": 0}


def test_comparisons_and_ledgers_pass_over_unknown_groups() -> None:
    plan = load_plan(find_plan("hiring"), GenerationPlan)
    references = {attribute.column: attribute.reference for attribute in plan.attributes}
    first, second = plan.columns[:2]
    records = scored().rename(columns={"gender": first, "ethnicity": second})
    records[first] = records[first].replace({"man": references[first]})
    groups = {(c.attribute, c.group) for c in comparisons(records, plan)}
    assert not any("nan" in group or "None" in group for _, group in groups)
    before = StageRecords("base", "", records)
    now = StageRecords("ppo", "", records.assign(score=records["score"] + 1), before)
    yardstick = Yardstick(((first, references[first]),), ("name",), "favourability", 0.05)
    (row,) = ledger_rows(now, yardstick)
    assert {group.group for group in row.groups} == {references[first], "woman"}
    assert gap_change(now, before, yardstick, first, references[first]).n_left_out == 8
    assert worst_group_change(now, before, yardstick)[1].estimate == pytest.approx(1)


@pytest.mark.parametrize("score", [-1.0, 0.0, 0.5, 1.0, 7.0])
def test_a_score_is_no_rate_whatever_its_values(score: float) -> None:
    """A lexicon's scores of 0 throughout say no more about the gap than scores of 7 throughout."""
    records = scored().assign(score=score)
    gap = gap_to_reference(records, "gender", "woman", "man", clusters=["name"], alpha=0.05)
    assert gap.estimate == 0
    assert np.isnan(gap.ci_low)
    assert gap.reason.startswith("no variation between clusters")
    assert all(np.isnan(mean.ci_low) for mean in group_means(records, "gender", clusters=["name"], alpha=0.05))


def test_where_the_side_of_a_gap_is_open_its_change_covers() -> None:
    """From a gap of -0.05 to one of 0.05, 25 names a group: sure of the change, but not of the level."""
    rng, runs, covered = np.random.default_rng(0), 200, 0
    names = np.arange(50)
    yardstick = Yardstick((("gender", "man"),), ("name",), "favourability", 0.05)
    for _ in range(runs):
        level = rng.normal(size=50)
        frame = pd.DataFrame({"prompt_id": names.astype(str), "name": names, "gender": ["man", "woman"] * 25})
        apart = np.where(frame["gender"] == "man", 0.025, -0.025)
        before = StageRecords("base", "", frame.assign(score=level - apart))
        now = StageRecords("ppo", "", frame.assign(score=level + apart + rng.normal(0, 0.05, 50)), before)
        e = gap_change(now, before, yardstick, "gender", "man")
        covered += e.ci_low <= 0 <= e.ci_high
    assert covered / runs >= 0.9
