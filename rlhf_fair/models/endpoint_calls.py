"""One request to a model server, asked until it is answered: retries, waits, limits, and errors that tell no secret."""

from __future__ import annotations

import asyncio
import json
import random
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Any, TypeVar

import httpx2
from pydantic import SecretStr

from rlhf_fair.errors import EndpointError
from rlhf_fair.models.endpoint_replies import MalformedReplyError, UnansweredError
from rlhf_fair.models.endpoint_settings import KEY_VARIABLE, EndpointSettings, Patience

TEMPORARY = frozenset({408, 409, 425, 429})
"""Client errors that pass; of the server errors all but 501 and 505 do."""

ABOUT_THE_ITEM = frozenset({400, 403, 413, 422})
"""A text too long, a text withheld; or every request, which only the run as a whole can tell."""

FIRST_CONTACT = 3
"""So many attempts to reach a server that was never reached: nobody listens there."""

T = TypeVar("T")

_ITS_TEXT = re.compile(rb"content.?(?:filter|policy|management)|moderation|context.?length|too.long|above_max", re.I)
"""In the body of a rejection: its cause is the text of the item, and other items may fare better."""


class RejectedError(UnansweredError):
    """The server refused this request: for what is in it, or because it refuses all of them."""


class ExhaustedError(UnansweredError):
    """No attempt brought a usable reply."""


class _PassingError(Exception):
    """Worth another attempt."""


class _UnreachedError(_PassingError):
    """No connection came about."""


@dataclass(frozen=True)
class Server:
    """Where to ask. ``key`` shows itself to nobody: not in a repr, not in an error."""

    url: str
    key: SecretStr | None
    settings: EndpointSettings

    def headers(self) -> dict[str, str]:
        # compressed replies are not asked for, so that the limit on size holds for what arrives
        headers = {"Content-Type": "application/json", "Accept": "application/json", "Accept-Encoding": "identity"}
        if self.key is not None:
            headers["Authorization"] = f"Bearer {self.key.get_secret_value()}"
        return headers

    def without_key(self, text: str) -> str:
        """One short line of ``text``, with the key and control characters taken out."""
        if self.key is not None:
            text = text.replace(self.key.get_secret_value(), "[key]")
        line = " ".join("".join(char if char.isprintable() else " " for char in text).split())
        return line if len(line) <= 200 else line[:199] + "…"


class Caller:
    """An open connection pool to a server. Use as an async context manager, in one event loop."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.patience: Patience = server.settings.patience
        self._jitter = random.Random()  # spreads waits in time; no result depends on it
        self._closed_until = 0.0
        self._reached = False
        try:
            self._client = httpx2.AsyncClient(
                headers=server.headers(),
                timeout=httpx2.Timeout(None, connect=min(10.0, self.patience.timeout_s)),
                limits=httpx2.Limits(max_connections=server.settings.concurrency),
                follow_redirects=False,
            )
        except (ValueError, ImportError, httpx2.InvalidURL) as error:  # its text may hold the proxy's password
            raise EndpointError("endpoint: the proxy named in the environment cannot be used") from error

    async def __aenter__(self) -> Caller:
        await self._client.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.__aexit__(kind, error, trace)

    async def ask(self, path: str, payload: Mapping[str, Any], read: Callable[[object], T]) -> T:
        """What ``read`` makes of the reply to ``payload``.

        Raises
        ------
        UnansweredError
            This request has no answer: it was rejected, or every attempt failed.
        EndpointError
            No request can succeed: wrong key, wrong address, nobody there, no quota left.
        """
        content = json.dumps(payload).encode("ascii")
        reason = ""
        for attempt in range(self.patience.attempts):
            await self._until_open()
            try:
                return read(await self._post(path, content))
            except MalformedReplyError as fault:
                reason = f"malformed reply: {fault}"
            except _PassingError as fault:
                reason = str(fault)
                if isinstance(fault, _UnreachedError):
                    self._give_up_on_first_contact(attempt, reason)
            if attempt + 1 < self.patience.attempts:
                await asyncio.sleep(self.patience.wait(attempt, self._jitter.random()))
        raise ExhaustedError(f"{reason} (attempts: {self.patience.attempts})")

    def _give_up_on_first_contact(self, attempt: int, reason: str) -> None:
        if not self._reached and attempt + 1 >= min(FIRST_CONTACT, self.patience.attempts):
            raise EndpointError(f"endpoint {self.server.url}: no server answers there: {reason} (is it running?)")

    async def _until_open(self) -> None:
        """A server that asked for a pause gets it from all requests, not from the one that it told."""
        while (closed_s := self._closed_until - asyncio.get_running_loop().time()) > 0:
            await asyncio.sleep(closed_s)

    async def _post(self, path: str, content: bytes) -> object:
        try:
            async with (
                asyncio.timeout(self.patience.timeout_s),
                self._client.stream("POST", self.server.url + path, content=content) as response,
            ):
                self._reached = True
                body = await self._body(response)
        except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
            what = self.server.without_key(f"{type(error).__name__}: {error}".rstrip(": "))
            raise _UnreachedError(f"connection failed: {what}") from error
        except (TimeoutError, httpx2.TimeoutException) as error:
            raise _PassingError(f"no reply within {self.patience.timeout_s:g} s") from error
        except httpx2.TransportError as error:
            what = self.server.without_key(f"{type(error).__name__}: {error}")
            raise _PassingError(f"connection failed: {what}") from error
        if not response.is_success:
            self._raise_status(response, body)
        return _parsed(body)

    async def _body(self, response: httpx2.Response) -> bytes:
        if response.headers.get("Content-Encoding", "identity") != "identity":
            raise MalformedReplyError("compressed, which was not asked for")
        limit, body = self.server.settings.max_reply_bytes, bytearray()
        async for chunk in response.aiter_raw():
            body += chunk
            if len(body) > limit:
                raise UnansweredError(f"the reply is larger than {limit} bytes")
        return bytes(body)

    def _raise_status(self, response: httpx2.Response, body: bytes) -> None:
        status, said = response.status_code, self.server.without_key(_message(body))
        text = f"status {status}" + (f": {said}" if said else "")
        if status == 429 and "insufficient_quota" in body.decode("utf-8", "replace"):
            raise EndpointError(f"endpoint {self.server.url}: no quota left ({text})")
        if status in TEMPORARY or (status >= 500 and status not in {501, 505}):
            self._pause(response)
            raise _PassingError(text)
        if status in ABOUT_THE_ITEM:
            raise UnansweredError(text) if status == 413 or _ITS_TEXT.search(body) else RejectedError(text)
        raise EndpointError(f"endpoint {self.server.url}: {text}{self._hint(status)}")

    def _pause(self, response: httpx2.Response) -> None:
        """Closes the server to all requests for as long as Retry-After asks."""
        wait_s = _seconds(response.headers.get("Retry-After", ""))
        if wait_s is None:
            return
        if wait_s > self.patience.longest_wait_s:
            raise EndpointError(
                f"endpoint {self.server.url}: status {response.status_code} asks to wait {wait_s:.0f} s; "
                f"longest_wait_s is {self.patience.longest_wait_s:g}"
            )
        self._closed_until = max(self._closed_until, asyncio.get_running_loop().time() + wait_s)

    def _hint(self, status: int) -> str:
        variable = self.server.settings.key_variable or KEY_VARIABLE
        if status == 401 and self.server.key is None:
            return f" (no key was sent; put one into ${variable})"
        if status == 401:
            return f" (the key in ${variable} is refused)"
        if status in {404, 405}:
            return " (is the model's name right, and does the URL end in /v1?)"
        return " (redirects are not followed; give the final URL)" if 300 <= status < 400 else ""


def _parsed(body: bytes) -> object:
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise MalformedReplyError("not JSON") from error


def _message(body: bytes) -> str:
    """The server's own words about an error, wherever it puts them."""
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        return ""  # an HTML page of some proxy says nothing
    for name in ("error", "message", "detail"):
        if isinstance(content, dict) and name in content:
            content = content[name]
    return content if isinstance(content, str) else ""


def _seconds(retry_after: str) -> float | None:
    """Retry-After as seconds from now: a number or a date; None where it is neither."""
    try:
        if retry_after.strip().isdecimal():
            return float(retry_after)
        date = parsedate_to_datetime(retry_after)
    except (ValueError, OverflowError):
        return None
    return max(0.0, (date.replace(tzinfo=date.tzinfo or UTC) - datetime.now(UTC)).total_seconds())
