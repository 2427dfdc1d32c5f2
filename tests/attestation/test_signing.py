"""Keys, envelopes and what a signature is worth."""

from __future__ import annotations

import base64
import json
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from rlhf_fair.attestation.envelope import PAYLOAD_TYPE, read_envelope, signed
from rlhf_fair.attestation.keys import key_id, load_private, load_public, new_keys, public_bytes
from rlhf_fair.errors import IntegrityError, MissingFileError, OutputError, SettingsError

# RFC 8032, section 7.1, test 1: the secret key and its public key
SECRET = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
PUBLIC = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")
KEY = Ed25519PrivateKey.from_private_bytes(SECRET)


def test_a_public_key_is_written_as_rfc_8410_says() -> None:
    # RFC 8410, section 4: SEQUENCE { SEQUENCE { OID 1.3.101.112 }, BIT STRING of 32 bytes }
    assert public_bytes(KEY.public_key()) == bytes.fromhex("302a300506032b6570032100") + PUBLIC


def test_an_envelope_is_signed_over_the_pre_authentication_encoding() -> None:
    envelope = signed(b"{}", KEY)
    content = json.loads(envelope.to_bytes())
    assert content["payloadType"] == PAYLOAD_TYPE == "application/vnd.in-toto+json"
    assert base64.b64decode(content["payload"]) == b"{}"
    KEY.public_key().verify(
        base64.b64decode(content["signatures"][0]["sig"]), b"DSSEv1 28 " + PAYLOAD_TYPE.encode() + b" 2 {}"
    )


def changed(**fields: object) -> bytes:
    content = json.loads(signed(b'{"a":1}', KEY).to_bytes())
    return json.dumps(content | fields, sort_keys=True, separators=(",", ":")).encode() + b"\n"


def test_an_altered_payload_or_type_is_not_what_was_signed() -> None:
    public = KEY.public_key()
    read_envelope(changed()).check(public)
    with pytest.raises(IntegrityError, match=r"signature .* is not valid"):
        read_envelope(changed(payload=base64.b64encode(b'{"a":2}').decode())).check(public)
    with pytest.raises(IntegrityError, match="not an in-toto statement"):
        read_envelope(changed(payloadType="text/plain")).check(public)


def test_another_key_is_named() -> None:
    other = Ed25519PrivateKey.generate().public_key()
    with pytest.raises(IntegrityError, match=f"by key {key_id(KEY.public_key())}, not by {key_id(other)}"):
        read_envelope(changed()).check(other)
    lying = json.loads(changed())["signatures"][0] | {"keyid": key_id(other)}
    with pytest.raises(IntegrityError, match="not valid"):
        read_envelope(changed(signatures=[lying])).check(other)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{}",
        changed(signatures=[]),
        changed(signatures=[{}, {}]),
        changed(payload="e30"),  # without padding
        changed(payload="e31="),  # spare bits set: decodes to the same as e30=
        changed(payload=3),
        changed(more=1),
        changed().replace(b":", b": ", 1),
        changed(payloadType="\ud800"),
    ],
)
def test_what_is_not_exactly_an_envelope_is_refused(data: bytes) -> None:
    with pytest.raises(IntegrityError):
        read_envelope(data)


def test_new_keys_open_again_and_are_never_replaced(tmp_path: Path) -> None:
    private, public = new_keys(tmp_path / "keys", b"open sesame")
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    assert key_id(load_private(private, b"open sesame").public_key()) == key_id(load_public(public))
    before = private.read_bytes()
    with pytest.raises(OutputError, match="none is ever replaced"):
        new_keys(tmp_path / "keys")
    public.unlink()
    with pytest.raises(OutputError, match="none is ever replaced"):
        new_keys(tmp_path / "keys")
    assert private.read_bytes() == before
    assert b"ENCRYPTED" in before


def test_passphrases(tmp_path: Path) -> None:
    closed, _ = new_keys(tmp_path / "closed", b"right")
    opened, _ = new_keys(tmp_path / "open")
    for path, passphrase, message in [
        (closed, b"wrong", "another passphrase"),
        (closed, None, "passphrase is needed"),
        (opened, b"any", "needs no passphrase"),
    ]:
        with pytest.raises(SettingsError, match=message):
            load_private(path, passphrase)


def test_other_files_are_refused(tmp_path: Path) -> None:
    elliptic = ec.generate_private_key(ec.SECP256R1())
    other = tmp_path / "other.pem"
    formats = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    other.write_bytes(elliptic.private_bytes(*formats))
    with pytest.raises(SettingsError, match="not an ed25519 key"):
        load_private(other)
    with pytest.raises(SettingsError, match="cannot be read"):
        load_public(other)
    other.write_bytes(
        elliptic.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    with pytest.raises(SettingsError, match="not an ed25519 key"):
        load_public(other)
    (tmp_path / "text").write_text("hello")
    for load in (load_private, load_public):
        with pytest.raises(SettingsError, match="cannot be read"):
            load(tmp_path / "text")
        with pytest.raises(MissingFileError):
            load(tmp_path / "none")
