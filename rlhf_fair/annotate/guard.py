"""What every request passes before a page sees it: host, rate and size, and what every reply carries."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Collection
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rlhf_fair.annotate.limits import Buckets

BODY_LIMIT = 640 * 1024
"""Bytes. Two answers and two remarks at their longest, in UTF-8 and percent-encoded: (2 x 20,000 + 2 x 2,000) x 12."""
BODY_SECONDS = 10.0

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # not "no-referrer": with it browsers send "Origin: null" with a form, and the origin could not be checked
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "X-Robots-Tag": "noindex, nofollow",
}
CACHE = "no-store"


Refuse = Callable[[str, int], Response]
"""What is wrong and the status -> a page that says so."""


class Guard:
    """ASGI middleware. ``hosts`` are the names the server answers to: foreign ones bound to its address are refused."""

    def __init__(self, app: ASGIApp, *, hosts: Collection[str], tls: bool, requests: Buckets, refuse: Refuse) -> None:
        self.app, self.hosts, self.tls, self.requests, self.refuse = app, frozenset(hosts), tls, requests, refuse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        guarded = self._with_headers(send)
        refusal = self._refusal(scope)
        body = b""
        if refusal is None and scope["method"] == "POST":
            try:
                body = await asyncio.wait_for(_read(receive), BODY_SECONDS)
            except TimeoutError:
                refusal = self.refuse("The request took too long. Nothing was saved.", 408)
            except _TooLargeError:
                refusal = self._too_large()
        if refusal is not None:
            refusal.headers["Connection"] = "close"
            await refusal(scope, receive, guarded)
            return
        await self.app(scope, _replay(body), guarded)

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        if _host(headers.get("host", "")) not in self.hosts:
            return self.refuse("This server does not answer to that name.", 400)
        wait = self.requests.take(str((scope.get("client") or ("",))[0]))
        if wait:
            return too_many(wait, self.refuse)
        length = headers.get("content-length", "0")
        if not length.isdigit() or int(length) > BODY_LIMIT:
            return self._too_large()
        origin = headers.get("origin")
        scheme = "https" if self.tls else "http"
        if scope["method"] == "POST" and origin is not None and origin != f"{scheme}://{headers['host']}":
            return self.refuse("This form was sent from another site. Nothing was saved.", 403)
        return None

    def _too_large(self) -> Response:
        return self.refuse(f"The request is larger than {BODY_LIMIT} bytes. Nothing was saved.", 413)

    def _with_headers(self, send: Send) -> Send:
        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
                headers.setdefault("Cache-Control", CACHE)
                if self.tls:
                    headers["Strict-Transport-Security"] = "max-age=31536000"
            await send(message)

        return guarded


def too_many(wait: float, refuse: Refuse) -> Response:
    """The reply to somebody over their rate."""
    seconds = str(max(1, math.ceil(wait)))
    reply = refuse(f"Too many requests. Try again in {seconds} s.", 429)
    reply.headers["Retry-After"] = seconds
    return reply


class _TooLargeError(Exception):
    pass


async def _read(receive: Receive) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise _TooLargeError  # the sender has gone; nobody reads the reply
        body += message.get("body", b"")
        if len(body) > BODY_LIMIT:
            raise _TooLargeError
        if not message.get("more_body"):
            return bytes(body)


def _replay(body: bytes) -> Receive:
    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    return receive


def _host(header: str) -> str:
    try:
        return urlsplit(f"//{header}").hostname or ""
    except ValueError:
        return ""
