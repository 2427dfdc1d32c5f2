"""Label Studio's JSON: tasks to import there, and annotated tasks as exported from there.

One task is an item (in one order of its answers), one annotation one row of feedback. Places of the answers, also in
the labelling interface that `labelling_config` writes:

=====================  ============  ==========================================================================
kind                   control       result value
=====================  ============  ==========================================================================
pair                   Pairwise      ``{"selected": "left"}`` or right; left is what the task's ``order`` shows first
pair, tied             Choices       ``{"choices": ["tie"]}``: a Pairwise control knows no tie
rating                 Rating        ``{"rating": 4}``; a Number control for what is no whole number of 1 and more
scalar                 Number        ``{"number": -1.5}``
edit, revised…         TextArea      ``{"text": ["…"]}``
=====================  ============  ==========================================================================

Further columns: texts in TextArea, numbers in Number controls of their name. ``lead_time`` is ``seconds``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any
from xml.sax.saxutils import quoteattr

import pandas as pd

from rlhf_fair.annotators.exchange.losses import (
    ATTRIBUTES,
    BAD_ORDER,
    CONTRACT_COLUMNS,
    EMPTY_TEXT,
    JUDGEMENT,
    NOT_FINITE,
    NUMBER_TYPE,
    OFF_KIND,
    OTHER_TYPE,
    RESERVED,
    ROW_ORDER,
    Carried,
    Imported,
    Loss,
    Lost,
    keep_answers,
    mark_text,
    present,
)
from rlhf_fair.annotators.exchange.rejects import Rejects, finish
from rlhf_fair.tables import TEXT_KINDS, as_text

CONTROLS = ("pair", "tie", "rating", "scalar", *TEXT_KINDS)
LOSSES = (ATTRIBUTES, OFF_KIND, RESERVED, OTHER_TYPE, EMPTY_TEXT, NOT_FINITE, BAD_ORDER, ROW_ORDER, NUMBER_TYPE)
NOT_IMPORTED = (
    Loss("drafts", "drafts were not submitted"),
    Loss("predictions", "predictions are a model's, not a person's"),
    Loss("control", "the control's result has no place in feedback"),
    Loss("several_choices", "a choice of several options is kept as JSON text"),
    Loss("shared_seconds", "an annotation with several judgements has one time; it stands at its first row"),
)
TEXTS = ("prompt", "response_a", "response_b")


def carried(table: pd.DataFrame) -> Carried:
    """What of a feedback table survives the way there and back."""
    return keep_answers(table, CONTROLS).carried()


def tasks(table: pd.DataFrame, items: pd.DataFrame | None = None, first: int = 1) -> list[dict[str, Any]]:
    """Annotated tasks of a table as `carried` returns it, numbered from ``first``; ``items`` adds the texts."""
    texts = _item_texts(items)
    found: dict[tuple[str, str | None], dict[str, Any]] = {}
    for row in table.to_dict("records"):
        order = row["order"] if present(row.get("order")) else None
        task = found.setdefault((row["item_id"], order), _task(len(found) + first, row["item_id"], order, texts))
        task["annotations"].append(_annotation({str(name): cell for name, cell in row.items()}, order, task["id"]))
    return list(found.values())


def blank_tasks(items: pd.DataFrame) -> list[dict[str, Any]]:
    """Tasks to label: one for each item, nothing annotated."""
    texts = _item_texts(items)
    return [_task(number, item, None, texts) for number, item in enumerate(texts, start=1)]


def labelling_config(columns: Iterable[str] = ()) -> str:
    """The labelling interface whose results come back as feedback; ``columns``: further text areas."""
    areas = "".join(f'  <TextArea name={quoteattr(name)} toName="prompt"/>\n' for name in (*TEXT_KINDS, *columns))
    return (
        '<View>\n  <Text name="prompt" value="$prompt"/>\n'
        '  <Text name="left" value="$left"/>\n  <Text name="right" value="$right"/>\n'
        '  <Pairwise name="pair" toName="left,right"/>\n'
        '  <Choices name="tie" toName="prompt"><Choice value="tie"/></Choices>\n'
        '  <Rating name="rating" toName="prompt" maxRating="5"/>\n'
        f'  <Number name="scalar" toName="prompt"/>\n{areas}</View>\n'
    )


def read_tasks(content: Iterable[Any]) -> Imported:
    """Feedback from annotated tasks; every annotation that gives none is a reject (``row``: the task's number).

    The annotator is the ``completed_by`` id, or the e-mail address where there is no id; a task without
    ``data.item_id`` is known by its own id.
    """
    rejects, rows, lost = Rejects(), [], dict[tuple[str, str], int]()
    for number, task in enumerate(content, start=1):
        if not isinstance(task, Mapping) or not isinstance(task.get("data"), Mapping):
            rejects.add(number, "data", task, "malformed", "is no task: it has no data object")
            continue
        for name in ("drafts", "predictions"):
            entries = task.get(name) or []
            lost[name, ""] = lost.get((name, ""), 0) + len(entries)
        annotations = task.get("annotations", [])
        for annotation in annotations if isinstance(annotations, list) else [annotations]:
            for row in _read_annotation(number, task, annotation, rejects, lost):
                rows.append((number, row))
    messages = {loss.code: loss.message for loss in NOT_IMPORTED}
    told = tuple(Lost(code, name, n, messages[code]) for (code, name), n in lost.items() if n)
    return finish(rows, rejects, told)


def _task(number: int, item: str, order: str | None, texts: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    data: dict[str, Any] = {"item_id": item} | ({"order": order} if order else {})
    if item in texts:
        a, b = texts[item]["response_a"], texts[item]["response_b"]
        left, right = (b, a) if order == "ba" else (a, b)
        data |= {"prompt": texts[item]["prompt"], "left": left, "right": right}
    return {"id": number, "data": data, "annotations": [], "predictions": []}


def _item_texts(items: pd.DataFrame | None) -> dict[str, dict[str, str]]:
    if items is None:
        return {}
    return {str(row["item_id"]): {name: str(row[name]) for name in TEXTS} for row in items.to_dict("records")}


def _annotation(row: Mapping[str, Any], order: str | None, task: int) -> dict[str, Any]:
    kind, judgement = row["kind"], row[JUDGEMENT[row["kind"]]]
    results = []
    if kind == "pair" and judgement == "tie":
        results.append(_result("tie", "choices", {"choices": ["tie"]}))
    elif kind == "pair":
        left = "b" if order == "ba" else "a"
        results.append(_result("pair", "pairwise", {"selected": "left" if judgement == left else "right"}))
    elif kind == "rating" and judgement >= 1 and judgement % 1 == 0:
        results.append(_result("rating", "rating", {"rating": int(judgement)}))
    elif kind in ("rating", "scalar"):
        results.append(_result(kind, "number", {"number": judgement}))
    else:
        results.append(_result(kind, "textarea", {"text": [judgement]}))
    used = JUDGEMENT[kind]
    for name, cell in row.items():
        if not present(cell) or name == used or (name in (*CONTRACT_COLUMNS, "order") and name != "text"):
            continue
        plain = mark_text(_plain(cell))
        number = not isinstance(plain, str)
        value = {"number": plain} if number else {"text": [plain]}
        results.append(_result(name, "number" if number else "textarea", value))
    who, seconds = row["annotator_id"], row.get("seconds")
    return {
        "completed_by": int(who) if who.isascii() and who.isdecimal() and str(int(who)) == who else {"email": who},
        "lead_time": seconds if present(seconds) else None,
        "result": results,
        "task": task,
        "was_cancelled": False,
    }


def _result(name: str, kind: str, value: dict[str, Any]) -> dict[str, Any]:
    target = "left,right" if kind == "pairwise" else "prompt"
    return {"from_name": name, "to_name": target, "type": kind, "value": value}


def _plain(cell: Any) -> Any:
    return cell.item() if hasattr(cell, "item") else cell


def _read_annotation(
    number: int, task: Mapping[str, Any], annotation: Any, rejects: Rejects, lost: dict[tuple[str, str], int]
) -> list[dict[str, Any]]:
    """One row for each judgement; the further answers and the time stand at the first."""
    if not isinstance(annotation, Mapping) or not isinstance(annotation.get("result"), list):
        rejects.add(number, "annotations", annotation, "malformed", "is no annotation: it has no list of results")
        return []
    if annotation.get("was_cancelled"):
        rejects.add(number, "was_cancelled", "true", "skipped", "was skipped by the annotator")
        return []
    judgements: list[dict[str, Any]] = []
    further: dict[str, Any] = {}
    for result in annotation["result"]:
        if not _read_result(result, task["data"].get("order"), judgements, further):
            name = str(result.get("type", "")) if isinstance(result, Mapping) else ""
            lost["control", name] = lost.get(("control", name), 0) + 1
    if not judgements:
        rejects.add(number, "result", json.dumps(annotation["result"])[:200], "no_judgement", "holds no judgement")
        return []
    if len(judgements) > 1 and present(annotation.get("lead_time")):
        lost["shared_seconds", "seconds"] = lost.get(("shared_seconds", "seconds"), 0) + 1
    who, item = annotation.get("completed_by"), task["data"].get("item_id", task.get("id"))
    if isinstance(who, Mapping):
        who = who.get("id", who.get("email"))
    ids = {"item_id": item, "annotator_id": who} | ({"order": o} if (o := task["data"].get("order")) else {})
    ids = {name: as_text(cell) if present(cell) else None for name, cell in ids.items()}
    rows = [ids | judgement for judgement in judgements]
    rows[0] = further | {"seconds": annotation.get("lead_time")} | rows[0]
    return rows


def _read_result(result: Any, order: Any, judgements: list[dict[str, Any]], further: dict[str, Any]) -> bool:
    """Add what one control says; False where it has no place here."""
    value = result.get("value") if isinstance(result, Mapping) else None
    if not isinstance(value, Mapping):
        return False
    name = str(result.get("from_name", ""))
    match result.get("type"), value:
        case "pairwise", {"selected": "left" | "right" as side}:
            first, second = ("b", "a") if order == "ba" else ("a", "b")
            judgements.append({"kind": "pair", "choice": first if side == "left" else second})
        case "choices", {"choices": ["tie" | "a" | "b" as choice]} if name in ("pair", "tie", "choice"):
            judgements.append({"kind": "pair", "choice": choice})
        case "choices", {"choices": list(chosen)}:
            further[name] = str(chosen[0]) if len(chosen) == 1 else json.dumps(chosen, ensure_ascii=False)
        case "rating", {"rating": stars}:
            judgements.append({"kind": "rating", "value": stars})
        case "number", {"number": given}:
            if name in ("rating", "scalar"):
                judgements.append({"kind": name, "value": given})
            else:
                further[name] = given
        case "textarea", {"text": list() | str() as text}:
            joined = text if isinstance(text, str) else "\n".join(map(str, text))
            if name in TEXT_KINDS:
                judgements.append({"kind": name, "text": joined})
            else:
                further[name] = joined
        case _:
            return False
    return True
