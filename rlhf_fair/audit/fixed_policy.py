"""The policy is fixed before anything is measured: its hash is on disk before the first answer is asked for.

``begun.json`` in an audit's folder says under which plan and policy a run began, and whether it is finished. A run that
was stopped goes on from the answers that are kept; under another plan it is refused, for thresholds could then be
chosen with a view to answers that have been seen. What the file cannot show is that nobody measured the same elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from rlhf_fair.artifacts import (
    canonical_json,
    make_folder,
    read_json,
    sha256_bytes,
    sha256_file,
    write_json,
    write_results,
)
from rlhf_fair.audit.plan import Judging, Policy
from rlhf_fair.errors import SettingsError
from rlhf_fair.records import Record, Results
from rlhf_fair.settings import read_toml_table

BEGUN_NAME = "begun.json"
FIXED = "policy_fixed"
"""The entry of ``Results.audit`` with the hashes."""


class Begun(Record):
    """The content of ``begun.json``: lower-case hex SHA-256 each.

    ``plan_sha256``: of the plan's file. ``content_sha256``: of what it says, comments and spaces aside.
    ``policy_sha256``: of the policy with its defaults, as it stands in ``results.json`` under audit.plan.policy, as
    canonical JSON.
    """

    plan_sha256: str
    content_sha256: str
    policy_sha256: str
    state: Literal["begun", "finished"] = "begun"


def begin(plan_file: Path, out: Path) -> None:
    """Make ``out`` and write ``begun.json`` there; call it when all is checked and nothing has been asked.

    Raises
    ------
    SettingsError
        A run under another plan was begun in ``out`` and is not finished.
    """
    begun, path = begun_of(plan_file), out / BEGUN_NAME
    make_folder(out)
    if path.is_file():
        before = read_begun(path)
        if before.state == "begun" and before.content_sha256 != begun.content_sha256:
            what = "policy" if before.policy_sha256 != begun.policy_sha256 else "plan"
            raise SettingsError(
                f"{path}: this audit was begun under another {what} and is not finished; go on with the {what} it "
                f"began with, or give another --out, or delete {BEGUN_NAME} and begin anew"
            )
    write_json(path, begun.model_dump(mode="json"))


def finish(out: Path, results: Results) -> Results:
    """Write ``results`` with the hashes of `begin`, then mark the run as finished, unless answers are still open."""
    path = out / BEGUN_NAME
    begun = read_begun(path)
    fixed = {"file": BEGUN_NAME, "plan_sha256": begun.plan_sha256, "policy_sha256": begun.policy_sha256}
    results = results.model_copy(update={"audit": results.audit | {FIXED: fixed}})
    write_results(out, results)
    if "partial" not in results.audit:
        write_json(path, begun.model_copy(update={"state": "finished"}).model_dump(mode="json"))
    return results


def begun_of(plan_file: Path) -> Begun:
    """The hashes of a plan."""
    content = read_toml_table(plan_file, "plan")
    return Begun(
        plan_sha256=sha256_file(plan_file),
        content_sha256=sha256_bytes(canonical_json(_plain(content))),
        policy_sha256=sha256_bytes(canonical_json(_policy(content.get("policy", {})).model_dump(mode="json"))),
    )


def read_begun(path: Path) -> Begun:
    """A ``begun.json``, checked."""
    try:
        return Begun.model_validate(read_json(path, "record of the run"))
    except ValidationError as error:
        raise SettingsError(f"record of the run {path}: {error.errors()[0]['msg']}") from error


def _policy(table: Mapping[str, Any]) -> Judging:
    """A policy with limits at its top is one for every metric."""
    return (Policy if "threshold" in table else Judging).model_validate(table)


def _plain(value: Any) -> Any:
    """Parsed TOML as JSON takes it: dates, times and infinite numbers as text."""
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    finite = not isinstance(value, float) or abs(value) < float("inf")
    return value if isinstance(value, str | bool | int) or (isinstance(value, float) and finite) else str(value)
