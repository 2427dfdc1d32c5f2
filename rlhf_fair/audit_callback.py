"""A small audit every so many steps of any transformers or TRL trainer, which can end the run.

    trainer.add_callback(AuditCallback(trainer, AuditDuringTraining(plan="hiring", out=Path("audits"), every=100)))

A threshold is looked at many times in one run, and each look is a chance to be wrong: with ``stop`` the plan's alpha is
divided by the number of looks (Bonferroni), so that a run whose model never exceeds is stopped with probability alpha
at most, however its answers at different steps are correlated.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from pydantic import Field
from transformers import Trainer, TrainerCallback

from rlhf_fair.artifacts import make_folder, sha256_file, write_results
from rlhf_fair.attestation.sealing import seal
from rlhf_fair.audit.generation import GenerationPlan, load_prompts
from rlhf_fair.audit.generation_account import build_results, kept_columns
from rlhf_fair.audit.generation_answers import answers_from, open_scorers, score_answers
from rlhf_fair.audit.plan import find_plan, load_plan
from rlhf_fair.errors import SettingsError
from rlhf_fair.models.causal_lm import CausalLM
from rlhf_fair.models.chat_lm import ChatLM
from rlhf_fair.models.chat_template import Chat, ChatTemplate
from rlhf_fair.probes.scorers import scorer_inputs
from rlhf_fair.records import Finding, Results, Verdict
from rlhf_fair.settings import Settings
from rlhf_fair.tables import write_table

STAGE = "policy"

logger = logging.getLogger(__name__)


class AuditDuringTraining(Settings):
    """``plan``: an audit of what a model writes (``probe = "generation"``): a folder, a file or the name of a shipped
    one. Every ``every`` steps its results go to ``out/step-000100``. ``prompts``: about how many are asked, the same
    ones each time; None asks all. ``stop``: end the run once a claim exceeds its threshold. ``chat``: as in an audit.
    """

    plan: str
    out: Path
    every: int = Field(100, ge=1)
    prompts: int | None = Field(None, ge=2)
    stop: bool = True
    chat: Chat = "auto"
    seed: int = Field(0, ge=0)


class AuditCallback(TrainerCallback):  # type: ignore[misc]
    """Audits the model being trained; every number also reaches the trainer's log and trackers.

    ``exceeded``: ids of the claims that ended the run. The audit draws nothing from the trainer's random numbers and
    leaves the model in the mode it found, so a run that is not stopped ends in the same weights as one without audits.
    """

    def __init__(self, trainer: Any, settings: AuditDuringTraining) -> None:
        self.trainer, self.settings = trainer, settings
        self.plan_file = find_plan(settings.plan)
        self.plan = load_plan(self.plan_file, GenerationPlan)
        everything = load_prompts(self.plan, self.plan_file.parent)
        self.prompts = _some(everything, self.plan, settings)
        self.scorers = open_scorers(self.plan, self.plan_file.parent)
        self.exceeded: tuple[str, ...] = ()
        _check_whole_model(trainer)
        if trainer.accelerator.is_main_process:
            make_folder(settings.out)

    def on_step_end(self, args: Any, state: Any, control: Any, **about: Any) -> None:
        """Audit at multiples of ``every``; one process does, and all hear whether to stop."""
        if state.global_step % self.settings.every:
            return
        exceeded: tuple[str, ...] = ()
        try:
            if self.trainer.accelerator.is_main_process:
                exceeded = self._look(state.global_step, max(1, state.max_steps // self.settings.every))
        finally:
            exceeded = _told_to_all(self.trainer.accelerator, exceeded)
        if exceeded and self.settings.stop:
            self.exceeded = exceeded
            control.should_training_stop = True
            logger.warning("step %d: the audit stops this run: %s", state.global_step, ", ".join(exceeded))

    def _look(self, step: int, looks: int) -> tuple[str, ...]:
        """Audit, write, log; returns the ids of claims that exceed."""
        alpha = self.plan.policy.alpha / (looks if self.settings.stop else 1)
        plan = self.plan.model_copy(update={"policy": self.plan.policy.model_copy(update={"alpha": alpha})})
        with _in_evaluation_mode(self._model):
            answers = answers_from(self._asked.answers, self.prompts, plan)
        records = score_answers(answers, self.scorers, refusals=plan.refusals)
        ranges = {column: scorer.bounds for column, scorer in self.scorers.items()}
        results = build_results(records, plan, stage=STAGE, audit=self._about(step, looks), ranges=ranges)
        self._write(self.settings.out / f"step-{step:06d}", records, results)
        Trainer.log(self.trainer, _as_log(results.findings))  # not the subclass's, which may flush means of its own
        return tuple(finding.id for finding in _claims(results.findings) if finding.verdict == Verdict.EXCEEDS)

    def _about(self, step: int, looks: int) -> dict[str, Any]:
        name = str(getattr(self._model.config, "name_or_path", "") or type(self._model).__name__)
        account = f"{len(self.prompts)} prompts" + (", a part of the plan's" if self.settings.prompts else "")
        shared = f", one of {looks} looks that share alpha" if self.settings.stop else ""
        return {
            "models": {"audited": f"{Path(name).name} at step {step}{shared}"},
            "data": {"prompts": account, "rulers": ", ".join(scorer.name for scorer in self.scorers.values())},
        }

    def _write(self, folder: Path, records: pd.DataFrame, results: Results) -> None:
        make_folder(folder)
        inputs = {"plan": sha256_file(self.plan_file)}
        inputs["prompts"] = sha256_file(self.plan_file.parent / self.plan.prompts)
        for scorer in self.plan.scorers:
            inputs |= scorer_inputs(scorer, self.plan_file.parent)
        write_table(folder / "records.parquet", records[list(kept_columns(self.plan))])
        write_results(folder, results.model_copy(update={"manifest": {"inputs": inputs}}))
        seal(folder, inputs=inputs, seeds={"plan": self.plan.seed, "prompts": self.settings.seed})

    @property
    def _model(self) -> Any:
        return self.trainer.accelerator.unwrap_model(self.trainer.model)

    @cached_property
    def _asked(self) -> CausalLM | ChatLM:
        tokenizer = self.trainer.processing_class
        if getattr(tokenizer, "pad_token_id", None) is None or getattr(tokenizer, "eos_token_id", None) is None:
            raise SettingsError(
                f"an audit during training needs the trainer's processing_class to be a tokenizer with a padding and "
                f"an end token; found {type(tokenizer).__name__}"
            )
        asked = CausalLM(self._model, tokenizer)
        if self.settings.chat == "yes" and not tokenizer.chat_template:
            raise SettingsError("the trainer's tokenizer has no chat template; allowed: chat = 'auto' or 'no'")
        if self.settings.chat == "no" or not tokenizer.chat_template:
            return asked
        return ChatLM(asked, ChatTemplate(tokenizer, "in training"))


def _some(prompts: pd.DataFrame, plan: GenerationPlan, settings: AuditDuringTraining) -> pd.DataFrame:
    """About ``settings.prompts`` of the prompts, every group in the same share as in all of them.

    Whole units are drawn of a cluster in which every group occurs, such as a scenario that all names are put into;
    where there is none, the same share of each combination of groups, and at least one prompt of each.
    """
    if settings.prompts is None or settings.prompts >= len(prompts):
        return prompts
    rng = np.random.default_rng(settings.seed)
    cells = prompts[list(plan.columns)].astype("object").fillna("").apply(tuple, axis=1)
    share = settings.prompts / len(prompts)
    crossed = [name for name in plan.clusters if (cells.groupby(prompts[name]).nunique() == cells.nunique()).all()]
    if crossed:
        units = rng.permutation(prompts[crossed[-1]].unique().astype("object"))
        chosen = prompts[crossed[-1]].isin(units[: max(1, round(share * len(units)))])
    else:
        order = pd.Series(rng.permutation(len(prompts)), index=prompts.index)
        rank = order.groupby(cells).rank(method="first")
        chosen = rank <= np.maximum(1, np.round(share * cells.groupby(cells).transform("size")))
    return prompts[chosen].reset_index(drop=True)


def _check_whole_model(trainer: Any) -> None:
    """A sharded model cannot be asked by one process."""
    if getattr(trainer, "is_fsdp_enabled", False) or getattr(trainer, "is_deepspeed_enabled", False):
        raise SettingsError(
            "an audit during training needs the whole model in one process; with FSDP or DeepSpeed audit the saved "
            "checkpoints instead: rlhf-fair audit PLAN --model CHECKPOINT"
        )


def _told_to_all(accelerator: Any, exceeded: tuple[str, ...]) -> tuple[str, ...]:
    """What the main process found, in every process."""
    if accelerator.num_processes == 1:
        return exceeded
    from accelerate.utils import broadcast_object_list

    return tuple(broadcast_object_list([exceeded])[0])


def _claims(findings: tuple[Finding, ...]) -> list[Finding]:
    return [finding for finding in findings if finding.role == "claim"]


def _as_log(findings: tuple[Finding, ...]) -> dict[str, float]:
    """What the trackers see: every claim's estimate and interval (finite ones), and how many claims exceed."""
    claims = _claims(findings)
    row: dict[str, float] = {}
    for finding in claims:
        for name, value in (("", finding.estimate), ("/low", finding.ci_low), ("/high", finding.ci_high)):
            if math.isfinite(value):
                row[f"audit/{finding.id}{name}"] = value
    counted: Mapping[str, Verdict] = {
        "exceed": Verdict.EXCEEDS,
        "within": Verdict.WITHIN,
        "inconclusive": Verdict.INCONCLUSIVE,
        "not_measured": Verdict.NOT_MEASURED,
    }
    return row | {f"audit/claims_{name}": sum(f.verdict == v for f in claims) for name, v in counted.items()}


@contextmanager
def _in_evaluation_mode(model: Any) -> Iterator[None]:
    """Dropout off, and every module back in its own mode afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, training in modes:
            module.training = training
