from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlhf_fair.errors import ColumnError, MissingFileError, RowError, SettingsError
from rlhf_fair.training.reward.config import Attribute, PairSource, Panel, RatingSource, TextTable
from rlhf_fair.training.reward.panel import levels, read_census
from rlhf_fair.training.reward.sources import read_pairs, read_ratings, text_key, unit_rating

CENSUS = (
    "age_category,White_Male,Black_Male,White_Female,Black_Female,All,All_Male\n"
    "18-24 years old,0.1,0.1,0.1,0.1,0.4,0.2\n"
    "65+ years old,0.2,0.1,0.2,0.1,0.6,0.3\n"
    "All Ages,0.3,0.2,0.3,0.2,1.0,0.5\n"
)
RATINGS = (
    "item,rater,text,score,gender\n"
    "1,a,You are nice.,1,Woman\n"
    "1,b,You are nice.,3,Man\n"
    "1,b,You are nice.,3,Man\n"  # the same person twice
    "2,a,awful,5,Woman\n"
    "2,b,awful,6,Man\n"  # off the scale
    "2,c,awful,na,Man\n"
    "2,d,awful,9,Man\n"  # "cannot say"
    "3,a,,2,Woman\n"  # no text
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "ratings.csv").write_text(RATINGS)
    (tmp_path / "census.csv").write_text(CENSUS)
    return tmp_path


def rating_source(**changes: object) -> RatingSource:
    content: dict[str, object] = {"format": "ratings", "name": "r", "path": "ratings.csv", "item": "item"}
    content |= {"rater": "rater", "rating": "score", "scale": (1, 5), "better": "low", "missing": ("na",)}
    return RatingSource.model_validate(content | {"no_answer": (9,)} | changes)


def test_items_and_rejects_add_up(folder: Path) -> None:
    read = read_ratings(rating_source(), folder, None)
    assert read.n_rows == 8
    assert read.items["item_id"].tolist() == ["1", "2"]
    # 1 to 5, low is better: 1 and 3 become 1 and .5; 5 becomes 0
    assert read.items["rating"].tolist() == [0.75, 0.0]
    assert read.items["n_ratings"].tolist() == [2, 1]
    codes = read.rejects.set_index("code")["row"].to_dict()
    assert codes == {"duplicate": 3, "out_of_range": 5, "missing": 7, "no_text": 0}
    assert len(read.rejects) == 5  # "missing" twice: na and 9
    assert len(read.ratings) + len(read.rejects) == read.n_rows


@given(st.floats(-10, 10), st.floats(0.1, 20), st.floats(0, 1))
def test_every_scale_becomes_zero_to_one(low: float, width: float, share: float) -> None:
    rating = pd.Series([low, low + share * width, low + width])
    high, low_is_better = (
        unit_rating(rating, rating_source(scale=(low, low + width), better=better)) for better in ("high", "low")
    )
    assert high.tolist() == pytest.approx([0, share, 1], abs=1e-9)
    assert (high + low_is_better).tolist() == pytest.approx([1, 1, 1])


@pytest.mark.parametrize("scale", [(5, 1), (2, 2)])
def test_a_scale_rises(scale: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match=r"must be \[lowest, highest\]"):
        rating_source(scale=scale)


def test_texts_from_another_table(folder: Path) -> None:
    (folder / "texts.csv").write_text("id,words\n1,One\n2,Two\n2,Two again\n")
    source = rating_source(texts=TextTable(path="texts.csv", item="id", text="words"))
    read = read_ratings(source, folder, None)
    assert read.items["text"].tolist() == ["One", "Two"]
    assert "duplicate" in set(read.rejects["code"])


def test_census_weights_move_the_mean_towards_the_population(folder: Path) -> None:
    rows = ["item,rater,text,score,gender"]
    rows += [f"1,w{n},hello,1,Female" for n in range(9)] + ["1,m0,hello,5,Male"]
    (folder / "ratings.csv").write_text("\n".join(rows))
    source = rating_source(attributes={"gender": Attribute(column="gender")})
    plain = read_ratings(source, folder, None).items
    weighted = read_ratings(source, folder, Panel(census="census.csv", trim=10))
    assert plain["rating"].tolist() == [pytest.approx(0.9)]  # nine 1s and one 5
    assert weighted.items["rating"].tolist() == [pytest.approx(0.5)]  # half women, half men
    assert weighted.panel["design_effect"] == pytest.approx(10 * (9 / 18**2 + 1 / 4))


def test_census_margins_by_hand(folder: Path) -> None:
    population = read_census(folder / "census.csv", ["age", "race", "gender"])
    margins = {margin.name: margin.shares.round(6).to_dict() for margin in population.margins}
    assert margins["age"] == {"18-24": 0.4, "65+": 0.6}
    assert margins["race"] == {"Black": 0.4, "White": 0.6}
    assert margins["gender"] == {"Female": 0.5, "Male": 0.5}
    with pytest.raises(SettingsError, match="no margin 'religion'; allowed: age, race, gender"):
        read_census(folder / "census.csv", ["religion"])


def test_bands_are_closed_below_and_open_above() -> None:
    attribute = Attribute(column="age", edges=(18, 25, 65), labels=("18-24", "25-64", "65+"))
    found = levels(pd.Series([17, 18, 24.9, 25, 64, 65, 90, None]), attribute)
    assert [None if pd.isna(v) else v for v in found] == [None, "18-24", "18-24", "25-64", "25-64", "65+", "65+", None]


def test_hh_rlhf_with_a_malformed_line(folder: Path) -> None:
    lines = [
        '{"chosen": "\\n\\nHuman: Hi\\n\\nAssistant: Hello", "rejected": "\\n\\nHuman: Hi\\n\\nAssistant: Go"}',
        "{not json",
        '{"chosen": "only one"}',
    ]
    (folder / "pairs.jsonl").write_text("\n".join(lines))
    read = read_pairs(PairSource(format="hh_rlhf", name="hh", path="pairs.jsonl"), folder)
    assert read.items["text_a"].str.endswith("Hello").tolist() == [True]
    assert read.items["p_a"].tolist() == [1.0]
    assert read.items["key"].tolist() == ["humanhi"]
    assert dict(zip(read.rejects["row"], read.rejects["code"], strict=True)) == {2: "malformed", 3: "missing"}
    assert read.n_rows == 3


def test_own_pair_table(folder: Path) -> None:
    (folder / "pairs.csv").write_text("prompt,response_a,response_b,p_a\nHow?,So.,Thus.,0.75\nWhy?,A,B,1.5\n")
    read = read_pairs(PairSource(format="pairs", name="own", path="pairs.csv", separator=" "), folder)
    assert read.items[["text_a", "text_b", "p_a"]].to_numpy().tolist() == [["How? So.", "How? Thus.", 0.75]]
    assert read.rejects["code"].tolist() == ["out_of_range"]


def test_user_faults_are_named(folder: Path) -> None:
    with pytest.raises(ColumnError, match="lacks column 'who'"):
        read_ratings(rating_source(rater="who"), folder, None)
    with pytest.raises(MissingFileError, match=r"absent\.csv"):
        read_ratings(rating_source(path="absent.csv"), folder, None)
    with pytest.raises(RowError, match="no usable rating"):
        read_ratings(rating_source(scale=(100, 101)), folder, None)


def test_texts_are_the_same_if_letters_and_digits_are() -> None:
    assert text_key("Don't  stop!") == text_key("dont stop")
    assert text_key("?!") != text_key("...")
