"""The files against the manifest, the manifest against the log and the statement, and the statement's signature."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlhf_fair.artifacts import (
    ENVELOPE_NAME,
    LOG_NAME,
    MANIFEST_NAME,
    STATEMENT_NAME,
    canonical_json,
    sha256_bytes,
    verify_manifest,
)
from rlhf_fair.attestation.log import Entry
from rlhf_fair.attestation.sealing import FORMAT, check_log, statement_bytes
from rlhf_fair.errors import IntegrityError, RlhfFairError
from rlhf_fair.integrity.checks import Check, read_small

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

Manifest = Mapping[str, Any]
UNSEALED = "the folder has no statement and no log (older, or not made by an audit): nothing covers its manifest"


@dataclass(frozen=True)
class Seals:
    """What the checks of `check_seals` found; ``manifest`` is empty where it cannot be used."""

    manifest: Manifest
    files: int
    checks: tuple[Check, ...]
    signer: str = ""


def check_seals(folder: Path, public_key: Ed25519PublicKey | None, *, require_signature: bool) -> Seals:
    """All checks that need nothing but hashes and keys. Where the files do not match, the rest is not looked at."""
    try:
        manifest = _read_manifest(folder)
        _no_links(folder)
        files = verify_manifest(folder)
    except RlhfFairError as error:
        return Seals({}, 0, (Check("files", "disagrees", str(error)),))
    checks = [Check("files", "agrees", f"{files} files are those of the manifest")]
    if manifest.get("schema_version") != FORMAT:
        checks += _unsealed(folder)
        wanted = require_signature or public_key is not None
        checks.append(Check("signature", "disagrees" if wanted else "not done", "the folder is not signed"))
        return Seals(manifest, files, tuple(checks))
    try:
        entries, state = check_log(folder, manifest)
        checks.append(Check("log", "agrees", f"{len(entries)} entries, chained, and the last state is this one"))
        _check_statement(folder, manifest, entries[: state + 1])
        checks.append(Check("statement", "agrees", "it is what follows from the files"))
        check, signer = _check_signature(folder, entries[state + 1 :], public_key, required=require_signature)
    except RlhfFairError as error:
        return Seals(manifest, files, (*checks, Check("seals", "disagrees", str(error))))
    return Seals(manifest, files, (*checks, check), signer)


def _read_manifest(folder: Path) -> Manifest:
    """The manifest; one that comes with a statement must be in canonical form, so that each of its bytes counts."""
    data = read_small(folder, MANIFEST_NAME)
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise IntegrityError(f"{MANIFEST_NAME} is not JSON") from error
    tables = ("files", "inputs", "seeds", "environment")
    if not isinstance(content, dict) or any(not isinstance(content.get(name), dict) for name in tables):
        raise IntegrityError(f"{MANIFEST_NAME} lists no files: it needs the tables {', '.join(tables)}")
    if any(not isinstance(value, str) for name in ("files", "inputs") for value in content[name].values()):
        raise IntegrityError(f"{MANIFEST_NAME}: every file and input must have its SHA-256")
    if "schema_version" in content and canonical_json(content) + b"\n" != data:
        raise IntegrityError(f"changed: {MANIFEST_NAME} is not in canonical form")
    return content


def _no_links(folder: Path) -> None:
    """A link, a device or a socket is no file that a hash could speak for."""
    try:
        for path in folder.rglob("*"):
            if path.is_symlink() or not (path.is_file() or path.is_dir()):
                name = path.relative_to(folder).as_posix()
                raise IntegrityError(f"{name} is a link or no regular file: allowed: files and folders")
    except OSError as error:
        raise IntegrityError(f"{folder} cannot be read: {error.strerror or error}") from error


def _unsealed(folder: Path) -> list[Check]:
    beside = [name for name in (STATEMENT_NAME, ENVELOPE_NAME, LOG_NAME) if (folder / name).exists()]
    if beside:
        detail = f"{', '.join(beside)} beside a manifest that knows of none: it is not the one they were made with"
        return [Check("seals", "disagrees", detail)]
    return [Check("log", "not done", UNSEALED), Check("statement", "not done", UNSEALED)]


def _check_statement(folder: Path, manifest: Manifest, history: Sequence[Entry]) -> None:
    expected = statement_bytes(folder, manifest, tuple(history))
    if expected is None:
        if (folder / STATEMENT_NAME).exists():
            raise IntegrityError(f"not to be there: {STATEMENT_NAME} of a folder without a verdict")
    elif read_small(folder, STATEMENT_NAME) != expected:
        raise IntegrityError(f"changed: {STATEMENT_NAME} is not what follows from the files")


def _check_signature(
    folder: Path, signed: Sequence[Entry], public_key: Ed25519PublicKey | None, *, required: bool
) -> tuple[Check, str]:
    """What the signature is worth, and the id of the key that made it."""
    from rlhf_fair.attestation.envelope import read_envelope
    from rlhf_fair.attestation.keys import key_id

    if bool(signed) != (folder / ENVELOPE_NAME).exists():
        raise IntegrityError(f"{LOG_NAME} and {ENVELOPE_NAME} do not agree on whether the folder is signed")
    if not signed:
        wanted = required or public_key is not None
        return Check("signature", "disagrees" if wanted else "not done", "the folder is not signed"), ""
    data = read_small(folder, ENVELOPE_NAME)
    envelope, named = read_envelope(data), _logged_key(signed[-1])
    told = signed[-1].details
    if told.get("attestation") != sha256_bytes(data) or told.get("key_id") != key_id(named):
        raise IntegrityError(f"changed: {ENVELOPE_NAME} is not the one that {LOG_NAME} tells of")
    if envelope.payload != read_small(folder, STATEMENT_NAME):
        raise IntegrityError(f"{ENVELOPE_NAME} holds another statement than {STATEMENT_NAME}")
    envelope.check(public_key or named)
    if public_key is not None:
        return Check("signature", "agrees", f"valid, by the key named: {envelope.key_id}"), envelope.key_id
    detail = (
        f"valid, but by a key that nobody named: {envelope.key_id}; give --public-key to learn whether it is the "
        "signer's: anybody can make a key and sign"
    )
    return Check("signature", "agrees", detail), envelope.key_id


def _logged_key(entry: Entry) -> Ed25519PublicKey:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_der_public_key

    try:
        key = load_der_public_key(base64.b64decode(entry.details["public_key"], validate=True))
    except (KeyError, TypeError, ValueError, UnsupportedAlgorithm) as error:
        raise IntegrityError(f"{LOG_NAME} line {entry.sequence} names no public key") from error
    if not isinstance(key, Ed25519PublicKey):
        raise IntegrityError(f"{LOG_NAME} line {entry.sequence} names a key that is not ed25519")
    return key
