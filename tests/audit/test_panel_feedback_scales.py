"""Whether a mean is a rate follows from the plan's scale, never from the ratings that happen to be there."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from rlhf_fair.audit.findings import build_findings
from rlhf_fair.audit.panel_feedback_estimates import contrast, group_mean, measure
from rlhf_fair.audit.panel_feedback_plan import FeedbackPlan
from rlhf_fair.records import Estimate, Verdict
from rlhf_fair.stats.contrasts import contrast_estimate

POINTS_OF_100: dict[str, Any] = {"low": 0, "high": 100}
YES_OR_NO: dict[str, Any] = {"low": 0, "high": 1, "values": {"no": 0, "yes": 1}}
GAP = {"b": 1.0, "a": -1.0}


def plan(**ratings: Any) -> FeedbackPlan:
    return FeedbackPlan.model_validate(
        {
            "title": "t",
            "question": "q",
            "probe": "panel_feedback",
            "policy": {"threshold": 5.0, "margin": 5.0},
            "ratings": {"item": "item", "annotator": "rater", "value": "value"} | ratings,
            "attributes": [{"name": "group", "column": "group", "reference": "a", "role": "claim"}],
            "min_raters": 5,
        }
    )


def records(score: float | np.ndarray, raters: int = 24, items: int = 6) -> pd.DataFrame:
    rows = pd.MultiIndex.from_product([range(raters), range(items)], names=["rater", "item"]).to_frame(index=False)
    group = np.where(rows["rater"] % 2 == 0, "a", "b")
    return rows.assign(group=group, score=score, weight=1.0)


def gap(score: float | np.ndarray, of: FeedbackPlan) -> Estimate:
    rows = records(score)
    return contrast(rows, rows["group"], GAP, of)


@pytest.mark.parametrize("score", [0.0, 0.5, 1.0, 50.0, 100.0])
def test_one_score_throughout_is_no_interval_wherever_it_lies(score: float) -> None:
    rows, scale = records(score), plan(**POINTS_OF_100)
    findings = build_findings(measure(rows, scale.attributes, scale), scale.policy)
    assert {finding.verdict for finding in findings} == {Verdict.NOT_MEASURED}
    assert {finding.reason for finding in findings} == {
        "no variation between clusters: an interval cannot be estimated"
    }
    assert group_mean(rows, scale).estimate == score
    assert np.isnan(group_mean(rows, scale).ci_low)


def test_all_no_and_all_yes_mirror_each_other_and_are_not_within_a_narrow_margin() -> None:
    no, yes = gap(0.0, plan(**YES_OR_NO)), gap(100.0, plan(**YES_OR_NO))
    assert (no.ci_low, no.ci_high) == pytest.approx((yes.ci_low, yes.ci_high))
    assert no.ci_low == pytest.approx(-no.ci_high)
    # no event among 12 raters a group: 3/12 = 25 points is the rule of three's upper limit of either rate
    assert no.ci_high > 20
    low, high = group_mean(records(0.0), plan(**YES_OR_NO)), group_mean(records(100.0), plan(**YES_OR_NO))
    assert (low.ci_low, low.ci_high) == pytest.approx((0, 100 - high.ci_low))
    assert high.ci_high == 100


def test_rates_are_estimated_as_such_and_told_in_points() -> None:
    rng = np.random.default_rng(0)
    yes = (rng.random(144) < 0.1).astype(float)
    rows, found = records(100 * yes), gap(100 * yes, plan(**YES_OR_NO))
    rate = contrast_estimate(yes, rows["group"], GAP, clusters=[rows["rater"], rows["item"]], rates=True)
    for name in ("estimate", "ci_low", "ci_high", "standard_error", "mde"):
        assert getattr(found, name) == pytest.approx(100 * getattr(rate, name))
    assert (found.p_value, found.df, found.n) == pytest.approx((rate.p_value, rate.df, rate.n))


@pytest.mark.parametrize(
    ("ratings", "two"),
    [
        (YES_OR_NO, True),
        ({"low": 2, "high": 4, "values": {"n": 2, "never": 2, "y": 4}}, True),
        ({"low": 0, "high": 1}, False),  # any number between would do
        ({"low": 0, "high": 1, "values": {"no": 0, "perhaps": 0.5, "yes": 1}}, False),
        ({"low": 1, "high": 5, "values": {"low": 2, "high": 4}}, False),  # two values, but not 0 and 100 points
        ({"low": 0, "high": 1, "values": {"no": 0}}, False),
    ],
)
def test_a_scale_of_two_values(ratings: dict[str, Any], two: bool) -> None:
    assert plan(**ratings).ratings.two_valued is two
