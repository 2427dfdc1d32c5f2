"""From a config to a policy on disk with its held-out account: the whole of ``rlhf-fair train ppo``.

The folder holds the model as plain transformers load it, the config, the course of training (curve.jsonl,
groups.jsonl), what held-out prompts say before and after (metrics.json, held_out_start.parquet, held_out_end.parquet;
without texts), results.json for the report, and a manifest.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from rlhf_fair.artifacts import (
    MANIFEST_NAME,
    make_folder,
    read_json,
    write_bytes,
    write_json,
    write_results,
)
from rlhf_fair.attestation.sealing import seal
from rlhf_fair.errors import SettingsError
from rlhf_fair.models.causal_lm import CausalLM
from rlhf_fair.models.chat_lm import ChatTokenizer, end_tokens
from rlhf_fair.models.chat_template import ChatTemplate
from rlhf_fair.models.loading import position_limit, quiet_transformers, resolve
from rlhf_fair.models.refusal import is_refusal
from rlhf_fair.probes.scorers import Ruler, ScorerPlan, open_scorer
from rlhf_fair.settings import read_toml
from rlhf_fair.tables import read_table, write_table
from rlhf_fair.training.data_folders import Folders
from rlhf_fair.training.ppo.critic import RewardCritic
from rlhf_fair.training.ppo.job.account import Run, account, results, score_column, training_run
from rlhf_fair.training.ppo.job.config import PPOConfig
from rlhf_fair.training.ppo.job.few_prompts import few_prompts
from rlhf_fair.training.ppo.job.held_out import Sampling, answer, measure, with_total, without_texts
from rlhf_fair.training.ppo.job.held_out_change import compared_attributes
from rlhf_fair.training.ppo.job.inputs import CHECKPOINT_NAME, PASSING, SCALES_NAME, begin, clear, job_inputs
from rlhf_fair.training.ppo.job.parts import (
    check_groups,
    first_scales,
    levels_before,
    needs_answers,
    open_critic,
    open_fairness,
)
from rlhf_fair.training.ppo.job.processes import first_goes_ahead, is_first
from rlhf_fair.training.ppo.job.prompt_table import PromptStream, PromptTable, Window, read_prompt_table
from rlhf_fair.training.ppo.job.run_files import RunFiles
from rlhf_fair.training.ppo.rewards.total import Paid, RewardSum, open_part
from rlhf_fair.training.ppo.trainer import Fairness, PPOTrainer
from rlhf_fair.training.process_device import open_device

CONFIG_NAME = "config.toml"
METRICS_NAME = "metrics.json"
START_NAME = "held_out_start.parquet"
END_NAME = "held_out_end.parquet"
LEVEL_PROMPTS = 512
"""Most training prompts that are answered before training: for the scales of rewards, and for the levels below which no
group may fall."""

Progress = Callable[[str, int, int], None]
OnStep = Callable[[Mapping[str, Any], int], None]


@dataclass(frozen=True)
class PPOJob:
    """Where the policy lies, the content of ``metrics.json``, and whether an earlier run had already finished."""

    folder: Path
    metrics: dict[str, Any]
    already_done: bool


def train_ppo(
    config_path: Path,
    data_dir: Path,
    out: Path,
    *,
    progress: Progress | None = None,
    on_step: OnStep | None = None,
    on_note: Callable[[str], None] | None = None,
) -> PPOJob:
    """Train what ``config_path`` describes into ``out``; the same call resumes a stopped run, skips a finished one.

    ``progress(what, done, total)`` hears of all long work, ``on_step(row, steps)`` each row of the curve, ``on_note``
    before the first step what too few prompts mean for the run.
    """
    config = read_toml(config_path, PPOConfig, "training config")
    inputs = job_inputs(config, config_path, data_dir)
    if (out / MANIFEST_NAME).is_file():
        if read_json(out / MANIFEST_NAME, "manifest")["inputs"] != inputs:
            raise SettingsError(f"{out} holds a run of another config or other data; delete it or choose another --out")
        if is_first():
            clear(out)
        return PPOJob(out, read_json(out / METRICS_NAME, "metrics file"), already_done=True)
    if is_first():
        make_folder(out)
        begin(out, config, inputs)
        write_bytes(out / CONFIG_NAME, config_path.read_bytes())
    job = _Job(config, Folders(config_path.parent, data_dir), out, progress or (lambda what, done, total: None))
    if on_note is not None:
        for note in few_prompts(job.table, config):
            on_note(note)
    with first_goes_ahead():
        before = job.start()
    run = job.optimise(on_step or (lambda row, steps: None))
    with first_goes_ahead():
        if is_first():
            job.finish(before, run)
            seal(out, inputs=inputs, seeds={"training": config.seed}, leave_out=PASSING)
            clear(out)
    return PPOJob(out, read_json(out / METRICS_NAME, "metrics file"), already_done=False)


class _Job:
    """One run: what it opened, and its three parts."""

    def __init__(self, config: PPOConfig, folders: Folders, out: Path, progress: Progress) -> None:
        self.config, self.folders, self.out, self.progress = config, folders, out, progress
        self.source = resolve(config.model, folders.data)
        self.device = str(open_device(config.training.device))  # before any model is: of several processes, its own GPU
        self.policy = CausalLM.load(self.source, device=self.device)
        template = ChatTemplate.find(self.source, config.chat)
        tokenizer = self.policy.tokenizer
        self.asks: Any = ChatTokenizer(tokenizer, end_tokens(self.policy)) if template else tokenizer
        t = config.training
        window = Window(self.asks, template, t.max_new_tokens, position_limit(self.policy.model))
        strata = config.fairness.strata_by if config.fairness else ()
        self.table: PromptTable = read_prompt_table(
            config.prompts, config.held_out, folders, window, strata=strata, seed=config.seed
        )
        compared_attributes(self.table.held_out, config.prompts.groups, config.prompts.references)  # or raise now
        check_groups(config, self.table.train)
        self.reward = RewardSum([open_part(r, folders.config, folders.data, self.device) for r in config.rewards])
        self.sampling = Sampling(t.max_new_tokens, t.temperature, config.held_out.samples, config.seed)

    @property
    def kept(self) -> tuple[str, ...]:
        """Columns of the prompts that records keep."""
        strata = self.config.fairness.strata_by if self.config.fairness else ()
        return (*self.config.prompts.groups, *strata, *self.config.prompts.clusters)

    @cached_property
    def rulers(self) -> dict[str, Ruler]:
        """Column of the records -> the ruler: the one of training first, then those that certify."""
        plans: list[ScorerPlan] = [self.config.fairness.scorer] if self.config.fairness else []
        return {score_column(plan): open_scorer(plan, self.folders.config) for plan in (*plans, *self.config.certify)}

    def start(self) -> pd.DataFrame:
        """The untrained policy on held-out prompts; fixes the scales of rewards and the floors of groups."""
        if not (self.out / SCALES_NAME).is_file():
            records = self._measured("before training", self.policy.model, self.table.held_out, None)
            write_table(self.out / "rejects.csv", self.table.rejects)
            write_table(self.out / START_NAME, without_texts(records, self.kept))
            answers = self._first_answers()
            scales = first_scales(self.config, self.reward, answers, self.table.train)
            write_json(self.out / SCALES_NAME, {"scales": scales, "levels": self._levels(answers)})
        kept = read_json(self.out / SCALES_NAME, "scales of the start")
        parts = [replace(p, centre=c, spread=s) for p in self.reward.parts for c, s in [kept["scales"][p.label]]]
        self.reward = RewardSum(parts)
        self.levels: dict[str, float] = kept["levels"]
        return with_total(read_table(self.out / START_NAME), self.reward)

    def optimise(self, on_step: OnStep) -> Run:
        """PPO, with its files written as it goes."""
        c, files = self.config, RunFiles(self.out, self.config.samples)
        cluster = c.prompts.clusters[0] if c.prompts.clusters else None
        stream = PromptStream(self.table.train, c.training.batch_size, c.seed, cluster)
        several = len(self.reward.parts) > 1

        def paid(latest: Paid) -> None:
            observed = {f"reward_of:{label}": values for label, values in latest.parts.items() if several}
            observed |= {"refusals": is_refusal(latest.completions).astype(float)}
            means = {name: float(trainer.devices.gather(values).mean()) for name, values in observed.items()}
            if is_first():
                files.expect(stream.latest + 1, means, latest.answers())

        def heard(row: dict[str, float]) -> None:
            if is_first():
                on_step(files.hear(row, trainer.curve), c.training.steps)

        reward = RewardSum(self.reward.parts, paid)
        trainer = PPOTrainer(
            self.policy.model,
            self.asks,
            reward,
            c.training,
            seed=c.seed,
            fairness=self._fairness(),
            critic=self._critic(),
        )
        record = trainer.train(
            stream,
            name=self.stage,
            on_step=heard,
            checkpoint=self.out / CHECKPOINT_NAME,
        )
        if not is_first():
            return Run((), record.seconds)
        files.finish(trainer.curve)
        with quiet_transformers():
            self.policy.model.save_pretrained(self.out)
            self.policy.tokenizer.save_pretrained(self.out)
        return Run(files.whole_rows(), record.seconds)

    def finish(self, before: pd.DataFrame, run: Run) -> None:
        """Measure what was saved, as anybody will load it, and write the account."""
        del self.policy  # with its gradients and its optimiser it takes more memory than the two models that follow
        gc.collect()  # trainer and reward know each other
        after_model = CausalLM.load(self.out, device=self.device)
        reference = CausalLM.load(self.source, device=self.device)
        records = self._measured("after training", after_model.model, self.table.held_out, reference.model)
        after = with_total(without_texts(records, self.kept), self.reward)
        write_table(self.out / START_NAME, before)
        write_table(self.out / END_NAME, after)
        found = account(self.config, self.table, before, after)
        write_json(self.out / METRICS_NAME, found.metrics(run))
        record = training_run(self.config, found, run, self.stage)
        write_json(self.out / "training.json", record.model_dump(mode="json"))
        write_results(self.out, results(self.config, found, record, self.stage))

    @property
    def stage(self) -> str:
        """What the trained policy is called in ledgers."""
        return "ppo" if self.config.fairness is None else "fair_ppo"

    def _measured(self, what: str, model: Any, prompts: pd.DataFrame, reference: Any) -> pd.DataFrame:
        done, total = 0, len(prompts) * self.sampling.samples

        def heard(count: int) -> None:
            nonlocal done
            done += count
            self.progress(f"held-out answers {what}", done, total)

        answers = answer(model, self.asks, prompts, self.sampling, reference=reference, on_done=heard)
        return measure(answers, prompts, self.reward, self.rulers)

    def _first_answers(self) -> pd.DataFrame:
        """The untrained policy's answers to some of the prompts that are trained on; none where nothing needs them."""
        c = self.config
        if c.fairness is None and not any(map(needs_answers, c.rewards)):
            return pd.DataFrame()
        rng = np.random.default_rng([c.seed, 1])
        rows = np.sort(rng.permutation(len(self.table.train))[:LEVEL_PROMPTS])
        prompts = self.table.train.iloc[rows].reset_index(drop=True)
        return answer(self.policy.model, self.asks, prompts, replace(self.sampling, samples=1))

    def _levels(self, answers: pd.DataFrame) -> dict[str, float]:
        """`levels_before` of the penalty's groups."""
        c = self.config
        return {} if c.fairness is None else levels_before(c, self.rulers[score_column(c.fairness.scorer)], answers)

    def _fairness(self) -> Fairness | None:
        if self.config.fairness is None:
            return None
        return open_fairness(self.config, self.rulers[score_column(self.config.fairness.scorer)], self.levels)

    def _critic(self) -> RewardCritic | None:
        return open_critic(self.config, self.reward.parts, self.folders, self.policy.tokenizer)
