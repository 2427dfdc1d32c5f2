"""Verdicts of juries: seats are given to groups, and each seat is filled by lot among the raters of that group.

After Gordon et al. 2022 (jury learning), with the raters an item really had in place of predicted ones. Their verdict
is that of many juries drawn at random. Draws with replacement make a seat's vote multinomial, so what infinitely many
juries would say follows by convolution: no seed, no Monte Carlo error.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rlhf_fair.annotators.aggregation import judgement_weights
from rlhf_fair.errors import SettingsError
from rlhf_fair.tables import require_columns

FloatArray = NDArray[np.float64]

HALVES = {"b": 0, "tie": 1, "a": 2}
"""Votes for response a, counted in halves."""


def jury_pairs(feedback: pd.DataFrame, groups: pd.Series, seats: Mapping[str, int]) -> pd.DataFrame:
    """How often juries prefer response a.

    Parameters
    ----------
    feedback
        item_id, annotator_id, choice in {a, b, tie}.
    groups
        By annotator_id; a rater of unknown group takes no seat.
    seats
        Group -> seats on every jury, >= 1 in all.

    Returns
    -------
    DataFrame
        item_id (in order of appearance); p_a: the share of juries with more votes for a than for b, a hung jury
        counting half, in [0, 1], NaN where a seated group has no rater on the item; n (judgements that could be
        drawn); vacant: the seated groups without a rater there, joined by ``, ``.
    """
    require_columns(feedback, ["item_id", "annotator_id", "choice"], "feedback")
    names = _check(seats)
    item, ids = pd.factorize(feedback["item_id"])
    group = _group_of(feedback, groups)
    votes = np.zeros((len(ids), len(names), 3))
    seated = group.isin(names).to_numpy()
    place = pd.Index(names).get_indexer(pd.Index(group))
    np.add.at(votes, (item[seated], place[seated], feedback["choice"].map(HALVES).to_numpy()[seated]), 1.0)
    counts = votes.sum(axis=2)
    share = votes / np.where(counts > 0, counts, np.nan)[:, :, None]
    tally = np.ones((len(ids), 1))  # chance of each number of half votes for a, seat by seat
    for position, name in enumerate(names):
        for _ in range(seats[name]):
            tally = _add_seat(tally, share[:, position])
    middle = sum(seats[name] for name in names)
    p_a = tally[:, middle + 1 :].sum(axis=1) + tally[:, middle] / 2
    return _table(ids, counts, names, p_a=p_a)


def jury_ratings(feedback: pd.DataFrame, groups: pd.Series, seats: Mapping[str, int]) -> pd.DataFrame:
    """The mean rating of juries, and how much juries differ.

    Returns
    -------
    DataFrame
        item_id; value: the expectation of a jury's mean rating, which is the mean of the group means weighted by
        seats; jury_sd: the standard deviation of a jury's mean over juries; n and vacant as in `jury_pairs`.
    """
    require_columns(feedback, ["item_id", "annotator_id", "value"], "feedback")
    names = _check(seats)
    item, ids = pd.factorize(feedback["item_id"])
    place = pd.Index(names).get_indexer(pd.Index(_group_of(feedback, groups)))
    seated = place >= 0
    shape = (len(ids), len(names))
    cell = item[seated] * len(names) + place[seated]
    values = feedback["value"].to_numpy(float)[seated]
    counts = np.bincount(cell, minlength=shape[0] * shape[1]).reshape(shape)
    size = np.where(counts > 0, counts, np.nan)
    mean = np.bincount(cell, values, minlength=counts.size).reshape(shape) / size
    deviation = values - mean.reshape(-1)[cell]
    variance = np.bincount(cell, deviation**2, minlength=counts.size).reshape(shape) / size
    per_group = np.array([seats[name] for name in names], dtype=float)
    total = per_group.sum()
    return _table(ids, counts, names, value=mean @ per_group / total, jury_sd=np.sqrt(variance @ per_group) / total)


def equal_seats(groups: pd.Series, size: int = 12) -> dict[str, int]:
    """``size`` seats shared out evenly over the known groups, at least one each; the first groups get what is left."""
    names = sorted(groups.dropna().astype("str").unique())
    if not names:
        raise SettingsError("a jury needs groups; every annotator's group is unknown")
    each, left = divmod(max(size, len(names)), len(names))
    return {name: each + (position < left) for position, name in enumerate(names)}


def _check(seats: Mapping[str, int]) -> list[str]:
    names = [name for name, number in seats.items() if number]
    if not names or any(number < 0 for number in seats.values()):
        raise SettingsError(f"seats {dict(seats)}; allowed: whole numbers >= 0, at least one above 0")
    return names


def _group_of(feedback: pd.DataFrame, groups: pd.Series) -> pd.Series:
    """Each row's group; raises where an annotator is not covered at all."""
    judgement_weights(feedback, groups=groups)
    return feedback["annotator_id"].map(groups).astype("object")


def _add_seat(tally: FloatArray, share: FloatArray) -> FloatArray:
    """(items, k) to (items, k + 2): one more seat, which votes b, tie or a with the chances ``share`` (items, 3)."""
    longer = np.zeros((len(tally), tally.shape[1] + 2))
    for halves in range(3):
        longer[:, halves : halves + tally.shape[1]] += tally * share[:, [halves]]
    return longer


def _table(ids: pd.Index, counts: NDArray[np.generic], names: list[str], **columns: FloatArray) -> pd.DataFrame:
    empty = np.asarray(counts) == 0
    vacant = [", ".join(name for name, none in zip(names, row, strict=True) if none) for row in empty]
    table = pd.DataFrame({"item_id": ids, **columns, "n": np.asarray(counts).sum(axis=1).astype(np.int64)})
    return table.assign(vacant=pd.Series(vacant, dtype="str"))
