"""Named disparities: fairlearn's numbers, with an interval and a test that hold."""

from __future__ import annotations

import fairlearn.metrics as fairlearn_metrics
import numpy as np
import pytest
from tabular import DATA, Source, adult, compas, german, predictions

from rlhf_fair.errors import SettingsError
from rlhf_fair.metrics.classification import (
    demographic_parity,
    equal_opportunity,
    equalized_odds,
    predictive_parity,
)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.skipif(not DATA.is_dir(), reason="public tabular data sets are not at ../shared/data/tabular")
@pytest.mark.parametrize("source", [adult, german, compas])
def test_differences_and_ratios_equal_fairlearns(
    source: Source,
) -> None:
    features, outcome, people, _ = source()
    y, p = outcome.astype(int), predictions(features, outcome)
    given = {"sensitive_features": people}
    parity = demographic_parity(p, **given, rng=rng())
    assert parity.difference == pytest.approx(fairlearn_metrics.demographic_parity_difference(y, p, **given), abs=1e-12)
    assert parity.ratio == pytest.approx(fairlearn_metrics.demographic_parity_ratio(y, p, **given), abs=1e-12)
    chance = equal_opportunity(y, p, **given, rng=rng())
    assert chance.difference == pytest.approx(fairlearn_metrics.equal_opportunity_difference(y, p, **given), abs=1e-12)
    assert chance.ratio == pytest.approx(fairlearn_metrics.equal_opportunity_ratio(y, p, **given), abs=1e-12)
    for agg in ("worst_case", "mean"):
        odds = equalized_odds(y, p, **given, agg=agg, rng=rng())
        difference = fairlearn_metrics.equalized_odds_difference(y, p, **given, agg=agg)
        ratio = fairlearn_metrics.equalized_odds_ratio(y, p, **given, agg=agg)
        assert (odds.difference, odds.ratio) == pytest.approx((difference, ratio), abs=1e-12)
        assert odds.interval.ci_low <= max(s.plug_in for s in odds.spreads.values()) <= odds.interval.ci_high


def test_a_planted_difference_is_found_and_covered() -> None:
    draw = rng(1)
    group = np.repeat(["a", "b", "c"], 400)
    y = draw.integers(0, 2, 1200)
    chance = np.where(group == "a", 0.7, 0.5)
    p = (draw.random(1200) < chance).astype(int)
    for found in (
        demographic_parity(p, sensitive_features=group, rng=draw),
        equal_opportunity(y, p, sensitive_features=group, rng=draw),
        equalized_odds(y, p, sensitive_features=group, rng=draw),
    ):
        assert found.p_value < 0.01
        assert 0 < found.interval.ci_low <= 0.2 <= found.interval.ci_high


def test_equal_groups_are_accused_no_more_often_than_alpha_and_the_plain_difference_is_never_zero() -> None:
    draw = rng(2)
    group, alarms, plain, honest = np.tile(np.arange(6), 40), 0, [], []
    for _ in range(80):
        y, p = draw.integers(0, 2, 240), draw.integers(0, 2, 240)
        found = equalized_odds(y, p, sensitive_features=group, rng=draw)
        alarms += found.interval.ci_low > 0
        parity = demographic_parity(p, sensitive_features=group, rng=draw)
        plain.append(parity.difference)
        honest.append(parity.debiased)
    assert alarms <= 12  # 99.9 % of runs at a true error of 5 %
    assert np.mean(plain) > 0.1
    assert abs(np.mean(honest)) < 4 * np.std(honest) / np.sqrt(80)


def test_predictive_parity_by_hand() -> None:
    # a: 3 of 4 selected are positive, b: 1 of 2
    y = [1, 1, 1, 0, 0, 1, 1, 0, 0, 1]
    p = [1, 1, 1, 1, 0, 0, 1, 1, 0, 0]
    found = predictive_parity(y, p, sensitive_features=list("aaaaaabbbb"), rng=rng())
    assert found.difference == pytest.approx(0.25)
    assert found.ratio == pytest.approx(0.5 / 0.75)


def test_unknown_aggregate() -> None:
    with pytest.raises(SettingsError, match="worst_case, mean"):
        equalized_odds([0, 1], [0, 1], sensitive_features=["a", "b"], agg="max", rng=rng())  # type: ignore[arg-type]


def test_without_a_difference_the_odds_are_equal_on_average() -> None:
    rng, found = np.random.default_rng(5), []
    for _ in range(60):
        y, predicted, groups = rng.integers(0, 2, 300), rng.integers(0, 2, 300), rng.choice(["a", "b", "c"], 300)
        odds = equalized_odds(y, predicted, sensitive_features=groups, rng=rng)
        assert odds.debiased == np.mean([rate.debiased for rate in odds.spreads.values()])
        found.append(odds.debiased)
    assert abs(np.mean(found)) < 3 * np.std(found) / 60**0.5
