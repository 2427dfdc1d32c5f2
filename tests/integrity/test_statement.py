"""The statement, field by field as in-toto's specification has it, and the outcome by the exit code."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from rlhf_fair.artifacts import canonical_json, read_results
from rlhf_fair.attestation.outcome import outcome_of_results
from rlhf_fair.records import Verdict, exit_code


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_subjects_are_every_file_the_manifest_and_the_log_so_far(audit: Path) -> None:
    statement = json.loads((audit / "statement.json").read_bytes())
    listed = {subject["name"]: subject["digest"] for subject in statement["subject"]}
    files = ("index.html", "manifest.json", "records.parquet", "results.json", "summary.md")
    expected = {name: {"sha256": sha256((audit / name).read_bytes())} for name in files}
    lines = (audit / "audit-log.jsonl").read_bytes().splitlines(keepends=True)
    assert len(lines) == 3  # begun, finished, signed: the signature cannot speak of its own line
    assert listed == {**expected, "audit-log.jsonl:1-2": {"sha256": sha256(b"".join(lines[:2]))}}


def test_the_form_is_that_of_the_specification(audit: Path) -> None:
    # in-toto attestation spec v1: statement.md, resource_descriptor.md; predicates/test-result.md v0.1
    statement = json.loads((audit / "statement.json").read_bytes())
    assert set(statement) == {"_type", "subject", "predicateType", "predicate"}
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert statement["predicateType"] == "https://in-toto.io/attestation/test-result/v0.1"
    predicate = statement["predicate"]
    assert set(predicate) == {"result", "configuration", "passedTests", "warnedTests", "failedTests"}
    assert predicate["result"] in ("PASSED", "WARNED", "FAILED")
    for resource in [*statement["subject"], *predicate["configuration"]]:
        assert set(resource) == {"name", "digest"}
        assert set(resource["digest"]) == {"sha256"}
        assert len(bytes.fromhex(resource["digest"]["sha256"])) == 32


def test_the_configuration_is_the_plan(audit: Path) -> None:
    statement = json.loads((audit / "statement.json").read_bytes())
    plan = json.loads((audit / "results.json").read_bytes())["audit"]["plan"]
    file, as_read = statement["predicate"]["configuration"]
    assert file == {"name": "plan", "digest": {"sha256": "ab" * 32}}
    assert as_read["digest"]["sha256"] == sha256(canonical_json(plan))


@pytest.mark.parametrize(
    ("verdicts", "result"),
    [
        ([Verdict.WITHIN], "PASSED"),
        ([Verdict.WITHIN, Verdict.EXCEEDS], "FAILED"),
        ([Verdict.INCONCLUSIVE, Verdict.EXCEEDS], "FAILED"),
        ([Verdict.WITHIN, Verdict.INCONCLUSIVE], "WARNED"),
        ([Verdict.NOT_MEASURED], "WARNED"),
        ([], "WARNED"),
    ],
)
def test_results_go_with_exit_codes(audit: Path, verdicts: list[Verdict], result: str) -> None:
    found = read_results(audit)
    (claim,) = (f for f in found.findings if f.role == "claim")
    claims = [claim.model_copy(update={"id": f"{k}", "verdict": verdict}) for k, verdict in enumerate(verdicts)]
    slices = [f.model_copy(update={"verdict": Verdict.EXCEEDS}) for f in found.findings if f.role != "claim"]
    outcome = outcome_of_results(found.model_copy(update={"findings": (*claims, *slices)}))
    assert outcome.result == result
    assert {"PASSED": 0, "FAILED": 1, "WARNED": 3}[result] == exit_code(claims)
    of: dict[str, Any] = {Verdict.WITHIN: outcome.passed, Verdict.EXCEEDS: outcome.failed}
    assert all(f.id in of.get(f.verdict, outcome.warned) for f in claims)
    assert len(outcome.passed) + len(outcome.warned) + len(outcome.failed) == len(claims)  # slices decide nothing


def test_the_reference_implementation_reads_the_statement(audit: Path) -> None:
    """in-toto-attestation's own classes, where they are installed."""
    module = pytest.importorskip("in_toto_attestation.v1.statement", reason="needs in-toto-attestation")
    data = pytest.importorskip("google.protobuf.json_format", reason="needs protobuf")
    message = data.Parse((audit / "statement.json").read_text(), module.spb.Statement())
    module.Statement.copy_from_pb(message).validate()
    assert len(message.subject) == 6
