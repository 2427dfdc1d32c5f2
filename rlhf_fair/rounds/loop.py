"""One further round: the current policy writes pairs, some are judged, the reward model learns again, PPO goes on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from rlhf_fair.artifacts import read_json
from rlhf_fair.pipeline import Loop, PipelineSettings, Progress, Trained, World
from rlhf_fair.pipeline_stages import policies
from rlhf_fair.pipeline_stages.feedback import (
    ANNOTATORS_NAME,
    ITEMS_NAME,
    PREFERENCES_NAME,
    answer_twice,
    judge,
    planned_members,
)
from rlhf_fair.pipeline_stages.loop import PEOPLE as POOL
from rlhf_fair.pipeline_stages.policies import FAIRNESS_NAME, Course
from rlhf_fair.pipeline_stages.reward_models import Judged, fit_reward
from rlhf_fair.rounds.selection import select_pairs
from rlhf_fair.rounds.settings import RoundSettings
from rlhf_fair.stages import Stages
from rlhf_fair.tables import read_table, write_table
from rlhf_fair.training.ppo.rollout import PromptBatch
from rlhf_fair.training.ppo.trainer import PPOSettings

PANEL, STAGE = "diverse", "fair_ppo"
"""The policy that further rounds go on from."""

PROMPTS, ANSWERS, CHOICE, PEOPLE, JUDGEMENTS, STEPS, SAMPLING = range(7)
"""Random streams of a round."""


@dataclass(frozen=True)
class Round:
    """Folders of one finished round. ``items`` were judged by the people in ``panel``."""

    number: int
    items: Path
    panel: Path
    reward: Path
    policy: Path


class Rounds:
    """Makes round after round below the folder of ``stages``; finished parts are kept."""

    def __init__(
        self, world: World, settings: PipelineSettings, rounds: RoundSettings, stages: Stages, progress: Progress
    ) -> None:
        self.world, self.settings, self.rounds = world, settings, rounds
        self.stages, self.progress = stages, progress
        self.loop = Loop(world, settings, progress)

    def first(self, trained: Trained) -> Round:
        """The pipeline's run as the first round."""
        policy = next(run.folder for run in trained.policies if (run.stage, run.panel) == (STAGE, PANEL))
        return Round(1, self.stages.root / "pairs", trained.panels[PANEL], trained.rewards[PANEL], policy)

    def next(self, trained: Trained, made: Sequence[Round]) -> Round:
        """The round after ``made``, all rounds so far in order."""
        number, last = made[-1].number + 1, made[-1]
        written = self._stage(number, "pairs", partial(self._write_pairs, number, last.policy))
        chosen = self._stage(number, "selection", partial(self._select, number, made, written))
        panel = self._stage(number, "panel", partial(self._ask, number, made[0].panel, chosen))
        judged = [*made, Round(number, chosen, panel, last.reward, last.policy)]
        reward = self._stage(number, "reward", partial(self._learn_reward, number, trained.base, judged))
        course = partial(self._improve, number, trained.sft, made[0].items, last.policy, reward)
        policy = self._stage(number, "policy", course)
        return Round(number, chosen, panel, reward, policy)

    def rng(self, number: int, stream: int, *part: int) -> np.random.Generator:
        """A stream of its own for each part of each round, apart from those of the first."""
        return self.loop.rng(200, number, stream, *part)

    def preferences(self, judged: Sequence[Round]) -> pd.DataFrame:
        """Items of the rounds in the window with p_a, their ``round`` and ``weight`` (of mean 1), oldest first.

        Items whose judgements have no weight have no p_a and are left out.
        """
        kept = judged if self.rounds.window is None else judged[-self.rounds.window :]
        newest = kept[-1].number
        tables = [_judged_items(one).assign(round=one.number) for one in kept]
        table = pd.concat(tables, ignore_index=True).dropna(subset=["p_a"]).reset_index(drop=True)
        weight = self.rounds.ageing ** (newest - table["round"])
        return table.assign(weight=weight / weight.mean())

    def _stage(self, number: int, name: str, build: partial[None]) -> Path:
        return self.stages.run(f"round-{number}-{name}", build)

    def _write_pairs(self, number: int, policy: Path, out: Path) -> None:
        prompts = self.world.prompts(self.rounds.selection.candidates, self.rng(number, PROMPTS))
        prompts = prompts.assign(prompt_id=f"r{number}-" + prompts["prompt_id"].astype(str))
        seed = int(self.rng(number, ANSWERS).integers(2**31))
        write_table(out / ITEMS_NAME, answer_twice(self.loop, policy, prompts, seed=seed))

    def _select(self, number: int, made: Sequence[Round], written: Path, out: Path) -> None:
        chosen = select_pairs(
            read_table(written / ITEMS_NAME),
            self.preferences(made),
            made[-1].reward,
            self.rounds.selection,
            rng=self.rng(number, CHOICE),
            progress=lambda what, done, total: self.progress(f"round {number}: {what}", done, total),
        )
        write_table(out / ITEMS_NAME, chosen.items)
        write_table(out / "selection.csv", chosen.account)
        write_table(out / "coverage.csv", chosen.coverage)

    def _ask(self, number: int, first: Path, chosen: Path, out: Path) -> None:
        if self.rounds.panel == "kept":
            members = read_table(first / ANNOTATORS_NAME)
        else:
            pool = self.world.pool(self.loop.rng(POOL))  # the very people that the first round drew from
            members = planned_members(self.loop, pool, self.rng(number, PEOPLE), out)
        judge(self.loop, read_table(chosen / ITEMS_NAME), members, self.rng(number, JUDGEMENTS), out)

    def _learn_reward(self, number: int, base: Path, judged: Sequence[Round], out: Path) -> None:
        """Anew from the base model, on old and new preferences; the scale stays that of the SFT policy's answers."""
        items = self.preferences(judged)
        known = read_table(judged[0].items / ITEMS_NAME)
        weight = items["weight"].to_numpy(dtype=float)
        fit_reward(self.loop, f"reward-round-{number}", PANEL, base, Judged(items, known, weight), out)

    def _improve(self, number: int, sft: Path, first_pairs: Path, last: Path, reward: Path, out: Path) -> None:
        """PPO from the last policy; its penalty goes on with the multipliers and group means where it stood."""
        scorer = self.stages.root / "training-scorer"
        fairness = policies.penalty(self.loop, scorer, first_pairs)
        fairness.shaper.load_state_dict(read_json(last / FAIRNESS_NAME, "state of the penalty"))
        course = Course(
            name=f"fair-ppo-round-{number}",
            panel=PANEL,
            start=last,
            reward=reward,
            fairness=fairness,
            ppo=self._ppo(),
            seed=int(self.rng(number, SAMPLING).integers(2**31)),
            reference=sft if self.rounds.reference == "sft" else None,
        )
        policies.improve(self.loop, course, partial(self._prompts, number), out)

    def _ppo(self) -> PPOSettings:
        ppo, steps = self.settings.ppo, self.rounds.ppo_steps
        return ppo if steps is None else ppo.model_copy(update={"steps": steps})

    def _prompts(self, number: int, step: int) -> PromptBatch:
        return policies.batch(self.loop, self.rng(number, STEPS, step))


def _judged_items(one: Round) -> pd.DataFrame:
    preferences = read_table(one.panel / PREFERENCES_NAME)
    return read_table(one.items / ITEMS_NAME).merge(preferences[["item_id", "p_a"]], on="item_id", validate="1:1")
