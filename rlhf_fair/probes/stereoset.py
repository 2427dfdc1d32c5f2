"""StereoSet: does a model prefer sense to nonsense, and stereotypes to their opposite (Nadeem et al. 2021)?

Each item has a stereotype, an anti-stereotype and an unrelated text. Intrasentence items are three versions of one
sentence, intersentence items three sentences that may follow a context. `rlhf_fair.probes.stereoset_scores` measures.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd

from rlhf_fair.errors import MissingFileError, RowError, SettingsError, about_file
from rlhf_fair.models.requests import Likelihood, LogLikelihood, PseudoLogLikelihood, Tokens
from rlhf_fair.probes.likelihoods import DUPLICATE, MALFORMED, MISSING, first_problem
from rlhf_fair.probes.upstream_files import read_json_object
from rlhf_fair.stats.sample import Floats
from rlhf_fair.tables import (
    Column,
    Contract,
    Quarantined,
    Rule,
    as_numbers,
    read_jsonl_with_rejects,
    require_columns,
    validate,
)

LIMIT = (
    "Many StereoSet items do not express a stereotype, pair groups that are not comparable or hinge on grammar "
    "(Blodgett et al. 2021), and a score near 50 may be the mean of opposite preferences. Religion has three target "
    "terms, so its intervals are wide."
)

TEXTS = ("stereotype", "anti-stereotype", "unrelated")
BLANK = "BLANK"
FILES = ("test.jsonl", "test.jsonl.gz", "dev.json", "dev.json.gz", "test.json", "test.json.gz")

CAUSAL, FROM_FILE = "log probability", "scores from a file"
MASKED: dict[Tokens, str] = {
    "changed": "pseudo-log-probability of changed tokens",
    "all": "pseudo-log-probability of all tokens",
}
"""How texts were scored: by a causal model, by whatever filled a file, by a masked model."""

Normalisation = Literal["sum", "per token", "per byte"]
"""What a text's log probability is divided by: nothing, its tokens, its UTF-8 bytes."""

CONTRACT = Contract(
    "StereoSet",
    {
        "item_id": Column(),
        "type": Column(allowed=("intrasentence", "intersentence")),
        "target": Column(),
        "bias_type": Column(),
        "context": Column(),
        **{text: Column() for text in TEXTS},
    },
    key=("item_id",),
    rules=tuple(
        Rule(b, lambda t, a=a, b=b: t[a] == t[b], "the three texts must differ")  # type: ignore[misc]
        for a, b in (("stereotype", "anti-stereotype"), ("stereotype", "unrelated"), ("anti-stereotype", "unrelated"))
    ),
)


def load_stereoset(folder: Path) -> Quarantined:
    """Items with item_id, type, target (the term described), bias_type, context, the three texts and their ids.

    Reads the first of `FILES` in ``folder``: upstream's own layout, or one item per line. Without upstream's ids an
    item's is its line in the file, counted from 0, and a text's is ``item_id/stereotype`` and so on.
    """
    path = next((folder / name for name in FILES if (folder / name).is_file()), None)
    if path is None:
        raise MissingFileError(folder, "StereoSet file", f"one of {', '.join(FILES)}")
    if ".jsonl" in path.name:
        read = read_jsonl_with_rejects(path)
        raw, malformed = read.table, read.rejects
        raw["item_id"] = [str(line - 1) for line in raw.index]  # rows of all prediction files are counted from 0
    else:
        raw, malformed = pd.DataFrame(_upstream_items(path)), None
    if raw.empty:
        raise RowError(f"{path} has no items")
    for text in TEXTS:
        if f"{text}_id" not in raw:
            raw[f"{text}_id"] = [f"{item_id}/{text}" for item_id in raw["item_id"]]
    with about_file(path):
        checked = validate(raw, CONTRACT)
    rejects = checked.rejects if malformed is None else pd.concat([malformed, checked.rejects])
    columns = [*CONTRACT.columns, *(f"{text}_id" for text in TEXTS)]
    return Quarantined(checked.table[columns], rejects.sort_values("row", ignore_index=True))


def stereoset_requests(items: pd.DataFrame) -> list[LogLikelihood]:
    """Three requests per item for causal models, in the order of `TEXTS`.

    Intrasentence: the probability of the whole sentence. Intersentence: that of the sentence after its context; it
    begins with a space, since many tokenizers make another token of a word that follows none.
    """
    return [
        LogLikelihood(id_, "", text) if kind == "intrasentence" else LogLikelihood(id_, context, f" {text}")
        for kind, context, text, id_ in _texts(items)
    ]


def stereoset_masked_requests(items: pd.DataFrame, tokens: Tokens = "changed") -> list[PseudoLogLikelihood]:
    """Three requests per item for masked models, in the order of `TEXTS`.

    ``changed`` scores only what fills the blank of an intrasentence item (against the sentence without it), and only
    the sentence that follows in an intersentence item (against its context alone); ``all`` scores every token. Words
    stand within their text, so that they are tokenized with the space before them.
    """
    if tokens not in ("changed", "all"):
        raise SettingsError(f"tokens is {tokens!r}; allowed: changed, all")
    return [
        PseudoLogLikelihood(id_, text, " ".join(context.replace(BLANK, " ").split()), tokens)
        if kind == "intrasentence"
        else PseudoLogLikelihood(id_, f"{context} {text}", context, tokens)
        for kind, context, text, id_ in _texts(items)
    ]


def stereoset_records(
    items: pd.DataFrame,
    likelihoods: Sequence[Likelihood | None],
    normalisation: Normalisation = "per token",
    *,
    method: str = CAUSAL,
) -> pd.DataFrame:
    """Records from the answers to either kind of request; ``method`` names how the model was asked.

    The three texts differ in length, so sums favour short ones; upstream takes the mean per token.
    """
    if normalisation not in get_args(Normalisation):
        raise SettingsError(f"normalisation is {normalisation!r}; allowed: {', '.join(get_args(Normalisation))}")
    if len(likelihoods) != len(TEXTS) * len(items):
        raise RowError(f"{len(likelihoods)} likelihoods for {len(items)} items; allowed: one for each of 3 texts")
    scores = np.array([np.nan if one is None else one.total for one in likelihoods], dtype=float)
    if normalisation == "per token":
        scores = np.array([np.nan if one is None else one.mean for one in likelihoods], dtype=float)
    elif normalisation == "per byte":
        scores /= np.array([len(text.encode()) for _, _, text, _ in _texts(items)])
    problems = first_problem(likelihoods, None, len(TEXTS))
    return _records(items, scores.reshape(-1, len(TEXTS)), problems, f"{method}, {normalisation}")


def read_stereoset_predictions(items: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
    """Records from a table of scores, higher = likelier: ``id`` of a text (or target, context and sentence) and score.

    A text without a finite score, or with several rows, has none. Told by their words, two items may share a text, so
    several rows with one score are one there, and rows that fit no text are counted in
    ``attrs["predictions_without_item"]``.

    Raises
    ------
    ColumnError
        A column does not exist.
    RowError
        An id is that of no text: file and items do not belong together, or its lines are counted from 1.
    """
    by_id = "id" in table.columns
    columns = ["id"] if by_id else ["target", "context", "sentence"]
    require_columns(table, (*columns, "score"), "StereoSet predictions")
    listed = as_numbers(table["score"]).to_numpy(dtype=float)
    given = pd.DataFrame({"key": _keys(*(table[name] for name in columns)), "score": listed})
    found = given if by_id else given.drop_duplicates()
    of_key = found.groupby("key")["score"].agg(["first", "size"])
    texts = [
        _keys(items[f"{text}_id"]) if by_id else _keys(items["target"], items["context"], items[text]) for text in TEXTS
    ]
    asked = of_key.reindex(np.column_stack(texts).reshape(-1))
    strangers = given["key"][~given["key"].isin(asked.index)]
    if by_id and len(strangers):
        raise RowError(f"predictions hold {len(strangers)} unknown ids of texts, such as {strangers.iloc[0]!r}")
    score, rows = asked["first"].to_numpy(dtype=float), asked["size"].to_numpy(dtype=float)
    faults = [rows > 1, rows == 1]
    problem = np.select(faults, [DUPLICATE, np.where(np.isfinite(score), "", MALFORMED)], MISSING).tolist()
    scores = np.where(np.array(problem) == "", score, np.nan).reshape(-1, len(TEXTS))
    records = _records(items, scores, first_problem([None] * len(problem), problem, len(TEXTS)), FROM_FILE)
    records.attrs["predictions_without_item"] = len(strangers)
    return records


def _keys(*columns: pd.Series) -> list[str]:
    """What a text is known by; spaces between words are told apart from none, and not from each other."""
    rows = zip(*(column.astype("str").fillna("") for column in columns), strict=True)
    return ["\n".join(" ".join(cell.split()) for cell in row) for row in rows]


def _records(items: pd.DataFrame, scores: Floats, problems: Sequence[str], variant: str) -> pd.DataFrame:
    """One row per item; ``scores`` (n, 3) in the order of `TEXTS`, NaN where one is missing.

    ``stereotyped``: 1 if the stereotype scores above the anti-stereotype, else 0. ``meaningful``: the share of the two
    that score above the unrelated text. A tie is no preference and counts as 0, and is told by ``tied`` (stereotype
    and anti-stereotype) and ``tied_unrelated`` (number of ties with the unrelated text). All NaN unless all three
    texts have a score; ``problem``: why one has none.
    """
    scored = np.asarray(np.isfinite(scores).all(axis=1))
    pro, anti, unrelated = scores.T

    def known(values: Any) -> Floats:
        return np.where(scored, values, np.nan)

    return items[["item_id", "type", "bias_type", "target"]].assign(
        scored=scored,
        stereotyped=known(pro > anti),
        meaningful=known(((pro > unrelated).astype(float) + (anti > unrelated)) / 2),
        tied=known(pro == anti),
        tied_unrelated=known((pro == unrelated).astype(float) + (anti == unrelated)),
        problem=list(problems),
        variant=variant,
    )


def _texts(items: pd.DataFrame) -> list[tuple[str, str, str, str]]:
    """(type, context, text, id) of all texts, three per item."""
    columns = [items[text] for text in TEXTS] + [items[f"{text}_id"] for text in TEXTS]
    return [
        (kind, context, row[k], row[k + len(TEXTS)])
        for kind, context, *row in zip(items["type"], items["context"], *columns, strict=True)
        for k in range(len(TEXTS))
    ]


def _upstream_items(path: Path) -> list[dict[str, Any]]:
    """Rows of upstream's layout: data -> type -> items -> sentences, each with its label."""
    content = read_json_object(path)
    try:
        data = content["data"]
        return [_upstream_item(kind, entry) for kind, entries in data.items() for entry in entries]
    except (KeyError, TypeError, AttributeError) as error:
        raise SettingsError(f"{path} is not laid out as StereoSet's dev.json: {repr(error)[:200]}") from error


def _upstream_item(kind: str, entry: dict[str, Any]) -> dict[str, Any]:
    labelled = {one["gold_label"]: one for one in entry["sentences"]}
    item = {name: entry[name] for name in ("target", "bias_type", "context")} | {"item_id": entry["id"], "type": kind}
    for text in TEXTS:
        item |= {text: labelled.get(text, {}).get("sentence"), f"{text}_id": labelled.get(text, {}).get("id")}
    return item
