"""`rlhf-fair train`: one training stage at a time. A stopped run goes on: give the same command again."""

from __future__ import annotations

import typer

from rlhf_fair.cli.train_ppo import ppo
from rlhf_fair.cli.train_reward import reward
from rlhf_fair.cli.train_sft import sft

app = typer.Typer(
    name="train",
    help="Train one stage: supervised fine-tuning, a reward model, or PPO with a fairness penalty.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

app.command()(sft)
app.command()(reward)
app.command()(ppo)
