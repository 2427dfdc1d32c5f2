"""From the study's database to the package's tables: feedback, and apart from it what raters said of themselves."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

import pandas as pd

from rlhf_fair.annotate.store import Store
from rlhf_fair.errors import IntegrityError
from rlhf_fair.tables import ANNOTATORS, ATTRIBUTE_PREFIX, FEEDBACK, validate

FEEDBACK_QUERY = """
SELECT a.item_id, a.annotator_id, a.kind, a.choice, CAST(a.value AS REAL) AS value, a.text, a.seconds, a.strength,
  t.shown_order AS "order", t.position, a.answered_at
FROM answers a JOIN tasks t USING (annotator_id, item_id) JOIN consents USING (annotator_id)
ORDER BY a.annotator_id, t.position, a.kind"""

COUNTS_QUERY = """
SELECT (SELECT count(*) FROM raters) AS raters, (SELECT count(*) FROM consents) AS consented,
  (SELECT count(*) FROM raters WHERE withdrawn_at IS NOT NULL) AS withdrawn,
  (SELECT coalesce(sum(withdrawn_answers), 0) FROM raters) AS answers_removed,
  (SELECT count(*) FROM tasks) AS assigned,
  (SELECT count(*) FROM (SELECT DISTINCT annotator_id, item_id FROM answers)) AS judged"""


@dataclass(frozen=True)
class Exported:
    """``feedback`` follows the feedback contract; ``annotators`` has annotator_id and attr.*, null where not answered.

    ``counts``: raters, consented, withdrawn, answers_removed (of those who withdrew), assigned and judged (pairs of a
    rater and an item).
    """

    feedback: pd.DataFrame
    annotators: pd.DataFrame
    counts: dict[str, int]


def export_study(store: Store) -> Exported:
    """Everything that consent covers now, all read from one state of the database; the server may be running."""
    names = [ATTRIBUTE_PREFIX + question.name for question in store.settings().demographics]
    with store.reading() as db:
        db.execute("BEGIN")
        feedback = _table(db.execute(FEEDBACK_QUERY))
        raters = _table(db.execute("SELECT annotator_id FROM consents ORDER BY annotator_id"))
        said = _table(db.execute("SELECT annotator_id, name, value FROM demographics"))
        counts = dict(db.execute(COUNTS_QUERY).fetchone())
        db.execute("COMMIT")
    wide = said.assign(name=ATTRIBUTE_PREFIX + said["name"].astype("str")).pivot(
        index="annotator_id", columns="name", values="value"
    )
    annotators = raters.set_index("annotator_id").join(wide.reindex(columns=names)).reset_index()
    for contract, table in ((FEEDBACK, feedback), (ANNOTATORS, annotators)):
        rejects = validate(table, contract).rejects
        if len(rejects):
            raise IntegrityError(f"{store.path} holds a row that is no {contract.name}: {rejects['message'].iloc[0]}")
    return Exported(feedback, annotators, counts)


def _table(cursor: sqlite3.Cursor) -> pd.DataFrame:
    rows = [tuple(row) for row in cursor]
    return pd.DataFrame(rows, columns=[column[0] for column in cursor.description])
