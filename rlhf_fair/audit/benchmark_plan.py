"""The plan of a benchmark audit: which benchmark, how it is asked, and which of its numbers are claimed."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self, cast

from pydantic import Field, create_model, model_validator

from rlhf_fair.audit.benchmarks.base import Benchmark, Context
from rlhf_fair.audit.benchmarks.registry import find_benchmark
from rlhf_fair.audit.plan import Judging, find_plan
from rlhf_fair.probes.measured import Measured
from rlhf_fair.probes.missing import REFUSALS, REFUSALS_VARIANT
from rlhf_fair.records import Role
from rlhf_fair.settings import Settings, read_toml, read_toml_table


class Claim(Settings):
    """Numbers that are claims, by what they are; what is left out may be anything. All others are exploratory.

    Every one of ``groups`` and of ``variants`` must be measured: a claim is not kept by the part of it that there was
    data for. ``any_variant``: names of which the audit measures one, by how it is asked.
    """

    metric: str
    attribute: str = ""
    groups: tuple[str, ...] = ()
    variants: tuple[str, ...] = ()
    any_variant: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _one_way_to_name_variants(self) -> Self:
        if self.variants and self.any_variant:
            raise ValueError("give variants, which all must be measured, or any_variant, of which one is enough")
        return self

    def covers(self, m: Measured) -> bool:
        """Whether ``m`` is one of the claimed numbers."""
        named = self.named_variants
        return m.metric == self.metric and self.is_about(m) and (not named or m.variant in named)

    @property
    def named_variants(self) -> tuple[str, ...]:
        """All that a claimed number may have; none means any."""
        return self.variants or self.any_variant

    def is_about(self, m: Measured) -> bool:
        """Whether ``m`` compares what the claimed numbers compare, whatever is measured of it."""
        return self.attribute in ("", m.attribute) and (not self.groups or m.group in self.groups)


class BenchmarkPlan(Settings):
    """``policy.metrics`` says which numbers get a verdict, each by limits of its own; the rest are shown in a table.

    ``claims`` decide the exit code. ``seed``: of whatever the benchmark draws (samples, permutations).
    """

    title: str
    question: str
    probe: str
    policy: Judging
    claims: tuple[Claim, ...] = Field(min_length=1)
    limits: tuple[str, ...] = ()
    seed: int = Field(0, ge=0)

    @model_validator(mode="after")
    def _claims_have_limits(self) -> Self:
        for claim in self.claims:
            if not self.policy.judges(claim.metric):
                known = ", ".join(self.policy.metrics) or "none"
                raise ValueError(f"claims metric {claim.metric!r}, which has no limits; [policy.metrics] has: {known}")
        return self

    @property
    def benchmark(self) -> Benchmark:
        """The section that has the benchmark's name."""
        return cast(Benchmark, getattr(self, self.probe))

    def role(self, m: Measured) -> Role:
        """Claim or exploratory."""
        claimed = any(claim.covers(m) for claim in self.claims) or self._beside_a_claim(m)
        return "claim" if claimed else "exploratory"

    def _beside_a_claim(self, m: Measured) -> bool:
        """Whether ``m`` is the gap in refusals where a claimed score leaves some out.

        Who is not answered at all is then a part of the claim. Where nobody was refused the score speaks for everybody.
        """
        if m.metric != REFUSALS or not self.benchmark.leaves_out_refusals or not m.refusal_rate > 0:
            return False
        # refusals have no variant but their own where all variants of a score leave out the same ones
        return any(
            claim.is_about(m) and (not claim.named_variants or m.variant in (*claim.named_variants, REFUSALS_VARIANT))
            for claim in self.claims
        )


def plan_model(probe: str) -> type[BenchmarkPlan]:
    """The plan with a section for that benchmark."""
    benchmark = find_benchmark(probe)
    section: Any = (benchmark, benchmark())
    return create_model(f"{benchmark.__name__}Plan", __base__=BenchmarkPlan, **{probe: section})


def load_benchmark_plan(plan: str | Path, *, judgements: Path | None = None) -> BenchmarkPlan:
    """Read and check a plan whose ``probe`` is one of the registry's; see `rlhf_fair.audit.plan.find_plan`.

    ``judgements``: see `Context`.
    """
    file = find_plan(plan)
    read = read_toml(file, plan_model(str(read_toml_table(file, "plan")["probe"])), "plan")
    placed = read.benchmark.within(Context(file.parent, read.seed, judgements))
    return read.model_copy(update={read.probe: placed})
