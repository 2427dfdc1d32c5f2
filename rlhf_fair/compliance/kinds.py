"""All kinds of evidence by the name that clause maps call them."""

from __future__ import annotations

from rlhf_fair.compliance import account_evidence as account
from rlhf_fair.compliance import measured_evidence as findings
from rlhf_fair.compliance.evidence import Look
from rlhf_fair.compliance.stated_evidence import STATED

KINDS: dict[str, Look] = {
    **{
        look.__name__: look
        for look in (
            account.policy_fixed_before_run,
            account.metric_rationale,
            account.metric_definitions,
            account.data_account,
            account.unknown_counted,
            account.inputs_hashed,
            account.models_identified,
            account.limitations,
            findings.claims_with_threshold,
            findings.per_group_measurement,
            findings.intersections,
            findings.intervals,
            findings.detectable_effect,
            findings.controls,
            findings.impact_ratios,
            findings.benchmark,
            findings.training_feedback_panel,
            findings.mitigation_before_after,
        )
    },
    **STATED,
}
