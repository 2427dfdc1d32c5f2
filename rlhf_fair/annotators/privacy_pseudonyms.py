"""Pseudonyms: ids replaced by a keyed hash, so that only who holds the key can go back from a name to its rows.

An unkeyed hash of an id is no pseudonym: worker ids come from small, known lists, and hashing the whole list undoes it.
HMAC-SHA256 (RFC 2104) with a secret key cannot be undone that way; the same key gives the same pseudonyms, so tables
still join, and another key gives others, so two projects cannot be joined. One key serves several recipients through
`key_for`: each purpose has a key of its own, from which neither the secret nor another purpose's key follows. That
unlinks ids only. Whoever holds two tables of the same answers can match the answers themselves, so what several
releases tell together is for `rlhf_fair.annotators.privacy_history` to count.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import stat
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from rlhf_fair.errors import IntegrityError, MissingFileError, OutputError, SettingsError
from rlhf_fair.tables import require_columns

LEAST_KEY_BYTES = 32
"""As long as the hash: a shorter key is the weaker part (RFC 2104, section 3)."""
PSEUDONYM_HEX = 32
"""128 bits: two of a million ids collide with a probability below 1e-26."""


def keyed_digest(key: bytes, text: str) -> str:
    """HMAC-SHA256 of ``text`` (UTF-8), 64 lower-case hex digits."""
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


def key_for(key: bytes, purpose: str) -> bytes:
    """The key for one purpose: the first 32 bytes of HKDF-SHA256 (RFC 5869) without salt, ``purpose`` as its info.

    >>> key_for(bytes(32), "study a") == key_for(bytes(32), "study b")
    False
    """
    secret = hmac.new(bytes(32), key, hashlib.sha256).digest()
    return hmac.new(secret, purpose.encode() + b"\x01", hashlib.sha256).digest()


def pseudonymise(table: pd.DataFrame, key: bytes, columns: Sequence[str] = ("annotator_id",)) -> pd.DataFrame:
    """``table`` with every id of ``columns`` replaced by its pseudonym; a missing id stays missing.

    Equal ids give equal pseudonyms in every table and column, so joins keep working.
    """
    _require_long(key, "key")
    require_columns(table, columns, "table")
    pseudonyms: dict[str, str] = {}
    for name in columns:
        for text in table[name].dropna().astype(str).unique():
            pseudonyms[text] = keyed_digest(key, text)[:PSEUDONYM_HEX]
    if len(set(pseudonyms.values())) < len(pseudonyms):
        raise IntegrityError("two ids have the same pseudonym under this key; use another key")
    hidden = {name: table[name].map(lambda cell: pseudonyms[str(cell)], na_action="ignore") for name in columns}
    return table.assign(**{name: cells.astype("str") for name, cells in hidden.items()})


def new_key(path: Path) -> None:
    """Write a fresh random key to ``path``, readable by its owner alone; an existing file is never replaced."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as error:
        raise OutputError(path, "there is a file already, and without its key old pseudonyms are lost") from error
    except OSError as error:
        raise OutputError(path, error.strerror or error) from error
    with os.fdopen(handle, "w", encoding="ascii") as stream:
        stream.write(secrets.token_hex(LEAST_KEY_BYTES) + "\n")


def read_key(*, key_file: Path | None = None, variable: str | None = None) -> bytes:
    """The secret key, from a file that only its owner may read, or from an environment variable; exactly one of them.

    The key is the text without white space at its ends. No message names it.
    """
    if (key_file is None) == (variable is None):
        raise SettingsError("a pseudonym key comes from one place: a key file or an environment variable")
    if key_file is not None:
        return _read_key_file(key_file)
    text = os.environ.get(str(variable), "")
    if not text.strip():
        raise SettingsError(f"environment variable {variable} holds no pseudonym key")
    return _require_long(text.strip().encode(), f"environment variable {variable}")


def _read_key_file(path: Path) -> bytes:
    if not path.is_file():
        hint = f"make one: rlhf-fair panel pseudonymise TABLE --key-file {path} --new-key --out FILE"
        raise MissingFileError(path, "key file", hint)
    with path.open("rb") as stream:
        mode = stat.S_IMODE(os.fstat(stream.fileno()).st_mode)
        if os.name == "posix" and mode & 0o077:
            raise SettingsError(f"key file {path} has mode {mode:04o}; only its owner may read it: chmod 600 {path}")
        return _require_long(stream.read().strip(), f"key file {path}")


def _require_long(key: bytes, where: str) -> bytes:
    if len(key) < LEAST_KEY_BYTES:
        raise SettingsError(f"{where}: the key has {len(key)} bytes; at least {LEAST_KEY_BYTES} are needed")
    return key
