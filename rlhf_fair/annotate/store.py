"""The study's database: one SQLite file whose every write is a transaction that is on disk before it is answered.

Journal WAL with ``synchronous=FULL``: a commit is flushed to the log before it returns, so a killed server loses no
answer it acknowledged. ``secure_delete`` overwrites what a withdrawn rater wrote.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rlhf_fair.annotate.questions import Answer, CannotJudge, Submission
from rlhf_fair.annotate.records import Rater, Task, Time
from rlhf_fair.annotate.schema import APPLICATION_ID, NOW, SCHEMA_VERSION, connect
from rlhf_fair.annotate.study_settings import StudySettings
from rlhf_fair.annotate.tokens import new_token, same_hash, token_hash
from rlhf_fair.disk import writing
from rlhf_fair.errors import MissingFileError, SettingsError


class NoConsentError(Exception):
    """Something was to be stored of a rater who has not agreed, or not any more."""


class ChangedMeanwhileError(Exception):
    """Something else was sent about the item after the page was opened whose form is being saved."""


class Store:
    """Reads and writes of one study; each call has a connection of its own, so threads may share a `Store`."""

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise MissingFileError(path, "annotation database", "`rlhf-fair annotate links` makes one")
        self.path = path
        # SQLite lets writers try again at random, so that under load some wait for seconds; threads here queue instead
        self._turn = threading.Lock()
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
        with self._turn, writing(self.path), closing(connect(self.path)) as db:
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
            except BaseException:
                if db.in_transaction:  # a full disk has ended it already
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
          (SELECT min(t.position) FROM tasks t LEFT JOIN judgements j USING (annotator_id, item_id)
           WHERE t.annotator_id = r.annotator_id AND j.item_id IS NULL) AS next_position, r.token_sha256
        FROM raters r LEFT JOIN consents c USING (annotator_id) WHERE r.token_sha256 = ?"""
        with self.reading() as db:
            row = db.execute(query, (token_sha256,)).fetchone()
        # the index finds the row by a hash, which nobody can steer; the comparison itself takes the same time for all
        if row is None or not same_hash(row["token_sha256"], token_sha256):
            return None
        flags = {name: bool(row[name]) for name in ("consented", "asked_about_them", "withdrawn")}
        following = row["total"] + 1 if row["next_position"] is None else row["next_position"]
        return Rater(annotator_id=row["annotator_id"], total=row["total"], next_position=following, **flags)

    def task(self, annotator_id: str, position: int) -> Task | None:
        """A rater's item at a position, from 1."""
        query = "SELECT * FROM tasks JOIN items USING (item_id) WHERE annotator_id = ? AND position = ?"
        with self.reading() as db:
            row = db.execute(query, (annotator_id, position)).fetchone()
            if row is None:
                return None
            version, content = _last(db, annotator_id, row["item_id"])
        return Task(
            position=position,
            item_id=row["item_id"],
            order=row["shown_order"],
            asked=tuple(json.loads(row["asked"])),
            language=row["language"],
            texts={name: row[name] for name in ("prompt", "response_a", "response_b", "response") if row[name]},
            sent=None if content is None else _submission(content),
            version=version,
        )

    def demographics(self, annotator_id: str) -> dict[str, tuple[str, ...]]:
        """What a rater said of themselves, by question."""
        found: dict[str, tuple[str, ...]] = {}
        with self.reading() as db:
            query = "SELECT name, value FROM demographics WHERE annotator_id = ? ORDER BY rowid"
            for row in db.execute(query, (annotator_id,)):
                found[row["name"]] = (*found.get(row["name"], ()), row["value"])
        return found

    def save_consent(self, annotator_id: str) -> None:
        """Record that a rater agreed to the study's text; again changes nothing, after a withdrawal it is refused."""
        with self.writing() as db:
            db.execute(
                f"""INSERT INTO consents (annotator_id, text_sha256, given_at)
                SELECT annotator_id, (SELECT value FROM study WHERE name = 'consent_sha256'), {NOW}
                FROM raters WHERE annotator_id = ? AND withdrawn_at IS NULL ON CONFLICT DO NOTHING""",
                (annotator_id,),
            )

    def save_demographics(self, annotator_id: str, answers: Mapping[str, Sequence[str]]) -> None:
        """Replace what a rater said of themselves; nothing is stored of a question they left out."""
        with self.writing() as db:
            _require_consent(db, annotator_id)
            db.execute("UPDATE consents SET asked_about_them = 1 WHERE annotator_id = ?", (annotator_id,))
            db.execute("DELETE FROM demographics WHERE annotator_id = ?", (annotator_id,))
            rows = [(annotator_id, name, value) for name, values in answers.items() for value in values]
            db.executemany("INSERT INTO demographics VALUES (?, ?, ?)", rows)

    def save(self, annotator_id: str, item_id: str, sent: Submission, time: Time, *, seen: int | None = None) -> None:
        """Everything about one item in one transaction; the same again changes nothing, not even its time.

        ``seen``: the `Task.version` the rater had before them; where another was saved since, nothing is stored and
        `ChangedMeanwhileError` is raised. None overwrites whatever is there.
        """
        content = json.dumps(asdict(sent), ensure_ascii=False)
        who = (annotator_id, item_id)
        with self.writing() as db:
            _require_consent(db, annotator_id)
            version, last = _last(db, *who)
            if content == last:
                return
            if seen not in (None, version):
                raise ChangedMeanwhileError(item_id)
            _require_whole(db, item_id, sent)
            db.execute(
                f"""INSERT INTO submissions
                  (annotator_id, item_id, content, shown_ms, open_seconds, visible_seconds, submitted_at)
                VALUES (?, ?, ?, ?, ?, ?, {NOW})""",
                (*who, content, time.shown_ms, time.open, time.visible),
            )
            db.execute("DELETE FROM judgements WHERE annotator_id = ? AND item_id = ?", who)
            cannot = sent.cannot_judge
            said = (cannot is None, cannot and cannot.reason, cannot and cannot.words, sent.comment)
            db.execute(
                f"INSERT INTO judgements VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, {NOW})", (*who, *said, *_spent(db, *who))
            )
            rows = [(*who, a.kind, a.choice, a.strength, a.value, a.text) for a in sent.answers]
            db.executemany("INSERT INTO answers VALUES (?, ?, ?, ?, ?, ?, ?)", rows)

    def withdraw(self, annotator_id: str) -> int:
        """Take back consent: remove all that was stored of a rater, keep how many answers; returns that number."""
        with self.writing() as db:
            self._require_rater(db, annotator_id)
            agreed = db.execute("SELECT 1 FROM consents WHERE annotator_id = ?", (annotator_id,)).fetchone()
            query = """SELECT (SELECT count(*) FROM answers WHERE annotator_id = :who)
              + (SELECT count(*) FROM judgements WHERE annotator_id = :who AND NOT judged)"""
            count = int(db.execute(query, {"who": annotator_id}).fetchone()[0])
            for table in ("judgements", "submissions", "demographics", "consents"):  # answers go with judgements
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

    def revoke(self, annotator_id: str) -> None:
        """End a rater's link and give them none; what they answered stays."""
        self.renew(annotator_id, token_hash(new_token()))

    def _require_rater(self, db: sqlite3.Connection, annotator_id: str) -> None:
        if db.execute("SELECT 1 FROM raters WHERE annotator_id = ?", (annotator_id,)).fetchone() is None:
            known = [row[0] for row in db.execute("SELECT annotator_id FROM raters ORDER BY 1 LIMIT 5")]
            raise SettingsError(f"no annotator {annotator_id!r} in {self.path}; has {', '.join(known)}, …")


def _require_consent(db: sqlite3.Connection, annotator_id: str) -> None:
    row: Any = db.execute("SELECT 1 FROM consents WHERE annotator_id = ?", (annotator_id,)).fetchone()
    if row is None:
        raise NoConsentError(annotator_id)


def _require_whole(db: sqlite3.Connection, item_id: str, sent: Submission) -> None:
    row: Any = db.execute("SELECT asked FROM items WHERE item_id = ?", (item_id,)).fetchone()
    asked = json.loads(row[0]) if row and sent.cannot_judge is None else []
    assert [answer.kind for answer in sent.answers] == asked, "an item is answered whole or not at all"


def _last(db: sqlite3.Connection, annotator_id: str, item_id: str) -> tuple[int, str | None]:
    """Number and content of what was last sent about an item; 0 and None where nothing was."""
    query = (
        "SELECT number, content FROM submissions WHERE annotator_id = ? AND item_id = ? ORDER BY number DESC LIMIT 1"
    )
    row: Any = db.execute(query, (annotator_id, item_id)).fetchone()
    return (0, None) if row is None else (int(row[0]), str(row[1]))


def _submission(content: str) -> Submission:
    sent: dict[str, Any] = json.loads(content)
    cannot = sent["cannot_judge"]
    answers = tuple(Answer(**answer) for answer in sent["answers"])
    return Submission(answers, CannotJudge(**cannot) if cannot else None, sent["comment"])


def _spent(db: sqlite3.Connection, annotator_id: str, item_id: str) -> tuple[float, float | None, int]:
    """Seconds open, seconds visible (None if any showing has none), and how often something was sent.

    A page sent twice (by the browser's back button) is one showing, whose time runs on.
    """
    query = """
    SELECT sum(open), CASE WHEN count(visible) = count(*) THEN sum(visible) END, sum(sent)
    FROM (SELECT max(open_seconds) AS open, max(visible_seconds) AS visible, count(*) AS sent FROM submissions
          WHERE annotator_id = ? AND item_id = ? GROUP BY shown_ms)"""
    row: Any = db.execute(query, (annotator_id, item_id)).fetchone()
    return row[0], row[1], row[2]
