"""The pages: what is shown to a rater, what their forms do. Every page works without script.

A page is a plain function of a `Visit`, run in a thread; `door` puts the checks in front that all share.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import HTMLResponse, RedirectResponse, Response

from rlhf_fair.annotate.demographics import read_demographics
from rlhf_fair.annotate.questions import (
    KINDS,
    MAX_REMARK,
    MAX_TEXT,
    PAIR_SCALE,
    REASONS,
    Answer,
    Submission,
    position_on_scale,
    read_submission,
)
from rlhf_fair.annotate.records import Rater, Task, Time
from rlhf_fair.annotate.store import ChangedMeanwhileError, Store
from rlhf_fair.artifacts import sha256_bytes

ITEM_FIELDS = (*KINDS, "comment", "cannot_judge", "reason", "words", "visible_ms")
"""What a rater fills in about an item, and the time it took."""

TEMPLATES = Path(__file__).parent / "templates"
STATIC = {"page.css": "text/css", "page.js": "text/javascript"}


@dataclass(frozen=True)
class Visit:
    """A checked request: by whom, for which page, with which form, which took how long. ``token`` is for the reply."""

    rater: Rater
    path: str
    parameters: Mapping[str, Any]
    form: Mapping[str, str] | None
    time: Time
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
        environment.globals |= {"study": self.settings, "scale": PAIR_SCALE, "reasons": REASONS, "versions": versions}
        environment.globals |= {"position_on_scale": position_on_scale}
        environment.globals |= {"max_text": MAX_TEXT, "max_remark": MAX_REMARK}
        self.templates = environment

    def render(self, template: str, status: int = 200, **values: Any) -> Response:
        """A template as a reply."""
        defaults: dict[str, Any] = {"rater": None, "problems": {}}
        text = self.templates.get_template(f"{template}.html.j2").render(**{**defaults, **values})
        return HTMLResponse(text, status)

    def message(self, title: str, text: str, status: int, rater: Rater | None = None) -> Response:
        """A page that says one thing."""
        return self.render("message", status, title=title, text=text, rater=rater)

    def refusal(self, text: str, status: int) -> Response:
        """A page for a request that is not let through."""
        return self.message("That did not work", text, status)

    def home(self, visit: Visit) -> Response:
        """To wherever the rater stopped."""
        return to(self.place(visit.rater))

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
        return to("/")

    def _consent_page(self, visit: Visit, problems: Mapping[str, str]) -> Response:
        paragraphs = [part for part in self.consent_text.split("\n\n") if part.strip()]
        status = 422 if problems else 200
        return self._form("consent", visit, status, paragraphs=paragraphs, problems=problems)

    def about(self, visit: Visit) -> Response:
        """Questions about the rater, each of which may be left out."""
        if visit.form is not None:
            given = read_demographics(self.settings.demographics, visit.form)
            self.store.save_demographics(visit.rater.annotator_id, given)
            return to("/")
        return self._form("about", visit, given=self.store.demographics(visit.rater.annotator_id))

    def item(self, visit: Visit) -> Response:
        """One item: shown, or its answers saved."""
        position = int(visit.parameters["position"])
        if position > visit.rater.next_position:
            return to(self.place(visit.rater))
        task = self.store.task(visit.rater.annotator_id, position)
        if task is None:
            return to(self.place(visit.rater))
        if visit.form is None:
            return self._item_page(visit, task, _as_form(task), {})
        wants_comment = self.settings.comment is not None
        sent, problems = read_submission(task.asked, task.order, visit.form, comment=wants_comment)
        if problems:
            return self._item_page(visit, task, visit.form, problems)
        try:
            self.store.save(visit.rater.annotator_id, task.item_id, sent, visit.time, seen=_seen(visit.form))
        except ChangedMeanwhileError:
            return self._both(visit, position, sent)
        return to(f"/item/{position + 1}" if position < visit.rater.total else "/done")

    def _item_page(self, visit: Visit, task: Task, given: Mapping[str, str], problems: Mapping[str, str]) -> Response:
        answers = (task.texts.get(f"response_{name}") for name in task.order)
        version = task.version if visit.form is None else _seen(visit.form)  # of a form with problems: its own
        shown = {"task": task, "given": given, "problems": problems, "answers": list(answers), "version": version}
        return self._form("item", visit, 422 if problems else 200, **shown)

    def _both(self, visit: Visit, position: int, sent: Submission) -> Response:
        """The answer saved since and the one just sent, side by side; nothing is stored until one is chosen."""
        task = self.store.task(visit.rater.annotator_id, position)
        if task is None or task.sent is None or visit.form is None:  # withdrawn in between
            return to("/")
        fields = {name: value for name, value in visit.form.items() if name in ITEM_FIELDS}
        return self._form("both", visit, 409, task=task, saved=task.sent, new=sent, fields=fields)

    def done(self, visit: Visit) -> Response:
        """Thanks, once all is answered."""
        if visit.rater.next_position <= visit.rater.total:
            return to(self.place(visit.rater))
        return self.render("done", rater=visit.rater)

    def withdraw(self, visit: Visit) -> Response:
        """Taking consent back, after being asked once."""
        if visit.form is None:
            return self._form("withdraw", visit)
        count = self.store.withdraw(visit.rater.annotator_id)
        text = f"What you answered was removed (answers: {count}). We keep only how many there were."
        return self.message("You have withdrawn", text, 200)

    def _form(self, template: str, visit: Visit, status: int = 200, **values: Any) -> Response:
        return self.render(template, status, rater=visit.rater, token=visit.token, **values)


def _seen(form: Mapping[str, str]) -> int:
    """The version a form was opened on; a form that does not say was opened on nothing."""
    text = form.get("version", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else 0


def _as_form(task: Task) -> dict[str, str]:
    """What the form holds when an item is shown: what was sent earlier, and the texts that are to be made better."""
    given = {"edit": task.texts.get("response", ""), "revised_instruction": task.texts.get("prompt", "")}
    for kind, answer in task.answers.items():
        given[kind] = _field(answer, task.order)
    if task.sent:
        given["comment"] = task.sent.comment or ""
    if task.sent and (cannot := task.sent.cannot_judge):
        given |= {"cannot_judge": "yes", "reason": cannot.reason or "", "words": cannot.words or ""}
    return given


def _field(answer: Answer, order: str) -> str:
    if answer.kind == "pair":
        return position_on_scale(answer, order)
    return str(answer.value) if answer.kind == "rating" else (answer.text or "")


def to(path: str) -> Response:
    """Go on there."""
    return RedirectResponse(path, 303)
