"""From the study's database to tables: feedback, what could not be judged, and who the raters say they are."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from rlhf_fair.annotate.store import Store
from rlhf_fair.annotators.multi_select import SEPARATOR
from rlhf_fair.errors import IntegrityError
from rlhf_fair.tables import ANNOTATORS, ATTRIBUTE_PREFIX, FEEDBACK, FORMATS, validate

TIMES = """coalesce(j.visible_seconds, j.open_seconds) AS seconds, j.open_seconds,
  CASE WHEN j.visible_seconds IS NULL THEN 'open' ELSE 'visible' END AS clock"""
PLACE = """t.shown_order AS "order", t.position, j.submissions, j.answered_at, j.comment"""

FEEDBACK_QUERY = f"""
SELECT a.item_id, a.annotator_id, a.kind, a.choice, CAST(a.value AS REAL) AS value, a.text, {TIMES}, a.strength, {PLACE}
FROM answers a JOIN judgements j USING (annotator_id, item_id) JOIN tasks t USING (annotator_id, item_id)
ORDER BY a.annotator_id, t.position, a.kind"""

MISSING_QUERY = f"""
SELECT j.item_id, j.annotator_id, asked.value AS kind, j.reason, j.words, {TIMES}, {PLACE}
FROM judgements j JOIN tasks t USING (annotator_id, item_id) JOIN items i USING (item_id), json_each(i.asked) asked
WHERE NOT j.judged
ORDER BY j.annotator_id, t.position, asked.value"""

COUNTS_QUERY = """
SELECT (SELECT count(*) FROM raters) AS raters, (SELECT count(*) FROM consents) AS consented,
  (SELECT count(*) FROM raters WHERE withdrawn_at IS NOT NULL) AS withdrawn,
  (SELECT coalesce(sum(withdrawn_answers), 0) FROM raters) AS answers_removed,
  (SELECT count(*) FROM tasks) AS assigned,
  (SELECT count(*) FROM judgements WHERE judged) AS judged,
  (SELECT count(*) FROM judgements WHERE NOT judged) AS cannot_judge"""


@dataclass(frozen=True)
class Exported:
    """What consent covers, as tables.

    Attributes
    ----------
    feedback
        The feedback contract, and strength (0 tie to 3), order, position, submissions (1: never changed), answered_at,
        comment where the study asks for one. ``seconds``: how long the item was before the rater until they were done
        with it, over all the times they came back. ``clock`` says how it was measured: ``visible``, while the page
        was in the foreground; ``open``, the whole time (also ``open_seconds``), where the browser ran no script.
    missing
        A row for each question a rater said they cannot judge: item_id, annotator_id, kind, reason (one of
        `questions.REASONS`, or null), words, and the times and places as above. No key is in both tables.
    annotators
        annotator_id and attr.*, null where not answered, several levels joined as `annotators.multi_select` reads.
    counts
        raters, consented, withdrawn, answers_removed (of those who withdrew); of pairs of a rater and an item:
        assigned = judged + cannot_judge + not_answered.
    """

    feedback: pd.DataFrame
    missing: pd.DataFrame
    annotators: pd.DataFrame
    counts: dict[str, int]


def export_study(store: Store) -> Exported:
    """Everything that consent covers now, all read from one state of the database; the server may be running."""
    settings = store.settings()
    with store.reading() as db:
        db.execute("BEGIN")
        feedback, missing = _table(db.execute(FEEDBACK_QUERY)), _table(db.execute(MISSING_QUERY))
        raters = _table(db.execute("SELECT annotator_id FROM consents ORDER BY annotator_id"))
        said = _table(db.execute("SELECT annotator_id, name, value FROM demographics ORDER BY value"))
        counts = dict(db.execute(COUNTS_QUERY).fetchone())
        db.execute("COMMIT")
    counts["not_answered"] = counts["assigned"] - counts["judged"] - counts["cannot_judge"]
    if settings.comment is None:
        feedback, missing = feedback.drop(columns="comment"), missing.drop(columns="comment")
    names = [ATTRIBUTE_PREFIX + question.name for question in settings.demographics]
    wide = said.assign(name=ATTRIBUTE_PREFIX + said["name"].astype("str")).pivot_table(
        index="annotator_id", columns="name", values="value", aggfunc=SEPARATOR.join
    )
    annotators = raters.set_index("annotator_id").join(wide.reindex(columns=names)).reset_index()
    for contract, table in ((FEEDBACK, feedback), (ANNOTATORS, annotators)):
        rejects = validate(table, contract).rejects
        if len(rejects):
            raise IntegrityError(f"{store.path} holds a row that is no {contract.name}: {rejects['message'].iloc[0]}")
    return Exported(feedback, missing, annotators, counts)


def beside(path: Path, what: str) -> Path:
    """A neighbour of a table with the same extension.

    >>> beside(Path("out/feedback.jsonl.gz"), "missing").as_posix()
    'out/feedback.missing.jsonl.gz'
    """
    endings = sorted((e for e in FORMATS if path.name.lower().endswith(e)), key=len, reverse=True)
    ending = path.name[len(path.name) - len(endings[0]) :] if endings else ""
    return path.with_name(f"{path.name.removesuffix(ending)}.{what}{ending}")


def _table(cursor: sqlite3.Cursor) -> pd.DataFrame:
    rows = [tuple(row) for row in cursor]
    return pd.DataFrame(rows, columns=[column[0] for column in cursor.description])
