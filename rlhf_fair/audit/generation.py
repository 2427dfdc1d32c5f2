"""The probe ``generation``: ask a model about people who differ only in a name, score its answers, compare groups.

The prompts are a table with one row per prompt: ``prompt_id``, ``prompt``, the attribute columns (gender, ethnicity)
and the columns that rows are clustered by (the name, the scenario it is put into). Answers come from a model, or from
a file of predictions, and are scored by a lexicon.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pydantic import Field, model_validator

from rlhf_fair.audit.findings import Measurement, build_findings
from rlhf_fair.audit.own_prompts import CounterfactualPlan, completed, expand, paired_gap
from rlhf_fair.audit.plan import Plan
from rlhf_fair.errors import RowError
from rlhf_fair.metrics.gaps import INTERSECTION, gap_to_reference, group_labels, group_names
from rlhf_fair.models.causal_lm import CausalLM
from rlhf_fair.models.lexicon import LexiconScorer
from rlhf_fair.models.refusal import is_refusal
from rlhf_fair.records import NAN, Estimate, Finding, Results, Role
from rlhf_fair.settings import Settings
from rlhf_fair.stats.equivalence import p_value_beyond
from rlhf_fair.tables import read_table, require_columns

PROBE = "generation"
Progress = Callable[[str, int, int], None]


class Attribute(Settings):
    """A column of the prompts and the group that the others are compared with."""

    column: str
    reference: str


class Sequential(Settings):
    """How an audit goes that stops once it is decisive; see `rlhf_fair.audit.sequential`.

    ``unit``: what is drawn at random, ``prompt_id`` or one of the plan's clusters. ``batch``: units between two looks.
    ``seed``: of the order.
    """

    unit: str = "prompt_id"
    batch: int = Field(64, ge=1)
    seed: int = Field(0, ge=0)


class GenerationPlan(Plan):
    """``prompts`` and ``scorer`` are files beside the plan; lengths are in tokens.

    With ``[counterfactual]`` the prompts are one's own, without groups: see `rlhf_fair.audit.own_prompts`.
    """

    prompts: str
    scorer: str
    metric: str
    unit: str
    attributes: tuple[Attribute, ...] = Field(min_length=1)
    intersections: bool = True
    clusters: tuple[str, ...] = Field(min_length=1)
    max_new_tokens: int = Field(40, ge=1)
    temperature: float = Field(1.0, ge=0)
    seed: int = 0
    sequential: Sequential = Sequential()
    counterfactual: CounterfactualPlan | None = None

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, content: Any) -> Any:
        return completed(content)

    @model_validator(mode="after")
    def _unit_is_known(self) -> GenerationPlan:
        allowed = ("prompt_id", *self.clusters)
        if self.sequential.unit not in allowed:
            raise ValueError(f"sequential.unit {self.sequential.unit!r}; allowed: {', '.join(allowed)}")
        return self

    @property
    def columns(self) -> tuple[str, ...]:
        """The attribute columns."""
        return tuple(attribute.column for attribute in self.attributes)


def load_prompts(plan: GenerationPlan, folder: Path) -> pd.DataFrame:
    """The plan's prompts, checked for the columns it names and for distinct ids."""
    if plan.counterfactual is None:
        prompts = read_table(folder / plan.prompts)
    else:
        prompts = expand(folder / plan.prompts, plan.counterfactual)
    require_columns(prompts, ["prompt_id", "prompt", *plan.columns, *plan.clusters], plan.prompts)
    if not prompts["prompt_id"].is_unique:
        repeated = prompts.loc[prompts["prompt_id"].duplicated(), "prompt_id"].iloc[0]
        raise RowError(f"{plan.prompts}: prompt_id {repeated!r} occurs more than once")
    return prompts


def load_scorer(plan: GenerationPlan, folder: Path) -> LexiconScorer:
    """The plan's scorer."""
    return LexiconScorer.load(folder / plan.scorer)


def answer_with_model(
    model: CausalLM, prompts: pd.DataFrame, plan: GenerationPlan, *, progress: Progress | None = None
) -> pd.DataFrame:
    """The prompts with a column ``text``, sampled from ``model``; an answer depends on its prompt_id and the seed."""
    done = 0

    def count(n: int) -> None:
        nonlocal done
        done += n
        if progress is not None:
            progress("answers", done, len(prompts))

    completions = model.generate(
        prompts["prompt"].tolist(),
        prompts["prompt_id"].tolist(),
        max_new_tokens=plan.max_new_tokens,
        temperature=plan.temperature,
        seed=plan.seed,
        on_batch=count,
    )
    return prompts.assign(text=[c.text for c in completions], finished=[c.finished for c in completions])


def answer_from_file(path: Path, prompts: pd.DataFrame) -> pd.DataFrame:
    """The prompts with a column ``text`` from a table of ``prompt_id`` and ``text``.

    A prompt without an answer stays, with no text: it is counted as not parsed. An unknown or repeated id is an error.
    """
    predictions = read_table(path)
    require_columns(predictions, ["prompt_id", "text"], str(path))
    repeated = predictions["prompt_id"].duplicated()
    if repeated.any():
        row = int(np.flatnonzero(repeated)[0])
        raise RowError(f"{path} row {row + 1}: prompt_id {predictions['prompt_id'].iloc[row]!r} occurs more than once")
    unknown = ~predictions["prompt_id"].isin(prompts["prompt_id"])
    if unknown.any():
        row = int(np.flatnonzero(unknown)[0])
        raise RowError(f"{path} row {row + 1}: prompt_id {predictions['prompt_id'].iloc[row]!r} is not in the prompts")
    return prompts.merge(predictions[["prompt_id", "text"]], on="prompt_id", how="left")


def score_answers(answers: pd.DataFrame, scorer: LexiconScorer) -> pd.DataFrame:
    """Add ``score`` (NaN where nothing could be measured) and ``refusal``."""
    texts = answers["text"].fillna("").astype(str).tolist()
    return answers.assign(score=scorer.score(texts), refusal=is_refusal(texts))


@dataclass(frozen=True)
class Comparison:
    """A group of an attribute, or of the attributes' intersection, and the group it is compared with."""

    attribute: str
    group: str
    reference: str
    role: Role


def comparisons(records: pd.DataFrame, plan: GenerationPlan) -> list[Comparison]:
    """Every group against its reference, for each attribute (claims) and for their intersections (exploratory)."""
    asked: list[tuple[str, str, Role]] = [(a.column, a.reference, "claim") for a in plan.attributes]
    if plan.intersections and len(plan.attributes) > 1:
        reference = " & ".join(attribute.reference for attribute in plan.attributes)
        asked.append((INTERSECTION.join(plan.columns), reference, "exploratory"))
    return [
        Comparison(attribute, group, reference, role)
        for attribute, reference, role in asked
        for group in group_names(group_labels(records, attribute))
        if group != reference
    ]


def measure(records: pd.DataFrame, plan: GenerationPlan, stage: str) -> list[Measurement]:
    """All `comparisons` with their clustered intervals, for a number of records that was fixed beforehand."""
    return [_measured(records, c, plan, stage) for c in comparisons(records, plan)]


def _measured(records: pd.DataFrame, c: Comparison, plan: GenerationPlan, stage: str) -> Measurement:
    policy = plan.policy

    compare = gap_to_reference if plan.counterfactual is None else paired_gap

    def gap(null: float = 0.0) -> Estimate:
        return compare(
            records, c.attribute, c.group, c.reference, clusters=plan.clusters, alpha=policy.alpha, null=null
        )

    estimate = gap()
    p_threshold = p_value_beyond(policy.limits(plan.metric).threshold, gap, estimate)
    return measurement(records, c, estimate, plan, stage, p_threshold=p_threshold)


def measurement(
    records: pd.DataFrame,
    compared: Comparison,
    estimate: Estimate,
    plan: GenerationPlan,
    stage: str,
    *,
    variant: str = "",
    p_threshold: float = NAN,
) -> Measurement:
    """``estimate`` with what it is an estimate of, and the group's rates of parsed and refused answers."""
    chosen = group_labels(records, compared.attribute) == compared.group
    return Measurement(
        estimate=estimate,
        stage=stage,
        probe=PROBE,
        metric=plan.metric,
        attribute=compared.attribute,
        group=compared.group,
        reference=compared.reference,
        role=compared.role,
        variant=variant,
        unit=plan.unit,
        parse_rate=float(records.loc[chosen, "score"].notna().mean()),
        refusal_rate=float(records.loc[chosen, "refusal"].mean()),
        p_threshold=p_threshold,
    )


def counts(records: pd.DataFrame, attributes: Sequence[str]) -> dict[str, Any]:
    """Where every input row went: input = reported + excluded + unknown; unknown: of no group in any attribute."""
    unscored = records["score"].isna()
    unknown = ~unscored & records[list(attributes)].isna().all(axis=1)
    n, excluded, nowhere = len(records), int(unscored.sum()), int(unknown.sum())
    return {"input": n, "reported": n - excluded - nowhere, "excluded": excluded, "unknown": nowhere}


def exclusions(records: pd.DataFrame, attributes: Sequence[str]) -> list[dict[str, Any]]:
    """Why rows were left out of the means, of all or of those of one attribute."""
    missing = int(records["text"].isna().sum())
    silent = int(records["score"].isna().sum()) - missing
    reasons = {"no answer was given": missing, "the scorer found no phrase it knows": silent}
    for attribute in attributes:
        unknown = records["score"].notna() & records[attribute].isna()
        reasons[f"{attribute} is unknown: left out of its comparisons"] = int(unknown.sum())
    return [{"reason": reason, "n": n} for reason, n in reasons.items() if n]


def build_results(
    records: pd.DataFrame,
    plan: GenerationPlan,
    *,
    stage: str,
    audit: dict[str, Any],
    findings: tuple[Finding, ...] | None = None,
) -> Results:
    """Findings of one stage and the account of the rows; ``audit`` says which model and data.

    ``findings``: of an audit that may have stopped early; without them the records are measured as a fixed number.
    """
    if findings is None:
        findings = build_findings(measure(records, plan, stage), plan.policy)
    return Results(
        audit={
            "title": plan.title,
            "question": plan.question,
            "plan": plan.model_dump(mode="json"),
            "seed": plan.seed,
            "alpha": plan.policy.alpha,
            "limits": list(plan.limits),
            "counts": counts(records, plan.columns),
            "exclusions": exclusions(records, plan.columns),
            **audit,
        },
        findings=findings,
    )


def kept_columns(plan: GenerationPlan) -> Sequence[str]:
    """Columns of records.parquet: aggregates can be recomputed from them; the text stays out unless asked for."""
    return ["prompt_id", *plan.columns, *plan.clusters, "score", "refusal"]
