"""Whom does a pronoun refer to? What probes of coreference ask, and how an answer is read.

A language model is asked which of two continuations it finds likelier; a coreference system's choices come in a file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from rlhf_fair.errors import RowError
from rlhf_fair.metrics.preference import preferred
from rlhf_fair.models.requests import LogLikelihood
from rlhf_fair.probes.likelihoods import DUPLICATE, MALFORMED, MISSING, Answers, check_answers, first_problem, totals
from rlhf_fair.probes.measured import Measured
from rlhf_fair.stats.columns import Floats
from rlhf_fair.tables import require_columns

REFUSED = "refused"

YES = ("1", "1.0", "true", "yes")


@dataclass(frozen=True)
class Question:
    """A sentence, its pronoun, and the two it may refer to, each with its article ("the nurse", "someone")."""

    id: str
    sentence: str
    pronoun: str
    first: str
    second: str


@dataclass(frozen=True)
class Choices:
    """One answer for each question, in their order.

    ``value``: (n,) 1 for the first of the two, 0 for the second, 1/2 for a tie, NaN where there is no answer.
    ``log_odds``: (n,) ln P(first) - ln P(second), NaN for choices from a file. ``problem``: "" or why there is none.
    """

    value: Floats
    log_odds: Floats
    problem: list[str]

    def columns(self) -> pd.DataFrame:
        """The columns value, log_odds, parsed, refused and problem of a probe's records."""
        refused = np.array([problem == REFUSED for problem in self.problem], dtype=bool)
        parsed = np.isfinite(self.value)
        return pd.DataFrame(
            {
                "value": self.value,
                "log_odds": self.log_odds,
                "parsed": parsed,
                "refused": refused,
                "problem": self.problem,
            }
        )


def referent_requests(questions: Sequence[Question]) -> list[LogLikelihood]:
    """Two requests for each question: the sentence, the start of a statement about the pronoun, and each of the two."""
    requests = []
    for question in questions:
        context = f'{question.sentence} Here, "{question.pronoun}" stands for'
        for side, who in (("first", question.first), ("second", question.second)):
            requests.append(LogLikelihood(f"{question.id}/{side}", context, f" {who}"))
    return requests


def choices_from_likelihoods(answers: Answers, n_questions: int, problems: Sequence[str] | None = None) -> Choices:
    """The likelier of the two; neither's number of tokens is corrected for, which cancels between pronouns."""
    check_answers(answers, 2 * n_questions)
    both = totals(answers).reshape(-1, 2)
    log_odds = both[:, 0] - both[:, 1]
    return Choices(preferred(log_odds), log_odds, first_problem(answers, problems, 2))


def read_choices(ids: Sequence[str], table: pd.DataFrame, labels: tuple[str, str]) -> Choices:
    """Choices from a file with the columns item_id, choice (one of ``labels``) and, if it likes, refused (yes or no).

    A choice that is neither label is malformed; several rows for one item are none. A row for an unknown item means
    that file and items do not belong together, and is an error.
    """
    require_columns(table, ("item_id", "choice"), "predictions")
    rows = table["item_id"].astype("str").to_numpy()
    known = set(ids)
    strangers = [id for id in rows if id not in known]
    if strangers:
        raise RowError(f"predictions hold {len(strangers)} unknown item ids, such as {strangers[0]!r}")
    refused = table["refused"] if "refused" in table else pd.Series(False, index=table.index)
    is_refused = refused.astype("str").str.lower().isin(YES)
    found: dict[str, tuple[float, str]] = {}
    for id, choice, no_answer in zip(rows, table["choice"].tolist(), is_refused, strict=True):
        answer = (np.nan, REFUSED) if no_answer else _read_choice(choice, labels)
        found[id] = (np.nan, DUPLICATE) if id in found else answer
    read = [found.get(id, (np.nan, MISSING)) for id in ids]
    values = np.array([value for value, _ in read], dtype=float)
    return Choices(values, np.full(len(values), np.nan), [problem for _, problem in read])


def with_answer_rates(measured: Sequence[Measured], records: pd.DataFrame) -> list[Measured]:
    """The same numbers, beside the shares of ``records`` that were answered and refused."""
    parsed, refused = float(records["parsed"].mean()), float(records["refused"].mean())
    return [replace(one, parse_rate=parsed, refusal_rate=refused) for one in measured]


def _read_choice(choice: object, labels: tuple[str, str]) -> tuple[float, str]:
    if choice is None or choice != choice or choice == "":
        return np.nan, MISSING
    text = str(choice).strip().lower()
    return (float(text == labels[0]), "") if text in labels else (np.nan, MALFORMED)
