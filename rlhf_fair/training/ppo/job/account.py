"""What a finished run says of itself: metrics.json, its record, and results.json for the report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from rlhf_fair.probes.scorers import ScorerPlan
from rlhf_fair.records import NAN, Estimate, LedgerRow, Results, Training, TrainingRun
from rlhf_fair.settings import plain
from rlhf_fair.training.ppo.job.config import PPOConfig
from rlhf_fair.training.ppo.job.few_prompts import few_prompts
from rlhf_fair.training.ppo.job.held_out_change import BeforeAfter, compared_attributes
from rlhf_fair.training.ppo.job.prompt_table import PromptTable
from rlhf_fair.training.ppo.job.record_columns import LENGTH, LOG_RATIO, REFUSED, REWARD, UNFINISHED

LEVELS = {REWARD: "reward", LENGTH: "length", REFUSED: "refusals", UNFINISHED: "unfinished"}
"""Column of the records -> its name in metrics.json."""
SAME_TEXT = "same prompt text"
"""What answers to equal prompts share, whatever the ids of these."""
SEEN, CERTIFYING = "ruler used in training", "certifying"

LIMITS = (
    "Held-out prompts are of the same making as those of training; other prompts may be answered otherwise.",
    "The KL divergence is a mean over sampled answers, at the sampling temperature, and not over all possible ones.",
)
ONE_RULER = (
    "No certifying ruler was named: gaps are told by the ruler that training was paid by, which it may have learnt to "
    "please."
)


@dataclass(frozen=True)
class Run:
    """Rows of the curve, by group too, and the seconds spent on all steps."""

    curve: Sequence[Mapping[str, Any]]
    seconds: float


@dataclass(frozen=True)
class Ruled:
    """A ruler's column in the records, what it measures, and whether training saw it."""

    column: str
    plan: ScorerPlan
    role: str

    @property
    def metric(self) -> str:
        """Quantity and ruler."""
        return f"{self.plan.quantity} ({self.plan.name})"


def score_column(plan: ScorerPlan) -> str:
    """The records' column of a ruler's scores."""
    return f"score.{plan.quantity}:{plan.name}"


@dataclass(frozen=True)
class Account:
    """Held-out records before and after, and all that is estimated from them."""

    config: PPOConfig
    table: PromptTable
    compared: BeforeAfter
    rulers: tuple[Ruled, ...]

    @cached_property
    def levels(self) -> dict[str, dict[str, Estimate]]:
        """Name -> mean before, after, change."""
        return {name: self.compared.level(column) for column, name in LEVELS.items()}

    @cached_property
    def kl(self) -> Estimate:
        """Nats per answer, of the trained policy against the one before."""
        after = BeforeAfter(self.compared.after, self.compared.after, (), self.compared.clusters, self.compared.alpha)
        return after.level(LOG_RATIO)["end"]

    @cached_property
    def gaps(self) -> list[dict[str, Any]]:
        """One entry for each measure and attribute: the gap before, after and its change, and who moved."""
        measures = [(ruled.column, ruled.metric, ruled.role) for ruled in self.rulers]
        measures += [(column, LEVELS[column], "outcome") for column in (REWARD, REFUSED, LENGTH)]
        return [
            {
                "measure": metric,
                "role": role,
                "attribute": attribute,
                "reference": reference,
                "gap": self.compared.gap(column, attribute, reference),
                "groups": self.compared.groups(column, attribute),
            }
            for column, metric, role in measures
            for attribute, reference in self.compared.attributes
        ]

    @property
    def notes(self) -> list[str]:
        """What too few prompts mean for the run, as sentences."""
        return [f"{note[0].upper()}{note[1:]}." for note in few_prompts(self.table, self.config)]

    @property
    def telling(self) -> tuple[Ruled, ...]:
        """The rulers that the ledger goes by: those that certify, or else the one of training."""
        return tuple(r for r in self.rulers if r.role == CERTIFYING) or self.rulers

    def ledger(self, stage: str) -> list[LedgerRow]:
        """Gaps and group means before and after."""
        return [row for ruled in self.telling for row in self.compared.ledger(ruled.column, ruled.metric, stage)]

    @property
    def largest_gap(self) -> float:
        """Largest absolute gap after training by the telling rulers; NaN where none is known."""
        names = {ruled.metric for ruled in self.telling}
        sizes = [abs(entry["gap"]["end"].estimate) for entry in self.gaps if entry["measure"] in names]
        known = [size for size in sizes if np.isfinite(size)]
        return max(known) if known else NAN

    @property
    def counts(self) -> dict[str, int]:
        """Rows read = used + excluded + of an unknown group."""
        rejects, groups = self.table.rejects, list(self.config.prompts.groups)
        unknown = int(((rejects["code"] == "missing") & rejects["column"].isin(groups)).sum())
        kept = [table[groups].isna().any(axis=1).sum() for table in (self.table.train, self.table.held_out)]
        used = len(self.table.train) + len(self.table.held_out)
        excluded = self.table.n_rows - used - unknown
        unlabelled = int(sum(kept))
        return {
            "input": self.table.n_rows, "reported": used - unlabelled, "excluded": excluded,
            "unknown": unknown + unlabelled,
        }  # fmt: skip

    @property
    def exclusions(self) -> list[dict[str, Any]]:
        """Reason and number of all prompts that were not used."""
        rejects = self.table.rejects
        rejected = Counter(zip(rejects["code"].tolist(), rejects["column"].tolist(), strict=True))
        found: list[dict[str, Any]] = [
            {"reason": f"{code}: {column}" if column else code, "n": n}
            for (code, column), n in sorted(rejected.items())
        ]
        leaked = self.table.leaked
        return found + ([{"reason": "linked to a held-out prompt by text or cluster", "n": leaked}] if leaked else [])

    def metrics(self, run: Run) -> dict[str, Any]:
        """The content of metrics.json."""
        c = self.config
        return {
            "title": c.title,
            "base_model": c.model,
            "steps": len(run.curve),
            "seconds": round(run.seconds, 1),
            "prompts": self.counts | {"train": len(self.table.train), "held_out": len(self.table.held_out)},
            "exclusions": self.exclusions,
            "notes": self.notes,
            "rewards": [{"name": r.label, "kind": r.kind, "weight": r.weight, "scale": r.scale} for r in c.rewards],
            "fairness": plain(c.fairness) | {"group_by": list(c.group_by)} if c.fairness else None,
            "settings": plain(c.training),
            "clusters": list(self.compared.clusters),
            "alpha": self.compared.alpha,
            "kl": _json(self.kl),
            **{name: _json(level) for name, level in self.levels.items()},
            "gaps": [_json(entry) for entry in self.gaps],
        }


def account(config: PPOConfig, table: PromptTable, before: pd.DataFrame, after: pd.DataFrame) -> Account:
    """What the records of a run say."""
    attributes = compared_attributes(before, config.prompts.groups, config.prompts.references)
    text = before["prompt_id"].map(table.held_out.set_index("prompt_id")["prompt"])
    before, after = (records.assign(**{SAME_TEXT: pd.factorize(text)[0]}) for records in (before, after))
    clusters = _ways(before, config.prompts.clusters)
    compared = BeforeAfter(before, after, attributes, clusters, config.held_out.alpha)
    seen = [config.fairness.scorer] if config.fairness else []
    rulers = [Ruled(score_column(plan), plan, SEEN) for plan in seen]
    rulers += [Ruled(score_column(plan), plan, CERTIFYING) for plan in config.certify]
    return Account(config, table, compared, tuple(rulers))


def _ways(records: pd.DataFrame, clusters: tuple[str, ...]) -> tuple[str, ...]:
    """The columns that intervals are clustered by: answers to one text too, unless some cluster holds all of them."""
    within = records.groupby(SAME_TEXT)
    held = any(within[name].nunique().le(1).all() for name in clusters)
    return clusters if held else (*clusters, SAME_TEXT)


def training_run(config: PPOConfig, found: Account, run: Run, stage: str) -> TrainingRun:
    """The record that reports and ledgers read."""
    return TrainingRun(
        name=stage,
        kind="ppo",
        reward_mean=found.levels["reward"]["end"].estimate,
        gap=found.largest_gap,
        kl=found.kl.estimate,
        kappa=tuple(row["kappa"] for row in run.curve if row.get("kappa") is not None),
        steps=len(run.curve),
        seconds=run.seconds,
        curve=tuple(dict(row) for row in run.curve),
    )


def results(config: PPOConfig, found: Account, record: TrainingRun, stage: str) -> Results:
    """What `rlhf-fair report` renders."""
    comparisons = {f"{name}, after less before": level["change"] for name, level in found.levels.items()}
    certified = any(ruled.role == CERTIFYING for ruled in found.rulers)
    audit = {
        "title": config.title,
        "question": "What did training change: the reward, the gaps between groups, and whose answers?",
        "seed": config.seed,
        "alpha": config.held_out.alpha,
        "models": {"policy before training": config.model, "rewards": [reward.label for reward in config.rewards]},
        "data": {"prompts": config.prompts.path, "held out": f"{len(found.table.held_out)} prompts"},
        "counts": found.counts,
        "exclusions": found.exclusions,
        "limits": [*LIMITS, *found.notes, *([] if certified or not found.rulers else [ONE_RULER])],
        "plan": plain(config),
        "tables": {"What did the rulers say of held-out answers?": _gap_rows(found)} if found.gaps else {},
    }
    return Results(
        audit=audit,
        ledger=tuple(found.ledger(stage)),
        training=Training(
            runs=(record,), comparisons=comparisons | {"KL to the policy before, nats an answer": found.kl}
        ),
    )


def _gap_rows(found: Account) -> list[dict[str, Any]]:
    """Group means before and after as plain rows."""
    return [
        {
            "measure": entry["measure"],
            "role": entry["role"],
            "attribute": entry["attribute"],
            "group": group,
            "mean before": level["start"].estimate if np.isfinite(level["start"].estimate) else None,
            "mean now": level["end"].estimate if np.isfinite(level["end"].estimate) else None,
            "n": level["end"].n,
        }
        for entry in found.gaps
        for group, level in entry["groups"].items()
    ]


def _json(value: Any) -> Any:
    """Estimates as plain mappings, wherever they stand."""
    if isinstance(value, Estimate):
        return value.model_dump(mode="json")
    if isinstance(value, Mapping):
        return {str(name): _json(item) for name, item in value.items()}
    return value
