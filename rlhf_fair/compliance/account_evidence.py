"""Evidence in an audit's account of itself: its plan, its data, its models, its limits."""

from __future__ import annotations

from collections.abc import Mapping

from rlhf_fair.artifacts import canonical_json, sha256_bytes
from rlhf_fair.compliance.evidence import Case, Found, State, share


def policy_fixed_before_run(case: Case) -> Found:
    """The hash of the policy, written down before the first answer was asked for."""
    fixed, plan = case.results.audit.get("policy_fixed"), case.results.audit.get("plan")
    recorded = fixed.get("policy_sha256") if isinstance(fixed, Mapping) else None
    policy = plan.get("policy") if isinstance(plan, Mapping) else None
    if recorded and recorded == sha256_bytes(canonical_json(policy)):
        return Found(State.PRESENT, "hash of this policy recorded before the first answer", "provenance")
    if recorded:
        return Found(State.PARTIAL, "the hash recorded before the run is not that of this policy", "provenance")
    if plan:
        said = "the plan is here, but no record that its policy was fixed before the run"
        return Found(State.PARTIAL, said, "provenance")
    return Found(State.ABSENT, "no plan")


def metric_rationale(case: Case) -> Found:
    """Why these metrics and limits: the rationale of the plan's policy."""
    plan = case.results.audit.get("plan")
    policy = plan.get("policy") if isinstance(plan, Mapping) else None
    if isinstance(policy, Mapping) and str(policy.get("rationale") or "").strip():
        return Found(State.PRESENT, "rationale of the policy", "provenance")
    return Found(State.ABSENT, "the policy states no rationale")


def metric_definitions(case: Case) -> Found:
    """A definition of every metric that a finding rests on."""
    metrics = {f.metric for f in case.compared}
    said = case.results.audit.get("definitions")
    hits = len(metrics & {str(name) for name, text in said.items() if text}) if isinstance(said, Mapping) else 0
    return share(hits, len(metrics), "metrics defined", "findings")


def data_account(case: Case) -> Found:
    """Where every row went: input = reported + excluded + unknown, and a reason for what was excluded."""
    counts = case.results.audit.get("counts")
    names = ("input", "reported", "excluded", "unknown")
    if not isinstance(counts, Mapping) or not all(type(counts.get(name)) is int for name in names):
        return Found(State.ABSENT, "no counts of input, reported, excluded and unknown")
    total, *rest = (int(counts[name]) for name in names)
    if total != sum(rest):
        return Found(State.PARTIAL, "counts that do not add up", "data")
    if counts["excluded"] and not case.results.audit.get("exclusions"):
        return Found(State.PARTIAL, "counts without reasons for exclusion", "data")
    return Found(State.PRESENT, "counts that add up, exclusions with reasons", "data")


def unknown_counted(case: Case) -> Found:
    """How many rows have an unknown group, table by table where an audit has several."""
    counts, tables = case.results.audit.get("counts"), case.results.audit.get("unknown_by_table")
    if isinstance(tables, Mapping) and tables and all(type(n) is int for n in tables.values()):
        said = ", ".join(f"{n} in {name}" for name, n in sorted(tables.items()))
        return Found(State.PRESENT, f"rows of unknown group counted: {said}", "data")
    if isinstance(counts, Mapping) and type(counts.get("unknown")) is int:
        return Found(State.PRESENT, f"{counts['unknown']} rows of unknown group counted", "data")
    return Found(State.ABSENT, "rows of unknown group are not counted")


def inputs_hashed(case: Case) -> Found:
    """SHA-256 of every input."""
    inputs = case.results.manifest.get("inputs")
    if isinstance(inputs, Mapping) and inputs:
        return Found(State.PRESENT, f"{len(inputs)} inputs with their hashes", "provenance")
    return Found(State.ABSENT, "no hashes of inputs in the results")


def models_identified(case: Case) -> Found:
    """Which model was audited, by name and by hash."""
    audit, inputs = case.results.audit, case.results.manifest.get("inputs")
    hashed = isinstance(inputs, Mapping) and any("model" in str(name) for name in inputs)
    if hashed:
        return Found(State.PRESENT, "models by name and hash", "provenance")
    if audit.get("models") or audit.get("model"):
        return Found(State.PARTIAL, "models by name only", "provenance")
    return Found(State.ABSENT, "no model is named")


def limitations(case: Case) -> Found:
    """What the audit cannot show, in the plan's own words."""
    said = case.results.audit.get("limits")
    return Found(State.PRESENT, "limits stated", "limits") if said else Found(State.ABSENT, "the plan states none")
