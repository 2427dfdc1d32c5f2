from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from rlhf_fair.errors import SettingsError
from rlhf_fair.probes.measured import Measured
from rlhf_fair.probes.score_gaps import OTHERS, Comparison, group_levels, score_gaps

COLUMN = "score.sentiment:toy, continuation, refusals left out"


def records(groups: list[Any], scores: list[float], refused: list[bool] | None = None) -> pd.DataFrame:
    refused = refused or [False] * len(groups)
    return pd.DataFrame(
        {
            "group": groups,
            "page": [f"p{i}" for i in range(len(groups))],
            "answered": True,
            "refused": refused,
            COLUMN: scores,
        }
    )


def only(measured: list[Measured], metric: str, group: str) -> Measured:
    (found,) = [one for one in measured if (one.metric, one.group) == (metric, group)]
    return found


def test_a_gap_is_group_less_reference_by_welch() -> None:
    a, b = [0.1, 0.5, 0.3, 0.7], [0.9, 0.4, 0.8]
    table = records(["a"] * 4 + ["b"] * 3, [*a, *b])
    gap = only(score_gaps(table, Comparison("kind", "group", ("page",), "b")), "sentiment_gap", "a")
    welch = stats.ttest_ind(a, b, equal_var=False)
    assert gap.estimate.estimate == pytest.approx(0.4 - 0.7)
    assert gap.estimate.p_value == pytest.approx(welch.pvalue, rel=1e-6)
    assert (gap.reference, gap.variant) == ("b", "toy, continuation, refusals left out")


def test_without_a_reference_the_mean_of_the_other_groups() -> None:
    table = records(["a", "a", "b", "b", "c", "c"], [1, 3, 2, 4, 6, 10])
    measured = score_gaps(table, Comparison("kind", "group", ("page",)))
    # a: 2 - (3 + 8) / 2, b: 3 - (2 + 8) / 2, c: 8 - (2 + 3) / 2
    gaps = [only(measured, "sentiment_gap", group).estimate.estimate for group in "abc"]
    assert gaps == pytest.approx([-3.5, -2.0, 5.5])
    assert {one.reference for one in measured} == {OTHERS}


def test_two_groups_have_one_gap() -> None:
    measured = score_gaps(records(["a", "a", "b", "b"], [1, 3, 2, 4]), Comparison("kind", "group", ("page",)))
    assert [(one.metric, one.group, one.reference) for one in measured] == [
        ("sentiment_gap", "b", "a"),
        ("refusal_gap", "b", "a"),
    ]


def test_refusals_stand_beside_the_gap() -> None:
    refused = [True, False, False, False, False, False, False, False]
    scores = [math.nan, 0.2, 0.4, math.nan, 0.1, 0.2, 0.3, 0.4]
    table = records(["a"] * 4 + ["b"] * 4, scores, refused)
    measured = score_gaps(table, Comparison("kind", "group", ("page",), "b"))
    gap, refusal = only(measured, "sentiment_gap", "a"), only(measured, "refusal_gap", "a")
    assert refusal.estimate.estimate == pytest.approx(1 / 4)
    assert gap.refusal_rate == pytest.approx(1 / 8)
    assert gap.parse_rate == pytest.approx(6 / 7)  # 7 answers that do not refuse, 6 scored
    assert gap.estimate.n_left_out == 2


def test_rows_of_unknown_groups_are_counted() -> None:
    table = records(["a", "a", "b", "b", None, None], [1, 2, 3, 4, 5, 6])
    gap = only(score_gaps(table, Comparison("kind", "group", ("page",), "b")), "sentiment_gap", "a")
    assert (gap.estimate.n, gap.estimate.n_left_out) == (4, 2)


def test_a_planted_gap_is_found_and_a_null_is_not() -> None:
    rng = np.random.default_rng(5)
    groups = ["a"] * 200 + ["b"] * 200
    noise = rng.normal(0, 0.3, 400)
    planted = noise + np.repeat([0.3, 0.0], 200)
    comparison = Comparison("kind", "group", ("page",), "b")
    found = only(score_gaps(records(groups, planted.tolist()), comparison), "sentiment_gap", "a").estimate
    none = only(score_gaps(records(groups, noise.tolist()), comparison), "sentiment_gap", "a").estimate
    assert found.ci_low < 0.3 < found.ci_high
    assert found.p_value < 1e-6
    assert none.ci_low < 0 < none.ci_high


def test_levels_say_which_direction_is_better() -> None:
    table = records(["a", "a", "b", "b"], [1, 3, 2, 4]).assign(**{"score.toxicity:toy, x": [0.1, 0.3, 0.2, 0.4]})
    levels = group_levels(table, Comparison("kind", "group", ("page",)))
    assert [(one.metric, one.group, one.estimate.estimate, one.better) for one in levels] == [
        ("mean_sentiment", "a", 2.0, "high"),
        ("mean_toxicity", "a", pytest.approx(0.2), "low"),
        ("mean_sentiment", "b", 3.0, "high"),
        ("mean_toxicity", "b", pytest.approx(0.3), "low"),
    ]


def test_one_group_has_no_gap_and_none_has_none() -> None:
    comparison = Comparison("kind", "group", ("page",))
    for groups, said in ((["a", "a"], "kind has a"), ([None, None], "kind has none")):
        for gap in score_gaps(records(groups, [1, 2]), comparison):
            assert math.isnan(gap.estimate.estimate)
            assert said in gap.estimate.reason
            assert gap.estimate.n_left_out == 2


def test_the_reference_is_checked() -> None:
    with pytest.raises(SettingsError, match="no group 'z'"):
        score_gaps(records(["a", "b"], [1, 2]), Comparison("kind", "group", ("page",), "z"))


def test_where_nothing_toxic_was_said_the_interval_is_that_of_rates() -> None:
    groups = ["a"] * 100 + ["b"] * 100
    table = records(groups, [0.0] * 200).rename(columns={COLUMN: COLUMN.replace("sentiment", "toxicity")})
    comparison = Comparison("kind", "group", ("page",), "b")
    unbounded = only(score_gaps(table, comparison), "toxicity_gap", "a").estimate
    assert math.isnan(unbounded.ci_low)
    share = only(score_gaps(table, comparison, shares=["toxicity"]), "toxicity_gap", "a").estimate
    # a share seen in none of 100 has Wilson's upper limit z^2 / (n + z^2), which bounds the difference on both sides
    limit = stats.norm.ppf(0.975) ** 2 / (100 + stats.norm.ppf(0.975) ** 2)
    assert (share.ci_low, share.ci_high) == (pytest.approx(-limit, rel=0.1), pytest.approx(limit, rel=0.1))
    level = only(group_levels(table, comparison, shares=["toxicity"]), "mean_toxicity", "a").estimate
    assert level.ci_high == pytest.approx(limit, rel=0.1)


def test_groups_that_are_answered_alike_have_limits_where_scores_have_bounds() -> None:
    table = records(["a"] * 40 + ["b"] * 20, [0.3] * 60)
    comparison = Comparison("kind", "group", ("page",), "b")
    bounded = only(score_gaps(table, comparison, ranges={"sentiment": (-1, 1)}), "sentiment_gap", "a").estimate
    # Clopper and Pearson's limit at 0 of the 20 pages of b, times the range 2
    assert bounded.ci_high == pytest.approx(2 * stats.beta.ppf(0.975, 1, 20))
    assert bounded.ci_low == -bounded.ci_high
    other = only(score_gaps(table, comparison, ranges={"toxicity": (0, 1)}), "sentiment_gap", "a").estimate
    assert math.isnan(other.ci_low)
    assert other.reason.startswith("no variation")
