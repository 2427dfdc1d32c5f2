"""Supervised fine-tuning on counterfactually balanced data: every demonstration, about somebody of every group.

Lu et al. 2018, "Gender bias in neural natural language processing" (counterfactual data augmentation). Whatever the
writers put into an answer then no longer goes with the group; what pre-training put into the model may stay.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from rlhf_fair.mitigations.kit import SFT_STREAM, Kit
from rlhf_fair.mitigations.policy_optimisation import optimise
from rlhf_fair.mitigations.twins import Roster
from rlhf_fair.models.causal_lm import CausalLM
from rlhf_fair.tables import read_table, write_table
from rlhf_fair.training.sft import train_causal_lm


def balanced_demonstrations(
    demonstrations: list[tuple[str, str]], roster: Roster, rng: np.random.Generator
) -> pd.DataFrame:
    """One row for every demonstration and group: demonstration (its number), group, prompt, answer."""
    rows = []
    for number, (prompt, answer) in enumerate(demonstrations):
        for group in roster.groups:
            twin = roster.twin(prompt, [answer], group, rng)
            rows.append({"demonstration": number, "group": group, "prompt": twin.prompt, "answer": twin.answers[0]})
    return pd.DataFrame(rows)


def train(kit: Kit, out: Path) -> None:
    """Fine-tune the base model as the SFT model was, on its demonstrations with their twins: more steps an epoch."""
    s = kit.pipeline
    given = kit.world.demonstrations(s.demonstrations, np.random.default_rng((kit.seed, SFT_STREAM)))
    data = balanced_demonstrations(given, kit.roster, kit.rng(3))
    lm = CausalLM.load(kit.made.base)
    train_causal_lm(
        lm.model,
        lm.tokenizer,
        list(zip(data["prompt"], data["answer"], strict=True)),
        s.sft,
        seed=kit.seed,
        name="balanced-sft",
        on_step=lambda step, total, loss: kit.progress(f"balanced-sft, seed {kit.seed}", step, total),
    )
    lm.model.save_pretrained(out)
    lm.tokenizer.save_pretrained(out)
    write_table(out / "demonstrations.parquet", data)


def then_ppo(kit: Kit, out: Path) -> None:
    """Plain PPO that starts from the balanced model: does what was gained upstream survive a biased reward?"""
    optimise(kit, out, "balanced-sft-ppo", start=kit.trained("balanced-sft", train))


def read_demonstrations(folder: Path) -> pd.DataFrame:
    """What the model in ``folder`` was trained on."""
    return read_table(folder / "demonstrations.parquet")
