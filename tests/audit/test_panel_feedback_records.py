"""Records beside a report: no rater whose full description few others share."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from rlhf_fair.audit.panel_feedback import run
from rlhf_fair.audit.panel_feedback_records import WITHHELD, shareable_records, withheld_raters
from rlhf_fair.audit.plan import find_plan

DATA = Path(__file__).parents[3] / "shared/data"


def records(groups: dict[tuple[str, str], int]) -> pd.DataFrame:
    """Two ratings by each rater; as many raters of every combination as ``groups`` says."""
    rows = [(cell, item) for cell, n in groups.items() for _ in range(n) for item in ("x", "y")]
    table = pd.DataFrame([(*cell, item) for cell, item in rows], columns=["a", "b", "item"])
    return table.assign(rater=[f"id{i // 2}" for i in range(len(table))], value=1.0)


def test_the_few_and_the_smallest_group_with_them_by_hand() -> None:
    table = records({("p", "u"): 2, ("p", "v"): 6, ("q", "v"): 9})
    shared = shareable_records(table, ["a", "b"], 5)
    # 2 are too few, and too few to hide among: the 6 go with them
    assert withheld_raters(shared, ["a", "b"]) == 8
    assert set(shared.loc[shared["a"] != WITHHELD, "b"]) == {"v"}
    assert shared["rater"].nunique() == 17
    assert not shared["rater"].astype(str).str.startswith("id").any()
    assert shared["value"].equals(table["value"])


def test_enough_of_the_few_hide_each_other() -> None:
    shared = shareable_records(records({("p", "u"): 3, ("p", "v"): 2, ("q", "v"): 9}), ["a", "b"], 5)
    assert withheld_raters(shared, ["a", "b"]) == 5


def test_without_rater_ids_people_are_counted_on_one_item() -> None:
    table = records({("p", "u"): 4, ("q", "v"): 9}).drop(columns="rater")  # 8 ratings, but never more than 4 of an item
    shared = shareable_records(table, ["a", "b"], 5)
    assert set(shared["a"]) == {WITHHELD}
    assert withheld_raters(shared, ["a", "b"]) == 26


def test_one_keeps_everything() -> None:
    table = records({("p", "u"): 1})
    assert shareable_records(table, ["a", "b"], 1)[["a", "b"]].equals(table[["a", "b"]])


@pytest.mark.skipif(not DATA.is_dir(), reason="public data sets not at hand: ../shared/data")
def test_popquorn_records_single_nobody_out(tmp_path: Path) -> None:
    results = run(find_plan("panel-feedback/popquorn"), None, DATA, tmp_path / "out")
    table = pd.read_parquet(tmp_path / "out" / "records.parquet")
    names = [attribute["name"] for attribute in results.audit["plan"]["attributes"]]
    people = table.drop_duplicates("rater")
    assert len(people) == 262
    assert people.groupby(names).size().min() >= 5
    told = results.audit["data"]["attributes withheld in records.parquet"]
    assert told.startswith(f"those of {withheld_raters(table, names)} raters")
