"""Argilla's records (SDK 2): what ``dataset.records.to_json`` writes and ``from_json`` reads.

One record is an item with one kind of feedback (in one order of its answers), one response one answer of one user.
Questions: ``choice`` (labels a, b, tie, or a ranking of a and b), ``rating`` and ``scalar`` (whole numbers), and a text
question for each text. Argilla knows users by UUID: an annotator id that is none is written as a UUID of version 5,
which is no pseudonym, and the record's metadata says which annotator it is.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any
from uuid import UUID, uuid5

import pandas as pd

from rlhf_fair.annotators.exchange.losses import (
    ATTRIBUTES,
    BAD_ORDER,
    CONTRACT_COLUMNS,
    EMPTY_TEXT,
    JUDGEMENT,
    NOT_FINITE,
    OFF_KIND,
    OTHER_TYPE,
    RESERVED,
    ROW_ORDER,
    Carried,
    Imported,
    Loss,
    Lost,
    is_number,
    keep_answers,
    mark_text,
    present,
)
from rlhf_fair.annotators.exchange.rejects import Rejects, finish
from rlhf_fair.json_cells import json_cell
from rlhf_fair.tables import TEXT_KINDS, as_text

NAMESPACE = UUID("6f1d8c0a-51c7-5f7e-9d55-3b8e2a0c4d11")
CONTROLS = ("pair", "rating", "scalar", *TEXT_KINDS)
QUESTIONS = {"pair": "choice", "rating": "rating", "scalar": "scalar", **{kind: kind for kind in TEXT_KINDS}}
"""Kind of feedback -> the question that holds its judgement."""
SECONDS = Loss("seconds", "Argilla keeps no time for an answer")
NUMBERS = Loss("numbers", "Argilla has no question for numbers besides the judgement")
NOT_A_STAR = Loss("not_a_whole_number", "Argilla's ratings are whole numbers from 0 to 10; the row has no place")
LOSSES = (
    ATTRIBUTES,
    OFF_KIND,
    RESERVED,
    OTHER_TYPE,
    EMPTY_TEXT,
    NOT_FINITE,
    BAD_ORDER,
    ROW_ORDER,
    SECONDS,
    NUMBERS,
    NOT_A_STAR,
)
NOT_IMPORTED = (
    Loss("suggestions", "suggestions are a model's, not a person's"),
    Loss("vectors", "vectors have no place in feedback"),
    Loss("status", "the file does not say which responses were only drafts: all count as given"),
)
TEXTS = ("prompt", "response_a", "response_b")
NAMES_OF_ANSWERS = {"a": "a", "b": "b", "tie": "tie", "response_a": "a", "response_b": "b"}


def carried(table: pd.DataFrame) -> Carried:
    """What of a feedback table survives the way there and back."""
    keeper = keep_answers(table, CONTROLS)
    kinds = keeper.table["kind"]
    values = keeper.table["value"] if "value" in keeper.table else pd.Series(0.0, index=kinds.index)
    whole = (values % 1 == 0) & (values >= 0) & (values <= 10)
    keeper.drop_rows(NOT_A_STAR, kinds.isin(["rating", "scalar"]) & ~whole)
    keeper.drop(SECONDS, [name for name in ("seconds",) if name in keeper.table])
    others = [name for name in keeper.table if name not in CONTRACT_COLUMNS and is_number(keeper.table[name])]
    keeper.drop(NUMBERS, [name for name in others if name != "order"])
    return keeper.carried()


def records(table: pd.DataFrame, items: pd.DataFrame | None = None, first: int = 1) -> list[dict[str, Any]]:
    """Records of a table as `carried` returns it; ``items`` adds prompt and answers as fields. They have no numbers."""
    texts = {} if items is None else items.set_index("item_id")[list(TEXTS)].astype(str).to_dict("index")
    found: dict[tuple[str, str, str | None], dict[str, Any]] = {}
    for row in table.to_dict("records"):
        order = row["order"] if present(row.get("order")) else None
        key = (row["item_id"], row["kind"], order)
        record = found.setdefault(key, _record(key, texts.get(row["item_id"], {"prompt": row["item_id"]})))
        user = _user(row["annotator_id"])
        record["metadata"]["annotators"][user] = row["annotator_id"]
        used = JUDGEMENT[row["kind"]]
        judgement = int(row[used]) if used == "value" else row[used]
        _respond(record, QUESTIONS[row["kind"]], judgement, user)
        for name, cell in row.items():
            if present(cell) and name != used and (name == "text" or name not in (*CONTRACT_COLUMNS, "order")):
                _respond(record, str(name), mark_text(cell), user)
    for record in found.values():  # metadata holds texts and numbers only
        record["metadata"]["annotators"] = json.dumps(record["metadata"]["annotators"], ensure_ascii=False)
    return list(found.values())


def read_records(
    content: Iterable[Any], *, choice_question: str = "choice", rating_question: str = "rating"
) -> Imported:
    """Feedback from exported records; every user of a record who gives no judgement is a reject.

    Parameters
    ----------
    choice_question, rating_question
        What the questions for pairs and ratings are called in this data set.
    """
    kinds = {question: kind for kind, question in QUESTIONS.items()}
    kinds |= {choice_question: "pair", rating_question: "rating"}
    rejects, rows = Rejects(), list[tuple[int, dict[str, Any]]]()
    lost = dict.fromkeys((loss.code for loss in NOT_IMPORTED), 0)
    for number, record in enumerate(content, start=1):
        if not isinstance(record, Mapping) or not isinstance(record.get("responses"), Mapping):
            rejects.add(number, "responses", record, "malformed", "is no record: it has no responses")
            continue
        metadata = record.get("metadata") if isinstance(record.get("metadata"), Mapping) else {}
        assert isinstance(metadata, Mapping)
        for user, answers in _by_user(number, record["responses"], rejects).items():
            lost["status"] += 1
            found = _rows(answers, kinds)
            if not found:
                rejects.add(number, "responses", answers, "no_judgement", f"user {user} gave no judgement")
            ids = {
                "item_id": as_text(metadata.get("item_id", record.get("id"))),
                "annotator_id": _annotator(metadata, user),
            }
            ids |= {"order": metadata["order"]} if "order" in metadata else {}
            rows += [(number, ids | row) for row in found]
        lost["suggestions"] += len(record.get("suggestions") or {})
        lost["vectors"] += len(record.get("vectors") or {})
    messages = {loss.code: loss.message for loss in NOT_IMPORTED}
    return finish(rows, rejects, tuple(Lost(code, "", n, messages[code]) for code, n in lost.items() if n))


def _record(key: tuple[str, str, str | None], fields: Mapping[str, str]) -> dict[str, Any]:
    item, kind, order = key
    metadata = {"item_id": item, "kind": kind, "annotators": {}} | ({"order": order} if order else {})
    name = "/".join(part for part in key if part)
    return {
        "id": name,
        "fields": dict(fields),
        "metadata": metadata,
        "suggestions": {},
        "responses": {},
        "vectors": {},
    }


def _respond(record: dict[str, Any], question: str, value: Any, user: str) -> None:
    record["responses"].setdefault(question, []).append({"value": value, "user_id": user})


def _user(annotator: str) -> str:
    try:
        return annotator if str(UUID(annotator)) == annotator else str(uuid5(NAMESPACE, annotator))
    except ValueError:
        return str(uuid5(NAMESPACE, annotator))


def _annotator(metadata: Mapping[str, Any], user: str) -> str:
    try:
        names = json_cell(metadata.get("annotators", "{}"))
    except (TypeError, ValueError):
        return user
    return str(names.get(user, user)) if isinstance(names, dict) else user


def _by_user(number: int, responses: Mapping[str, Any], rejects: Rejects) -> dict[str, dict[str, Any]]:
    """Answers by user and question."""
    found: dict[str, dict[str, Any]] = {}
    for question, entries in responses.items():
        for entry in entries if isinstance(entries, list) else [entries]:
            if isinstance(entry, Mapping) and "value" in entry and present(entry.get("user_id")):
                found.setdefault(str(entry["user_id"]), {})[str(question)] = entry["value"]
            else:
                rejects.add(number, str(question), entry, "malformed", "is no response: it lacks a value or a user")
    return found


def _rows(answers: Mapping[str, Any], kinds: Mapping[str, str]) -> list[dict[str, Any]]:
    """A row for each judgement of one user; the further texts stand at the first."""
    rows = []
    for question, value in answers.items():
        if question in kinds:
            kind = kinds[question]
            rows.append({"kind": kind, JUDGEMENT[kind]: _choice(value) if kind == "pair" else value})
    if rows:
        further = {name: value for name, value in answers.items() if name not in kinds}
        rows[0] = further | rows[0]
    return rows


def _choice(value: Any) -> Any:
    """A label, or the first of a ranking of a and b (equal ranks: a tie)."""
    if not isinstance(value, list):
        return NAMES_OF_ANSWERS.get(value, value) if isinstance(value, str) else value
    if all(isinstance(entry, Mapping) and {"value", "rank"} <= entry.keys() for entry in value):
        ranks = {entry["value"]: entry["rank"] for entry in value}
        best = [name for name, rank in ranks.items() if rank == min(ranks.values())]
        return "tie" if len(best) > 1 else NAMES_OF_ANSWERS.get(best[0], best[0]) if best else None
    return NAMES_OF_ANSWERS.get(str(value[0]), str(value[0])) if value else None
