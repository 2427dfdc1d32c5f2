from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from rlhf_fair.errors import ColumnError, RowError, SettingsError
from rlhf_fair.training.reward.config import FeedbackSource, RewardConfig
from rlhf_fair.training.reward.feedback import read_feedback
from rlhf_fair.training.reward.rows import NOBODY, group_codes, split_rows
from rlhf_fair.training.reward.sources import Source

RATINGS = pd.DataFrame(
    {
        "item_id": ["i", "i", "i", "j", "j"],
        "rater_id": ["p", "q", "r", "p", "r"],
        "value": [1.0, 0.0, 0.5, 0.2, 0.4],
        "weight": [1.0, 1.0, 2.0, 1.0, 1.0],
        "attr.gender": ["woman", "man", "woman", "woman", None],
        "attr.age": ["old", "old", "young", "old", "old"],
    }
)
ITEMS = pd.DataFrame(
    {
        "source": "s",
        "virtue": "reward",
        "item_id": ["i", "j"],
        "key": ["i", "j"],
        "text": ["a Muslim woman sings", "the cat sleeps"],
        "rating": [0.5, 0.3],
        "weight": [3.0, 1.0],
    }
)


def config(**sections: object) -> RewardConfig:
    source = {"format": "ratings", "name": "s", "path": "x.csv", "scale": (0, 1), "better": "high"}
    content = {"title": "t", "model": "m", "objective": "rating", "sources": [source]}
    return RewardConfig.model_validate(content | sections)


def split(items: pd.DataFrame = ITEMS, folder: Path = Path(), **options: object) -> pd.DataFrame:
    sections = {name: value for name, value in options.items() if name in ("groups", "heads", "mitigations")}
    chosen = {"by_raters": True} | {name: value for name, value in options.items() if name not in sections}
    source = Source("s", items, pd.DataFrame(), len(items), RATINGS)
    return split_rows(items, [source], config(**sections), lambda name: folder / name, **chosen)


def test_items_are_split_by_rater_group_and_keep_their_weight() -> None:
    rows = split(groups={"sex": {"attributes": ["gender"]}})
    found = rows.set_index(["item_id", "group.sex"])[["rating", "weight"]]
    # i: the women say (1 + 2 * .5) / 3 with 3 of 4 parts of the weight 3; the man 0 with 1 of 4
    assert found.loc[("i", "woman")].tolist() == pytest.approx([2 / 3, 2.25])
    assert found.loc[("i", "man")].tolist() == pytest.approx([0.0, 0.75])
    # j: one rater's gender is not known
    assert found.loc[("j", "woman")].tolist() == pytest.approx([0.2, 0.5])
    unknown = rows[(rows["item_id"] == "j") & rows["group.sex"].isna()]
    assert unknown[["rating", "weight"]].to_numpy().tolist() == [[pytest.approx(0.4), pytest.approx(0.5)]]
    assert rows.groupby("item_id")["weight"].sum().tolist() == pytest.approx([3.0, 1.0])


def test_splitting_leaves_the_weighted_mean_where_it_was() -> None:
    rows = split(groups={"sex": {"attributes": ["gender"]}})
    own = RATINGS.assign(product=RATINGS["value"] * RATINGS["weight"]).groupby("item_id")[["product", "weight"]].sum()
    mean = rows.assign(p=rows["rating"] * rows["weight"]).groupby("item_id")[["p", "weight"]].sum()
    assert (mean["p"] / mean["weight"]).to_numpy() == pytest.approx((own["product"] / own["weight"]).to_numpy())


def test_crossed_attributes_need_all_of_them() -> None:
    rows = split(groups={"both": {"attributes": ["gender", "age"]}})
    assert set(rows["group.both"].dropna()) == {"woman*old", "man*old", "woman*young"}
    assert rows["group.both"].isna().sum() == 1


def test_single_judgements_are_rows_of_their_own() -> None:
    rows = split(single=True)
    assert len(rows) == 5
    assert sorted(rows["rating"]) == sorted(RATINGS["value"])
    assert rows.groupby("item_id")["weight"].sum().tolist() == pytest.approx([3.0, 1.0])


def test_rater_groups_that_nothing_looks_at_do_not_split() -> None:
    rows = split(groups={"sex": {"attributes": ["gender"]}}, by_raters=False)
    assert len(rows) == 2
    assert rows["group.sex"].isna().all()
    groups = {"sex": {"attributes": ["gender"]}, "speech": {"of": "texts", "attributes": ["religion"]}}
    dro = {"kind": "group_dro", "groups": "sex"}
    assert not config(groups=groups).learns_by_raters
    assert not config(groups=groups, mitigations=[dro | {"groups": "speech"}]).learns_by_raters
    assert config(groups=groups, mitigations=[dro]).learns_by_raters
    assert config(groups=groups, heads={"kind": "groups", "groups": "sex"}).learns_by_raters


def test_texts_are_grouped_by_a_lexicon_or_by_terms(tmp_path: Path) -> None:
    pd.DataFrame({"term": ["muslim", "cat", "cat lover"], "axis": ["religion", "animal", "person"]}).to_csv(
        tmp_path / "terms.csv", index=False
    )
    groups = {"who": {"of": "texts", "attributes": ["gender"]}, "what": {"of": "texts", "terms": "terms.csv"}}
    more = pd.concat([ITEMS, ITEMS.assign(item_id=["k", "l"], text=["Cat lovers meet", "concatenate"])])
    rows = split(more.reset_index(drop=True), tmp_path, groups=groups).set_index("item_id")
    assert rows["group.who"].to_dict() == {"i": "woman", "j": NOBODY, "k": NOBODY, "l": NOBODY}
    assert rows["group.what"].to_dict() == {"i": "religion", "j": "animal", "k": "person", "l": NOBODY}


def test_small_groups_count_as_unknown() -> None:
    labels = pd.Series(["x"] * 5 + ["y"] * 2 + [None])
    codes, names = group_codes(labels, at_least=3)
    assert (codes.tolist(), names) == ([0] * 5 + [-1] * 3, ("x",))
    with pytest.raises(RowError, match="no group has 9 rows"):
        group_codes(labels, at_least=9)


def test_an_attribute_that_no_rater_has_is_named() -> None:
    with pytest.raises(ColumnError, match=r"attr\.nation"):
        split(groups={"where": {"attributes": ["nation"]}})


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"heads": {"kind": "groups", "groups": "x"}}, r"heads: groups = 'x' is not one of \[groups\]"),
        ({"mitigations": [{"kind": "group_dro", "groups": "x"}]}, "mitigation group_dro: groups = 'x'"),
        ({"groups": {"x": {"attributes": ["a"]}, "y": {"attributes": ["b"]}}}, "only one of"),
        ({"groups": {"x": {"of": "texts"}}}, "one lexicon in attributes, or a table of terms"),
        ({"groups": {"x": {"of": "raters"}}}, "one attribute or several"),
        ({"heads": {"kind": "ensemble", "combine": "weighted"}}, "does not fit ensemble"),
        ({"mitigations": [{"kind": "counterfactual"}]}, "name lexicons, a table of terms, or both"),
    ],
)
def test_sections_that_do_not_fit_are_refused(sections: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        config(**sections)


def test_two_mitigations_cannot_both_weigh_groups() -> None:
    both = [{"kind": "group_dro", "groups": "x"}, {"kind": "group_balance", "groups": "x"}]
    with pytest.raises(ValueError, match="choose one"):
        config(groups={"x": {"attributes": ["a"]}}, mitigations=both)


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """Two pairs; i is judged by three people, one of them not in the panel, j by one."""
    pd.DataFrame(
        {"item_id": ["i", "j", "k"], "prompt": ["P", "Q", "R"], "response_a": list("abc"), "response_b": list("xyz")}
    ).to_csv(tmp_path / "items.csv", index=False)
    pd.DataFrame(
        [
            ("i", "p", "pair", "a"),
            ("i", "q", "pair", "tie"),
            ("i", "stranger", "pair", "b"),
            ("j", "p", "pair", "b"),
            ("nowhere", "p", "pair", "b"),
        ],
        columns=["item_id", "annotator_id", "kind", "choice"],
    ).to_csv(tmp_path / "feedback.csv", index=False)
    pd.DataFrame({"annotator_id": ["p", "q"], "attr.gender": ["woman", "man"], "weight": [1.0, 3.0]}).to_csv(
        tmp_path / "people.csv", index=False
    )
    return tmp_path


def test_feedback_becomes_pairs_with_the_shares_of_weighted_judgements(study: Path) -> None:
    source = FeedbackSource(
        format="feedback", name="f", path="feedback.csv", items="items.csv", annotators="people.csv", separator=" "
    )
    read = read_feedback(source, study)
    items = read.items.set_index("item_id")
    assert items["p_a"].to_dict() == pytest.approx({"i": (1 * 1 + 3 * 0.5) / 4, "j": 0.0})
    assert items.loc["i", ["text_a", "text_b"]].tolist() == ["P a", "P x"]
    assert read.rejects["value"].tolist() == ["nowhere", "stranger"]
    assert read.n_rows == 5
    assert read.ratings["attr.gender"].tolist() == ["woman", "man", "woman"]


def test_feedback_without_annotators_counts_everybody_alike(study: Path) -> None:
    source = FeedbackSource(format="feedback", name="f", path="feedback.csv", items="items.csv")
    items = read_feedback(source, study).items.set_index("item_id")
    assert items["p_a"].to_dict() == pytest.approx({"i": 0.5, "j": 0.0})


def test_group_heads_of_a_rating_scale_need_declared_levels() -> None:
    from rlhf_fair.training.reward.task import rating_levels

    with pytest.raises(SettingsError, match="needs its allowed ratings"):
        rating_levels(config(objective="ordinal"))
    source = {"format": "ratings", "name": "s", "path": "x.csv", "scale": (1, 5), "better": "low"}
    found = rating_levels(config(objective="ordinal", sources=[source | {"allowed": (1, 2, 5)}]))
    assert found == pytest.approx((0.0, 0.75, 1.0))
    assert np.all(np.diff(found) > 0)


def test_choices_drawn_from_a_model_are_noted(study: Path) -> None:
    source = FeedbackSource(format="feedback", name="f", path="feedback.csv", items="items.csv")
    assert read_feedback(source, study).panel == {}
    table = pd.read_csv(study / "feedback.csv")
    table.assign(simulated=[True] * 2 + [None] * 3).to_csv(study / "feedback.csv", index=False)
    noted = read_feedback(source, study).panel
    assert noted["simulated_rows"] == 2
    assert "warning: 2 of 5 rows are simulated" in str(noted["note"])
