"""A small study of 20 pairs and one text, for two raters; and a server of it in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from rlhf_fair.annotate.questions import StudySettings
from rlhf_fair.annotate.store import Store
from rlhf_fair.annotate.study import create_study

SETTINGS = {
    "title": "Rice & tides",
    "demographics": [
        {"name": "gender", "text": "What is your gender?", "choices": {"woman": "Woman", "man": "Man"}},
        {"name": "age", "text": "How old are you?", "choices": {"under_30": "Under 30", "from_30": "30 or older"}},
    ],
}
TEXT_KINDS = "rating, edit,revised_instruction"
CONSENT = "We study which answers people prefer.\n\nYou may stop <b>at any time</b>."


class Study:
    """A database and the secrets of its links, by annotator_id."""

    def __init__(self, path: Path, *, pairs: int = 20, texts: int = 0) -> None:
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
            settings=StudySettings.model_validate(SETTINGS),
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
