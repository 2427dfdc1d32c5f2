from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from rlhf_fair.errors import ColumnError, RowError
from rlhf_fair.probes.reward_people import null_people, people_of
from rlhf_fair.probes.reward_selection import (
    candidate_items,
    growth_table,
    read_candidates,
    selection,
    selection_gaps,
)

LAYOUT = "{prompt}\n{answer}"


def pools(rewards: dict[str, list[float]], prompts: int) -> pd.DataFrame:
    """The same candidates for every prompt: group -> rewards, which are their quality too."""
    rows = [
        ("age", "words", f"p{prompt}", group, reward, reward)
        for prompt in range(prompts)
        for group, values in rewards.items()
        for reward in values
    ]
    return pd.DataFrame(rows, columns=["attribute", "kind", "prompt_id", "group", "reward", "quality"])


def test_shares_worked_by_hand() -> None:
    # rewards 4, 1 (old) and 3, 2 (young); best of 2 of 4: 4 in 3 of 6 pairs, 3 in 2, 2 in 1, 1 in none
    table = selection(pools({"old": [4, 1], "young": [3, 2]}, 1), (1, 2, 4, 8)).set_index(["n", "group"])
    assert table.loc[(1, "old"), "share"] == pytest.approx(0.5)
    assert table.loc[(2, "old"), "share"] == pytest.approx(3 / 6)
    assert table.loc[(2, "old"), "selected_quality"] == pytest.approx((3 * 4 + 2 * 3 + 2) / 6)
    assert table.loc[(4, "old"), "share"] == pytest.approx(1)
    assert set(table.index.get_level_values("n")) == {1, 2, 4}  # no best of 8 of 4


def test_a_planted_penalty_grows_with_n_and_a_fair_reward_selects_evenly() -> None:
    rng = np.random.default_rng(0)
    parts = []
    for prompt in range(24):
        for group in ("young", "old"):
            rewards = rng.normal(size=32)
            parts += [("age", "words", f"p{prompt}", group, r - 0.5 * (group == "old"), r) for r in rewards]
    table = pd.DataFrame(parts, columns=["attribute", "kind", "prompt_id", "group", "reward", "quality"])
    selected = selection(table, (1, 4, 16, 64))
    means = selected[selected["group"] == "old"].groupby("n")["share"].mean()
    assert means[1] == pytest.approx(0.5)
    assert means[1] > means[4] > means[16]
    # the best of 4 of an even mix of N(0, 1) and N(-.5, 1): P(old) = int 2 F^3 phi(x + .5) dx, F the mixture's law
    x = np.linspace(-8, 8, 20001)
    from scipy.stats import norm

    law = (norm.cdf(x) + norm.cdf(x + 0.5)) / 2
    expected = float(np.trapezoid(2 * law**3 * norm.pdf(x + 0.5), x))
    gap = next(m for m in selection_gaps(selected, 4, alpha=0.05, power=0.8) if m.group == "old")
    assert gap.estimate.ci_low < expected - 0.5 < gap.estimate.ci_high
    fair = selection(table.assign(reward=table["quality"]), (16,))
    none = next(m for m in selection_gaps(fair, 16, alpha=0.05, power=0.8) if m.group == "old")
    assert none.estimate.ci_low < 0 < none.estimate.ci_high


def test_growth_stands_beside_kl() -> None:
    table = growth_table(
        selection(pools({"old": [1, 2], "young": [3, 4]}, 3), (1, 2, 4)), alpha=0.05, rng=np.random.default_rng(0)
    )
    rows = pd.DataFrame(table["rows"], columns=table["columns"])
    assert rows["best_of"].tolist() == [1, 2, 4]
    # log n - (n - 1) / n: 0, .6931 - .5, 1.3863 - .75
    assert rows["KL_nats"].tolist() == pytest.approx([0, 0.1931, 0.6363], abs=5e-5)
    assert rows["share_of_candidates"].tolist() == [0.5] * 3


def test_the_group_that_moves_most_by_chance_has_an_interval_for_that() -> None:
    """Six groups alike, 12 prompts: of 100 tables at most 6 % and three standard errors (7 %) may leave out 0."""
    shown, alone, missed = 0, 0, 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        key = pd.MultiIndex.from_product([[f"p{k}" for k in range(12)], list("abcdef"), range(11)])
        table = key.to_frame(index=False, name=["prompt_id", "group", "answer"])
        reward = rng.normal(size=len(table))
        selected = selection(table.assign(attribute="age", kind="words", reward=reward, quality=reward), (16, 64))
        grown = growth_table(selected, alpha=0.05, rng=rng)
        first, last = (dict(zip(grown["columns"], row, strict=True)) for row in grown["rows"])
        shown += not first["gap_low"] <= 0 <= first["gap_high"]
        mine = next(m for m in selection_gaps(selected, 16, alpha=0.05, power=0.8) if m.group == first["group"])
        alone += not mine.estimate.ci_low <= 0 <= mine.estimate.ci_high
        missed += last["gap_low"] is not None  # 64 of 66: each prompt selects one and the same
    assert shown <= 100 * (0.06 + 0.07)
    assert alone > 2 * shown  # what a single group's interval would have claimed
    assert missed == 0


def test_of_two_groups_the_interval_is_that_of_either() -> None:
    rng = np.random.default_rng(1)
    table = pools({"old": [0.0] * 20, "young": [0.0] * 20}, 30)
    selected = selection(table.assign(reward=rng.normal(size=len(table))), (4,))
    grown = growth_table(selected, alpha=0.05, rng=rng)
    row = dict(zip(grown["columns"], grown["rows"][0], strict=True))
    (e,) = [m.estimate for m in selection_gaps(selected, 4, alpha=0.05, power=0.8) if m.group == row["group"]]
    # one group's gap is minus the other's: a family of one, up to what 4,999 draws leave open
    assert row["gap_low"] == pytest.approx(e.ci_low, abs=0.03 * (e.ci_high - e.ci_low))
    assert row["gap_high"] == pytest.approx(e.ci_high, abs=0.03 * (e.ci_high - e.ci_low))


def test_a_prompt_with_an_unscored_candidate_is_left_out() -> None:
    table = pools({"old": [4.0, 1.0], "young": [3.0, 2.0]}, 2)
    table.loc[table["prompt_id"] == "p1", "reward"] = [1.0, np.nan, 2.0, 3.0]
    assert set(selection(table, (2,))["prompt_id"]) == {"p0"}


def test_packaged_pools_hold_every_group_alike_and_are_large_enough() -> None:
    templates = pd.DataFrame(
        {
            "prompt_id": ["o1"] * 4,
            "answer_id": [f"o1-{k}" for k in range(4)],
            "prompt": ["Who should speak?"] * 4,
            "answer": ["Ask {a}.", "Ask {a}, please.", "Perhaps {a}.", "{A}, I think."],
            "quality": [4.0, 3.0, 2.0, 1.0],
        }
    )
    people = people_of("religion", ["Christian man", "Christian nurse"], names=0)
    people += people_of("gender", ["man", "father"], names=8) + null_people([("tall man", "short man")], names=4)
    items = candidate_items(templates, people, size=20, layout=LAYOUT)
    sizes = items.groupby(["attribute", "group"]).size()
    # 4 answers x 5 religions = 20 are enough with one person; 4 x 2 genders = 8 need three, of which there are two
    assert (sizes["religion"] == 4).all()
    assert (sizes["gender"] == 8).all()
    assert items["item_id"].is_unique
    assert items["text"].is_unique
    assert "names" not in set(items["kind"])


def test_own_candidates_are_read_and_faults_named(tmp_path: Path) -> None:
    path = tmp_path / "candidates.jsonl"
    path.write_text(
        '{"prompt_id": "1", "prompt": "Hi", "group": "a", "text": "Hello", "quality": 2}\n'
        '{"prompt_id": "1", "prompt": "Hi", "group": "", "text": "Ho"}\n'
    )
    items, rejects = read_candidates(path, LAYOUT)
    assert items["text"].tolist() == ["Hi\nHello"]
    assert items["attribute"].tolist() == ["group"]
    assert rejects["code"].tolist() == ["missing"]
    path.write_text('{"prompt_id": "1", "prompt": "Hi", "text": "Hello"}\n')
    with pytest.raises(ColumnError, match="group"):
        read_candidates(path, LAYOUT)
    path.write_text('{"prompt_id": "1", "prompt": "Hi", "group": "", "text": "Hello"}\n')
    with pytest.raises(RowError, match="row 1, column 'group'"):
        read_candidates(path, LAYOUT)
