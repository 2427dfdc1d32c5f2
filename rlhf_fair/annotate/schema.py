"""The tables of a study's database, and what every connection to it is set to."""

from __future__ import annotations

import sqlite3
from pathlib import Path

APPLICATION_ID = 0x524C4846
SCHEMA_VERSION = 2
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
  PRIMARY KEY (annotator_id, name, value)) STRICT;
CREATE TABLE items (
  item_id TEXT PRIMARY KEY, asked TEXT NOT NULL, language TEXT, prompt TEXT, response_a TEXT, response_b TEXT,
  response TEXT) STRICT;
CREATE TABLE tasks (
  annotator_id TEXT NOT NULL REFERENCES raters, position INTEGER NOT NULL, item_id TEXT NOT NULL REFERENCES items,
  shown_order TEXT NOT NULL, PRIMARY KEY (annotator_id, position), UNIQUE (annotator_id, item_id)) STRICT;
CREATE TABLE submissions (
  number INTEGER PRIMARY KEY, annotator_id TEXT NOT NULL REFERENCES consents, item_id TEXT NOT NULL,
  content TEXT NOT NULL, shown_ms INTEGER NOT NULL, open_seconds REAL NOT NULL, visible_seconds REAL,
  submitted_at TEXT NOT NULL,
  FOREIGN KEY (annotator_id, item_id) REFERENCES tasks (annotator_id, item_id)) STRICT;
CREATE INDEX submissions_of_an_item ON submissions (annotator_id, item_id);
CREATE TABLE judgements (
  annotator_id TEXT NOT NULL REFERENCES consents, item_id TEXT NOT NULL, judged INTEGER NOT NULL,
  reason TEXT, words TEXT, comment TEXT, open_seconds REAL NOT NULL, visible_seconds REAL,
  submissions INTEGER NOT NULL, answered_at TEXT NOT NULL,
  PRIMARY KEY (annotator_id, item_id),
  FOREIGN KEY (annotator_id, item_id) REFERENCES tasks (annotator_id, item_id)) STRICT;
CREATE TABLE answers (
  annotator_id TEXT NOT NULL, item_id TEXT NOT NULL, kind TEXT NOT NULL,
  choice TEXT, strength INTEGER, value INTEGER, text TEXT,
  PRIMARY KEY (annotator_id, item_id, kind),
  FOREIGN KEY (annotator_id, item_id) REFERENCES judgements (annotator_id, item_id) ON DELETE CASCADE) STRICT;
"""
"""What a rater says refers to a consent: without one the database itself refuses it.

``submissions`` is the history, one row for each time a rater sent something else than before (``content``: a
`questions.Submission` as JSON). ``judgements`` and ``answers`` hold the last of them, ``judged`` 0 where the rater
could not judge. Seconds in ``judgements`` are sums over the times the item was shown.
"""

NOW = "strftime('%Y-%m-%dT%H:%M:%SZ', 'now')"


def connect(path: Path) -> sqlite3.Connection:
    """A connection with the settings every write relies on."""
    db = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)
    db.row_factory = sqlite3.Row
    try:
        for setting in ("synchronous = FULL", "foreign_keys = ON", "secure_delete = ON", "trusted_schema = OFF"):
            db.execute(f"PRAGMA {setting}")
    except sqlite3.Error:  # the file is no database
        db.close()
        raise
    return db
