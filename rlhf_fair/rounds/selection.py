"""Which of the current policy's pairs the panel is to judge, given what was judged before."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from rlhf_fair.annotators import selection_pool
from rlhf_fair.annotators.selection import Selection, select_at_random, select_by_design
from rlhf_fair.annotators.selection_coverage import coverage
from rlhf_fair.annotators.selection_strategies import EVERYBODY, Known, View, views
from rlhf_fair.models.pair_features import reward_features
from rlhf_fair.models.reward_model import RewardModel
from rlhf_fair.pipeline import Progress, reward_texts
from rlhf_fair.rounds.settings import SelectionSettings


@dataclass(frozen=True)
class Chosen:
    """``items``: the pairs to judge, in the order chosen, with the columns of the candidates.

    ``account``: one row each as `selection_pool.selection_table` has it. ``coverage``: available, wanted and chosen
    of each group.
    """

    items: pd.DataFrame
    account: pd.DataFrame
    coverage: pd.DataFrame


def select_pairs(
    candidates: pd.DataFrame,
    judged: pd.DataFrame,
    reward: Path,
    settings: SelectionSettings,
    *,
    rng: np.random.Generator,
    progress: Progress,
) -> Chosen:
    """Choose among ``candidates`` (items) within the minimums.

    ``judged``: items with p_a that the reward model in the folder ``reward`` learnt from. Pairs with the texts of
    another candidate count once; where fewer than the budget are left, all of them are chosen.
    """
    table = selection_pool.candidates(candidates, ()).table
    table = table.iloc[rng.permutation(len(table))].reset_index(drop=True)  # of equal pairs the first is taken
    budget = min(settings.budget, len(table))
    groups = selection_pool.item_groups(table, settings.groups)
    wanted = coverage(groups, settings.rules, budget)
    seen: dict[str, View] = {}
    found: Selection
    if settings.strategy == "random":
        found = select_at_random(wanted, budget, rng=rng)
    else:
        known = _features(pd.concat([table, judged], ignore_index=True), reward, progress)
        shares = {EVERYBODY: judged.set_index("item_id")["p_a"].dropna()}
        seen = views(settings.strategy, known, table["item_id"].tolist(), shares, settings.heads, rng=rng)
        found = select_by_design(
            {name: view.design for name, view in seen.items()},
            wanted,
            budget,
            explore=settings.explore,
            rng=rng,
            on_pick=lambda done: progress("choosing pairs", done, budget),
        )
        progress("choosing pairs", budget, budget)  # those drawn at random are not heard of
    return Chosen(
        table.iloc[found.rows].reset_index(drop=True),
        selection_pool.selection_table(found, table, groups, settings.strategy, seen),
        selection_pool.coverage_table(found, groups, wanted),
    )


def _features(items: pd.DataFrame, reward: Path, progress: Progress) -> Known:
    """What the reward model makes of both responses, by item_id."""
    model = RewardModel.load(reward)
    prompts, done = items["prompt"].tolist(), 0

    def hear(count: int) -> None:
        nonlocal done
        done += count
        progress("reading pairs", done, 2 * len(items))

    eos = model.tokenizer.eos_token or ""
    sides = [reward_texts(prompts, items[f"response_{side}"].tolist(), eos) for side in ("a", "b")]
    found = reward_features(model, sides[0], sides[1], progress=hear)
    return Known(pd.DataFrame(found.differences, index=items["item_id"].to_numpy()), found.head)
