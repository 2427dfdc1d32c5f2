"""How the records of each kind of audit are compared; see `rlhf_fair.audit.compare_kind`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import pandas as pd
from pydantic import BaseModel, ValidationError

from rlhf_fair.audit import benchmark
from rlhf_fair.audit.benchmark_plan import BenchmarkPlan, plan_model
from rlhf_fair.audit.benchmarks.registry import NAMES as BENCHMARKS
from rlhf_fair.audit.compare_kind import Again, Kind
from rlhf_fair.audit.compare_reward import RewardKind
from rlhf_fair.audit.findings import Measurement, finding_id
from rlhf_fair.audit.generation import PROBE as GENERATION
from rlhf_fair.audit.generation import GenerationPlan
from rlhf_fair.audit.generation_account import score_names
from rlhf_fair.audit.generation_again import mean_gaps
from rlhf_fair.audit.generation_gaps import measure, refusal_gaps
from rlhf_fair.audit.generation_run import STAGE
from rlhf_fair.audit.reward_audit_plan import REWARD, RewardPlan
from rlhf_fair.errors import SettingsError
from rlhf_fair.settings import explain

P = TypeVar("P", bound=BaseModel)


class BenchmarkKind(Kind):
    """Any of the benchmarks in the registry."""

    def __init__(self, plan: BenchmarkPlan) -> None:
        self.plan, self.policy = plan, plan.policy
        asked = plan.benchmark
        self.key, self.clusters, self.apart = asked.key, asked.clusters, asked.apart
        self.lean = plan.model_copy(update={plan.probe: asked.lean()})

    def problems(self, records: pd.DataFrame) -> pd.Series:
        return self.plan.benchmark.problems(records)

    def measure(self, records: pd.DataFrame) -> list[Measurement]:
        return [benchmark.measurement(self.plan, m) for m in benchmark.measure(self.plan, records)]

    def measure_again(self, records: pd.DataFrame) -> list[Measurement]:
        return [benchmark.measurement(self.plan, m) for m in benchmark.measure(self.lean, records)]


class GenerationKind(Kind):
    """Prompts about people who differ in a name; a gap by one scorer uses the answers that it could measure in both."""

    key = ("prompt_id",)

    def __init__(self, plan: GenerationPlan) -> None:
        self.plan, self.policy, self.clusters = plan, plan.judging, plan.clusters

    def problems(self, records: pd.DataFrame) -> pd.Series:
        unanswered = ~records["answered"].astype(bool)
        return pd.Series("", index=records.index, dtype="str").mask(unanswered, "no answer was given")

    def measure(self, records: pd.DataFrame) -> list[Measurement]:
        return [*measure(records, self.plan, STAGE), *refusal_gaps(records, self.plan, STAGE)]

    def again(self, records: pd.DataFrame) -> Again:
        ids = [finding_id(m) for m in self.measure(records)]
        gaps = dict(zip(ids, mean_gaps(records, self.plan), strict=True))
        return lambda kept: {id: gap.of(kept) for id, gap in gaps.items()}

    def pair(self, a: pd.DataFrame, b: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
        names = score_names(a)
        known = a[names].notna() & b[names].notna()
        return a.assign(**a[names].where(known)), b.assign(**b[names].where(known))


def kind_of(plan: Mapping[str, Any]) -> Kind:
    """How audits of ``plan``, as it stands in ``results.json``, are compared.

    Raises
    ------
    SettingsError
        The plan cannot be read, or audits of its kind keep no records that could be compared.
    """
    probe = plan.get("probe")
    if probe == GENERATION:
        return GenerationKind(read_plan(GenerationPlan, plan))
    if probe == REWARD:
        return RewardKind(read_plan(RewardPlan, plan))
    if probe in BENCHMARKS:
        return BenchmarkKind(read_plan(plan_model(str(probe)), plan))
    allowed = ", ".join([GENERATION, REWARD, *BENCHMARKS])
    raise SettingsError(f"audits with probe = {probe!r} cannot be compared; allowed: {allowed}")


def read_plan(model: type[P], content: Mapping[str, Any]) -> P:
    """The plan as it stands in ``results.json``; `SettingsError` where this version has no such plan."""
    try:
        return model.model_validate(content)
    except ValidationError as error:
        lines = "; ".join(explain(error, model))
        raise SettingsError(f"the plan in results.json is not one of this version's: {lines}") from error
