"""How a folder is finished: manifest, log and statement, written by one function whatever made the folder."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlhf_fair.artifacts import (
    ENVELOPE_NAME,
    LOG_NAME,
    MANIFEST_NAME,
    RESULTS_NAME,
    STATEMENT_NAME,
    canonical_json,
    manifest_content,
    read_json,
    read_results,
    sha256_bytes,
    sha256_file,
    write_bytes,
    write_canonical_json,
)
from rlhf_fair.attestation.log import (
    BEGUN,
    FINISHED,
    RENDERED,
    REPLACED,
    SIGNED,
    Entry,
    Event,
    extended,
    read_log,
    write_log,
)
from rlhf_fair.attestation.outcome import Outcome, outcome_of_diff, outcome_of_results
from rlhf_fair.attestation.renderer import renderer
from rlhf_fair.attestation.statement import statement_of
from rlhf_fair.errors import IntegrityError, MissingFileError, SettingsError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

DIFF_NAME, COMPARISON_NAME = "diff.json", "comparison.json"
PAGES = {RESULTS_NAME: "index.html", DIFF_NAME: "index.html", COMPARISON_NAME: "comparison.html"}
"""The data of a folder -> the page that shows them."""
FORMAT = "2"
"""Of a manifest that comes with a statement and a log; manifests without it are older or of a folder without."""


def begun(**details: str) -> Event:
    """That a run begins, with the hash of its plan: to be made before anything is measured, and given to `seal`."""
    return Event(BEGUN, details)


def seal(
    folder: Path,
    *,
    inputs: Mapping[str, str],
    seeds: Mapping[str, int],
    start: Event | None = None,
    leave_out: Iterable[str] = (),
) -> None:
    """Finish ``folder``: write the log, the statement where there is a verdict, and the manifest last.

    ``inputs``, ``seeds``, ``leave_out``: as in `rlhf_fair.artifacts.manifest_content`. ``start``: of `begun`. A second
    run into the same folder goes on with its log; a signature of what was there before goes.
    """
    content = manifest_content(folder, inputs=inputs, seeds=seeds, leave_out=leave_out)
    content |= {"schema_version": FORMAT, "renderer": renderer()}
    start = start or Event(BEGUN, {"plan": inputs["plan"]} if "plan" in inputs else {})
    before, told = _history(folder)
    _write(folder, content, extended(before, *told, start, Event(FINISHED, digests_of(content))))


def seal_again(folder: Path, files: Mapping[str, str]) -> None:
    """After a page was rendered again: ``files`` (name -> SHA-256) are now all there is in ``folder``.

    Nothing is written where they are the same as before. Else the manifest, the log and the statement follow, and a
    signature, which is of other files, goes. A folder without a log gets none.
    """
    content = read_json(folder / MANIFEST_NAME, "manifest")
    if content["files"] == files:
        return
    if content.get("schema_version") != FORMAT:
        write_canonical_json(folder / MANIFEST_NAME, {**content, "files": dict(files)})
        return
    entries, _ = check_log(folder, content)
    content = {**content, "files": dict(files), "renderer": renderer()}
    _write(folder, content, extended(entries, Event(RENDERED, digests_of(content))))


def check_log(folder: Path, manifest: Mapping[str, Any]) -> tuple[tuple[Entry, ...], int]:
    """The chain, and the index of its last entry about a state, which must be that of ``manifest``.

    Raises
    ------
    IntegrityError
        The chain is broken or ends at another manifest, or the plan was another when the run began.
    """
    entries = read_log(folder)
    states = [index for index, entry in enumerate(entries) if entry.event in (FINISHED, RENDERED)]
    if not states or any(entry.event != SIGNED for entry in entries[states[-1] + 1 :]):
        raise IntegrityError(f"{LOG_NAME} does not end at a finished folder")
    if entries[states[-1]].details != digests_of(manifest):
        raise IntegrityError(f"{LOG_NAME} ends at other files than these: {MANIFEST_NAME} or the log was replaced")
    starts = [entry.details.get("plan") for entry in entries[: states[-1]] if entry.event == BEGUN]
    planned = manifest["inputs"].get("plan")
    if starts and None not in (starts[-1], planned) and starts[-1] != planned:
        raise IntegrityError(f"the plan was another when the run began: {starts[-1]}, finished with {planned}")
    return entries, states[-1]


def sign(folder: Path, key: Ed25519PrivateKey) -> str:
    """Sign the folder's statement; returns the id of the key. A signature that is there already is replaced.

    The files are not checked here: verify the folder before.
    """
    from rlhf_fair.attestation.envelope import signed
    from rlhf_fair.attestation.keys import public_bytes

    statement = folder / STATEMENT_NAME
    if not statement.is_file():
        raise MissingFileError(statement, "statement", "only a folder with a verdict and of this version has one")
    envelope = signed(statement.read_bytes(), key)
    data = envelope.to_bytes()
    details = {
        "attestation": sha256_bytes(data),
        "key_id": envelope.key_id,
        "public_key": base64.b64encode(public_bytes(key.public_key())).decode("ascii"),
    }
    entries = extended(read_log(folder), Event(SIGNED, details))
    write_bytes(folder / ENVELOPE_NAME, data)
    write_log(folder, entries)
    return envelope.key_id


def statement_bytes(folder: Path, manifest: Mapping[str, Any], history: tuple[Entry, ...]) -> bytes | None:
    """The statement as it has to be; None for a folder without a verdict, such as that of a training run."""
    outcome = _outcome(folder)
    return None if outcome is None else canonical_json(statement_of(manifest, history, outcome)) + b"\n"


def data_name(folder: Path) -> str | None:
    """The file that a folder's page shows; None where there is none."""
    return next((name for name in PAGES if (folder / name).is_file()), None)


def _write(folder: Path, content: Mapping[str, Any], entries: tuple[Entry, ...]) -> None:
    """The manifest comes last: whoever finds it finds a finished folder."""
    statement = statement_bytes(folder, content, entries)
    (folder / ENVELOPE_NAME).unlink(missing_ok=True)
    write_log(folder, entries)
    if statement is None:
        (folder / STATEMENT_NAME).unlink(missing_ok=True)
    else:
        write_bytes(folder / STATEMENT_NAME, statement)
    write_canonical_json(folder / MANIFEST_NAME, content)


def _outcome(folder: Path) -> Outcome | None:
    from pydantic import ValidationError

    from rlhf_fair.changes import AuditDiff

    name = data_name(folder)
    if name == RESULTS_NAME:
        return outcome_of_results(read_results(folder))
    if name != DIFF_NAME:
        return None
    try:
        return outcome_of_diff(AuditDiff.model_validate(read_json(folder / DIFF_NAME, "comparison")))
    except ValidationError as error:
        raise SettingsError(f"{folder / DIFF_NAME} is not a comparison") from error


def _history(folder: Path) -> tuple[tuple[Entry, ...], tuple[Event, ...]]:
    """The log so far, and what is to be said of it: one that is broken does not stop a run, and is not kept silent."""
    if not (folder / LOG_NAME).is_file():
        return (), ()
    try:
        return read_log(folder), ()
    except IntegrityError as error:
        return (), (Event(REPLACED, {"sha256": sha256_file(folder / LOG_NAME), "why": str(error)}),)


def digests_of(content: Mapping[str, Any]) -> dict[str, str]:
    """What the log says of a state: the hash of its manifest, and of the data that its page shows."""
    files = content["files"]
    data = {name: files[name] for name in PAGES if name in files}
    return {MANIFEST_NAME: sha256_bytes(canonical_json(content) + b"\n"), **data}
