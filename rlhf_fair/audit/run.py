"""Run the audit that a plan asks for; every kind of audit ends in the same files."""

from __future__ import annotations

from pathlib import Path

from rlhf_fair.audit import benchmark, panel_feedback, selection_rates
from rlhf_fair.audit.benchmarks.registry import NAMES as BENCHMARKS
from rlhf_fair.audit.fixed_policy import finish
from rlhf_fair.audit.generation import PROBE as GENERATION
from rlhf_fair.audit.generation_run import run_generation
from rlhf_fair.audit.panel_feedback_plan import PANEL_FEEDBACK
from rlhf_fair.audit.plan import Plan, load_plan
from rlhf_fair.audit.reward_audit_plan import REWARD
from rlhf_fair.audit.reward_identity_comparisons import HOLISTIC_BIAS
from rlhf_fair.audit.selection_rates_plan import SELECTION_RATES
from rlhf_fair.audit.source import Hear
from rlhf_fair.audit.target import Access, Target
from rlhf_fair.errors import SettingsError
from rlhf_fair.records import Results
from rlhf_fair.settings import read_toml_table


def run_audit(
    plan_file: Path,
    target: Target,
    *,
    data_dir: str | Path = "",
    out: Path,
    access: Access | None = None,
    until_decisive: bool = False,
    progress: Hear | None = None,
) -> Results:
    """Measure and write ``results.json`` and ``records.parquet`` into ``out``; the report is the caller's to add.

    The hash of the policy is in ``begun.json`` before anything is asked, see `rlhf_fair.audit.fixed_policy`.
    ``data_dir``: folder with the public data sets that the plan names, or ``hub:OWNER/NAME``. ``until_decisive``: stop
    as soon as every claim is; see `rlhf_fair.audit.sequential`.
    """
    measured = _measured(
        plan_file, target, data_dir, out, access=access, until_decisive=until_decisive, progress=progress
    )
    return finish(out, measured)


def _measured(
    plan_file: Path,
    target: Target,
    data_dir: str | Path,
    out: Path,
    *,
    access: Access | None,
    until_decisive: bool,
    progress: Hear | None,
) -> Results:
    probe = read_toml_table(plan_file, "plan").get("probe")
    known = (GENERATION, HOLISTIC_BIAS, PANEL_FEEDBACK, REWARD, SELECTION_RATES, *BENCHMARKS)
    if probe not in known:
        load_plan(plan_file, Plan)  # names any other fault first
        raise SettingsError(f"plan {plan_file}: probe = {probe!r}; allowed: {', '.join(map(repr, known))}")
    if until_decisive and probe != GENERATION:
        raise SettingsError(f"plan {plan_file}: --until-decisive is for probe = {GENERATION!r}, not {probe!r}")
    if access is not None and access.partial and (until_decisive or not (target.model or target.endpoint)):
        raise SettingsError("--partial needs --model or --endpoint, and goes without --until-decisive")
    if probe == PANEL_FEEDBACK:
        target.require("--feedback", plan=plan_file, optional=True)
        return panel_feedback.run(plan_file, target.feedback, Path(data_dir), out, progress=progress)
    if probe == SELECTION_RATES:
        target.require("--predictions", plan=plan_file, optional=True)
        return selection_rates.run(plan_file, target.predictions, out, progress=progress)
    if probe == REWARD:
        from rlhf_fair.audit import reward_audit

        return reward_audit.run(plan_file, target, data_dir, out, hear=progress)
    if probe == HOLISTIC_BIAS:
        target.require("--reward-model", plan=plan_file)
        assert target.reward_model is not None
        from rlhf_fair.audit import reward_identity  # loads torch, which an audit of a file has no need of

        return reward_identity.run(plan_file, target.reward_model, Path(data_dir), out, progress=progress)
    if probe == GENERATION:
        return run_generation(plan_file, target, out, access=access, until_decisive=until_decisive, progress=progress)
    return benchmark.run(plan_file, target, data_dir, out, access=access, hear=progress)
