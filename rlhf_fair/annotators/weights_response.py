"""Starting weights: one over the chance of being drawn, times one over the rate at which one's like responded.

Weighting-class adjustment (Oh and Scheuren 1983; Kalton and Flores-Cervantes 2003): within classes of members known for
everybody, those who responded take over the weight of those who did not. It removes the bias of non-response in so far
as people of one class respond, or not, whatever their judgements would have been.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rlhf_fair.annotators.population import CROSS
from rlhf_fair.annotators.weights_raking import FloatArray
from rlhf_fair.errors import RowError
from rlhf_fair.tables import ATTRIBUTE_PREFIX, as_numbers, require_columns

THIN = 5
"""Fewer people than this stand for others at their peril."""

HEAVY = 3
"""Weights above so many times the mean stand for kinds of people who had less of a chance."""

YES = {"1", "1.0", "true", "yes", "y"}
NO = {"0", "0.0", "false", "no", "n"}


@dataclass(frozen=True)
class Response:
    """Who responded, and the classes in which they stand for those who did not.

    ``responded``: (n,) booleans. ``attributes``: which the classes cross. ``code``: (n,) the class of each member, a
    position in ``names``.
    """

    responded: NDArray[np.bool_]
    attributes: tuple[str, ...]
    code: NDArray[np.intp]
    names: tuple[str, ...]

    def adjust(self, weights: FloatArray) -> FloatArray:
        """(n,) weights, 0 for who did not respond, of the same sum; a class without responses falls to all who did."""
        everybody, theirs = self._sums(weights)
        factor = np.divide(everybody, theirs, out=np.zeros_like(theirs), where=theirs > 0)
        adjusted = np.where(self.responded, weights * factor[self.code], 0.0)
        return adjusted * (weights.sum() / adjusted.sum()) if adjusted.sum() > 0 else adjusted

    def table(self, weights: FloatArray) -> pd.DataFrame:
        """One row for each class: class, members, responded (persons), rate (weighted share, range [0, 1])."""
        everybody, theirs = self._sums(weights)
        return pd.DataFrame(
            {
                "class": self.names,
                "members": np.bincount(self.code, minlength=len(self.names)),
                "responded": np.bincount(self.code[self.responded], minlength=len(self.names)),
                "rate": theirs / everybody,
            }
        )

    def _sums(self, weights: FloatArray) -> tuple[FloatArray, FloatArray]:
        """(classes,) weight of everybody, and of those who responded."""
        everybody = np.bincount(self.code, weights, len(self.names)).astype(float)
        theirs = np.bincount(self.code[self.responded], weights[self.responded], len(self.names)).astype(float)
        return everybody, theirs


def design_weights(members: pd.DataFrame) -> FloatArray:
    """(n,) 1/``inclusion_probability`` (Horvitz and Thompson 1952); 1 where the panel has no such column.

    Who has no probability, having joined after the draw, starts from the mean weight of the others with the same
    attributes, or of all others where there are none: an assumption, which `design_notes` says aloud.
    """
    if "inclusion_probability" not in members:
        return np.ones(len(members))
    given = members["inclusion_probability"]
    probability = as_numbers(given).to_numpy(float)
    joined = _without_probability(members)
    wrong = np.flatnonzero(~((probability > 0) & (probability <= 1)) & ~joined)
    if len(wrong) or joined.all():
        row = int(wrong[0]) if len(wrong) else 0
        value = "" if joined[row] else str(given.iloc[row])
        raise RowError(f"panel row {row + 1}: inclusion_probability {value!r}; allowed: a number in (0, 1]")
    weights = pd.Series(1 / probability, index=members.index)
    columns = [str(name) for name in members.columns if str(name).startswith(ATTRIBUTE_PREFIX)]
    alike = weights.groupby(_classes(members, [name.removeprefix(ATTRIBUTE_PREFIX) for name in columns]))
    return np.asarray(weights.fillna(alike.transform("mean")).fillna(weights.mean()), dtype=float)


def design_notes(members: pd.DataFrame) -> list[str]:
    """What starting weights rest on besides chances that are known, and for whom the panel cannot stand."""
    found = []
    if "inclusion_probability" in members and (joined := int(_without_probability(members).sum())):
        found.append(
            f"{joined} members have no inclusion probability (joined after the draw): each starts from the mean weight "
            "of members with the same attributes, or of all, as if drawn like them; intervals take that for granted"
        )
    if leans(drawn := design_weights(members)):
        count, share = leaning(drawn)
        found.append(
            f"warning: {count} members carry {share:.1%} of the starting weight; fewer than {THIN} cannot tell how "
            "much their kind varies, so intervals made of replicates may be too narrow"
        )
    if (share := unreached_share(members)) > 0:
        found.append(
            f"warning: {share:.1%} of the candidates had no chance to be drawn, or a price of which nobody was drawn; "
            "no weights stand for them, and intervals made of replicates leave out how they differ"
        )
    return found


def leaning(drawn: FloatArray) -> tuple[int, float]:
    """How many members weigh more than `HEAVY` times the mean, and the share of all weight that is theirs; [0, 1].

    >>> leaning(np.array([1.0] * 18 + [9.0, 9.0]))  # mean 1.8
    (2, 0.5)
    """
    heavy = drawn > HEAVY * drawn.mean()
    return int(heavy.sum()), float(drawn[heavy].sum() / drawn.sum())


def leans(drawn: FloatArray) -> bool:
    """Whether fewer than `THIN` people carry a tenth of the weight, so that an interval rests on what they say."""
    count, share = leaning(drawn)
    return count < THIN and share > 0.1


def unreached_share(members: pd.DataFrame) -> float:
    """The column of that name as planning wrote it (`strata.Strata.unreached_share`); 0 = nobody, NaN = not known."""
    if "unreached_share" not in members:
        return math.nan
    given = members["unreached_share"].dropna()
    share = as_numbers(given).to_numpy(float)
    if len(wrong := np.flatnonzero(~((share >= 0) & (share <= 1)))):
        raise RowError(f"panel: unreached_share {str(given.iloc[wrong[0]])!r}; allowed: a number in [0, 1]")
    return float(share.max()) if len(share) else math.nan


def _without_probability(members: pd.DataFrame) -> NDArray[np.bool_]:
    """(n,) whose inclusion probability is empty."""
    given = members["inclusion_probability"]
    return np.asarray(given.isna() | (given.astype("str").str.strip() == ""), dtype=bool)


def read_responded(members: pd.DataFrame) -> NDArray[np.bool_] | None:
    """(n,) the panel's ``responded`` column as booleans; None where it has none."""
    if "responded" not in members:
        return None
    cells = members["responded"].astype("object").where(members["responded"].notna(), "")
    texts = cells.astype("str").str.strip().str.lower()
    wrong = np.flatnonzero(~texts.isin(YES | NO))
    if len(wrong):
        raise RowError(
            f"panel row {wrong[0] + 1}: responded {cells.iloc[wrong[0]]!r}; allowed: yes, no, true, false, 1, 0"
        )
    return np.asarray(texts.isin(YES), dtype=bool)


def response_classes(
    members: pd.DataFrame, responded: NDArray[np.bool_], attributes: Sequence[str] | None = None
) -> Response:
    """Classes of ``attributes`` crossed, a missing value being a level of its own; None: see `response_attributes`."""
    if not responded.any():
        raise RowError(f"none of the panel's {len(members)} members responded, so nobody can stand for the others")
    if attributes is None:
        attributes = response_attributes(members, responded)
    code, names = pd.factorize(_classes(members, attributes))
    return Response(responded, tuple(attributes), code, tuple(map(str, names)))


def response_attributes(members: pd.DataFrame, responded: NDArray[np.bool_]) -> list[str]:
    """The ``attr.*`` columns, in order, each taken if every class still has `THIN` who responded."""
    chosen: list[str] = []
    for column in [str(name) for name in members.columns if str(name).startswith(ATTRIBUTE_PREFIX)]:
        name = column.removeprefix(ATTRIBUTE_PREFIX)
        code, names = pd.factorize(_classes(members, [*chosen, name]))
        if np.bincount(code[responded], minlength=len(names)).min() >= THIN:
            chosen.append(name)
    return chosen


def _classes(members: pd.DataFrame, attributes: Sequence[str]) -> pd.Series:
    columns = [ATTRIBUTE_PREFIX + name for name in attributes]
    require_columns(members, columns, "panel")
    if not columns:
        return pd.Series("(everybody)", index=members.index)
    return members[columns].fillna("(unknown)").astype("str").agg(CROSS.join, axis=1)
