"""The gap within items: statsmodels' regression with item dummies as the oracle, and its laws."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from hypothesis import given
from hypothesis import strategies as st

from rlhf_fair.stats.contrasts import contrast_estimate
from rlhf_fair.stats.within import within_estimate


def ratings(seed: int, raters: int = 20, items: int = 12, share: float = 0.5) -> pd.DataFrame:
    """Group b is shown the items that rate high more often; its raters rate 1 lower."""
    rng = np.random.default_rng(seed)
    rows = pd.MultiIndex.from_product([range(raters), range(items)], names=["rater", "item"]).to_frame(index=False)
    rows["group"] = np.where(rows["rater"] % 2 == 0, "a", "b")
    shown = np.where((rows["group"] == "b") & (rows["item"] >= items // 2), share + 0.3, share)
    noise = rng.normal(0, 1, raters)[rows["rater"]] + rng.normal(0, 1, len(rows))
    rows["value"] = 2.0 * rows["item"] - (rows["group"] == "b") + noise
    rows["weight"] = rng.uniform(0.5, 2, len(rows))
    return rows[rng.random(len(rows)) < shown].reset_index(drop=True)


def gap(rows: pd.DataFrame, **options: object):
    clusters = [rows["rater"], rows["item"]]
    return within_estimate(rows["value"], rows["group"], "b", "a", items=rows["item"], clusters=clusters, **options)


def regression(rows: pd.DataFrame, weights: object = 1.0):
    design = pd.get_dummies(rows["item"], dtype=float).assign(member=(rows["group"] == "b").astype(float))
    return sm.WLS(rows["value"], design, weights=weights)


@given(seed=st.integers(0, 10_000))
def test_the_estimate_is_the_coefficient_beside_item_dummies(seed: int) -> None:
    rows = ratings(seed)
    assert gap(rows).estimate == pytest.approx(regression(rows).fit().params["member"])
    weighted = regression(rows, rows["weight"]).fit().params["member"]
    assert gap(rows, weights=rows["weight"]).estimate == pytest.approx(weighted)


def test_the_standard_error_is_close_to_the_regressions() -> None:
    rows = ratings(0, raters=200, items=40)  # many clusters: the jackknife and statsmodels' CR1 come together
    fit = regression(rows).fit(cov_type="cluster", cov_kwds={"groups": rows["rater"]})
    mine = within_estimate(rows["value"], rows["group"], "b", "a", items=rows["item"], clusters=[rows["rater"]])
    assert mine.standard_error == pytest.approx(fit.bse["member"], rel=0.05)


def refits(rows: pd.DataFrame, column: str) -> float:
    """The jackknife variance by fitting the regression again without each cluster."""
    whole, total = regression(rows).fit().params["member"], 0.0
    raters_of = rows.groupby(column)["group"].unique()
    for cluster, groups in raters_of.items():
        c = max(int(raters_of.map(lambda found, g=group: g in found).sum()) for group in groups)
        total += (c - 1) / c * (regression(rows[rows[column] != cluster]).fit().params["member"] - whole) ** 2
    return total


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_standard_error_comes_from_refits_without_each_cluster(seed: int) -> None:
    """Raters, items and single ratings, each left out in turn; 8 raters, 10 items, about 5 ratings each."""
    rows = ratings(seed, raters=8, items=10, share=0.4)
    both = rows.groupby("item")["group"].transform("nunique") == 2
    rows = rows[both].reset_index(drop=True).assign(rating=lambda r: range(len(r)))
    raters, items, single = (refits(rows, column) for column in ("rater", "item", "rating"))
    one_way = within_estimate(rows["value"], rows["group"], "b", "a", items=rows["item"], clusters=[rows["rater"]])
    assert one_way.standard_error == pytest.approx(np.sqrt(raters))
    assert gap(rows).standard_error == pytest.approx(np.sqrt(max(raters + items - single, raters, items)))


@pytest.mark.parametrize("per_group", [1, 2])
def test_few_raters_per_item_are_covered_at_the_nominal_rate(per_group: int) -> None:
    """Two and four raters per item; 20 raters a group with moods (SD 1), no gap."""
    rng, inside, raters, items = np.random.default_rng(per_group), 0, 20, 100
    item = np.tile(np.arange(items), 2 * per_group)
    group = np.repeat(["a", "b"], items * per_group)
    for _ in range(300):
        decks = [rng.permutation(raters) for _ in range(2 * per_group * items // raters)]
        rater = np.concatenate(decks) + raters * (group == "b")
        value = rng.normal(size=2 * raters)[rater] + rng.normal(size=items)[item] + rng.normal(size=len(item))
        e = within_estimate(value, group, "b", "a", items=item, clusters=[rater, item])
        inside += e.ci_low <= 0 <= e.ci_high
    assert inside >= 272  # of 300 at 95 %: mean 285, SD 3.8; fewer than 272 has a chance of .1 %


def test_rows_that_play_no_part_are_counted() -> None:
    # left out: one without a value, one without a group, one without an item, two on an item that only b rated;
    # the row of group c is nobody's concern here
    values = [1, 2, 3, 5, np.nan, 4, 4, 4, 4, 4]
    groups = ["a", "b", "a", "b", "a", None, "b", "b", "b", "c"]
    items = ["i", "i", "j", "j", "i", "i", None, "k", "k", "i"]
    e = within_estimate(values, groups, "b", "a", items=items)
    assert e.estimate == pytest.approx(1.5)
    assert (e.n, e.n_left_out) == (4, 5)


def test_a_cluster_without_which_nothing_is_shared_leaves_no_interval() -> None:
    # without site x, item i has only group a and item j only group b
    items, groups, site = ["i", "i", "j", "j", "j"], ["a", "b", "a", "a", "b"], ["y", "x", "x", "x", "y"]
    e = within_estimate([1, 2, 3, 4, 6], groups, "b", "a", items=items, clusters=[site])
    # gaps 1 and 2.5 with weights 1·1/2 and 1·2/3
    assert e.estimate == pytest.approx((0.5 * 1 + 2 / 3 * 2.5) / (0.5 + 2 / 3))
    assert np.isnan(e.ci_low)
    assert "no item is shared" in e.reason


def test_what_a_group_was_shown_moves_the_plain_gap_but_not_this_one() -> None:
    rows = pd.concat(
        [ratings(seed, raters=60).assign(rater=lambda r, s=seed: r["rater"] + 60 * s) for seed in range(9)]
    )
    plain = contrast_estimate(rows["value"], rows["group"], {"b": 1, "a": -1}, clusters=[rows["rater"]])
    assert plain.ci_low > 0  # b saw higher rated items, so it seems to rate higher
    within = gap(rows)
    assert within.ci_low < -1 < within.ci_high


@given(seed=st.integers(0, 10_000), shift=st.floats(-100, 100))
def test_a_shift_of_an_item_changes_nothing(seed: int, shift: float) -> None:
    rows = ratings(seed)
    moved = rows.assign(value=rows["value"] + shift * (rows["item"] == 3))
    first, second = gap(rows), gap(moved)
    assert first.estimate == pytest.approx(second.estimate, abs=1e-6)
    assert first.standard_error == pytest.approx(second.standard_error, abs=1e-6)


def test_everybody_rated_everything_so_it_is_the_plain_gap() -> None:
    rows = ratings(2, share=1.0)
    plain = contrast_estimate(rows["value"], rows["group"], {"b": 1, "a": -1}, clusters=[rows["rater"], rows["item"]])
    assert gap(rows).estimate == pytest.approx(plain.estimate)
    assert gap(rows).ci_low == pytest.approx(plain.ci_low)


def test_items_of_one_group_are_left_out_and_none_shared_is_a_reason() -> None:
    rows = ratings(3)
    alone = rows["item"].isin([0, 1]) & (rows["group"] == "a")
    kept = rows[~alone]
    assert gap(kept).n == int((~kept["item"].isin([0, 1])).sum())
    apart = rows[(rows["group"] == "a") == (rows["item"] < 6)]
    assert gap(apart).reason == "no item was rated by both b and a"
    assert np.isnan(gap(apart).estimate)


def test_items_that_neither_group_rated_play_no_part() -> None:
    values = [1.0, 3.0, 2.0, 5.0, 4.0, 4.0, 9.0]
    groups, items = ["a", "b", "a", "b", "a", "b", "c"], [1, 1, 2, 2, 3, 3, 4]
    with_other = within_estimate(values, groups, "a", "b", items=items)
    without = within_estimate(values[:-1], groups[:-1], "a", "b", items=items[:-1])
    assert with_other.estimate == pytest.approx(-5 / 3)  # -2, -3, 0
    assert (with_other.ci_low, with_other.ci_high) == pytest.approx((without.ci_low, without.ci_high), nan_ok=True)
