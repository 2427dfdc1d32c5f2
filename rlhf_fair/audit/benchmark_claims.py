"""Claims that a benchmark audit was asked for and has no numbers of: not measured, rather than not there.

A claim that shrank to the part of it that there was data for would be within for want of the rest.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from rlhf_fair.audit.benchmark_plan import BenchmarkPlan, Claim
from rlhf_fair.errors import SettingsError
from rlhf_fair.probes.measured import Measured
from rlhf_fair.records import NAN, Estimate

EVERY_GROUP = "all"
NO_RECORDS = "there is no record of any item"


def unmeasured(plan: BenchmarkPlan) -> list[Measured]:
    """Every claim as not measured, for an audit without a single record."""
    nothing = Estimate.not_estimable(NO_RECORDS)
    return [
        Measured(claim.metric, nothing, claim.attribute, group, variant=variant, better=limits.better)
        for claim in plan.claims
        for limits in [plan.policy.limits(claim.metric)]
        for group in claim.groups or (EVERY_GROUP,)
        for variant in claim.variants or claim.any_variant[:1] or ("",)
    ]


def absent(plan: BenchmarkPlan, measured: Sequence[Measured]) -> list[Measured]:
    """What claims name, or upstream has, and the records do not: a finding each that was not measured.

    Claims of which nothing at all was measured are left to `check_claims`: the plan may have a slip of the pen.
    """
    found = [
        m
        for claim in plan.claims
        for there in [[m for m in measured if claim.covers(m)]]
        if there
        for m in (*_absent_groups(plan, claim, there), *_absent_variants(claim, there))
    ]
    return list({(m.metric, m.attribute, m.group, m.reference, m.variant): m for m in found}.values())


def check_claims(plan: BenchmarkPlan, measured: Sequence[Measured]) -> None:
    """Refuse a claim that covers nothing of what the benchmark measures."""
    for claim in plan.claims:
        if not any(claim.covers(m) for m in measured):
            same = sorted({f"{m.attribute}/{m.group} ({m.variant})" for m in measured if m.metric == claim.metric})
            found = ", ".join(same[:8]) or f"metrics {', '.join(sorted({m.metric for m in measured}))}"
            raise SettingsError(f"the plan claims {claim.model_dump(exclude_defaults=True)}; measured was {found}")


def _absent_groups(plan: BenchmarkPlan, claim: Claim, there: Sequence[Measured]) -> Iterator[Measured]:
    """The claim's own groups, or those that upstream's files have."""
    upstream = [(attribute, groups) for attribute, groups in plan.benchmark.claimed_groups().items()]
    wanted = [(claim.attribute or there[0].attribute, claim.groups)] if claim.groups else upstream
    for attribute, groups in wanted:
        if claim.attribute in ("", attribute):
            for group in groups:
                if group not in {m.group for m in there}:
                    yield _nothing(there[0], f"there is no record of {group}", attribute=attribute, group=group)


def _absent_variants(claim: Claim, there: Sequence[Measured]) -> Iterator[Measured]:
    for variant in claim.variants:
        if variant not in {m.variant for m in there}:
            for m in {(m.attribute, m.group, m.reference): m for m in there}.values():
                yield _nothing(m, f"there is no record of the variant {variant}", variant=variant)


def _nothing(like: Measured, reason: str, **what: str) -> Measured:
    made = replace(like, **what)  # type: ignore[arg-type]
    nothing = Estimate.not_estimable(reason)
    return replace(made, estimate=nothing, parse_rate=NAN, refusal_rate=NAN, measured_rate=NAN)
