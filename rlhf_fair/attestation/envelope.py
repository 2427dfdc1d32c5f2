"""A signed statement: DSSE envelopes (Dead Simple Signing Envelope 1.0, ``protocol.md``) with ed25519 signatures."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from rlhf_fair.artifacts import ENVELOPE_NAME, canonical_json
from rlhf_fair.attestation.keys import key_id
from rlhf_fair.errors import IntegrityError, SettingsError

PAYLOAD_TYPE = "application/vnd.in-toto+json"


@dataclass(frozen=True)
class Envelope:
    """``key_id`` is a hint and not signed: only `check` says whose signature it is."""

    payload: bytes
    payload_type: str
    key_id: str
    signature: bytes

    def to_bytes(self) -> bytes:
        """The file: canonical JSON and a final newline."""
        signatures = [{"keyid": self.key_id, "sig": _base64(self.signature)}]
        content = {"payload": _base64(self.payload), "payloadType": self.payload_type, "signatures": signatures}
        return canonical_json(content) + b"\n"

    def check(self, key: Ed25519PublicKey) -> None:
        """Raise `IntegrityError` unless ``key`` signed this payload as an in-toto statement."""
        if self.payload_type != PAYLOAD_TYPE:
            raise IntegrityError(f"{ENVELOPE_NAME} holds {self.payload_type!r}, not an in-toto statement")
        if self.key_id != key_id(key):
            raise IntegrityError(f"{ENVELOPE_NAME} is signed by key {self.key_id}, not by {key_id(key)}")
        try:
            key.verify(self.signature, pre_authentication_encoding(self.payload_type, self.payload))
        except InvalidSignature as error:
            raise IntegrityError(f"the signature in {ENVELOPE_NAME} is not valid") from error


def pre_authentication_encoding(payload_type: str, payload: bytes) -> bytes:
    """What is signed: type and payload with their lengths, so that neither can be moved into the other.

    >>> pre_authentication_encoding("http://example.com/HelloWorld", b"hello world")
    b'DSSEv1 29 http://example.com/HelloWorld 11 hello world'
    """
    kind = payload_type.encode()
    return b" ".join([b"DSSEv1", str(len(kind)).encode(), kind, str(len(payload)).encode(), payload])


def signed(payload: bytes, key: Ed25519PrivateKey) -> Envelope:
    """``payload``, signed as an in-toto statement."""
    signature = key.sign(pre_authentication_encoding(PAYLOAD_TYPE, payload))
    return Envelope(payload, PAYLOAD_TYPE, key_id(key.public_key()), signature)


def read_envelope(data: bytes) -> Envelope:
    """The envelope in a file's bytes; `IntegrityError` unless they are exactly what `Envelope.to_bytes` writes."""
    try:
        content = json.loads(data)
        (signature,) = content["signatures"]
        found = Envelope(
            base64.b64decode(content["payload"], validate=True),
            str(content["payloadType"]),
            str(signature["keyid"]),
            base64.b64decode(signature["sig"], validate=True),
        )
        as_written = found.to_bytes() == data
    except (ValueError, TypeError, KeyError, RecursionError, SettingsError) as error:
        raise IntegrityError(f"{ENVELOPE_NAME} is not an envelope with one signature") from error
    if not as_written:
        raise IntegrityError(f"{ENVELOPE_NAME} is not as it was written")
    return found


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
