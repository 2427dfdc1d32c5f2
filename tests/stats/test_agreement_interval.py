"""Limits of α: by leaving out, by simulation with a known α, and what has none."""

from __future__ import annotations

import numpy as np
import pytest

from rlhf_fair.stats.agreement import Level, krippendorff_alpha
from rlhf_fair.stats.agreement_interval import alpha_interval

Panel = tuple[np.ndarray, np.ndarray, np.ndarray]


def panel(rng: np.random.Generator, items: int, raters: int, each: int, mood: float) -> Panel:
    """Rating = item + rater's mood + noise, variances 1, mood², 1: α at level interval is 1 / (2 + mood²)."""
    item = np.repeat(np.arange(items), each)
    rater = np.concatenate([rng.choice(raters, each, replace=False) for _ in range(items)])
    value = rng.normal(0, 1, items)[item] + rng.normal(0, mood, raters)[rater] + rng.normal(0, 1, len(item))
    return item, rater, np.round(value, 1)


@pytest.mark.parametrize("level", ["nominal", "ordinal", "interval", "ratio"])
def test_variance_is_that_of_leaving_out_items_raters_and_ratings(level: Level) -> None:
    rng = np.random.default_rng(0)
    item, rater, value = panel(rng, 60, 15, 4, 0.5)
    value = np.clip(np.round(value + 3), 1, 5)
    kept = rng.random(len(item)) < 0.85  # items of four, three and two ratings, and some alone
    item, rater, value = item[kept], rater[kept], value[kept]
    whole = np.log(1 - krippendorff_alpha(item, value, level=level).alpha)

    def variance(unit: np.ndarray) -> float:
        """Jackknife of log(1 - α): (n - 1) / n times the summed squares of what leaving one out changes."""
        units = np.unique(unit)
        without = [krippendorff_alpha(item[unit != u], value[unit != u], level=level).alpha for u in units]
        change = np.log(1 - np.array(without)) - whole
        return float((len(units) - 1) / len(units) * ((change - change.mean()) ** 2).sum())

    of_items, of_raters = variance(item), variance(rater)
    expected = max(of_items + of_raters - variance(np.arange(len(item))), of_items, of_raters)
    found = alpha_interval(item, rater, value, level=level)
    assert found.estimate == pytest.approx(krippendorff_alpha(item, value, level=level).alpha, abs=1e-12)
    # ours is to first order, theirs to all: a few percent apart at 60 items and 15 raters
    assert found.standard_error / (1 - found.estimate) == pytest.approx(np.sqrt(expected), rel=0.1)
    assert found.df == 14


def test_limits_cover_other_items_and_other_raters() -> None:
    covered, width = [], []
    for seed in range(300):
        found = alpha_interval(*panel(np.random.default_rng(seed), 60, 12, 5, 0.7), level="interval")
        covered.append(found.ci_low <= 1 / 2.49 <= found.ci_high)
        width.append(found.ci_high - found.ci_low)
    # 95 % of 300, +- 2.5: a right one falls below 91 % with a chance of .2 %
    assert 0.91 <= np.mean(covered) <= 0.99
    assert np.mean(width) < 0.4


def test_raters_with_moods_widen_it() -> None:
    item, rater, value = panel(np.random.default_rng(1), 200, 8, 4, 1.0)
    with_raters = alpha_interval(item, rater, value, level="interval")
    strangers = alpha_interval(item, np.arange(len(item)), value, level="interval")  # each rating by somebody else
    assert strangers.standard_error < 0.8 * with_raters.standard_error
    assert strangers.estimate == pytest.approx(with_raters.estimate)


def test_names_change_nothing_and_limits_never_pass_one() -> None:
    item, rater, value = panel(np.random.default_rng(2), 10, 6, 4, 0.2)
    found = alpha_interval(item, rater, value, level="ordinal")
    order = np.random.default_rng(0).permutation(len(item))
    names = np.array([f"r{k}" for k in rater])
    other = alpha_interval(100 - item[order], names[order], 3 * value[order] + 1, level="ordinal")
    assert (other.ci_low, other.ci_high) == pytest.approx((found.ci_low, found.ci_high))
    assert found.ci_low < found.estimate < found.ci_high < 1


def test_what_has_no_interval_says_why() -> None:
    assert alpha_interval([1, 2], ["a", "b"], [1, 1], level="nominal").reason == "no unit has two ratings"
    same = alpha_interval([1, 1, 2, 2], list("abab"), [3, 3, 3, 3], level="interval")
    assert np.isnan(same.estimate)
    assert "same value" in same.reason
    perfect = alpha_interval([1, 1, 2, 2], list("abab"), [3, 3, 4, 4], level="interval")
    assert perfect.estimate == 1
    assert np.isnan(perfect.ci_low)
    assert "without any disagreement" in perfect.reason
    assert "one unit" in alpha_interval([1, 1, 1], list("abc"), [3, 3, 4], level="interval").reason
