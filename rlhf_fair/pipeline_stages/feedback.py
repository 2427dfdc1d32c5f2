"""Feedback: pairs of answers, the people of a panel, what they prefer, and the scorer learnt from rated answers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from rlhf_fair.annotators.aggregation import aggregate_pairs
from rlhf_fair.annotators.assignment import assign
from rlhf_fair.annotators.panel import convenience_panel, plan_panel
from rlhf_fair.annotators.weights import raking_weights
from rlhf_fair.models.causal_lm import CausalLM
from rlhf_fair.pipeline_stages.loop import PAIRS, PEOPLE, RATED_ANSWERS, Loop
from rlhf_fair.tables import read_table, write_table

ITEMS_NAME, ANNOTATORS_NAME, PREFERENCES_NAME = "items.parquet", "annotators.parquet", "preferences.parquet"


def sample_pairs(loop: Loop, sft: Path, out: Path) -> None:
    """The items of the first round: two answers of the SFT policy to each prompt."""
    prompts = loop.world.prompts(loop.settings.pairs, loop.rng(PAIRS))
    write_table(out / ITEMS_NAME, answer_twice(loop, sft, prompts, seed=loop.settings.seed))


def answer_twice(loop: Loop, policy: Path, prompts: pd.DataFrame, *, seed: int) -> pd.DataFrame:
    """The prompts as items with response_a and response_b; an answer depends on its item_id and the seed alone."""
    lm, responses = CausalLM.load(policy), {}
    for side in ("a", "b"):
        ids = [f"{prompt_id}{side}" for prompt_id in prompts["prompt_id"]]
        answers = lm.generate(
            prompts["prompt"].tolist(),
            ids,
            max_new_tokens=loop.settings.ppo.max_new_tokens,
            seed=seed,
            batch_size=512,
        )
        responses[f"response_{side}"] = [answer.text for answer in answers]
    return prompts.assign(**responses).rename(columns={"prompt_id": "item_id"})


def learn_scorer(loop: Loop, pairs: Path, out: Path) -> None:
    """The scorer that the penalty trains on, from rated answers; the audit certifies with another one."""
    items = read_table(pairs / ITEMS_NAME).head(loop.settings.rated_answers)
    scorer = loop.world.training_scorer(items.assign(text=items["response_a"]), loop.rng(RATED_ANSWERS))
    scorer.save(out / "scorer.json")


def ask_panel(loop: Loop, panel: str, pairs: Path, out: Path) -> None:
    """The judgements of the ``convenience`` or the ``diverse`` panel on the pairs."""
    rng = loop.rng(PEOPLE)
    pool, items = loop.world.pool(rng), read_table(pairs / ITEMS_NAME)
    if panel == "diverse":
        members = planned_members(loop, pool, rng, out)
    else:
        members = convenience_panel(pool, size=loop.settings.panel_size, rng=rng)
    judge(loop, items, members, rng, out)


def planned_members(loop: Loop, pool: pd.DataFrame, rng: np.random.Generator, out: Path) -> pd.DataFrame:
    """Members of a panel with the population's margins, and their weights; how near it came stands in ``out``."""
    population = loop.world.population()
    plan = plan_panel(pool, population, size=loop.settings.panel_size, rng=rng)
    write_table(out / "targets.csv", plan.targets)
    weights = raking_weights(plan.members, population).weights
    return plan.members.assign(weight=plan.members["annotator_id"].map(weights))


def judge(loop: Loop, items: pd.DataFrame, members: pd.DataFrame, rng: np.random.Generator, out: Path) -> None:
    """Members judge the items; who they are, what they chose, and the share of (weighted) judgements for a."""
    s = loop.settings
    weights = members.set_index("annotator_id")["weight"] if "weight" in members else None
    groups = [f"attr.{name}" for name in s.group_by]
    assignments = assign(
        items, members, ratings_per_item=s.ratings_per_pair, distinct_groups=2, group_columns=groups, rng=rng
    )
    feedback = loop.world.judge(items, assignments, members, rng)
    write_table(out / ANNOTATORS_NAME, members)
    write_table(out / "feedback.parquet", feedback)
    write_table(out / PREFERENCES_NAME, aggregate_pairs(feedback, weights))
