from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from upstream import DATA, needs

from rlhf_fair.models.requests import Likelihood
from rlhf_fair.probes.measured import Measured
from rlhf_fair.probes.winobias import (
    load_winobias,
    paired_scenarios,
    parse,
    read_winobias_predictions,
    winobias_measured,
    winobias_records,
    winobias_requests,
)

MEN, WOMEN = ["chief", "construction worker", "ceo"], ["nurse", "clerk"]


def find(measured: list[Measured], metric: str, variant: str) -> Measured:
    (one,) = [m for m in measured if (m.metric, m.variant) == (metric, variant)]
    return one


def scenarios(n: int, kinds: str = "1") -> pd.DataFrame:
    rows = [
        {
            "item_id": f"{side}.type{kind}.dev.{k}",
            "scenario": f"type{kind}.dev.{k}",
            "side": side,
            "type": kind,
            "split": "dev",
            "sentence": "The chief met the nurse.",
            "entity": "chief",
            "other": "nurse",
            "pronoun": "he",
            "gender": "male",
            "male_occupation": f"m{k % 20}",
            "female_occupation": f"f{k // 20 % 20}",
        }
        for kind in kinds
        for side in ("pro", "anti")
        for k in range(n)
    ]
    return pd.DataFrame(rows)


@needs("winobias")
def test_upstream_counts() -> None:
    read = load_winobias(DATA / "winobias")
    table = read.table
    assert (len(table), len(read.rejects)) == (3168, 0)
    assert set(table.groupby(["side", "type", "split"]).size()) == {396}
    assert (table["male_occupation"].nunique(), table["female_occupation"].nunique()) == (20, 20)
    assert len({request.id for request in winobias_requests(table)}) == 6336
    # what makes a sentence pro-stereotypical: men's occupations go with "he", women's with "she"
    stereotypical = (table["gender"] == "male") == (table["entity"] == table["male_occupation"])
    assert stereotypical[table["side"] == "pro"].all()
    assert not stereotypical[table["side"] == "anti"].any()
    sides = paired_scenarios(winobias_records(table, [Likelihood(-1, 1)] * 6336))
    assert len(sides) == 1584
    assert not table["sentence"].str.contains(r"[\[\]]").any()


@pytest.mark.parametrize(
    ("line", "entity", "other", "pronoun"),
    [
        ("[The chief] met the nurse because [he] asked.", "chief", "nurse", "he"),
        ("The chief met the [nurse] and [his] dog.", "nurse", "chief", "his"),
        ("The nurse asked the [ chief] and believed [ him].", "chief", "nurse", "him"),
        ("[The chief] met the clerk as [he] had lost [his] hat.", "chief", "clerk", "he"),
        ("The clerk paid [a construction worker] and thanked [her].", "construction worker", "clerk", "her"),
        ("[The CEO] saw the nurse but [she] left.", "ceo", "nurse", "she"),
        # of two men's occupations beside the woman's, the one mentioned first
        ("The chief told [the nurse] and [her] dog about the CEO.", "nurse", "chief", "her"),
    ],
)
def test_brackets(line: str, entity: str, other: str, pronoun: str) -> None:
    found = parse(line, MEN, WOMEN)
    assert (found["entity"], found["other"], found["pronoun"]) == (entity, other, pronoun)
    assert not set("[]") & set(str(found["sentence"]))


def test_an_article_on_both_sides_of_a_bracket_is_one() -> None:
    assert (
        parse("The nurse saw the [the chief] and [him].", MEN, WOMEN)["sentence"] == "The nurse saw the chief and him."
    )


def test_lines_that_say_too_little_are_rejected(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "male_occupations.txt").write_text("chief")
    (data / "female_occupations.txt").write_text("nurse")
    lines = (
        "1 [The chief] met the nurse and [he] left.\n"
        "2 [The chief] met the nurse and left.\n"
        "3 [The chief] met [the nurse] and [he] left.\n"
        "4 [The chief] met the poet and [he] left."
    )
    for side in ("pro", "anti"):
        for kind in "12":
            for split in ("dev", "test"):
                (data / f"{side}_stereotyped_type{kind}.txt.{split}").write_text(lines)
    read = load_winobias(tmp_path)
    assert (len(read.table), len(read.rejects)) == (8, 24)
    assert set(read.rejects["column"]) == {"pronoun", "entity", "other"}
    assert read.table["item_id"][0] == "pro.type1.dev.1"


def test_the_gap_by_hand() -> None:
    # pro: 3 of 4 right, anti: 1 of 4 right: .5; accuracy 4 of 8
    items = scenarios(4)
    right = ["entity", "entity", "entity", "other", "entity", "other", "other", "other"]
    records = read_winobias_predictions(items, pd.DataFrame({"item_id": items["item_id"], "choice": right}))
    measured = winobias_measured(records)
    gap = find(measured, "pro_less_anti_accuracy", "type1_dev").estimate
    assert gap.estimate == pytest.approx(0.5)
    assert find(measured, "accuracy", "type1_dev").estimate.estimate == pytest.approx(0.5)
    assert not [m for m in measured if "log_odds" in m.metric]


def test_log_odds_see_what_choices_do_not() -> None:
    # always right, but by 3 nats on pro and by 1 on anti
    items = scenarios(40)
    margin = np.where(items["side"] == "pro", -1.0, -3.0)
    answers = [Likelihood(x, 2) for pair in zip(margin, np.full(80, -4.0), strict=True) for x in pair]
    measured = winobias_measured(winobias_records(items, answers))
    assert find(measured, "pro_less_anti_accuracy", "type1_dev").estimate.estimate == 0
    log_odds = find(measured, "pro_less_anti_log_odds", "type1_dev")
    assert (log_odds.estimate.estimate, log_odds.unit) == (pytest.approx(2), "nats")


@pytest.mark.parametrize(("anti", "gap"), [("entity", 0), ("other", 1)])
def test_a_gap_that_is_the_same_in_every_scenario_has_limits(anti: str, gap: int) -> None:
    items = scenarios(400)
    choice = np.where(items["side"] == "pro", "entity", anti)
    records = read_winobias_predictions(items, pd.DataFrame({"item_id": items["item_id"], "choice": choice}))
    e = find(winobias_measured(records), "pro_less_anti_accuracy", "type1_dev").estimate
    assert (e.estimate, e.n, e.n_clusters) == (gap, 400, 20)
    # 20 units cannot show less than the rule of three does of one rate: 3 / 20
    assert e.ci_high - e.ci_low > 0.15
    assert e.ci_low <= gap <= e.ci_high
    assert (e.p_value < 0.001) == (gap == 1)


def test_a_scenario_counts_only_with_both_sides() -> None:
    items = scenarios(4)
    table = pd.DataFrame({"item_id": items["item_id"], "choice": "entity"})
    records = read_winobias_predictions(items, table[1:])
    gap = find(winobias_measured(records), "pro_less_anti_accuracy", "type1_dev")
    assert (gap.estimate.n, gap.estimate.n_left_out) == (3, 1)
    assert gap.parse_rate == pytest.approx(7 / 8)
    assert records["problem"].tolist()[0] == "missing"


@pytest.mark.parametrize("bias", [0.0, 0.3])
def test_a_planted_gap_is_recovered(bias: float) -> None:
    items, draw = scenarios(400, "12"), np.random.default_rng(11)
    chance = np.where(items["side"] == "pro", 0.6 + bias / 2, 0.6 - bias / 2)
    choice = np.where(draw.random(len(items)) < chance, "entity", "other")
    records = read_winobias_predictions(items, pd.DataFrame({"item_id": items["item_id"], "choice": choice}))
    for kind in "12":
        gap = find(winobias_measured(records), "pro_less_anti_accuracy", f"type{kind}_dev").estimate
        assert gap.ci_low < bias < gap.ci_high
        assert (gap.p_value < 0.001) == (bias > 0)
        assert (gap.n, gap.n_clusters) == (400, 20)
