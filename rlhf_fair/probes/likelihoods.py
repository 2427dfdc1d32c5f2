"""Log likelihoods that answer a probe's requests: from a model, or from a file of predictions.

An answer that could not be had stays missing and says why; it is never filled in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from rlhf_fair.errors import RowError
from rlhf_fair.models.requests import Likelihood, LogLikelihood, PseudoLogLikelihood
from rlhf_fair.stats.columns import Floats
from rlhf_fair.tables import as_numbers, require_columns

Request = LogLikelihood | PseudoLogLikelihood
Answers = Sequence[Likelihood | None]

MISSING, MALFORMED, DUPLICATE = "missing", "malformed", "duplicate"
"""Why an answer is not there: none was given, it is no log likelihood, or several were given."""

ROUNDING = 1e-6
"""A log likelihood above 0 by no more than this is a rounded 0."""


@dataclass(frozen=True)
class ReadAnswers:
    """``answers`` in the order of the requests, ``problems`` beside them: "" or why the answer is None."""

    answers: list[Likelihood | None]
    problems: list[str]


def read_likelihoods(requests: Sequence[Request], table: pd.DataFrame, *, prefix: str) -> ReadAnswers:
    """The answers to ``requests`` in a prediction file with the columns id, total (nats) and n_tokens.

    One file may serve several probes: rows whose id does not begin with ``prefix`` are for others. A row that does,
    but answers no request, means that file and items do not belong together, and is an error.
    """
    require_columns(table, ("id", "total", "n_tokens"), "predictions")
    own = table[table["id"].astype("str").str.startswith(prefix)]
    ids = own["id"].astype("str").to_numpy()
    known = {request.id for request in requests}
    strangers = [id for id in ids if id not in known]
    if strangers:
        raise RowError(f"predictions hold {len(strangers)} ids that nobody asked for, such as {strangers[0]!r}")
    columns = (as_numbers(own[name]) for name in ("total", "n_tokens"))
    totals, n_tokens = (column.to_numpy(dtype=float) for column in columns)
    counted = np.isfinite(n_tokens) & (n_tokens >= 0) & (n_tokens == np.floor(n_tokens))
    sound = np.isfinite(totals) & (totals <= ROUNDING) & counted
    found: dict[str, tuple[Likelihood | None, str]] = {}
    for id, total, n, ok in zip(ids, totals.tolist(), n_tokens.tolist(), sound, strict=True):
        answer = (Likelihood(total, int(n)), "") if ok else (None, MALFORMED)
        found[id] = (None, DUPLICATE) if id in found else answer
    pairs = [found.get(request.id, (None, MISSING)) for request in requests]
    return ReadAnswers([answer for answer, _ in pairs], [problem for _, problem in pairs])


def variant_in(table: pd.DataFrame, probe: str, variants: Sequence[str]) -> str:
    """The one of ``variants`` that a prediction file's ids, ``probe/variant/…``, speak of.

    Raises
    ------
    RowError
        They speak of several, or of none.
    """
    require_columns(table, ("id",), "predictions")
    ids = table["id"].astype("str").dropna()
    named = sorted({parts[1] for parts in ids.str.split("/") if parts[0] == probe and len(parts) > 2} & set(variants))
    if len(named) != 1:
        found = f"of {' and '.join(named)}" if named else f"none that begins with {probe}/"
        raise RowError(
            f"predictions hold ids {found}; allowed: ids {probe}/VARIANT/… of one of {', '.join(variants)}, or a plan "
            "that names the variant"
        )
    return named[0]


def check_answers(answers: Sequence[Any], n_requests: int) -> None:
    """Refuse answers that are not as many as the requests: they could belong to anything."""
    if len(answers) != n_requests:
        raise RowError(f"{len(answers)} answers to {n_requests} requests; allowed: one each, None where there is none")


def totals(answers: Answers) -> Floats:
    """(n,) nats; NaN where there is no answer."""
    return np.array([np.nan if answer is None else answer.total for answer in answers], dtype=float)


def means(answers: Answers) -> Floats:
    """(n,) nats per token; NaN where there is no answer or no token was scored."""
    return np.array([np.nan if answer is None else answer.mean for answer in answers], dtype=float)


def first_problem(answers: Answers, problems: Sequence[str] | None, per_item: int) -> list[str]:
    """For each item with ``per_item`` successive requests: "" if all were answered, else why the first was not."""
    if problems is None:
        problems = [MISSING if answer is None else "" for answer in answers]
    rows = np.array(problems, dtype=object).reshape(-1, per_item)
    return [next((problem for problem in row if problem), "") for row in rows]
