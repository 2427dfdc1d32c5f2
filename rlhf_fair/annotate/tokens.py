"""Secrets: the personal link's token, of which only a hash is kept, and the token that ties a form to its reader."""

from __future__ import annotations

import hashlib
import hmac
import secrets

TOKEN_BYTES = 32


def new_token() -> str:
    """256 random bits as text for a link."""
    return secrets.token_urlsafe(TOKEN_BYTES)


def token_hash(token: str) -> str:
    """SHA-256 in hex. The token is random throughout, so a slow password hash would add nothing."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def same_hash(one: str, other: str) -> bool:
    """Whether two hashes are equal, told in a time that does not depend on where they differ."""
    return hmac.compare_digest(one, other)


def form_token(secret: bytes, reader: str, path: str, shown_ms: int) -> str:
    """A token against forged requests: bound to one reader, one page and the time it was shown."""
    return f"{shown_ms}.{_signature(secret, reader, path, shown_ms)}"


def shown_at(secret: bytes, reader: str, path: str, token: str) -> int | None:
    """When the page of this form was shown, in ms since 1970; None where the token was not made by us for it."""
    text, _, signature = token.partition(".")
    if not (text.isascii() and text.isdigit() and len(text) < 16):
        return None
    expected = _signature(secret, reader, path, int(text))
    return int(text) if hmac.compare_digest(expected.encode(), signature.encode("utf-8", "surrogatepass")) else None


def _signature(secret: bytes, reader: str, path: str, shown_ms: int) -> str:
    return hmac.new(secret, f"{reader}\n{path}\n{shown_ms}".encode(), hashlib.sha256).hexdigest()
