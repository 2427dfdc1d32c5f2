from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from rlhf_fair.errors import ColumnError, RowError
from rlhf_fair.models.requests import Likelihood
from rlhf_fair.probes.referents import Question, choices_from_likelihoods, read_choices, referent_requests

LABELS = ("occupation", "participant")


def test_both_candidates_end_the_same_statement() -> None:
    first, second = referent_requests(
        [Question("x/1", "The nurse met someone as she left.", "she", "the nurse", "someone")]
    )
    assert (first.id, second.id) == ("x/1/first", "x/1/second")
    assert first.context == second.context
    assert first.context.startswith("The nurse met someone as she left.")
    assert '"she"' in first.context
    assert (first.continuation, second.continuation) == (" the nurse", " someone")


def test_the_likelier_one_is_the_choice() -> None:
    answers = [Likelihood(x, 2) for x in (-1.0, -3.0, -3.0, -1.5, -2.0, -2.0)]
    choices = choices_from_likelihoods([*answers, None, Likelihood(-1, 1)], 4)
    assert np.array_equal(choices.value, [1, 0, 0.5, np.nan], equal_nan=True)
    assert np.array_equal(choices.log_odds, [2, -1.5, 0, np.nan], equal_nan=True)
    assert choices.problem == ["", "", "", "missing"]


def test_choices_from_a_file() -> None:
    table = pd.DataFrame(
        {
            "item_id": ["b", "a", "c", "d", "d", "e", "f"],
            "choice": [" Participant", "occupation", "the nurse", "occupation", "occupation", "occupation", None],
            "refused": [False, False, False, False, False, True, False],
        }
    )
    choices = read_choices(["a", "b", "c", "d", "e", "f", "g"], table, LABELS)
    assert np.array_equal(choices.value, [1, 0, np.nan, np.nan, np.nan, np.nan, np.nan], equal_nan=True)
    assert choices.problem == ["", "", "malformed", "duplicate", "refused", "missing", "missing"]
    assert choices.columns()["refused"].tolist() == [False, False, False, False, True, False, False]
    assert choices.columns()["parsed"].tolist() == [True, True, False, False, False, False, False]
    assert np.isnan(choices.log_odds).all()


def test_a_file_for_other_items_is_refused() -> None:
    with pytest.raises(RowError, match="'z'"):
        read_choices(["a"], pd.DataFrame({"item_id": ["z"], "choice": ["occupation"]}), LABELS)
    with pytest.raises(ColumnError, match="choice"):
        read_choices(["a"], pd.DataFrame({"item_id": ["a"]}), LABELS)
