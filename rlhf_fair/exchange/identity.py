"""What an exported file calls itself: the hash of the results it was made from, names derived from it, and the model.

Nothing here reads a clock or draws a random number, so the same results give the same bytes in every format.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib import metadata
from uuid import NAMESPACE_URL, UUID, uuid5

from rlhf_fair.artifacts import canonical_json, sha256_bytes
from rlhf_fair.records import Results
from rlhf_fair.report.context import models

TOOL = "rlhf-fair"


def results_sha256(results: Results) -> str:
    """SHA-256 of the bytes that `write_results` writes for these results.

    A file from an earlier version of this package may lack fields and so have another hash: whoever has the file gives
    its own hash to `to_junit` and the others as ``digest``.
    """
    return sha256_bytes(canonical_json(results.model_dump(mode="json")) + b"\n")


def in_file_order(results: Results) -> Results:
    """The results with the keys of their free-form parts as ``results.json`` sorts them.

    So results from memory and the same results read from disk give the same bytes.
    """
    free = json.loads(canonical_json(results.model_dump(mode="json", include={"audit", "manifest"})))
    return results.model_copy(update=free)


def stable_uuid(results_hash: str, what: str) -> UUID:
    """A version-5 UUID (RFC 9562) of one thing said about one set of results."""
    return uuid5(NAMESPACE_URL, f"{TOOL}:{results_hash}:{what}")


def tool_version() -> str:
    """The installed version of this package."""
    return metadata.version(TOOL)


def audited_name(results: Results) -> str:
    """Who was audited, as the results name it; empty where they name none, or one model for each stage.

    >>> audited_name(Results(audit={"models": {"audited": "gpt2"}}))
    'gpt2'
    """
    found = models(results.audit)
    if isinstance(found, Mapping):
        reward = found.get("reward_model")
        named = (found.get("audited"), found.get("name"), reward.get("name") if isinstance(reward, Mapping) else reward)
        found = next((name for name in named if isinstance(name, str) and name), None)
    return found if isinstance(found, str) else ""
