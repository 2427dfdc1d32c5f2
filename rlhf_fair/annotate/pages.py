"""The pages: what is shown to a rater, what their forms do. Every page works without script.

A page is a plain function of a `Visit`, run in a thread; `application` puts the checks in front that all share.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from rlhf_fair.annotate.guard import Guard, too_many
from rlhf_fair.annotate.limits import Buckets
from rlhf_fair.annotate.questions import (
    MAX_TEXT,
    PAIR_SCALE,
    Answer,
    position_on_scale,
    read_answers,
    read_demographics,
)
from rlhf_fair.annotate.store import NoConsentError, Rater, Store, Task
from rlhf_fair.annotate.tokens import form_token, shown_at, token_hash
from rlhf_fair.artifacts import sha256_bytes

TEMPLATES = Path(__file__).parent / "templates"
STATIC = {"page.css": "text/css", "page.js": "text/javascript"}
MOST_FIELDS = 60

UNKNOWN_LINK = "This page opens with a personal link. Open the link you were sent, or ask the people who sent it."
OLD_FORM = "This form is out of date, so nothing was saved. Go on to get a fresh one."


@dataclass(frozen=True)
class Limits:
    """Requests per second and bursts: of one address, of one rater, and of one address's unknown links."""

    address: tuple[float, int] = (20.0, 200)
    rater: tuple[float, int] = (5.0, 60)
    unknown: tuple[float, int] = (0.1, 10)


@dataclass(frozen=True)
class Visit:
    """A checked request: by whom, for which page, with which form. ``seconds``: from being shown to being sent."""

    rater: Rater
    path: str
    parameters: Mapping[str, Any]
    form: Mapping[str, str] | None
    seconds: float
    token: str


class Pages:
    """The study's pages over its `Store`."""

    def __init__(self, store: Store) -> None:
        self.store, self.settings = store, store.settings()
        self.secret = bytes.fromhex(store.study("secret"))
        self.consent_text = store.study("consent")
        self.static = {name: (TEMPLATES / name).read_bytes() for name in STATIC}
        environment = Environment(
            loader=FileSystemLoader(TEMPLATES),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        versions = {name: sha256_bytes(content)[:12] for name, content in self.static.items()}
        environment.globals |= {"study": self.settings, "scale": PAIR_SCALE, "max_text": MAX_TEXT, "versions": versions}
        self.templates = environment

    def render(self, template: str, status: int = 200, **values: Any) -> Response:
        """A template as a reply."""
        defaults: dict[str, Any] = {"rater": None, "problems": {}}
        text = self.templates.get_template(f"{template}.html.j2").render(**{**defaults, **values})
        return HTMLResponse(text, status)

    def message(self, title: str, text: str, status: int, rater: Rater | None = None) -> Response:
        """A page that says one thing."""
        return self.render("message", status, title=title, text=text, rater=rater)

    def home(self, visit: Visit) -> Response:
        """To wherever the rater stopped."""
        return _to(self.place(visit.rater))

    def place(self, rater: Rater) -> str:
        """The page a rater should see next."""
        if not rater.consented:
            return "/consent"
        if self.settings.demographics and not rater.asked_about_them:
            return "/about"
        return f"/item/{rater.next_position}" if rater.next_position <= rater.total else "/done"

    def consent(self, visit: Visit) -> Response:
        """The study's text, and agreeing to it."""
        if visit.form is None:
            return self._consent_page(visit, {})
        if visit.form.get("agree") != "yes":
            return self._consent_page(visit, {"agree": "Tick the box if you agree; without it nothing is stored."})
        self.store.save_consent(visit.rater.annotator_id)
        return _to("/")

    def _consent_page(self, visit: Visit, problems: Mapping[str, str]) -> Response:
        paragraphs = [part for part in self.consent_text.split("\n\n") if part.strip()]
        status = 422 if problems else 200
        return self._form("consent", visit, status, paragraphs=paragraphs, problems=problems)

    def about(self, visit: Visit) -> Response:
        """Questions about the rater, each of which may be left out."""
        if visit.form is not None:
            given = read_demographics(self.settings.demographics, visit.form)
            self.store.save_demographics(visit.rater.annotator_id, given)
            return _to("/")
        return self._form("about", visit, given=self.store.demographics(visit.rater.annotator_id))

    def item(self, visit: Visit) -> Response:
        """One item: shown, or its answers saved."""
        position = int(visit.parameters["position"])
        if position > visit.rater.next_position:
            return _to(self.place(visit.rater))
        task = self.store.task(visit.rater.annotator_id, position)
        if task is None:
            return _to(self.place(visit.rater))
        if visit.form is None:
            return self._item_page(visit, task, _as_form(task), {})
        answers, problems = read_answers(task.asked, task.order, visit.form)
        if problems:
            return self._item_page(visit, task, visit.form, problems)
        self.store.save_answers(visit.rater.annotator_id, task.item_id, answers, round(visit.seconds, 1))
        return _to(f"/item/{position + 1}" if position < visit.rater.total else "/done")

    def _item_page(self, visit: Visit, task: Task, given: Mapping[str, str], problems: Mapping[str, str]) -> Response:
        answers = (task.texts.get(f"response_{name}") for name in task.order)
        shown = {"task": task, "given": given, "problems": problems, "answers": list(answers)}
        return self._form("item", visit, 422 if problems else 200, **shown)

    def done(self, visit: Visit) -> Response:
        """Thanks, once all is answered."""
        if visit.rater.next_position <= visit.rater.total:
            return _to(self.place(visit.rater))
        return self.render("done", rater=visit.rater)

    def withdraw(self, visit: Visit) -> Response:
        """Taking consent back, after being asked once."""
        if visit.form is None:
            return self._form("withdraw", visit)
        count = self.store.withdraw(visit.rater.annotator_id)
        text = f"What you answered was removed ({count} answers). We keep only how many there were."
        return self.message("You have withdrawn", text, 200)

    def _form(self, template: str, visit: Visit, status: int = 200, **values: Any) -> Response:
        return self.render(template, status, rater=visit.rater, token=visit.token, **values)


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
    return Guard(
        Starlette(routes=routes, exception_handlers=handlers), hosts=hosts, tls=tls, requests=Buckets(*limits.address)
    )


class _Door:
    """Who is it, may they, is the form ours: the same for every page."""

    def __init__(self, pages: Pages, store: Store, tls: bool, limits: Limits) -> None:
        self.pages, self.store, self.tls = pages, store, tls
        self.requests, self.unknown = Buckets(*limits.rater), Buckets(*limits.unknown)
        # studies on one host share its cookies, whatever their ports
        self.cookie = ("__Host-" if tls else "") + f"rater-{store.study('id')}"

    def page(self, show: Callable[[Visit], Response], *, needs_consent: bool = True) -> Callable[[Request], Any]:
        """An endpoint that calls ``show`` for known raters only."""

        async def endpoint(request: Request) -> Response:
            reader = token_hash(request.cookies.get(self.cookie, ""))
            if wait := self.requests.take(reader):
                return too_many(wait)
            rater = await run_in_threadpool(self.store.rater, reader)
            if rater is None:
                return self._unknown(request)
            if rater.withdrawn:
                return self.pages.message("You have withdrawn", "Nothing of you is stored here any more.", 403)
            if needs_consent and not rater.consented:
                return _to("/consent") if request.method == "GET" else self._refused(rater)
            return await self._checked(request, show, reader, rater)

        return endpoint

    async def _checked(
        self, request: Request, show: Callable[[Visit], Response], reader: str, rater: Rater
    ) -> Response:
        path, now = request.url.path, time.time_ns() // 1_000_000
        form, since = None, now
        if request.method == "POST":
            form = _read_form(request.headers.get("content-type", ""), await request.body())
            if form is None:
                return self.pages.message("That did not work", "The form could not be read. Nothing was saved.", 400)
            sent = shown_at(self.pages.secret, reader, path, form.get("token", ""))
            if sent is None:
                return self.pages.message("That did not work", OLD_FORM, 403, rater)
            since = sent
        token = form_token(self.pages.secret, reader, path, since if form is not None else now)
        seconds = max(0.0, (now - since) / 1000)
        visit = Visit(rater, path, request.path_params, form, seconds, token)
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
        reply = _to("/")
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
        """Our mistake; the page says nothing of what happened inside."""
        return self.pages.message("That did not work", "The last answer may not have been saved.", 500)

    def _unknown(self, request: Request) -> Response:
        if wait := self.unknown.take(request.client.host if request.client else ""):
            return too_many(wait)
        return self.pages.message("We do not know this link", UNKNOWN_LINK, 403)

    def _refused(self, rater: Rater) -> Response:
        return self.pages.message("Nothing was saved", "Nothing is stored without your consent.", 403)


def _read_form(content_type: str, body: bytes) -> dict[str, str] | None:
    """The fields of a form, None where it is not one we sent."""
    if content_type.partition(";")[0].strip().lower() != "application/x-www-form-urlencoded":
        return None
    try:
        fields = dict(
            parse_qsl(body.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=MOST_FIELDS)
        )
    except ValueError:
        return None
    return None if any("\0" in value for value in fields.values()) else fields


def _as_form(task: Task) -> dict[str, str]:
    """What the form holds when an item is shown: earlier answers, and the texts that are to be made better."""
    given = {"edit": task.texts.get("response", ""), "revised_instruction": task.texts.get("prompt", "")}
    for kind, answer in task.answers.items():
        given[kind] = _field(answer, task.order)
    return given


def _field(answer: Answer, order: str) -> str:
    if answer.kind == "pair":
        return position_on_scale(answer, order)
    return str(answer.value) if answer.kind == "rating" else (answer.text or "")


def _to(path: str) -> Response:
    return RedirectResponse(path, 303)
