"""What a folder's signature says, and to whom."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from rlhf_fair.artifacts import ENVELOPE_NAME, LOG_NAME, STATEMENT_NAME, canonical_json, sha256_bytes
from rlhf_fair.attestation.keys import key_id
from rlhf_fair.attestation.log import SIGNED, Event, extended, read_log, write_log
from rlhf_fair.attestation.sealing import sign
from rlhf_fair.errors import IntegrityError
from rlhf_fair.integrity.verify import Verification, examine_folder, verify_folder
from rlhf_fair.report.folder import render_again

OTHER = Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33)))


def signature(found: Verification) -> tuple[str, str]:
    ((outcome, detail),) = ((c.outcome, c.detail) for c in found.checks if c.name == "signature")
    return outcome, detail


def test_the_named_signer_is_recognised(audit: Path, key: Ed25519PrivateKey) -> None:
    found = verify_folder(audit, public_key=key.public_key())
    assert found.signer == key_id(key.public_key())
    assert signature(found) == ("agrees", f"valid, by the key named: {found.signer}")


def test_a_signer_whom_nobody_named_is_said_to_be_so(audit: Path) -> None:
    outcome, detail = signature(verify_folder(audit, require_signature=True))
    assert outcome == "agrees"
    assert "by a key that nobody named" in detail


def test_another_key_than_the_one_named_disagrees(audit: Path) -> None:
    with pytest.raises(IntegrityError, match="is signed by key"):
        verify_folder(audit, public_key=OTHER.public_key())


def test_signed_again_by_another_key_is_valid_for_that_one_only(audit: Path, key: Ed25519PrivateKey) -> None:
    sign(audit, OTHER)
    assert verify_folder(audit, public_key=OTHER.public_key()).signer == key_id(OTHER.public_key())
    with pytest.raises(IntegrityError, match="is signed by key"):
        verify_folder(audit, public_key=key.public_key())
    assert [entry.event for entry in read_log(audit)] == ["begun", "finished", "signed", "signed"]


def test_without_a_signature_it_depends_on_what_was_asked(unsigned: Path, key: Ed25519PrivateKey) -> None:
    assert signature(verify_folder(unsigned))[0] == "not done"
    for asked in ({"require_signature": True}, {"public_key": key.public_key()}):
        with pytest.raises(IntegrityError, match="not signed"):
            verify_folder(unsigned, **asked)  # type: ignore[arg-type]


def test_a_signature_taken_off_with_its_line_of_the_log_is_missed_by_who_asks(
    audit: Path, key: Ed25519PrivateKey
) -> None:
    (audit / ENVELOPE_NAME).unlink()
    write_log(audit, read_log(audit)[:-1])
    verify_folder(audit)  # it is now the folder before signing
    with pytest.raises(IntegrityError, match="not signed"):
        verify_folder(audit, public_key=key.public_key())


def relogged(folder: Path, data: bytes) -> None:
    """An attacker's envelope with a log that tells of it."""
    (folder / ENVELOPE_NAME).write_bytes(data)
    *before, last = read_log(folder)
    details = {**last.details, "attestation": sha256_bytes(data)}
    write_log(folder, extended(before, Event(SIGNED, details, last.time)))


def payload_of_another_outcome(content: dict[str, object]) -> dict[str, object]:
    statement = json.loads(base64.b64decode(str(content["payload"])))
    statement["predicate"]["result"] = "PASSED"
    return content | {"payload": base64.b64encode(canonical_json(statement) + b"\n").decode()}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (payload_of_another_outcome, "holds another statement"),
        (lambda content: content | {"payloadType": "application/json"}, "not an in-toto statement"),
        (
            lambda content: (
                content | {"signatures": [content["signatures"][0] | {"sig": base64.b64encode(bytes(64)).decode()}]}  # type: ignore[index]
            ),
            "not valid",
        ),
    ],
)
def test_a_changed_envelope_with_a_log_to_match_is_found(
    audit: Path, change: Callable[[dict[str, object]], dict[str, object]], message: str
) -> None:
    content = json.loads((audit / ENVELOPE_NAME).read_bytes())
    relogged(audit, canonical_json(change(content)) + b"\n")
    with pytest.raises(IntegrityError, match=message):
        verify_folder(audit)


def test_what_was_signed_is_the_statement_itself(audit: Path) -> None:
    payload = base64.b64decode(json.loads((audit / ENVELOPE_NAME).read_bytes())["payload"])
    assert payload == (audit / STATEMENT_NAME).read_bytes()


def test_rendering_the_same_page_again_keeps_the_signature(audit: Path, key: Ed25519PrivateKey) -> None:
    before = (audit / LOG_NAME).read_bytes()
    render_again(audit)
    assert (audit / LOG_NAME).read_bytes() == before
    verify_folder(audit, public_key=key.public_key())


def test_rendering_another_page_is_logged_and_takes_the_signature_off(audit: Path) -> None:
    from rlhf_fair.report.rendering import Rendering

    render_again(audit, Rendering(frameworks=("eu-ai-act",)))
    assert not (audit / ENVELOPE_NAME).exists()
    assert [entry.event for entry in read_log(audit)] == ["begun", "finished", "signed", "rendered again"]
    assert not verify_folder(audit).problems


def test_a_folder_whose_log_tells_of_another_manifest_is_not_rendered(audit: Path) -> None:
    manifest = json.loads((audit / "manifest.json").read_bytes())
    manifest["seeds"] = {"seed": 1}
    (audit / "manifest.json").write_bytes(canonical_json(manifest) + b"\n")
    before = (audit / "index.html").stat().st_mtime_ns
    with pytest.raises(IntegrityError, match="ends at other files"):
        render_again(audit)
    assert (audit / "index.html").stat().st_mtime_ns == before
    assert examine_folder(audit).problems
