"""Small studies for two raters, a server in a process of its own, and a rater in front of Chromium."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from rlhf_fair.annotate.store import Store
from rlhf_fair.annotate.study import create_study
from rlhf_fair.annotate.study_settings import StudySettings

SETTINGS = {
    "title": "Rice & tides",
    "demographics": [
        {"name": "gender", "text": "What is your gender?", "choices": {"woman": "Woman", "man": "Man"}},
        {"name": "age", "text": "How old are you?", "choices": {"under_30": "Under 30", "from_30": "30 or older"}},
    ],
}
TEXT_KINDS = "rating, edit,revised_instruction"
FULL = {
    "title": "Rice & tides",
    "comment": "Anything we should know about this item?",
    "demographics": [
        *SETTINGS["demographics"],
        {
            "name": "race",
            "text": "Which of these describe you?",
            "choices": {"asian": "Asian", "black": "Black", "white": "White"},
            "several": True,
        },
    ],
}
"""Everything a study can ask for."""
CONSENT = "We study which answers people prefer.\n\nYou may stop <b>at any time</b>."


class Study:
    """A database and the secrets of its links, by annotator_id."""

    def __init__(self, path: Path, *, pairs: int = 20, texts: int = 0, settings: object = None) -> None:
        rows = [
            {"item_id": f"i{n:02d}", "prompt": f"Question {n}?", "response_a": f"a of {n}", "response_b": f"b of {n}"}
            for n in range(pairs)
        ]
        rows += [
            {
                "item_id": f"t{n}",
                "prompt": "Explain tides.",
                "response": "The moon.\nTwice.",
                "ask": TEXT_KINDS,
            }
            for n in range(texts)
        ]
        self.items = pd.DataFrame(rows)
        self.assignments = pd.DataFrame(
            [
                {"item_id": row["item_id"], "annotator_id": rater, "slot": slot, "order": ("ab", "ba")[(n + slot) % 2]}
                for n, row in enumerate(rows)
                for slot, rater in enumerate(["007", "p"])
            ]
        )
        links = create_study(
            path,
            self.assignments,
            self.items,
            consent=CONSENT,
            settings=StudySettings.model_validate(settings or SETTINGS),
            rng=np.random.default_rng(0),
        )
        self.path, self.store = path, Store(path)
        self.tokens = {link.annotator_id: link.token for link in links}

    def answers(self, annotator_id: str) -> list[dict[str, object]]:
        with self.store.reading() as db:
            rows = db.execute("SELECT * FROM answers WHERE annotator_id = ? ORDER BY item_id, kind", (annotator_id,))
            return [dict(row) for row in rows]

    def count(self, table: str) -> int:
        with self.store.reading() as db:
            return int(db.execute(f"SELECT count(*) FROM {table}").fetchone()[0])


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return Study(tmp_path / "study.db", texts=1)


@pytest.fixture
def pairs(tmp_path: Path) -> Study:
    return Study(tmp_path / "pairs.db")


@pytest.fixture
def full(tmp_path: Path) -> Study:
    """Three pairs and a text, and everything a study can ask for."""
    return Study(tmp_path / "full.db", pairs=3, texts=1, settings=FULL)


class Server:
    """`rlhf-fair annotate serve` on a free port."""

    def __init__(self, path: Path, *options: str) -> None:
        command = [sys.executable, "-c", "from rlhf_fair.cli.app import main; main()", "annotate", "serve"]
        self.process = subprocess.Popen(
            [*command, "--db", str(path), "--port", "0", "--json", *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.errors: str | None = None
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise AssertionError(self.process.communicate()[1])
        self.url = str(json.loads(line)["url"])

    def stop(self, *, kill: bool = False) -> tuple[int, str]:
        """End it, politely or not; its exit code and what it wrote to stderr."""
        if self.errors is None:
            self.process.kill() if kill else self.process.terminate()
            self.errors = self.process.communicate(timeout=20)[1]
        return self.process.returncode, self.errors


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    servers: list[Server] = []

    def start(path: Path, *options: str) -> Server:
        servers.append(Server(path, *options))
        return servers[-1]

    yield start
    for server in servers:
        server.stop(kill=True)


class Screen:
    """One rater's browser. Noise is what it asks of anybody but the server, and what it complains about."""

    def __init__(self, browser, url: str, *, width: int = 1280, **options) -> None:
        self.url = url
        self.context = browser.new_context(viewport={"width": width, "height": 900}, **options)
        self.page = self.context.new_page()
        self.noise: list[str] = []
        self.page.on("console", lambda message: self.noise.append(f"{message.type}: {message.text}"))
        self.page.on("pageerror", lambda error: self.noise.append(f"error: {error}"))
        self.page.on("request", lambda request: self._request(request.url))

    def _request(self, url: str) -> None:
        if not url.startswith((self.url + "/", "data:")):
            self.noise.append(f"request: {url}")

    def open(self, path: str) -> None:
        self.page.goto(self.url + path)

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def tab_to(self, selector: str) -> None:
        """Tab until an element has the focus, as somebody without a mouse does."""
        focused = self.page.locator(f"{selector}:focus")  # works where script is off, unlike asking the document
        for _ in range(60):
            if focused.count():
                return
            self.press("Tab")
        raise AssertionError(f"the Tab key never gets to {selector}")

    def leads_to(self, path: str) -> None:
        self.page.wait_for_url(self.url + path)

    def begin(self, token: str) -> None:
        """Through consent and the questions about oneself, by keyboard."""
        self.open(f"/start/{token}")
        self.tab_to("#agree")
        self.press("Space")
        self.tab_to("button")
        self.press("Enter")
        self.leads_to("/about")
        self.tab_to("button")
        self.press("Enter")
        self.leads_to("/item/1")

    def answer(self, position: int, key: str, following: str) -> None:
        assert f"Item {position} of" in self.page.locator("h1").inner_text()
        self.press(key, "Enter")
        self.leads_to(following)
