"""Fronts by hand and by law; seeds combined by the book."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from rlhf_fair.mitigations import measures as m
from rlhf_fair.mitigations.measures import absolute
from rlhf_fair.mitigations.summary import fronts, over_seeds, pareto_front
from rlhf_fair.records import Estimate

numbers = st.one_of(st.integers(0, 4).map(float), st.just(math.nan))


def test_a_front_by_hand() -> None:
    #        cheap, poor | dear, good | between, on the front | beaten by "between" | equal to it | dearest, as good
    cost = [0.0, 1.0, 0.5, 0.5, 0.5, 1.2]
    quality = [1.0, 3.0, 2.0, 1.5, 2.0, 3.0]
    assert pareto_front(cost, quality).tolist() == [True, True, True, False, True, False]
    assert pareto_front([0.0, math.nan, 1.0], [1.0, 9.0, math.nan]).tolist() == [True, False, False]
    assert pareto_front([], []).tolist() == []


@given(st.lists(st.tuples(numbers, numbers), max_size=8), st.randoms())
def test_the_front_is_whom_nobody_beats(points: list[tuple[float, float]], random: object) -> None:
    def beats(a: tuple[float, float], b: tuple[float, float]) -> bool:
        return a[0] <= b[0] and a[1] >= b[1] and a != b

    found = pareto_front(*zip(*points, strict=True)).tolist() if points else []
    known = [point for point in points if not (math.isnan(point[0]) or math.isnan(point[1]))]
    for point, on in zip(points, found, strict=True):
        assert on is (point in known and not any(beats(other, point) for other in known))
    if known:
        assert any(found)
    order = list(range(len(points)))
    random.shuffle(order)  # type: ignore[attr-defined]
    if points:
        shuffled = pareto_front(*zip(*(points[k] for k in order), strict=True)).tolist()
        assert shuffled == [found[k] for k in order]


def test_the_size_of_a_gap_keeps_what_its_interval_allows() -> None:
    assert _ends(absolute(Estimate(estimate=-0.4, ci_low=-0.5, ci_high=-0.3))) == (0.4, 0.3, 0.5)
    assert _ends(absolute(Estimate(estimate=0.1, ci_low=-0.3, ci_high=0.2))) == (0.1, 0.0, 0.3)
    unknown = absolute(Estimate.not_estimable("no rows"))
    assert math.isnan(unknown.estimate)
    assert math.isnan(unknown.ci_low)
    assert unknown.reason == "no rows"


def test_one_seed_keeps_its_own_interval() -> None:
    found = over_seeds(results({"fair": [0.1]}, limits=(0.05, 0.2)), alpha=0.05).iloc[0]
    assert (found["estimate"], found["ci_low"], found["ci_high"], found["seeds"]) == (0.1, 0.05, 0.2, 1)


def test_seeds_are_the_unit_of_a_mean() -> None:
    values = [0.1, 0.3, 0.2, 0.6]
    found = over_seeds(results({"fair": values}), alpha=0.1).iloc[0]
    low, high = stats.t.interval(0.9, 3, loc=np.mean(values), scale=stats.sem(values))
    assert (found["estimate"], found["ci_low"], found["ci_high"]) == pytest.approx((0.3, low, high))
    assert found["seeds"] == 4


def test_a_seed_that_was_not_measured_is_not_a_zero() -> None:
    found = over_seeds(results({"fair": [0.2, math.nan, 0.4]}), alpha=0.05).iloc[0]
    assert (found["estimate"], found["seeds"]) == (pytest.approx(0.3), 2)
    nothing = over_seeds(results({"fair": [math.nan, math.nan]}), alpha=0.05).iloc[0]
    assert math.isnan(nothing["estimate"])
    assert nothing["reason"] == "why"


def test_shares_over_seeds_are_ratios_of_means() -> None:
    gaps = results({"plain-ppo": [0.4, 0.5, 0.6], "fair": [0.04, 0.1, 0.01]})
    shares = results({"fair": [0.1, 0.2, 1 / 60]}, measure=m.GAP_REMAINING)
    rewards = {"plain-ppo": [2.0, 3.0, 4.0], "sft": [0.0, 1.0, 1.0], "fair": [1.9, 2.8, 3.8]}
    kept = results({"fair": [0.95, 0.9, 2.8 / 3]}, measure=m.REWARD_KEPT, attribute="")
    table = pd.concat([gaps, shares, results(rewards, measure=m.REWARD, attribute=""), kept])
    found = over_seeds(table, alpha=0.05).set_index(["method", "measure"])["estimate"]
    assert found["fair", m.GAP_REMAINING] == pytest.approx(0.05 / 0.5)  # .15 / 3 over 1.5 / 3
    assert found["fair", m.REWARD_KEPT] == pytest.approx(6.5 / 7)  # gains 1.9, 1.8, 2.8 of 2, 2, 3


def test_fronts_have_a_row_for_every_method_attribute_and_quality() -> None:
    qualities = {m.UTILITY: {"sft": [1.0], "fair": [2.0]}, m.REWARD: {"sft": [5.0], "fair": [2.0]}}
    table = pd.concat(
        [
            results({"sft": [0.3], "fair": [0.1]}, measure=m.ABSOLUTE_GAP),
            *(results(values, measure=name, attribute="") for name, values in qualities.items()),
        ]
    )
    found = fronts(over_seeds(table, alpha=0.05), ["gender"]).set_index(["quality", "method"])["on_front"]
    assert found[m.UTILITY].to_dict() == {"sft": False, "fair": True}
    assert found[m.REWARD].to_dict() == {"sft": True, "fair": True}


def results(
    values: dict[str, list[float]],
    *,
    measure: str = m.GAP,
    attribute: str = "gender",
    limits: tuple[float, float] = (math.nan, math.nan),
) -> pd.DataFrame:
    rows = [
        {"seed": seed, "method": method, "measure": measure, "attribute": attribute, "group": "", "estimate": value}
        | {"ci_low": limits[0], "ci_high": limits[1], "reason": "why" if math.isnan(value) else ""}
        for method, found in values.items()
        for seed, value in enumerate(found)
    ]
    return pd.DataFrame(rows)


def _ends(e: Estimate) -> tuple[float, float, float]:
    return e.estimate, e.ci_low, e.ci_high
