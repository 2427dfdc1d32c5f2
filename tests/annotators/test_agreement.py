"""α, XRR and GAI of a feedback table, by kind and by group; what is hidden, and what is no difference."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from rlhf_fair.annotators.agreement import AgreementSettings, agreement_table, pair_table
from rlhf_fair.errors import RowError, SettingsError
from rlhf_fair.tables import read_table

POPQUORN = Path(__file__).parents[3] / "shared/data/popquorn/offensiveness/raw_data.csv.gz"


def table(feedback: pd.DataFrame, groups: dict[str, pd.Series] | None = None, **settings: object) -> pd.DataFrame:
    return agreement_table(feedback, groups, AgreementSettings(**settings), rng=np.random.default_rng(0))


@pytest.fixture
def crowd() -> tuple[pd.DataFrame, dict[str, pd.Series]]:
    """30 raters, 40 items, two attributes that mean nothing."""
    rng = np.random.default_rng(3)
    quality = rng.normal(0, 1, 40)
    rows = [
        {"item_id": f"i{i}", "annotator_id": f"p{p}", "kind": "rating", "value": float(np.round(quality[i] + noise))}
        for i in range(40)
        for p, noise in zip(rng.choice(30, 12, replace=False), rng.normal(0, 1, 12), strict=True)
    ]
    people = [f"p{p}" for p in range(30)]
    groups = {name: pd.Series(rng.choice(list("xyz"), 30), index=people) for name in ("one", "two")}
    return pd.DataFrame(rows), groups


def test_table_by_kind_and_group() -> None:
    feedback = pd.DataFrame(
        {
            "item_id": ["x", "x", "y", "y", "x", "y"],
            "annotator_id": ["p", "q", "p", "q", "r", "r"],
            "kind": "pair",
            "choice": ["a", "a", "b", "b", "b", "a"],
        }
    )
    found = table(feedback, {"team": pd.Series({"p": "g", "q": "g"})}, min_raters=1).set_index("group")
    assert found.index.tolist() == ["(all)", "g", "(unknown)"]
    assert found.loc["g", "alpha"] == 1
    # items aab and bba: 4 of 6 ordered pairs differ in each; D_o = 2/3. 3 a, 3 b: D_e = 18/30. alpha = 1 - 10/9
    assert found.loc["(all)", "alpha"] == pytest.approx(-1 / 9)
    assert found.loc["(unknown)", "reason"] == "no unit has two ratings"
    hidden = table(feedback, {"team": pd.Series({"p": "g", "q": "g"})}).set_index("group").loc["g"]
    assert np.isnan(hidden["alpha"])
    assert (hidden["raters"], hidden["reason"]) == (2, "fewer than 5 raters: withheld")


def test_what_a_small_group_shares_with_all_others_is_withheld_on_both_sides(crowd: tuple) -> None:
    rows, _ = crowd
    people = [f"p{p}" for p in range(30)]
    two = pd.Series(["few"] * 4 + ["many"] * 26, index=people)
    found = table(rows, {"team": two}, permutations=19).set_index("group")
    measures = ["xrr", "difference", "p_value", "null_sd", "mde", "gai", "gai_p_value", "mde_gai"]
    assert found.loc[["few", "many"], measures].isna().all(axis=None)
    assert found.loc["many", "alpha"] == found.loc["many", "alpha"]
    assert found.loc["many", "reason"] == "agreement with others, fewer than 5 raters: withheld"
    assert pair_table(rows, {"team": two})["xrr"].isna().all()
    # 26 against 4 and 1, five others together: not about any one small group
    three = table(rows, {"team": two.where(two.index != "p29", "one")}, permutations=0).set_index("group")
    assert np.isfinite(three.loc["many", "xrr"])
    assert three.loc[["few", "one"], "xrr"].isna().all()


def test_each_kind_has_its_level_and_many_scalars_are_put_on_steps(crowd: tuple) -> None:
    rows, groups = crowd
    scalar = rows.assign(kind="scalar", value=rows["value"] + np.random.default_rng(0).normal(0, 0.01, len(rows)))
    pair = rows.assign(kind="pair", choice=np.where(rows["value"] > 0, "a", "b"))
    found = table(pd.concat([rows, scalar, pair]), groups, permutations=9)
    assert dict(zip(found["kind"], found["level"], strict=True)) == {
        "pair": "nominal",
        "rating": "ordinal",
        "scalar": "interval",
    }
    one = found[(found["attribute"] == "one") & (found["kind"] == "scalar")]
    # noise of .01 is 1/2,000 of the variance: alpha and GAI are those of the ratings but for that and for the steps
    plain = table(rows, groups, rating_level="interval", permutations=9)
    same = plain[plain["attribute"] == "one"]
    assert one["alpha"].to_numpy() == pytest.approx(same["alpha"].to_numpy(), abs=5e-3)
    assert one["xrr"].to_numpy() == pytest.approx(same["xrr"].to_numpy(), abs=5e-3)


def test_adjusted_over_all_groups_of_all_attributes(crowd: tuple) -> None:
    found = table(*crowd, permutations=99)
    tested = found[found["p_value"].notna()]
    assert len(tested) == 6
    # by the definition of Benjamini & Hochberg: smallest over larger p of p * m / rank
    p = np.sort(tested["p_value"])
    adjusted = np.minimum.accumulate((p * 6 / np.arange(1, 7))[::-1])[::-1]
    assert np.sort(tested["p_adjusted"]) == pytest.approx(np.minimum(adjusted, 1))


def test_names_of_items_raters_and_groups_change_no_number(crowd: tuple) -> None:
    rows, groups = crowd
    other = rows.assign(item_id="z" + rows["item_id"], annotator_id=rows["annotator_id"].str[::-1] + "q")
    renamed = {
        name: g.map({"x": "k", "y": "l", "z": "m"}).set_axis(g.index.str[::-1] + "q") for name, g in groups.items()
    }
    numbers = ["alpha", "alpha_ci_low", "alpha_ci_high", "xrr", "gai"]
    first, second = table(rows, groups, permutations=9), table(other, renamed, permutations=9)
    np.testing.assert_allclose(first[numbers], second[numbers], rtol=1e-12)
    np.testing.assert_allclose(first["p_value"], second["p_value"])


def test_pairs_are_what_the_others_agree_on(crowd: tuple) -> None:
    rows, groups = crowd
    two = {"one": groups["one"].replace({"z": "y"})}
    pair = pair_table(rows, two).iloc[0]
    found = table(rows, two, permutations=0).set_index("group")
    assert pair["xrr"] == pytest.approx(found.loc["x", "xrr"])  # of two groups each is all the others
    assert pair["items"] == found.loc["x", "items_across"]
    assert pair_table(rows, groups)["xrr"].notna().all()
    assert len(pair_table(rows, groups)) == 6


@pytest.mark.skipif(not POPQUORN.exists(), reason="data set not at hand: ../shared/data/popquorn")
def test_popquorn_small_groups_are_marked() -> None:
    rows = read_table(POPQUORN)
    feedback = pd.DataFrame({"item_id": rows["instance_id"], "annotator_id": rows["user_id"], "kind": "rating"})
    feedback["value"] = rows["offensiveness"]
    people = rows.drop_duplicates("user_id").set_index("user_id")
    groups = {name: people[name] for name in ("gender", "race")}
    found = table(feedback, groups, rating_level="interval", permutations=499).set_index("group")
    # the spread of the null by an independent computation is .062 and .156, and 2.80 times that can be seen
    assert found.loc["Woman", "mde_gai"] == pytest.approx(2.8 * 0.062, abs=0.02)
    assert found.loc["Black or African American", "mde_gai"] == pytest.approx(2.8 * 0.156, abs=0.045)
    assert found.loc["Black or African American", "too_small"]
    assert not found.loc["Woman", "too_small"]
    assert found.loc["(all)", "alpha"] == pytest.approx(0.2872, abs=5e-5)


def test_faults() -> None:
    row = {"item_id": ["x"], "annotator_id": ["p"], "kind": ["rating"], "value": [1.0]}
    with pytest.raises(RowError, match="a group called '\\(all\\)'"):
        table(pd.DataFrame(row), {"team": pd.Series({"p": "(all)"})})
    with pytest.raises(SettingsError, match="allowed: nominal, ordinal, interval, ratio"):
        AgreementSettings(rating_level="rank")  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match="min_raters 0"):
        AgreementSettings(min_raters=0)
