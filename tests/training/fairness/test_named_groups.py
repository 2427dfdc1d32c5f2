"""Groups that settings name and nobody belongs to."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from rlhf_fair.errors import SettingsError
from rlhf_fair.training.fairness import FairnessSettings, FairnessShaper, LocalStore
from rlhf_fair.training.fairness.named_groups import check_named_groups

MISSPELT = FairnessSettings(objective="contrast", contrasts={"gap": {"woman": 1.0, "men": -1.0}})


def shape(shaper: FairnessShaper, groups: list[str | None]) -> None:
    shaper.shape(np.zeros(len(groups)), np.arange(len(groups), dtype=float), groups)


def test_a_group_of_nobody_is_warned_of_once_after_the_first_batch() -> None:
    shaper = FairnessShaper(MISSPELT)
    with pytest.warns(UserWarning, match=r"contrasts.gap: 'men' is none of the groups seen so far, \['man', 'woman'\]"):
        shape(shaper, ["woman", "man", None])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        shape(shaper, ["woman", "man", None])


def test_samples_that_come_one_by_one_are_waited_for_until_a_whole_batch_came() -> None:
    settings = FairnessSettings(objective="contrast", reference="man")
    shaper = FairnessShaper(settings, store=LocalStore(0.8, rows_per_step=2))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        shape(shaper, ["woman"])
        shape(shaper, ["man"])
        shape(shaper, ["woman"])
    late = FairnessShaper(MISSPELT, store=LocalStore(0.8, rows_per_step=2))
    shape(late, ["woman"])
    with pytest.warns(UserWarning, match="'men' is none"):
        shape(late, ["man"])


def test_a_group_without_scores_is_there_all_the_same() -> None:
    shaper = FairnessShaper(FairnessSettings(objective="contrast", reference="man"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        shaper.shape(np.zeros(2), np.array([1.0, np.nan]), ["woman", "man"])


def test_where_all_groups_are_known_a_misspelt_one_is_refused() -> None:
    with pytest.raises(
        SettingsError, match=r"fairness.contrasts.gap: 'men' is none of the groups of x: \['man', 'woman'\]"
    ):
        check_named_groups(MISSPELT, {"woman", "man"}, "x")
    check_named_groups(MISSPELT, {"woman", "men"}, "x")
    check_named_groups(FairnessSettings(), set(), "x")
