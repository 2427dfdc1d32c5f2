"""CycloneDX 1.6 (ECMA-424): a bill of materials whose subject is the audited model, with its ``modelCard``.

Every finding becomes a performance metric on a slice with its confidence interval; one that was not measured keeps its
slice, with the reason and without a value. What the claims say of each group stands under ``fairnessAssessments``,
which name a group that is at risk of a harm: a gap beyond the threshold, or one that is open. There is no timestamp,
and the serial number follows from the results.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from rlhf_fair.exchange.identity import TOOL, audited_name, in_file_order, results_sha256, stable_uuid, tool_version
from rlhf_fair.exchange.wording import basis_of, clean, one_line, sentence_of, verdict_of
from rlhf_fair.records import Finding, Results, Verdict, exit_code
from rlhf_fair.report import wording as say
from rlhf_fair.report.context import always_limits
from rlhf_fair.report.plain_tables import pairs, sentences
from rlhf_fair.report.reading import Terms, is_measured, terms_of

MODEL_REF = "audited-model"
SLICE_PARTS = ("stage", "probe", "variant")
Json = dict[str, Any]


def to_cyclonedx(results: Results, *, model_id: str = "", digest: str = "") -> bytes:
    """The results as one BOM, UTF-8 JSON.

    ``model_id``: the model's name, where the results name none or another. ``digest``: SHA-256 of the results' file.
    """
    results, digest = in_file_order(results), digest or results_sha256(results)
    model = {
        "type": "machine-learning-model",
        "bom-ref": MODEL_REF,
        "name": one_line(model_id or audited_name(results) or "audited model"),
        "modelCard": _model_card(results),
        "properties": _properties(_digests(results)),
    }
    tool = {"type": "application", "name": TOOL, "version": tool_version()}
    about = {
        "audit": results.audit.get("title") or "Bias audit",
        "question": results.audit.get("question") or "",
        "results-sha256": digest,
        "exit-code": exit_code(results.findings),
    }
    bom = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{stable_uuid(digest, 'cyclonedx')}",
        "version": 1,
        "metadata": {"tools": {"components": [tool]}, "component": model, "properties": _properties(about)},
        "components": _data(results),
    }
    return json.dumps(bom, ensure_ascii=False, indent=1, allow_nan=False).encode() + b"\n"


def _model_card(results: Results) -> Json:
    terms = terms_of(results)
    limits = [one_line(text) for text in (*sentences(results.audit.get("limits")), *always_limits(results))]
    return {
        "quantitativeAnalysis": {"performanceMetrics": [_metric(finding) for finding in results.findings]},
        "considerations": {
            "technicalLimitations": limits,
            "ethicalConsiderations": [{"name": text} for text in _open_questions(results.findings, terms)],
            "fairnessAssessments": _assessments(results.findings, terms),
        },
    }


def _metric(finding: Finding) -> Json:
    """Values are strings in this format: the shortest that give the same number back."""
    where = [f"{name} {getattr(finding, name)}" for name in SLICE_PARTS if getattr(finding, name)]
    missing = "" if is_measured(finding) else say.not_measured(finding.reason)
    about = [say.subject(finding), *where, finding.role, missing]
    metric: Json = {
        "type": one_line(f"{finding.metric} ({finding.unit})" if finding.unit else finding.metric),
        "slice": one_line("; ".join(filter(None, about))),
    }
    if missing:
        return metric
    known = finding.model_dump(mode="json", include={"ci_low", "ci_high"})
    ends = {"lowerBound": known["ci_low"], "upperBound": known["ci_high"]}
    interval = {name: repr(end) for name, end in ends.items() if end is not None}
    return metric | {"value": repr(finding.estimate), "confidenceInterval": interval}


def _assessments(findings: Iterable[Finding], terms: Terms) -> list[Json]:
    """What each claim that does not lie within its threshold says of its group, one entry for each group."""
    groups: dict[str, list[str]] = {}
    for finding in findings:
        if finding.role == "claim" and finding.verdict != Verdict.WITHIN:
            group = one_line(f"{say.words(finding.attribute)}: {finding.group or 'all groups'}")
            groups.setdefault(group, []).append(
                f"{sentence_of(finding, terms)} ({say.stage(finding.stage)}): {verdict_of(finding, terms)}; "
                f"{basis_of(finding)}"
            )
    return [{"groupAtRisk": group, "harms": clean("\n".join(told))} for group, told in groups.items()]


def _open_questions(findings: Iterable[Finding], terms: Terms) -> list[str]:
    """Slices and controls beyond the threshold: no claim was made about them, and a reader should know."""
    return [
        f"{sentence_of(finding, terms)} ({finding.role}, {one_line(say.stage(finding.stage))}): "
        f"{verdict_of(finding, terms)}"
        for finding in findings
        if finding.role != "claim" and finding.verdict == Verdict.EXCEEDS
    ]


def _data(results: Results) -> list[Json]:
    """What the audit measured on, as one component for each entry of ``data``."""
    named = pairs(results.audit.get("data"))
    return [
        {
            "type": "data",
            "bom-ref": f"data-{number}",
            "name": one_line(name),
            "data": [{"type": "dataset", "name": one_line(name), "description": one_line(value)}],
        }
        for number, (name, value) in enumerate(named, 1)
    ]


def _digests(results: Results) -> dict[str, object]:
    """SHA-256 of what the audit read, by name; a folder's is of its listing, so none is a component's hash."""
    inputs = results.manifest.get("inputs")
    return {f"sha256:{name}": value for name, value in inputs.items()} if isinstance(inputs, Mapping) else {}


def _properties(values: Mapping[str, object]) -> list[Json]:
    return [
        {"name": one_line(f"{TOOL}:{name}"), "value": one_line(value)} for name, value in values.items() if value != ""
    ]
