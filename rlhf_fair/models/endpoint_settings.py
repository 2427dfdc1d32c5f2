"""How a model server is addressed: its URL, its key, what is sent along, and how patiently it is asked."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args
from urllib.parse import urlsplit

import httpx2
from pydantic import SecretStr

from rlhf_fair.errors import SettingsError

API = Literal["chat", "completions"]
"""Chat wraps a prompt in the model's own template; completions sends it as it stands, and can score given text."""

KEY_VARIABLE = "RLHF_FAIR_ENDPOINT_KEY"
"""Read where no other variable is named: a key meant for one company is never sent to another by default."""

OURS = frozenset({"model", "messages", "prompt", "stream", "n", "echo", "logprobs"})
"""Fields of a request that decide what a reply means."""


@dataclass(frozen=True)
class Patience:
    """How long and how often a server is asked.

    ``timeout_s`` bounds one attempt from connecting to the last byte. Between attempts the wait doubles from
    ``first_wait_s`` up to ``longest_wait_s``, less a random part of up to a half, so that clients do not march in step.
    """

    attempts: int = 6
    timeout_s: float = 120.0
    first_wait_s: float = 1.0
    longest_wait_s: float = 60.0

    def __post_init__(self) -> None:
        _at_least("attempts", self.attempts, 1)
        for name in ("timeout_s", "first_wait_s", "longest_wait_s"):
            if not 0 < getattr(self, name) < float("inf"):
                raise SettingsError(f"endpoint: {name} = {getattr(self, name)!r}; must be a positive number of seconds")

    def wait(self, attempt: int, uniform: float) -> float:
        """Seconds to wait after the ``attempt``-th failure, counted from 0; ``uniform`` lies in [0, 1).

        >>> [Patience().wait(attempt, uniform=0.0) for attempt in range(8)]
        [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]
        """
        doubled = self.first_wait_s * 2.0 ** min(attempt, 60)
        return min(doubled, self.longest_wait_s) * (1 - uniform / 2)


@dataclass(frozen=True)
class EndpointSettings:
    """What is the same for all requests to one server.

    ``key_variable`` names the environment variable that holds the key; the key itself is never a setting. Without
    ``key_required`` nothing is sent where a named variable is not set.
    ``system`` is the system message (chat only). ``start`` stands for an empty context where text is scored, for a
    server that gives no probability to the first token, such as ``<|endoftext|>``. ``body`` adds fields to a request
    (``{"top_p": 0.9}``); None leaves one out (``{"seed": None}`` for a server that knows no seed).
    """

    api: API = "chat"
    key_variable: str = ""
    key_required: bool = True
    system: str = ""
    start: str = ""
    concurrency: int = 8
    max_reply_bytes: int = 4 * 2**20
    patience: Patience = field(default_factory=Patience)
    body: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.api not in get_args(API):
            raise SettingsError(f"endpoint: api = {self.api!r}; allowed: {', '.join(get_args(API))}")
        if self.system and self.api != "chat":
            raise SettingsError("endpoint: a system message needs api = 'chat'")
        _at_least("concurrency", self.concurrency, 1)
        _at_least("max_reply_bytes", self.max_reply_bytes, 1)
        if taken := sorted(OURS & self.body.keys()):
            raise SettingsError(f"endpoint: body must not set {taken[0]!r}; reserved: {', '.join(sorted(OURS))}")
        try:
            json.dumps(dict(self.body), allow_nan=False)
        except (TypeError, ValueError) as error:
            raise SettingsError(f"endpoint: body cannot be written as JSON: {error}") from error


def checked_url(url: str) -> str:
    """The base URL without a slash at its end.

    A URL that may hold a secret (user, password, query) is refused, and not repeated in the message.

    >>> checked_url("http://localhost:8000/v1/")
    'http://localhost:8000/v1'
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise SettingsError("endpoint: the URL cannot be read: its host or port is malformed") from error
    if "@" in parts.netloc:
        raise SettingsError(f"endpoint: the URL holds a user name or password; put the key into ${KEY_VARIABLE}")
    if parts.query or parts.fragment or "?" in url or "#" in url:
        raise SettingsError("endpoint: the URL must end with its path, such as /v1: no '?' and no '#'")
    if parts.scheme not in {"http", "https"} or not host:
        raise SettingsError(f"endpoint: URL {url!r}; must look like https://host/v1 or http://host:8000/v1")
    if not url.isascii() or not url.isprintable() or " " in url:
        raise SettingsError(f"endpoint: URL {url!r} holds a space, control or non-ASCII character")
    try:
        httpx2.URL(url)
    except httpx2.InvalidURL as error:
        raise SettingsError(f"endpoint: URL {url!r} cannot be used: {error}") from error
    return url.rstrip("/")


def read_key(variable: str, *, required: bool = True) -> SecretStr | None:
    """The key from the environment; None where that has none, unless a variable was named and is ``required``."""
    key = os.environ.get(variable or KEY_VARIABLE, "").strip()
    if not key:
        if variable and required:
            raise SettingsError(f"endpoint: the environment variable {variable} is not set; it must hold the key")
        return None
    if not key.isascii() or not key.isprintable():
        raise SettingsError(f"endpoint: the key in {variable or KEY_VARIABLE} holds characters no key can have")
    return SecretStr(key)


def _at_least(name: str, value: int, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise SettingsError(f"endpoint: {name} = {value!r}; must be a whole number, at least {least}")
