"""Run a benchmark's plan: items → a model's answers or a prediction file → records → findings → results on disk."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from rlhf_fair.artifacts import (
    canonical_json,
    sha256_bytes,
    sha256_file,
    sha256_tree,
    write_results,
)
from rlhf_fair.audit.asked import as_asked
from rlhf_fair.audit.benchmark_claims import absent, check_claims, unmeasured
from rlhf_fair.audit.benchmark_plan import BenchmarkPlan, load_benchmark_plan
from rlhf_fair.audit.benchmarks.base import N_UPSTREAM
from rlhf_fair.audit.benchmarks.rulers import RULERS, RULERS_TABLE, rulers_measured, told
from rlhf_fair.audit.data_folder import data_folder
from rlhf_fair.audit.definitions import ANSWERS, SHIFTS, defined
from rlhf_fair.audit.findings import Measurement, build_findings
from rlhf_fair.audit.fixed_policy import begin
from rlhf_fair.audit.measured_table import measured_table
from rlhf_fair.audit.plan import find_plan
from rlhf_fair.audit.source import Hear, Source, open_source
from rlhf_fair.audit.target import Access, Target
from rlhf_fair.errors import MissingFileError, SettingsError, about_file
from rlhf_fair.probes.measured import Measured
from rlhf_fair.records import Finding, Results
from rlhf_fair.tables import Quarantined, read_jsonl_with_rejects, read_table, write_table

STAGE = "model"
RECORDS_NAME, REJECTS_NAME, RULERS_NAME = "records.parquet", "rejects.csv", "rulers.parquet"


@dataclass(frozen=True)
class Answered:
    """Records with who answered, the digests of what was read, and why answers are missing.

    ``malformed_lines``: of a prediction file, which no row could be read from.
    """

    records: pd.DataFrame
    name: str
    inputs: dict[str, str]
    failures: Counter[str]
    malformed_lines: int = 0


def run(
    plan_file: Path,
    target: Target,
    data_dir: str | Path,
    out: Path,
    *,
    access: Access | None = None,
    hear: Hear | None = None,
) -> Results:
    """Measure, and write ``results.json``, ``records.parquet`` and, where there are some, ``rejects.csv`` (items that
    cannot be used) and ``rulers.parquet`` (how the text scorers read sentences in which the group alone changes)."""
    access = access or Access()
    plan = load_benchmark_plan(plan_file, judgements=_judgements(access, out))
    benchmark = plan.benchmark
    readable = ["--predictions"] if benchmark.predictions else []
    target.require("--model", "--endpoint", *readable, plan=plan_file)
    folder = benchmark.place(data_folder(data_dir))
    source = None
    if target.predictions is None:
        source = open_source(target, access, run=out, hear=hear)
    elif not target.predictions.is_file():
        raise MissingFileError(target.predictions, "predictions file")
    begin(find_plan(plan_file), out)
    with about_file(folder):
        items = benchmark.load(folder)
    if items.table.empty:
        raise SettingsError(f"{folder}: none of the {len(items.rejects)} items of {plan.probe} can be used")
    rulers = benchmark.check_rulers()  # before anything is asked: a scorer that cannot be opened is found out now
    answered = _answered(plan, items.table, source, target.predictions)
    results = build_results(plan, items, answered, rulers)
    data = benchmark.folder if folder.is_dir() else folder.name  # a file: prompts that the plan brings along
    inputs = {"plan": sha256_file(find_plan(plan_file)), f"data/{data}": sha256_tree(folder)}
    results = results.model_copy(update={"manifest": {"inputs": inputs | benchmark.inputs() | answered.inputs}})
    if source is not None:
        results = as_asked(results, source)
    write_table(out / RECORDS_NAME, answered.records)
    if len(items.rejects):
        write_table(out / REJECTS_NAME, items.rejects)
    if len(rulers):
        write_table(out / RULERS_NAME, rulers)
    write_results(out, results)
    benchmark.finished()
    if source is not None:
        source.finished()
    return results


def _answered(plan: BenchmarkPlan, items: pd.DataFrame, source: Source | None, predictions: Path | None) -> Answered:
    if source is not None:
        records = plan.benchmark.ask(items, source)
        return Answered(records, source.name, source.inputs, source.failures)
    assert predictions is not None
    given = read_predictions(predictions)
    with about_file(predictions):
        records = plan.benchmark.read(items, given.table)
    name, inputs = f"predictions: {predictions.name}", {"predictions": sha256_file(predictions)}
    return Answered(records, name, inputs, Counter(), malformed_lines=len(given.rejects))


def read_predictions(path: Path) -> Quarantined:
    """The rows of a prediction file; lines of a JSONL file that cannot be read are set aside."""
    if not path.name.lower().endswith((".jsonl", ".jsonl.gz")):
        return Quarantined(read_table(path), pd.DataFrame())
    read = read_jsonl_with_rejects(path)
    return Quarantined(read.table.reset_index(drop=True), read.rejects)


def measure(plan: BenchmarkPlan, records: pd.DataFrame) -> list[Measured]:
    """All numbers of the benchmark, from records as `run` writes them; of none, that no claim was measured."""
    if records.empty:
        return unmeasured(plan)
    rng = np.random.default_rng(plan.seed)
    measured = plan.benchmark.measure(records, alpha=plan.policy.alpha, rng=rng)
    return [*measured, *absent(plan, measured)]


def build_results(
    plan: BenchmarkPlan, items: Quarantined, answered: Answered, rulers: pd.DataFrame | None = None
) -> Results:
    """Findings and tables from records, and from those of the scorers' own check (``rulers``); needs no model."""
    measured = measure(plan, answered.records)
    check_claims(plan, measured)
    moved = [] if rulers is None else rulers_measured(rulers, alpha=plan.policy.alpha)
    _, others = _by_limits(plan, measured)
    controls = _controls(plan, moved)
    seen = [m for m in moved if m not in controls]
    findings = findings_of(plan, measured, moved)
    known = {**ANSWERS, **SHIFTS, **plan.benchmark.defines()}
    margins = {metric: limits.margin for metric, limits in plan.policy.metrics.items()}
    definitions = defined((m.metric for m in (*measured, *moved)), known)
    partly = plan.benchmark.partly_used(answered.records)
    tables = {
        "also measured": measured_table(others),
        RULERS_TABLE: measured_table(seen),
        "predictions that answer no item": _stray(answered),
        "measured, but missing from some numbers": [{"answers": why, "n": n} for why, n in partly.items() if n],
    }
    audit: dict[str, Any] = {
        "title": plan.title,
        "question": plan.question,
        "plan": plan.model_dump(mode="json"),
        "seed": plan.seed,
        "alpha": plan.policy.alpha,
        "models": {"audited": answered.name},
        "data": {"items": _number(items.table), "settings": plan.benchmark.settings_text()},
        "definitions": definitions,
        "limits": [plan.benchmark.limit, *plan.limits, *told(moved, margins)],
        "tables": {name: table for name, table in tables.items() if table},
        **_account(plan, items, answered),
    }
    return Results(audit=audit, findings=findings)


def findings_of(plan: BenchmarkPlan, measured: Sequence[Measured], moved: Sequence[Measured]) -> tuple[Finding, ...]:
    """Verdicts on the numbers that the policy has limits for, and on the scorers' own shifts (``moved``)."""
    judged, _ = _by_limits(plan, measured)
    controls = [_control(m) for m in _controls(plan, moved)]
    return build_findings([*(measurement(plan, m) for m in judged), *controls], plan.policy)


def _controls(plan: BenchmarkPlan, moved: Sequence[Measured]) -> list[Measured]:
    """Shifts with limits; a scorer that moves alike in all sentences, if at all, has no interval to judge, so the table
    and the limits tell of it."""
    limited, _ = _by_limits(plan, moved)
    return [m for m in limited if np.isfinite(m.estimate.ci_low)]


def measurement(plan: BenchmarkPlan, m: Measured) -> Measurement:
    """A number with its role in the plan, as a finding is made of it."""
    return Measurement(
        estimate=m.estimate,
        stage=STAGE,
        probe=plan.probe,
        metric=m.metric,
        attribute=m.attribute,
        group=m.group,
        reference=m.reference,
        role=plan.role(m),
        variant=m.variant,
        unit=m.unit,
        better=m.better,
        parse_rate=m.parse_rate,
        refusal_rate=m.refusal_rate,
        measured_rate=m.measured_rate,
    )


def _control(m: Measured) -> Measurement:
    """A scorer's own shift: it should show nothing, and decides no exit code."""
    return Measurement(
        estimate=m.estimate,
        stage=STAGE,
        probe=RULERS,
        metric=m.metric,
        attribute=m.attribute,
        group=m.group,
        reference=m.reference,
        role="control",
        variant=m.variant,
        unit=m.unit,
        better=m.better,
        parse_rate=m.parse_rate,
    )


def _by_limits(plan: BenchmarkPlan, measured: Sequence[Measured]) -> tuple[list[Measured], list[Measured]]:
    """Those that the policy has limits for, and the others."""
    limited = [m for m in measured if plan.policy.judges(m.metric)]
    return limited, [m for m in measured if not plan.policy.judges(m.metric)]


def _number(items: pd.DataFrame) -> str:
    """How many items are asked, and of how many."""
    upstream = items.attrs.get(N_UPSTREAM, len(items))
    return f"{len(items):,}" + (f" of {upstream:,}" if upstream != len(items) else "")


def _judgements(access: Access, out: Path) -> Path | None:
    if access.cache is None:
        return None
    return access.cache / f"judgements-{sha256_bytes(canonical_json([str(out.resolve())]))[:16]}"


def _stray(answered: Answered) -> list[dict[str, Any]]:
    """Rows of a prediction file that no item was answered by."""
    attrs = answered.records.attrs
    counted = {
        "for an item that is not at hand": attrs.get("predictions_without_item", 0),
        "of a sample beyond those that are asked for, or without a number": attrs.get("surplus_predictions", 0),
        "a line that cannot be read": answered.malformed_lines,
    }
    return [{"prediction": what, "n": int(n)} for what, n in counted.items() if n]


def _account(plan: BenchmarkPlan, items: Quarantined, answered: Answered) -> dict[str, Any]:
    """Where every input row went: input = reported + excluded + unknown."""
    problems = plan.benchmark.problems(answered.records)
    reasons = Counter(problem for problem in problems if problem)
    why = items.rejects["column"] + " " + items.rejects["code"]  # not the message: it quotes the item
    reasons.update({f"item rejected: {str(reason).strip()}": int(n) for reason, n in why.value_counts().items()})
    excluded = sum(reasons.values())
    n = len(answered.records) + len(items.rejects)
    exclusions = [{"reason": reason, "n": count} for reason, count in reasons.most_common()]
    failures = dict(answered.failures.most_common(10))
    return {
        "counts": {"input": n, "reported": n - excluded, "excluded": excluded, "unknown": 0},
        "exclusions": exclusions,
        **({"unanswered": failures} if failures else {}),
    }
