"""From a folder's records to findings, for each kind of audit as that audit makes them; needs no model and no data."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from rlhf_fair.audit import benchmark
from rlhf_fair.audit.benchmark_plan import BenchmarkPlan
from rlhf_fair.audit.benchmarks.registry import NAMES as BENCHMARKS
from rlhf_fair.audit.benchmarks.rulers import rulers_measured
from rlhf_fair.audit.compare_kinds import BenchmarkKind, GenerationKind, kind_of, read_plan
from rlhf_fair.audit.compare_reward import RewardKind, unit_of
from rlhf_fair.audit.findings import Measurement, build_findings, finding_id
from rlhf_fair.audit.generation import PROBE as GENERATION
from rlhf_fair.audit.generation import GenerationPlan
from rlhf_fair.audit.generation_gaps import measure, refusal_gaps, unmeasured_gaps
from rlhf_fair.audit.panel_feedback_plan import PANEL_FEEDBACK
from rlhf_fair.audit.reward_audit_caveats import weakened, with_reach
from rlhf_fair.audit.reward_audit_measurements import STAGE as REWARD_STAGE
from rlhf_fair.audit.reward_audit_measurements import measure as measure_rewards
from rlhf_fair.audit.reward_audit_plan import REWARD, RewardPlan
from rlhf_fair.audit.reward_audit_ratings import qualities_of, rating_measurements
from rlhf_fair.audit.reward_identity_comparisons import HOLISTIC_BIAS
from rlhf_fair.audit.reward_identity_estimates import measure as measure_identity
from rlhf_fair.audit.reward_identity_plan import IdentityPlan
from rlhf_fair.audit.scorer_check import PROBE as SCORER_CHECK
from rlhf_fair.audit.selection_rates import measure as measure_selection_rates
from rlhf_fair.audit.selection_rates_plan import SELECTION_RATES, SelectionRatesPlan
from rlhf_fair.records import Finding, Results
from rlhf_fair.stats.no_change import Range
from rlhf_fair.tables import read_table

NEEDS_THE_SCORER = "those of the scorers' own check: they need the scorers"
SEQUENTIAL = "an audit that stops as soon as it is decisive measures along the way, and the records are the end of it"
WITHHELD = "the records withhold attributes of few raters; whoever holds the ratings files can audit them again"
"""Of audits of feedback, whose numbers rest on all labels: see `rlhf_fair.audit.panel_feedback_records`."""


class NotRecomputed(Exception):
    """Why findings of this kind cannot be measured again."""


@dataclass(frozen=True)
class Again:
    """Findings from the records; ``left_out``: ids of recorded ones that cannot be had so, ``why``: for that reason."""

    findings: tuple[Finding, ...]
    left_out: frozenset[str] = frozenset()
    why: str = ""


def measured_again(folder: Path, results: Results) -> Again:
    """The findings that the records of ``folder`` give, by the plan in ``results``.

    Raises
    ------
    NotRecomputed
        Audits of this kind do not keep enough for that.
    """
    plan = results.audit.get("plan")
    probe = plan.get("probe") if isinstance(plan, Mapping) else None
    if "sequential" in results.audit:
        raise NotRecomputed(SEQUENTIAL)
    if probe == PANEL_FEEDBACK:
        raise NotRecomputed(WITHHELD)
    known: dict[str, Callable[[Path, Mapping[str, Any], Results], Again]] = {
        GENERATION: _generation,
        REWARD: _reward,
        HOLISTIC_BIAS: _identity,
        SELECTION_RATES: _selection_rates,
        **dict.fromkeys(BENCHMARKS, _benchmark),
    }
    if probe not in known or not isinstance(plan, Mapping):
        raise NotRecomputed(f"audits with probe = {probe!r} are not measured again; those that are: {', '.join(known)}")
    return known[probe](folder, plan, results)


def _records(folder: Path) -> pd.DataFrame:
    return read_table(folder / benchmark.RECORDS_NAME)


def _benchmark(folder: Path, plan: Mapping[str, Any], results: Results) -> Again:
    kind = kind_of(plan)
    assert isinstance(kind, BenchmarkKind)
    asked: BenchmarkPlan = kind.plan
    rulers = folder / benchmark.RULERS_NAME
    moved = rulers_measured(read_table(rulers), alpha=asked.policy.alpha) if rulers.is_file() else []
    return Again(benchmark.findings_of(asked, benchmark.measure(asked, _records(folder)), moved))


def _generation(folder: Path, plan: Mapping[str, Any], results: Results) -> Again:
    kind, records = kind_of(plan), _records(folder)
    assert isinstance(kind, GenerationKind)
    checks = frozenset(f.id for f in results.findings if f.probe == SCORER_CHECK)
    if "stage" in records:
        return _stages(records, kind.plan, results)
    ranges = _ranges(results.audit.get("score_ranges"))
    measured = [
        m
        for stage in dict.fromkeys(f.stage for f in results.findings if f.id not in checks)
        for part in (
            measure(records, kind.plan, stage, ranges=ranges),
            refusal_gaps(records, kind.plan, stage),
            unmeasured_gaps(records, kind.plan, stage),
        )
        for m in part
    ]
    return Again(build_findings(measured, kind.plan.judging), checks, NEEDS_THE_SCORER)


def _stages(records: pd.DataFrame, plan: GenerationPlan, results: Results) -> Again:
    """Of a pipeline: every stage and panel by itself. Which of them are claims is the pipeline's to say."""
    roles = {finding.id: finding.role for finding in results.findings}
    stages = {finding.stage for finding in results.findings}
    measured: list[Measurement] = []
    for (stage, panel), rows in records.fillna({"panel": ""}).groupby(["stage", "panel"], sort=False):
        if stage not in stages:
            continue
        variant = f"{panel} panel" if panel else ""
        for m in measure(rows.reset_index(drop=True), plan, str(stage)):
            named = replace(m, variant=variant)
            measured.append(replace(named, role=roles.get(finding_id(named), m.role)))
    return Again(build_findings(measured, plan.policy))


def _reward(folder: Path, plan: Mapping[str, Any], results: Results) -> Again:
    kind, records = kind_of(plan), _records(folder)
    assert isinstance(kind, RewardKind)
    asked: RewardPlan = kind.plan
    if not records["reward"].notna().any():
        raise NotRecomputed("no text has a score")
    measured = set(records["probe"])
    missing = {f.probe: f.reason for f in results.findings if f.probe not in measured}
    found = measure_rewards(records, asked, unit_of(records), missing)
    found += rating_measurements(qualities_of(records, asked), REWARD_STAGE)
    findings, _ = weakened(build_findings(with_reach(found, asked.policy), asked.policy), asked.policy.alpha)
    return Again(findings)


def _identity(folder: Path, plan: Mapping[str, Any], results: Results) -> Again:
    asked = read_plan(IdentityPlan, plan)
    return Again(build_findings(measure_identity(_records(folder), asked), asked.policy))


def _selection_rates(folder: Path, plan: Mapping[str, Any], results: Results) -> Again:
    asked = read_plan(SelectionRatesPlan, plan)
    return Again(build_findings(measure_selection_rates(asked, _records(folder)), asked.policy))


def _ranges(recorded: object) -> Mapping[str, Range] | None:
    """The lowest and highest score by column, as `build_results` of a generation audit writes them: null is no end."""
    if not isinstance(recorded, Mapping):
        return None
    return {str(column): _ends(ends) for column, ends in recorded.items()}


def _ends(ends: Sequence[float | None]) -> Range:
    low, high = ends
    return -math.inf if low is None else float(low), math.inf if high is None else float(high)
