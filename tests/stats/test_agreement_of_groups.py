"""Agreement inside groups against agreement across them: by hand, on a real crowd, and under the null."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlhf_fair.errors import RowError, SettingsError
from rlhf_fair.stats.agreement import Level, krippendorff_alpha
from rlhf_fair.stats.group_agreement import group_agreement, permutation_p
from rlhf_fair.tables import read_table

POPQUORN = Path(__file__).parents[3] / "shared/data/popquorn/offensiveness/raw_data.csv.gz"
LEVELS: tuple[Level, ...] = ("nominal", "ordinal", "interval", "ratio")


def crowd(seed: int, raters: int = 12, items: int = 15) -> pd.DataFrame:
    """Two groups that rate alike, with gaps; a rater's mood moves all that he says."""
    rng = np.random.default_rng(seed)
    mood, quality = rng.normal(0, 1, raters), rng.normal(0, 1, items)
    rows = pd.DataFrame(list(product(range(items), range(raters))), columns=["item", "rater"])
    latent = quality[rows["item"]] + mood[rows["rater"]] + rng.normal(0, 1, len(rows))
    rows["value"] = np.clip(np.round(latent + 3), 1, 5)
    rows["group"] = np.where(rows["rater"] < raters // 3, "few", "many")
    return rows[rng.random(len(rows)) < 0.6]


def agreement(rows: pd.DataFrame, level: Level = "interval", permutations: int = 0, seed: int = 0) -> dict:
    columns = (rows["item"], rows["rater"], rows["value"], rows["group"])
    found = group_agreement(*columns, level=level, permutations=permutations, rng=np.random.default_rng(seed))
    return {group.group: group for group in found}


def test_by_hand() -> None:
    # item 1: x says 1, 1; y says 1, 2.  item 2: x says 2, 2; y says 2.
    # inside x (nominal): no disagreement inside items, both values occur, so alpha = 1.
    # across, item 1: pairs 11 12 11 12, so 2 of 4 disagree, weight 2 + 2; item 2: 0 of 2, weight 2 + 1.
    # d_o = (4 * 1/2 + 3 * 0) / 7 = 2/7. Marginals: x has 2 ones, 2 twos; y has 1 one, 2 twos:
    # d_e = (2*2 + 2*1) / (4*3) = 1/2. XRR = 1 - (2/7) / (1/2) = 3/7; GAI = 7/3.
    rows = pd.DataFrame(
        {
            "item": [1, 1, 1, 1, 2, 2, 2],
            "rater": ["a", "b", "c", "d", "a", "b", "c"],
            "value": [1, 1, 1, 2, 2, 2, 2],
            "group": ["x", "x", "y", "y", "x", "x", "y"],
        }
    )
    x = agreement(rows, "nominal")["x"]
    assert (x.n_raters, x.n_items_inside, x.n_items_across) == (2, 2, 2)
    assert x.inside == pytest.approx(1)
    assert x.across == pytest.approx(3 / 7)
    assert x.ratio == pytest.approx(7 / 3)
    assert x.difference == pytest.approx(4 / 7)


@pytest.mark.parametrize("level", LEVELS)
@given(seed=st.integers(0, 10_000))
def test_inside_is_the_alpha_of_the_groups_own_ratings_and_across_is_symmetric(level: Level, seed: int) -> None:
    rows = crowd(seed)
    found = agreement(rows, level)
    for name, group in found.items():
        own = rows[rows["group"] == name]
        expected = krippendorff_alpha(own["item"], own["value"], level=level).alpha
        assert group.inside == pytest.approx(expected, nan_ok=True)
    assert found["few"].across == pytest.approx(found["many"].across, nan_ok=True)


@given(seed=st.integers(0, 10_000))
def test_across_by_listing_every_pair(seed: int) -> None:
    rows = crowd(seed, raters=9, items=6)
    x, y = (rows[rows["group"] == name] for name in ("few", "many"))
    shared = set(x["item"]) & set(y["item"])
    x, y = x[x["item"].isin(shared)], y[y["item"].isin(shared)]
    if not shared:
        return
    pairs = x.merge(y, on="item")
    of_item = pairs.assign(d=(pairs["value_x"] - pairs["value_y"]) ** 2).groupby("item")["d"].mean()
    weight = x.groupby("item").size() + y.groupby("item").size()
    every = x.merge(y, how="cross")
    expected = ((every["value_x"] - every["value_y"]) ** 2).mean()
    across = agreement(rows)["few"].across
    if expected:
        assert across == pytest.approx(1 - (of_item * weight).sum() / weight.sum() / expected)


def test_a_group_of_its_own_mind_is_found_and_p_is_never_zero() -> None:
    rows = crowd(1, raters=30, items=40)
    own_mind = rows["group"] == "few"
    rows.loc[own_mind, "value"] = (rows.loc[own_mind, "item"] % 5) + 1.0  # they follow a rule nobody else knows
    few = agreement(rows, permutations=199)["few"]
    assert few.inside == pytest.approx(1)
    assert few.p_difference == pytest.approx(2 / 200)


def test_false_alarms_stay_at_their_level() -> None:
    p = [agreement(crowd(seed), permutations=99, seed=seed)["few"].p_difference for seed in range(200)]
    # 200 p-values, uniform or larger: more than 18 at .05 has a chance of .4 %
    assert np.sum(np.array(p) <= 0.05) <= 18


def test_relabelling_groups_changes_no_number() -> None:
    rows = crowd(3)
    first = agreement(rows, permutations=49)
    second = agreement(rows.replace({"group": {"few": "zz"}}), permutations=0)
    assert first["few"].difference == pytest.approx(second["zz"].difference)


def test_what_cannot_be_estimated_is_nan_with_a_reason() -> None:
    rows = crowd(0)
    alone = rows[(rows["group"] == "many") | (rows["rater"] == 0)]
    few = agreement(alone, permutations=19)["few"]
    assert np.isnan([few.inside, few.ratio, few.p_ratio]).all()
    assert few.reason == "no item has two ratings from this group"
    apart = rows[(rows["group"] == "many") == (rows["item"] < 7)]
    assert agreement(apart)["few"].reason == "no item was rated by this group and by others"
    with pytest.raises(RowError, match="rater 0 has more than one group"):
        agreement(rows.assign(group=np.where(rows["item"] < 3, "x", "y")))
    with pytest.raises(SettingsError, match="distinct values"):
        agreement(rows.assign(value=np.arange(len(rows))))


def test_p_by_hand() -> None:
    # 2 of 4 draws are as large: 2 * (1 + 2) / 5 > 1; of 9 draws none is as small: 2 * (1 + 0) / 10
    assert permutation_p(1.0, np.array([0.0, 0.5, 1.0, 2.0])) == 1
    assert permutation_p(-1.0, np.arange(9.0)) == pytest.approx(0.2)
    assert np.isnan(permutation_p(np.nan, np.arange(9.0)))


@pytest.mark.skipif(not POPQUORN.exists(), reason="data set not at hand: ../shared/data/popquorn")
def test_popquorn_indices_and_the_spread_of_their_null() -> None:
    table = read_table(POPQUORN)
    # GAI and p by an independent computation (interval level). Its number of draws and its way of making p two-sided
    # are not known, so p is compared roughly; GAI and the spread of the null are what the formula decides.
    expected = {
        "gender": {"Woman": (0.968, 0.73), "Man": (0.953, 0.47)},
        "race": {"Black or African American": (1.049, 0.70), "White": (1.149, 0.058)},
    }
    for attribute, groups in expected.items():
        rows = table.rename(columns={"instance_id": "item", "user_id": "rater", "offensiveness": "value"})
        found = agreement(rows.assign(group=rows[attribute]), permutations=499)
        for group, (ratio, p) in groups.items():
            assert found[group].ratio == pytest.approx(ratio, abs=5e-4)
            assert found[group].p_ratio == pytest.approx(p, abs=0.12)
        if attribute == "gender":
            assert found["Woman"].null_sd_ratio == pytest.approx(0.062, abs=0.006)
        else:
            assert found["Black or African American"].null_sd_ratio == pytest.approx(0.156, abs=0.015)
