"""Keys for signing: ed25519 (RFC 8032) in PEM files, named by the SHA-256 of the public key."""

from __future__ import annotations

import os
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from rlhf_fair.artifacts import make_folder, sha256_bytes
from rlhf_fair.errors import MissingFileError, OutputError, SettingsError

PRIVATE_NAME, PUBLIC_NAME = "signing-key.pem", "signing-key.pub.pem"
PASSPHRASE_VARIABLE = "RLHF_FAIR_KEY_PASSPHRASE"
OWNER_ONLY, EVERYBODY_READS = 0o600, 0o644
MOST_BYTES = 2**16


def new_keys(out: Path, passphrase: bytes | None = None) -> tuple[Path, Path]:
    """Make a pair and write both files into ``out``; returns their paths. Existing files are never replaced.

    The private key is PKCS #8, encrypted where a passphrase is given, and readable by its owner alone; the public key
    is a SubjectPublicKeyInfo.
    """
    make_folder(out)
    for path in (out / PRIVATE_NAME, out / PUBLIC_NAME):
        if os.path.lexists(path):
            raise OutputError(path, "there is a key already, and none is ever replaced; choose another --out")
    key = Ed25519PrivateKey.generate()
    encryption = (
        serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
    )  # fmt: skip
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )  # fmt: skip
    return _written(out / PRIVATE_NAME, private, OWNER_ONLY), _written(out / PUBLIC_NAME, public, EVERYBODY_READS)


def load_private(path: Path, passphrase: bytes | None = None) -> Ed25519PrivateKey:
    """The private key in a PEM file.

    Raises
    ------
    SettingsError
        It holds none, one of another kind, or one that this passphrase does not open.
    """
    try:
        key = serialization.load_pem_private_key(_read(path, "private key"), passphrase or None)
    except TypeError as error:  # one of the two has a passphrase and the other has not
        need = "needs no passphrase, but one was given" if passphrase else "is encrypted: its passphrase is needed"
        raise SettingsError(f"private key {path} {need}") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise SettingsError(f"private key {path} cannot be read: no such key, or another passphrase") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise SettingsError(f"private key {path} is not an ed25519 key; allowed: one from `rlhf-fair keys new`")
    return key


def load_public(path: Path) -> Ed25519PublicKey:
    """The public key in a PEM file; anything else is a `SettingsError`."""
    try:
        key = serialization.load_pem_public_key(_read(path, "public key"))
    except (ValueError, UnsupportedAlgorithm) as error:
        raise SettingsError(f"public key {path} cannot be read as a PEM file with a public key") from error
    if not isinstance(key, Ed25519PublicKey):
        raise SettingsError(f"public key {path} is not an ed25519 key")
    return key


def public_bytes(key: Ed25519PublicKey) -> bytes:
    """The SubjectPublicKeyInfo in DER (RFC 8410)."""
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def key_id(key: Ed25519PublicKey) -> str:
    """SHA-256 of `public_bytes`."""
    return sha256_bytes(public_bytes(key))


def is_protected(path: Path) -> bool:
    """True if a PEM file holds a private key that is encrypted."""
    return b"ENCRYPTED" in _read(path, "private key")


def _read(path: Path, what: str) -> bytes:
    if not path.is_file():
        raise MissingFileError(path, what)
    try:
        with path.open("rb") as stream:
            return stream.read(MOST_BYTES)
    except OSError as error:
        raise MissingFileError(path, what, error.strerror or "") from error


def _written(path: Path, data: bytes, mode: int) -> Path:
    """Write a file that did not exist, never readable by others than ``mode`` says, not even for a moment."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
    except OSError as error:
        raise OutputError(path, error.strerror or error) from error
    return path
