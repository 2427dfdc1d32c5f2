"""The way to the pages: who is it, may they, not too often, is the form ours; the same for every page."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from rlhf_fair.annotate.guard import Guard, too_many
from rlhf_fair.annotate.limits import Buckets
from rlhf_fair.annotate.pages import STATIC, Pages, Visit, to
from rlhf_fair.annotate.records import Rater, Time
from rlhf_fair.annotate.store import NoConsentError, Store
from rlhf_fair.annotate.tokens import form_token, shown_at, token_hash

MOST_FIELDS = 60

UNKNOWN_LINK = "This page opens with a personal link. Open the link you were sent, or ask the people who sent it."
OLD_FORM = "This form is out of date, so nothing was saved. Go on to get a fresh one."


@dataclass(frozen=True)
class Limits:
    """Requests per second, and how many at once: of one address, of one rater, of one address's unknown links.

    A person needs one or two requests for an item, so a rater's limit stops a program and no reader. An address may
    be a whole room of raters behind one router; its limit only keeps one visitor from taking all of the server.
    """

    address: tuple[float, int] = (200.0, 2000)
    rater: tuple[float, int] = (5.0, 60)
    unknown: tuple[float, int] = (0.1, 10)


def application(store: Store, *, hosts: Collection[str], tls: bool = False, limits: Limits | None = None) -> ASGIApp:
    """The ASGI application of a study."""
    limits = limits or Limits()
    pages = Pages(store)
    door = _Door(pages, store, tls, limits)
    both = ["GET", "POST"]
    routes = [
        Route("/start/{token}", door.start),
        Route("/", door.page(pages.home, needs_consent=False)),
        Route("/consent", door.page(pages.consent, needs_consent=False), methods=both),
        Route("/about", door.page(pages.about), methods=both),
        Route("/item/{position:int}", door.page(pages.item), methods=both),
        Route("/done", door.page(pages.done)),
        Route("/withdraw", door.page(pages.withdraw), methods=both),
        Route("/static/{name}", door.static),
    ]
    handlers: dict[Any, Any] = {HTTPException: door.http_error, Exception: door.fault}
    # the guard goes around the whole application and not among its middleware, which replies to faults pass by
    inside = Starlette(routes=routes, exception_handlers=handlers)
    return Guard(inside, hosts=hosts, tls=tls, requests=Buckets(*limits.address), refuse=pages.refusal)


class _Door:
    """Who is it, may they, is the form ours: the same for every page."""

    def __init__(self, pages: Pages, store: Store, tls: bool, limits: Limits) -> None:
        self.pages, self.store, self.tls = pages, store, tls
        self.requests, self.unknown = Buckets(*limits.rater), Buckets(*limits.unknown)
        # forms have a field for each question, and one for each box of those with several answers
        self.most_fields = MOST_FIELDS + sum(len(q.options) for q in pages.settings.demographics if q.several)
        # studies on one host share its cookies, whatever their ports
        self.cookie = ("__Host-" if tls else "") + f"rater-{store.study('id')}"

    def page(self, show: Callable[[Visit], Response], *, needs_consent: bool = True) -> Callable[[Request], Any]:
        """An endpoint that calls ``show`` for known raters only."""

        async def endpoint(request: Request) -> Response:
            reader = token_hash(request.cookies.get(self.cookie, ""))
            if wait := self.requests.take(reader):
                return too_many(wait, self.pages.refusal)
            rater = await run_in_threadpool(self.store.rater, reader)
            if rater is None:
                return self._unknown(request)
            if rater.withdrawn:
                return self.pages.message("You have withdrawn", "Nothing of you is stored here any more.", 403)
            if needs_consent and not rater.consented:
                return to("/consent") if request.method == "GET" else self._refused(rater)
            return await self._checked(request, show, reader, rater)

        return endpoint

    async def _checked(
        self, request: Request, show: Callable[[Visit], Response], reader: str, rater: Rater
    ) -> Response:
        path, now = request.url.path, time.time_ns() // 1_000_000
        form, since = None, now
        if request.method == "POST":
            content_type = request.headers.get("content-type", "")
            form = _read_form(content_type, await request.body(), self.most_fields)
            if form is None:
                return self.pages.refusal("The form could not be read. Nothing was saved.", 400)
            sent = shown_at(self.pages.secret, reader, path, form.get("token", ""))
            if sent is None:
                return self.pages.message("That did not work", OLD_FORM, 403, rater)
            since = sent
        token = form_token(self.pages.secret, reader, path, since if form is not None else now)
        visit = Visit(rater, path, request.path_params, form, _time(since, now, form or {}), token)
        try:
            return await run_in_threadpool(show, visit)
        except NoConsentError:  # withdrawn in another window meanwhile
            return self._refused(rater)

    async def start(self, request: Request) -> Response:
        """A personal link: remember who it is for this browser session, and take the secret out of the address."""
        token = str(request.path_params["token"])
        rater = await run_in_threadpool(self.store.rater, token_hash(token))
        if rater is None:
            return self._unknown(request)
        reply = to("/")
        # lax: with "strict" a link followed from a mail would arrive without its cookie
        reply.set_cookie(self.cookie, token, httponly=True, secure=self.tls, samesite="lax", path="/")
        return reply

    async def static(self, request: Request) -> Response:
        """Style and script; their address changes with their content."""
        name = str(request.path_params["name"])
        if name not in STATIC:
            raise HTTPException(404)
        cache = {"Cache-Control": "public, max-age=31536000, immutable"}
        return Response(self.pages.static[name], media_type=STATIC[name], headers=cache)

    async def http_error(self, request: Request, error: Exception) -> Response:
        """No such page, or not this way."""
        status = error.status_code if isinstance(error, HTTPException) else 500
        return self.pages.message("There is no such page", "Go on with the link below.", status)

    async def fault(self, request: Request, error: Exception) -> Response:
        """Our mistake; the page says nothing of what happened inside.

        Starlette raises the error again for the server's log, upon which uvicorn closes the connection. The reply says
        so, or a browser might send its next request into the closing line and see it reset.
        """
        reply = self.pages.refusal("The last answer may not have been saved.", 500)
        reply.headers["Connection"] = "close"
        return reply

    def _unknown(self, request: Request) -> Response:
        if wait := self.unknown.take(request.client.host if request.client else ""):
            return too_many(wait, self.pages.refusal)
        return self.pages.message("We do not know this link", UNKNOWN_LINK, 403)

    def _refused(self, rater: Rater) -> Response:
        return self.pages.message("Nothing was saved", "Nothing is stored without your consent.", 403)


def _time(shown_ms: int, sent_ms: int, form: Mapping[str, str]) -> Time:
    """The page says how long it was visible; it is believed as far as the time between showing and sending allows."""
    open_ms, claimed = max(0, sent_ms - shown_ms), form.get("visible_ms", "")
    if not (claimed.isascii() and claimed.isdigit() and len(claimed) < 16):
        return Time(shown_ms, open_ms / 1000)
    return Time(shown_ms, open_ms / 1000, min(open_ms, int(claimed)) / 1000)


def _read_form(content_type: str, body: bytes, most_fields: int) -> dict[str, str] | None:
    """The fields of a form, None where it is not one we sent."""
    if content_type.partition(";")[0].strip().lower() != "application/x-www-form-urlencoded":
        return None
    try:
        fields = dict(
            parse_qsl(body.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=most_fields)
        )
    except ValueError:
        return None
    return None if any("\0" in value for value in fields.values()) else fields
