"""The study's database: one SQLite file whose every write is a transaction that is on disk before it is answered.

Journal WAL with ``synchronous=FULL``: a commit is flushed to the log before it returns, so a killed server loses no
answer it acknowledged. ``secure_delete`` overwrites what a withdrawn rater wrote.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlhf_fair.annotate.questions import Answer, StudySettings
from rlhf_fair.errors import MissingFileError, SettingsError

APPLICATION_ID = 0x524C4846
SCHEMA_VERSION = 1
BUSY_SECONDS = 10.0

SCHEMA = """
CREATE TABLE study (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE raters (
  annotator_id TEXT PRIMARY KEY, token_sha256 TEXT NOT NULL UNIQUE,
  withdrawn_at TEXT, withdrawn_answers INTEGER NOT NULL DEFAULT 0) STRICT;
CREATE TABLE consents (
  annotator_id TEXT PRIMARY KEY REFERENCES raters, text_sha256 TEXT NOT NULL, given_at TEXT NOT NULL,
  asked_about_them INTEGER NOT NULL DEFAULT 0) STRICT;
CREATE TABLE demographics (
  annotator_id TEXT NOT NULL REFERENCES consents, name TEXT NOT NULL, value TEXT NOT NULL,
  PRIMARY KEY (annotator_id, name)) STRICT;
CREATE TABLE items (
  item_id TEXT PRIMARY KEY, asked TEXT NOT NULL, language TEXT, prompt TEXT, response_a TEXT, response_b TEXT,
  response TEXT) STRICT;
CREATE TABLE tasks (
  annotator_id TEXT NOT NULL REFERENCES raters, position INTEGER NOT NULL, item_id TEXT NOT NULL REFERENCES items,
  shown_order TEXT NOT NULL, PRIMARY KEY (annotator_id, position), UNIQUE (annotator_id, item_id)) STRICT;
CREATE TABLE answers (
  annotator_id TEXT NOT NULL REFERENCES consents, item_id TEXT NOT NULL, kind TEXT NOT NULL,
  choice TEXT, strength INTEGER, value INTEGER, text TEXT, seconds REAL NOT NULL, answered_at TEXT NOT NULL,
  PRIMARY KEY (annotator_id, item_id, kind),
  FOREIGN KEY (annotator_id, item_id) REFERENCES tasks (annotator_id, item_id)) STRICT;
"""
"""Answers and demographics refer to a consent: without one the database itself refuses them."""

NOW = "strftime('%Y-%m-%dT%H:%M:%SZ', 'now')"


@dataclass(frozen=True)
class Rater:
    """Where somebody stands. ``next_position``: their first item not wholly answered, from 1; total + 1 if none is."""

    annotator_id: str
    consented: bool
    asked_about_them: bool
    withdrawn: bool
    total: int
    next_position: int


@dataclass(frozen=True)
class Task:
    """One item as one rater sees it, with what they answered so far by kind."""

    position: int
    item_id: str
    order: str
    asked: tuple[str, ...]
    language: str | None
    texts: Mapping[str, str]
    answers: Mapping[str, Answer]


class NoConsentError(Exception):
    """Something was to be stored of a rater who has not agreed, or not any more."""


class Store:
    """Reads and writes of one study; each call has a connection of its own, so threads may share a `Store`."""

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise MissingFileError(path, "annotation database", "`rlhf-fair annotate links` makes one")
        self.path = path
        try:
            with self.reading() as db:
                found = [db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")]
        except sqlite3.DatabaseError as error:
            raise SettingsError(f"{path} is not an annotation database: {error}") from error
        if found[0] != APPLICATION_ID:
            raise SettingsError(f"{path} is not an annotation database: `rlhf-fair annotate links` makes one")
        if found[1] != SCHEMA_VERSION:
            raise SettingsError(f"{path} has layout {found[1]}; this version reads layout {SCHEMA_VERSION}")

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A connection; what is read in the block is one state of the database if the block begins a transaction."""
        with closing(connect(self.path)) as db:
            yield db

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction: on disk when the block has ended, gone without a trace if it raises."""
        with closing(connect(self.path)) as db:
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
            except BaseException:
                db.execute("ROLLBACK")
                raise
            db.execute("COMMIT")

    def study(self, name: str) -> str:
        """One of the study's constants: id, secret, consent, consent_sha256, settings."""
        with self.reading() as db:
            return str(db.execute("SELECT value FROM study WHERE name = ?", (name,)).fetchone()[0])

    def settings(self) -> StudySettings:
        """Title, words of the rating, questions about the rater."""
        return StudySettings.model_validate_json(self.study("settings"))

    def rater(self, token_sha256: str) -> Rater | None:
        """The rater whose link has this hash."""
        query = """
        SELECT r.annotator_id, c.annotator_id IS NOT NULL AS consented,
          coalesce(c.asked_about_them, 0) AS asked_about_them, r.withdrawn_at IS NOT NULL AS withdrawn,
          (SELECT count(*) FROM tasks t WHERE t.annotator_id = r.annotator_id) AS total,
          (SELECT min(t.position) FROM tasks t JOIN items i USING (item_id)
           WHERE t.annotator_id = r.annotator_id
             AND (SELECT count(*) FROM answers a WHERE a.annotator_id = t.annotator_id AND a.item_id = t.item_id)
               < json_array_length(i.asked)) AS next_position
        FROM raters r LEFT JOIN consents c USING (annotator_id) WHERE r.token_sha256 = ?"""
        with self.reading() as db:
            row = db.execute(query, (token_sha256,)).fetchone()
        if row is None:
            return None
        flags = {name: bool(row[name]) for name in ("consented", "asked_about_them", "withdrawn")}
        following = row["total"] + 1 if row["next_position"] is None else row["next_position"]
        return Rater(annotator_id=row["annotator_id"], total=row["total"], next_position=following, **flags)

    def task(self, annotator_id: str, position: int) -> Task | None:
        """A rater's item at a position, from 1."""
        query = "SELECT * FROM tasks JOIN items USING (item_id) WHERE annotator_id = ? AND position = ?"
        given = "SELECT kind, choice, strength, value, text FROM answers WHERE annotator_id = ? AND item_id = ?"
        with self.reading() as db:
            row = db.execute(query, (annotator_id, position)).fetchone()
            if row is None:
                return None
            answers = [Answer(**dict(answer)) for answer in db.execute(given, (annotator_id, row["item_id"]))]
        return Task(
            position=position,
            item_id=row["item_id"],
            order=row["shown_order"],
            asked=tuple(json.loads(row["asked"])),
            language=row["language"],
            texts={name: row[name] for name in ("prompt", "response_a", "response_b", "response") if row[name]},
            answers={answer.kind: answer for answer in answers},
        )

    def demographics(self, annotator_id: str) -> dict[str, str]:
        """What a rater said of themselves, by question."""
        with self.reading() as db:
            rows = db.execute("SELECT name, value FROM demographics WHERE annotator_id = ?", (annotator_id,))
            return {row["name"]: row["value"] for row in rows}

    def save_consent(self, annotator_id: str) -> None:
        """Record that a rater agreed to the study's text; again changes nothing, after a withdrawal it is refused."""
        with self.writing() as db:
            db.execute(
                f"""INSERT INTO consents (annotator_id, text_sha256, given_at)
                SELECT annotator_id, (SELECT value FROM study WHERE name = 'consent_sha256'), {NOW}
                FROM raters WHERE annotator_id = ? AND withdrawn_at IS NULL ON CONFLICT DO NOTHING""",
                (annotator_id,),
            )

    def save_demographics(self, annotator_id: str, answers: Mapping[str, str]) -> None:
        """Replace what a rater said of themselves; nothing is stored of a question they left out."""
        with self.writing() as db:
            _require_consent(db, annotator_id)
            db.execute("UPDATE consents SET asked_about_them = 1 WHERE annotator_id = ?", (annotator_id,))
            db.execute("DELETE FROM demographics WHERE annotator_id = ?", (annotator_id,))
            rows = [(annotator_id, name, value) for name, value in answers.items()]
            db.executemany("INSERT INTO demographics VALUES (?, ?, ?)", rows)

    def save_answers(self, annotator_id: str, item_id: str, answers: Sequence[Answer], seconds: float) -> None:
        """All answers of one item in one transaction; the same answers again change nothing, not even their time."""
        statement = f"""
        INSERT INTO answers VALUES (?, ?, ?, ?, ?, ?, ?, ?, {NOW})
        ON CONFLICT (annotator_id, item_id, kind) DO UPDATE SET choice = excluded.choice,
          strength = excluded.strength, value = excluded.value, text = excluded.text, seconds = excluded.seconds,
          answered_at = excluded.answered_at
        WHERE (choice, strength, value, text) IS NOT
          (excluded.choice, excluded.strength, excluded.value, excluded.text)"""
        rows = [(annotator_id, item_id, a.kind, a.choice, a.strength, a.value, a.text, seconds) for a in answers]
        with self.writing() as db:
            _require_consent(db, annotator_id)
            db.executemany(statement, rows)

    def withdraw(self, annotator_id: str) -> int:
        """Take back consent: remove all that was stored of a rater, keep how many answers; returns that number."""
        with self.writing() as db:
            self._require_rater(db, annotator_id)
            agreed = db.execute("SELECT 1 FROM consents WHERE annotator_id = ?", (annotator_id,)).fetchone()
            query = "SELECT count(*) FROM answers WHERE annotator_id = ?"
            count = int(db.execute(query, (annotator_id,)).fetchone()[0])
            for table in ("answers", "demographics", "consents"):
                db.execute(f"DELETE FROM {table} WHERE annotator_id = ?", (annotator_id,))
            if agreed:
                db.execute(
                    f"UPDATE raters SET withdrawn_at = {NOW}, withdrawn_answers = ? WHERE annotator_id = ?",
                    (count, annotator_id),
                )
        with self.reading() as db:  # the log still holds the rows as they were written
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        return count

    def renew(self, annotator_id: str, token_sha256: str) -> None:
        """Give a rater another link; the old one ends."""
        with self.writing() as db:
            self._require_rater(db, annotator_id)
            db.execute("UPDATE raters SET token_sha256 = ? WHERE annotator_id = ?", (token_sha256, annotator_id))

    def _require_rater(self, db: sqlite3.Connection, annotator_id: str) -> None:
        if db.execute("SELECT 1 FROM raters WHERE annotator_id = ?", (annotator_id,)).fetchone() is None:
            known = [row[0] for row in db.execute("SELECT annotator_id FROM raters ORDER BY 1 LIMIT 5")]
            raise SettingsError(f"no annotator {annotator_id!r} in {self.path}; has {', '.join(known)}, …")


def connect(path: Path) -> sqlite3.Connection:
    """A connection with the settings every write relies on."""
    db = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)
    db.row_factory = sqlite3.Row
    for setting in ("synchronous = FULL", "foreign_keys = ON", "secure_delete = ON", "trusted_schema = OFF"):
        db.execute(f"PRAGMA {setting}")
    return db


def _require_consent(db: sqlite3.Connection, annotator_id: str) -> None:
    row: Any = db.execute("SELECT 1 FROM consents WHERE annotator_id = ?", (annotator_id,)).fetchone()
    if row is None:
        raise NoConsentError(annotator_id)
