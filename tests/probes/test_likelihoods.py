from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from rlhf_fair.errors import ColumnError, RowError
from rlhf_fair.models.requests import Likelihood, LogLikelihood
from rlhf_fair.probes.likelihoods import check_answers, first_problem, means, read_likelihoods, totals

REQUESTS = [LogLikelihood(f"toy/{name}", "", name) for name in "abcde"]


def table(*rows: tuple[str, object, object]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["id", "total", "n_tokens"])


def test_answers_come_in_the_order_of_the_requests_and_say_what_is_wrong() -> None:
    read = read_likelihoods(
        REQUESTS,
        table(
            ("toy/c", -3.0, 2),
            ("toy/a", -1.5, 1),
            ("toy/b", "n/a", 1),
            ("toy/d", -1, 1),
            ("toy/d", -1, 1),
            ("other/x", -9, 1),
        ),
        prefix="toy/",
    )
    assert read.answers == [Likelihood(-1.5, 1), None, Likelihood(-3, 2), None, None]
    assert read.problems == ["", "malformed", "", "duplicate", "missing"]


@pytest.mark.parametrize(
    ("total", "n_tokens"), [(0.5, 1), (-math.inf, 1), (math.nan, 1), (-1, -1), (-1, 1.5), (-1, "?")]
)
def test_what_is_no_log_likelihood_is_malformed(total: object, n_tokens: object) -> None:
    # ln P is never above 0; a token count is a whole number
    read = read_likelihoods(REQUESTS[:1], table(("toy/a", total, n_tokens)), prefix="toy/")
    assert (read.answers, read.problems) == ([None], ["malformed"])


def test_a_file_for_other_items_is_refused() -> None:
    with pytest.raises(RowError, match="'toy/z'"):
        read_likelihoods(REQUESTS, table(("toy/a", -1, 1), ("toy/z", -1, 1)), prefix="toy/")
    with pytest.raises(ColumnError, match="n_tokens"):
        read_likelihoods(REQUESTS, pd.DataFrame({"id": [], "total": []}), prefix="toy/")
    with pytest.raises(RowError, match="2 answers to 5 requests"):
        check_answers([None, None], 5)


def test_no_token_has_no_mean() -> None:
    answers = [Likelihood(-6, 3), Likelihood(0, 0), None]
    assert np.array_equal(means(answers), [-2, math.nan, math.nan], equal_nan=True)
    assert np.array_equal(totals(answers), [-6, 0, math.nan], equal_nan=True)


def test_the_first_problem_of_an_item() -> None:
    answers = [Likelihood(-1, 1), None, None, None, Likelihood(-1, 1), Likelihood(-1, 1)]
    assert first_problem(answers, None, 2) == ["missing", "missing", ""]
    assert first_problem(answers, ["", "malformed", "duplicate", "missing", "", ""], 2) == [
        "malformed",
        "duplicate",
        "",
    ]
