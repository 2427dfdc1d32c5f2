"""Held-out quality by group: one row for a text, raters as a source of error, small groups not told one by one."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from rlhf_fair.training.reward.config import RewardConfig
from rlhf_fair.training.reward.group_quality import SMALL, group_quality, rater_quality
from rlhf_fair.training.reward.sources import Source

SOURCE = {"name": "s", "path": "x.csv", "format": "ratings", "scale": (0, 1), "better": "high"}
CONFIG = RewardConfig.model_validate(
    {
        "title": "t",
        "model": "m",
        "objective": "rating",
        "sources": [SOURCE],
        "groups": {"who": {"of": "raters", "attributes": ["g"]}, "where": {"of": "sources"}},
    }
)


def nowhere(name: str) -> None:
    raise AssertionError(name)


def judged(rng: np.random.Generator, raters: int, items: int, each: int, *, pull: float = 0.4) -> pd.DataFrame:
    """Every rater judges ``each`` texts; he has a leaning of his own, for or against what the reward looks at."""
    truth, prediction = rng.standard_normal((2, items))
    rows = []
    for rater in range(raters):
        leaning = 0.6 + pull * rng.standard_normal()
        for item in rng.choice(items, each, replace=False):
            value = leaning * prediction[item] + 0.5 * truth[item] + 0.5 * rng.standard_normal()
            rows.append(("s", str(item), str(item), str(rater), value, 1.0, prediction[item]))
    columns = ["source", "item_id", "key", "rater_id", "value", "weight", "prediction"]
    return pd.DataFrame(rows, columns=columns)


def test_few_raters_make_a_wide_interval_that_covers() -> None:
    """8 raters with 50 of 60 texts each: to resample texts alone would cover about two thirds of the time."""
    rng = np.random.default_rng(0)
    found = [rater_quality(judged(rng, 8, 60, 50))["pearson_r"] for _ in range(120)]
    truth = np.mean([estimate.estimate for estimate in found])
    covered = np.mean([e.ci_low < truth < e.ci_high for e in found])
    spread = np.std([e.estimate for e in found])
    assert covered >= 0.9
    assert 0.8 * spread < np.mean([e.standard_error for e in found]) < 1.5 * spread
    assert {e.n_clusters for e in found} == {8}


def test_raters_who_agree_add_nothing() -> None:
    rng = np.random.default_rng(1)
    item = np.tile(np.arange(200), 50)
    prediction = rng.standard_normal(200)
    value = (prediction + rng.standard_normal(200))[item]
    rows = pd.DataFrame(
        {"source": "s", "item_id": item.astype(str), "key": item.astype(str), "value": value, "weight": 1.0}
    )
    rows = rows.assign(rater_id=np.repeat(np.arange(50), 200).astype(str), prediction=prediction[item])
    found = rater_quality(rows)["pearson_r"]
    fisher = 1 / np.sqrt(197)
    assert np.arctanh(found.ci_high) - np.arctanh(found.ci_low) == pytest.approx(2 * 2.01 * fisher, rel=0.15)


def test_pairs_by_hand() -> None:
    """Four raters, three pairs; the reward prefers a, b and b."""
    votes = {"1": [1, 1, 1, 0], "2": [1, 1, 1, 1], "3": [0, 0, 1, 1]}
    gaps = {"1": 0.5, "2": -0.1, "3": -2.0}
    rows = [
        ("s", item, item, str(rater), float(vote), 1.0, gaps[item])
        for item, own in votes.items()
        for rater, vote in enumerate(own)
    ]
    columns = ["source", "item_id", "key", "rater_id", "value", "weight", "prediction"]
    table = pd.DataFrame(rows, columns=columns)
    found = rater_quality(table.assign(p_a=table["value"]))["accuracy"]
    # pair 1: three of four for a, right; pair 2: all for a, wrong; pair 3: a tie, left out
    assert (found.estimate, found.n) == (0.5, 2)


def world(sizes: dict[str, int]) -> tuple[pd.DataFrame, pd.DataFrame, list[Source]]:
    """Texts 0, 1, ... each judged by three raters of every group as long as the group has texts left."""
    n = max(sizes.values())
    rng = np.random.default_rng(0)
    ids = [str(k) for k in range(n)]
    value = rng.standard_normal(n)
    items = pd.DataFrame({"source": "s", "item_id": ids, "key": ids, "text": ids, "rating": value, "weight": 1.0})
    rows = [
        (str(k), f"{name}{rater}", value[k] + 0.1 * rng.standard_normal(), 1.0, name)
        for name, size in sizes.items()
        for k in range(size)
        for rater in range(3)
    ]
    ratings = pd.DataFrame(rows, columns=["item_id", "rater_id", "value", "weight", "attr.g"])
    held_out = pd.DataFrame({"source": "s", "item_id": ids, "side": "", "prediction": value})
    return items, held_out, [Source("s", items, pd.DataFrame(), len(rows), ratings)]


def test_small_groups_are_counted_and_not_told_one_by_one() -> None:
    items, held_out, sources = world({"many": 40, "few": SMALL - 1, "one": 1})
    found = group_quality(items, held_out, sources, CONFIG, nowhere)["who"]  # type: ignore[arg-type]
    assert set(found) == {"many", f"(fewer than {SMALL})"}
    assert (found[f"(fewer than {SMALL})"]["groups"], found[f"(fewer than {SMALL})"]["n"]) == (2, SMALL)
    assert (found["many"]["pearson_r"]["n"], found["many"]["pearson_r"]["n_clusters"]) == (40, 3)
    assert found["many"]["pearson_r"]["estimate"] > 0.99


def test_a_text_counts_once_where_groups_are_not_of_raters() -> None:
    items, held_out, sources = world({"a": 40, "b": 40, "c": 40})
    found = group_quality(items, held_out, sources, CONFIG, nowhere)["where"]  # type: ignore[arg-type]
    assert found["s"]["pearson_r"]["n"] == found["s"]["pearson_r"]["n_clusters"] == 40
