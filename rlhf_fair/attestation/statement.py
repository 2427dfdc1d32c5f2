"""What is said of a folder: an in-toto Statement v1 with the predicate "test-result" v0.1.

Sources: in-toto Attestation Framework, ``spec/v1/statement.md`` and ``spec/predicates/test-result.md``. The statement
follows from the folder alone, so it is checked by making it again.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from rlhf_fair.artifacts import LOG_NAME, MANIFEST_NAME, canonical_json, sha256_bytes
from rlhf_fair.attestation.log import Entry, log_bytes
from rlhf_fair.attestation.outcome import Outcome

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://in-toto.io/attestation/test-result/v0.1"
_SHA256 = re.compile("[0-9a-f]{64}")

Json = dict[str, Any]


def statement_of(manifest: Mapping[str, Any], history: Sequence[Entry], outcome: Outcome) -> Json:
    """The statement about the files of ``manifest``, the manifest itself, and the log as far as ``history`` goes.

    The log grows when somebody signs, so its subject is named with the lines that its hash is of:
    ``head -n N audit-log.jsonl | sha256sum`` gives it.
    """
    files: dict[str, str] = {**manifest["files"], MANIFEST_NAME: sha256_bytes(canonical_json(manifest) + b"\n")}
    subjects = [_resource(name, digest) for name, digest in sorted(files.items())]
    subjects.append(_resource(f"{LOG_NAME}:1-{len(history)}", sha256_bytes(log_bytes(history))))
    return {
        "_type": STATEMENT_TYPE,
        "subject": subjects,
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "result": outcome.result,
            "configuration": _configuration(manifest["inputs"], outcome),
            "passedTests": list(outcome.passed),
            "warnedTests": list(outcome.warned),
            "failedTests": list(outcome.failed),
        },
    }


def _configuration(inputs: Mapping[str, str], outcome: Outcome) -> list[Json]:
    """The plan's file, and the plan as it was understood."""
    found = []
    if _SHA256.fullmatch(inputs.get("plan", "")):
        found.append(_resource("plan", inputs["plan"]))
    if outcome.plan is not None:
        found.append(_resource("results.json: audit.plan", sha256_bytes(canonical_json(outcome.plan))))
    return found


def _resource(name: str, digest: str) -> Json:
    return {"name": name, "digest": {"sha256": digest}}
