"""From assignments and items to a study's database and one personal link for each rater."""

from __future__ import annotations

import json
import os
import secrets
import sqlite3
from collections.abc import Hashable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from rlhf_fair.annotate.questions import KINDS, MAX_TEXT, NEEDS, plain_text
from rlhf_fair.annotate.schema import APPLICATION_ID, SCHEMA, SCHEMA_VERSION, connect
from rlhf_fair.annotate.study_settings import LANGUAGE, StudySettings
from rlhf_fair.annotate.tokens import new_token, token_hash
from rlhf_fair.artifacts import atomic_path, read_text, sha256_bytes
from rlhf_fair.errors import OutputError, RowError, SettingsError
from rlhf_fair.tables import require_columns

TEXTS = ("prompt", "response_a", "response_b", "response")


@dataclass(frozen=True)
class Link:
    """A rater and the secret of their link; it is nowhere else, so whoever loses it gets a new one."""

    annotator_id: str
    token: str
    items: int


def create_study(
    path: Path,
    assignments: pd.DataFrame,
    items: pd.DataFrame,
    *,
    consent: str,
    settings: StudySettings,
    ask: Sequence[str] = ("pair",),
    rng: np.random.Generator,
) -> list[Link]:
    """Make the database at ``path``, where there must be none, and a link for each rater.

    Parameters
    ----------
    assignments
        item_id, annotator_id, order, as ``rlhf-fair panel assign`` writes them.
    items
        item_id and the texts that the questions need (see `NEEDS`); optionally ``ask`` (kinds, joined by commas, for
        this item) and ``language`` (as in HTML).
    ask
        Kinds of feedback asked for where the items table does not say.
    rng
        Shuffles every rater's items, so that no item is always judged by the tired.
    """
    if path.exists():
        raise OutputError(path, "it exists already; a study is never overwritten")
    text = plain_text(consent).strip()
    if not text:
        raise SettingsError("the consent text is empty: raters must know what they agree to")
    require_columns(assignments, ["item_id", "annotator_id", "order"], "assignments")
    rows = _item_rows(items[items["item_id"].isin(assignments["item_id"])], ask)
    unknown = sorted(set(assignments["item_id"]) - set(items["item_id"]))
    if unknown:
        raise RowError(f"assignments name {len(unknown)} items that the items table lacks, such as {unknown[0]!r}")
    shuffled = assignments.assign(key=rng.random(len(assignments))).sort_values(["annotator_id", "key"])
    shuffled["position"] = shuffled.groupby("annotator_id").cumcount() + 1
    counts = shuffled["annotator_id"].value_counts(sort=False)
    links = [Link(str(name), new_token(), int(counts[name])) for name in counts.index]
    constants = {
        "id": secrets.token_hex(4),
        "secret": secrets.token_hex(32),
        "consent": text,
        "consent_sha256": sha256_bytes(text.encode()),
        "settings": settings.model_dump_json(),
    }
    with atomic_path(path) as temporary, _private(temporary), closing(connect(temporary)) as db:
        db.executescript(f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {SCHEMA_VERSION}; {SCHEMA}")
        db.execute("BEGIN")
        db.executemany("INSERT INTO study VALUES (?, ?)", constants.items())
        tokens = [(link.annotator_id, token_hash(link.token)) for link in links]
        db.executemany("INSERT INTO raters (annotator_id, token_sha256) VALUES (?, ?)", tokens)
        db.executemany("INSERT INTO items VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
        tasks = shuffled[["annotator_id", "position", "item_id", "order"]].astype(object)
        db.executemany("INSERT INTO tasks VALUES (?, ?, ?, ?)", tasks.itertuples(index=False, name=None))
        db.execute("COMMIT")
        _use_log(db)
    return links


def read_consent(path: Path) -> str:
    """The text raters agree to, from a UTF-8 file."""
    return read_text(path, "consent text")


class _private:
    """Creates the file so that only its owner can read it: it will hold what people say of themselves."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> None:
        os.close(os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))

    def __exit__(self, *_: object) -> None:
        pass


def _use_log(db: sqlite3.Connection) -> None:
    """Switch to a write-ahead log, which stays; not every file system has it."""
    mode = db.execute("PRAGMA journal_mode = WAL").fetchone()[0]
    if mode != "wal":
        raise SettingsError(f"the database needs a file system that allows a write-ahead log; got mode {mode!r}")


def _item_rows(items: pd.DataFrame, ask: Sequence[str]) -> list[tuple[str | None, ...]]:
    """Rows of the table items; raises naming the item and the column where a question lacks its text."""
    rows: list[tuple[str | None, ...]] = []
    for item in items.to_dict("records"):
        name = str(item["item_id"])
        asked = _asked(name, _cell(item, "ask"), ask)
        shown = {column for kind in asked for column in NEEDS[kind]}
        texts = {column: _cell(item, column) for column in TEXTS if column in shown}
        for kind in asked:
            missing = [column for column in NEEDS[kind] if not texts[column]]
            if missing:
                raise RowError(f"item {name!r}: a question of kind {kind} needs {missing[0]!r}, which is missing")
        for kind, column in (("edit", "response"), ("revised_instruction", "prompt")):
            if kind in asked and len(texts[column] or "") > MAX_TEXT:
                raise RowError(f"item {name!r}: {column!r} is too long for {kind}; allowed: {MAX_TEXT} characters")
        language = _cell(item, "language")
        if language and not LANGUAGE.fullmatch(language):
            raise RowError(f"item {name!r}: language {language!r} is not a language tag such as 'en' or 'pt-BR'")
        rows.append((name, json.dumps(asked), language, *(texts.get(column) for column in TEXTS)))
    return rows


def _asked(item: str, given: str | None, default: Sequence[str]) -> list[str]:
    names = [name.strip() for name in given.split(",")] if given else list(default)
    wrong = [name for name in names if name not in KINDS]
    if wrong or not names:
        says = f"{', '.join(wrong) or 'nothing'} cannot be asked; allowed: {', '.join(KINDS)}"
        raise RowError(f"item {item!r}, column 'ask': {says}") if given else SettingsError(f"ask: {says}")
    return [kind for kind in KINDS if kind in names]


def _cell(item: Mapping[Hashable, Any], column: str) -> str | None:
    value = item.get(column)
    return plain_text(str(value)) if value is not None and not pd.isna(value) and str(value) else None
