"""The nouns every stage exchanges: estimates, findings, ledger rows, training runs and the results file.

All are frozen pydantic models. A float that is not estimable is NaN in memory, ``null`` in JSON, and comes with a
``reason``; it is never 0. The JSON Schema of `Results` ships beside this file as ``results.schema.json``.
"""

from __future__ import annotations

import math
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer

SCHEMA_VERSION: Literal["1"] = "1"

NAN = math.nan
INTERSECTION = " × "
"""Stands between the names of attributes whose groups are crossed."""

Number = Annotated[
    float,
    BeforeValidator(lambda value: NAN if value is None else value),
    PlainSerializer(lambda value: value if math.isfinite(value) else None, return_type=float | None),
]
"""A float whose NaN travels as JSON null."""

Better = Literal["zero", "one", "high", "low"]
"""Which direction of a metric is the desired one."""

Role = Literal["claim", "exploratory", "control"]
"""claim: declared in the plan, decides the exit code. exploratory: a slice. control: should show nothing."""


class Verdict(StrEnum):
    """What the interval says about the threshold; see `rlhf_fair.stats.equivalence.verdict`."""

    EXCEEDS = "exceeds_threshold"
    WITHIN = "within_threshold"
    INCONCLUSIVE = "inconclusive"
    NOT_MEASURED = "not_measured"


class Record(BaseModel):
    """Base of all records: frozen, and an unknown field is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="null")


class Estimate(Record):
    """One number with its uncertainty.

    ``n`` counts rows used, ``n_clusters`` the independent units behind them (the smallest count over the
    clusterings used), ``n_left_out`` the rows that had no finite value or no known group. ``mde`` is the smallest true
    effect this design would detect with 80 % power at its alpha.
    """

    estimate: Number
    ci_low: Number = NAN
    ci_high: Number = NAN
    standard_error: Number = NAN
    df: Number = NAN
    p_value: Number = NAN
    mde: Number = NAN
    n: int = 0
    n_clusters: int = 0
    n_left_out: int = 0
    reason: str = ""

    @classmethod
    def not_estimable(cls, reason: str, *, n: int = 0, n_clusters: int = 0, n_left_out: int = 0) -> Estimate:
        """NaN with the reason why; ``reason`` must say something."""
        assert reason
        return cls(estimate=NAN, n=n, n_clusters=n_clusters, n_left_out=n_left_out, reason=reason)


class Finding(Record):
    """One answer of an audit: a disparity, its interval, and the verdict against the plan's threshold.

    For a gap, ``estimate`` is the mean of ``group`` minus the mean of ``reference``; `LedgerRow` has the other sign.
    ``reason`` is that of the verdict; ``note`` says what to beware of in an estimate that was used all the same.
    ``measured_rate``: share of the compared rows that entered the estimate, of the group that has less; NaN where that
    is no question, and in files from before it was kept.
    """

    id: str
    stage: str
    probe: str
    metric: str
    variant: str = ""
    attribute: str
    group: str
    reference: str
    role: Role = "claim"
    estimate: Number
    ci_low: Number
    ci_high: Number
    p_value: Number
    p_adjusted: Number
    threshold: Number
    margin: Number
    mde: Number
    n: int
    n_clusters: int
    parse_rate: Number = NAN
    refusal_rate: Number = NAN
    measured_rate: Number = NAN
    better: Better = "zero"
    unit: str = ""
    verdict: Verdict
    reason: str = ""
    note: str = ""


class GroupMean(Record):
    """The mean of one group at one stage, for 'who moved'."""

    group: str
    mean: Number
    ci_low: Number
    ci_high: Number
    n: int
    reason: str = ""


class LedgerRow(Record):
    """Where did the disparity enter: one attribute at one stage, and its change from an earlier stage.

    ``estimate`` is the signed gap ``reference minus the mean of the other groups`` in units of ``metric``. ``change``
    compares absolute gaps, |this| - |``change_from``|, on the same items, so its interval is a paired one. ``round``
    counts from 1 where a pipeline ran in rounds; 0: before them, or there are none.
    """

    stage: str
    round: int = 0
    panel: str = ""
    attribute: str
    metric: str
    reference: str
    estimate: Number
    ci_low: Number
    ci_high: Number
    p_value: Number = NAN
    n: int
    n_clusters: int
    change_from: str = ""
    change: Number = NAN
    change_ci_low: Number = NAN
    change_ci_high: Number = NAN
    groups: tuple[GroupMean, ...] = ()
    reason: str = ""


class TrainingRun(Record):
    """One optimisation run. ``kappa`` is the trace of the penalty's strength, one value per step.

    ``reward_mean`` and ``kl`` are measured on held-out prompts after training (``kl`` in nats per response against the
    reference policy); ``gap`` is the largest absolute gap over attributes there, by the certifying scorer.
    """

    name: str
    kind: Literal["sft", "reward", "ppo"] = "ppo"
    panel: str = ""
    reward_mean: Number = NAN
    gap: Number = NAN
    kl: Number = NAN
    kappa: tuple[Number, ...] = ()
    steps: int = 0
    seconds: Number = NAN
    curve: tuple[dict[str, Number], ...] = ()


class Training(Record):
    """All runs, and the comparisons between policies (name -> estimate with interval)."""

    runs: tuple[TrainingRun, ...] = ()
    comparisons: dict[str, Estimate] = Field(default_factory=dict)


class Results(Record):
    """The content of ``results.json``.

    ``audit`` holds: title, question, plan, seed, alpha, models, data, limits (list of sentences), counts
    (input, reported, excluded, unknown), exclusions (list of {reason, n}), tables (name -> list of plain rows),
    and for the embedded world its planted truth.
    """

    schema_version: Literal["1"] = SCHEMA_VERSION
    audit: dict[str, Any]
    findings: tuple[Finding, ...] = ()
    ledger: tuple[LedgerRow, ...] = ()
    training: Training = Training()
    manifest: dict[str, Any] = Field(default_factory=dict)


def results_schema() -> dict[str, Any]:
    """The JSON Schema of ``results.json``, as shipped in ``results.schema.json``."""
    return Results.model_json_schema(mode="serialization")


def exit_code(findings: tuple[Finding, ...] | list[Finding]) -> int:
    """0 all claims within threshold, 1 some claim exceeds it, 3 some claim is inconclusive or not measured."""
    verdicts = [finding.verdict for finding in findings if finding.role == "claim"]
    if Verdict.EXCEEDS in verdicts:
        return 1
    if not verdicts or Verdict.INCONCLUSIVE in verdicts or Verdict.NOT_MEASURED in verdicts:
        return 3
    return 0
