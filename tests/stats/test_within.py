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
    rows = ratings(0, raters=200, items=40)  # many clusters: CR2 and statsmodels' CR1 come together
    fit = regression(rows).fit(cov_type="cluster", cov_kwds={"groups": rows["rater"]})
    mine = within_estimate(rows["value"], rows["group"], "b", "a", items=rows["item"], clusters=[rows["rater"]])
    assert mine.standard_error == pytest.approx(fit.bse["member"], rel=0.05)


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
