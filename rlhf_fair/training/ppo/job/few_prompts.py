"""What too few prompts mean for a run, said before it begins and in its report."""

from __future__ import annotations

import pandas as pd

from rlhf_fair.metrics.gaps import group_labels
from rlhf_fair.training.ppo.job.config import PPOConfig
from rlhf_fair.training.ppo.job.held_out_change import compared_attributes
from rlhf_fair.training.ppo.job.prompt_table import PromptTable

ENOUGH_CLUSTERS = 25
"""With fewer in a group intervals are wide and cover less surely: see `rlhf_fair.stats.contrasts`."""
OFTEN = 100
"""After so many answers to each prompt of training, what is learnt may be of these prompts alone."""


def few_prompts(table: PromptTable, config: PPOConfig) -> list[str]:
    """Sentences about groups of few held-out prompts and about few prompts of training; none where there are enough.

    Held-out prompts are counted by their texts and by the clusters of the config, whichever are fewer.
    """
    found = []
    sizes = _independent(table.held_out, config)
    few = {group: n for group, n in sizes.items() if n < ENOUGH_CLUSTERS}
    if few:
        smallest = min(few, key=few.__getitem__)
        found.append(
            f"{len(few)} of {len(sizes)} groups of held-out prompts have fewer than {ENOUGH_CLUSTERS} independent ones "
            f"({smallest}: {few[smallest]}): intervals of their gaps are wide, and cover less surely than they say"
        )
    t = config.training
    times = t.steps * t.batch_size / max(len(table.train), 1)
    if times > OFTEN:
        found.append(
            f"each of {len(table.train)} prompts of training is answered about {times:.0f} times: what is learnt may "
            "be of these prompts alone"
        )
    return found


def _independent(prompts: pd.DataFrame, config: PPOConfig) -> dict[str, int]:
    """Group -> how many independent prompts it has: the fewest over the ways in which they are clustered."""
    ways = ["prompt", *config.prompts.clusters]
    sizes: dict[str, int] = {}
    for attribute, _ in compared_attributes(prompts, config.prompts.groups, config.prompts.references):
        each = prompts[ways].groupby(group_labels(prompts, attribute)).nunique().min(axis=1)
        sizes |= {f"{attribute}: {group}": int(n) for group, n in each.items()}
    return sizes
