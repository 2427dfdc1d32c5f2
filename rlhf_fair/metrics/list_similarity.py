"""How alike two ranked lists are, such as what a recommender gives to two people who asked for the same.

All lists that are compared are coded once (`RankedLists`); a measure then gives the matrix of all pairs. Entry [a, b]
judges list a against list b. Every measure is 1 for equal lists and 0 for lists without a common item, and NaN where a
list is empty: there is nothing to compare. Two samples from one source are not equal lists, so 1 is not the value to
expect without any effect: see `within_and_between`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from rlhf_fair.errors import SettingsError
from rlhf_fair.records import NAN
from rlhf_fair.stats.sample import Codes, Floats

PERSISTENCE = 0.9
"""Of `rank_biased_overlap`: 86 % of the weight then lies on the first ten places (Webber, Moffat & Zobel 2010)."""


@dataclass(frozen=True)
class RankedLists:
    """``ranks``: (L, V) the place of each of V items in each of L lists, 1 = first, inf where the list lacks it."""

    ranks: Floats

    @classmethod
    def of(cls, lists: Sequence[Sequence[str]], depth: int | None = None) -> RankedLists:
        """Code lists of names; an item's first place counts, and only the first ``depth`` places if given."""
        if depth is not None and depth < 1:
            raise SettingsError(f"depth is {depth}; allowed: 1 or more")
        distinct = [list(dict.fromkeys(names))[:depth] for names in lists]
        place = {name: k for k, name in enumerate(dict.fromkeys(name for names in distinct for name in names))}
        ranks = np.full((len(distinct), len(place)), np.inf)
        for row, names in enumerate(distinct):
            ranks[row, [place[name] for name in names]] = np.arange(1, len(names) + 1)
        return cls(ranks)

    @property
    def present(self) -> Floats:
        """(L, V) 1 where a list has an item, else 0."""
        return np.isfinite(self.ranks).astype(float)

    @property
    def sizes(self) -> Floats:
        """(L,) items in each list."""
        return np.asarray(self.present.sum(axis=1))


Similarity = Callable[[RankedLists], Floats]
"""(L, L) similarities of all pairs of lists."""


def jaccard(lists: RankedLists) -> Floats:
    """Common items over all items of two lists; range [0, 1]; places play no part (Jaccard 1912; Zhang et al. 2023).

    The @K of the literature is the ``depth`` of `RankedLists.of`.
    """
    common = lists.present @ lists.present.T
    sizes = lists.sizes
    return _known(common, sizes[:, None] + sizes - common, lists)


def serp(lists: RankedLists) -> Floats:
    """SERP*: how much of list a, its upper places counting more, is in list b wherever; range [0, 1].

    ``sum over the common items of (K - r + 1), over K (K + 1) / 2``, r being the place in list a and K its length
    (Tomlein et al. 2021; Zhang et al. 2023). Not symmetric. The code that goes with the second paper adds 1 to each
    weight and divides by 2 K (K + 1), which equal lists of ten give 0.295 instead of 1.
    """
    size = lists.sizes[:, None]
    weight = np.where(np.isfinite(lists.ranks), size - lists.ranks + 1, 0.0)
    return _known(weight @ lists.present.T, size * (size + 1) / 2, lists)


def prag(lists: RankedLists) -> Floats:
    """PRAG*: the share of list a's pairs that list b has in the same order; range [0, 1]; NaN for a list of one.

    A pair counts if list b has the upper item and has it before the lower one, or lacks the lower one. Of all
    K (K - 1) / 2 pairs (as the authors' code does; the printed formula divides by K (K + 1), and then equal lists do
    not give 1). Not symmetric (Beutel et al. 2019; Zhang et al. 2023).
    """
    agreeing = np.array([_pairs_in_order(own, lists.ranks) for own in lists.ranks]).reshape(len(lists.ranks), -1)
    size = lists.sizes[:, None]
    return _known(agreeing, size * (size - 1) / 2, lists)


def rank_biased_overlap(lists: RankedLists, persistence: float = PERSISTENCE) -> Floats:
    """RBO: the mean share of common items down to each place, upper places counting more; range [0, 1]; symmetric.

    A reader goes on to the next place with probability ``persistence``. What lies behind the lists' ends is taken to
    agree as what was seen: the extrapolated value, equation 32 of Webber, Moffat & Zobel 2010.
    """
    if not 0 < persistence < 1:
        raise SettingsError(f"persistence is {persistence}; allowed: above 0 and below 1")
    p, sizes = persistence, lists.sizes
    depths = np.arange(1, int(sizes.max(initial=0)) + 1)
    prefix = (lists.ranks[None] <= depths[:, None, None]).astype(float)
    common = prefix @ prefix.transpose(0, 2, 1)  # (depth, L, L): items common to two lists' first places
    long, short = np.maximum(sizes[:, None], sizes), np.minimum(sizes[:, None], sizes)
    at_short = (common * (depths[:, None, None] == short)).sum(axis=0)
    d, all_common = depths[:, None, None], lists.present @ lists.present.T
    with np.errstate(invalid="ignore", divide="ignore"):
        seen = np.where(d <= long, common / d * p**d, 0.0).sum(axis=0)
        beyond = np.where((d > short) & (d <= long), at_short * (d - short) / (short * d) * p**d, 0.0).sum(axis=0)
        end = ((all_common - at_short) / long + at_short / short) * p**long
        value = (1 - p) / p * (seen + beyond) + end
    return np.where(short > 0, value, NAN)


SIMILARITIES: dict[str, Similarity] = {"jaccard": jaccard, "rbo": rank_biased_overlap, "serp": serp, "prag": prag}
"""Name -> measure."""


def within_and_between(similarity: Floats, source: Codes, n_sources: int) -> Floats:
    """(S, S) mean similarity of lists of source i with lists of source j; NaN where there are none.

    On the diagonal, of different lists of one source: what sampling alone leaves, the *noise floor* that a similarity
    between two sources is to be read against. If i and j are one distribution, entries [i, j] and [i, i] have the same
    expectation, whatever it is; so their difference has the null value 0, while 1 - [i, j] has not.

    ``similarity``: (L, L). ``source``: (L,) codes from 0 to ``n_sources`` - 1.
    """
    known = np.isfinite(similarity) & ~np.eye(len(similarity), dtype=bool)
    of = np.eye(n_sources)[source]
    total = of.T @ np.where(known, similarity, 0.0) @ of
    count = of.T @ known.astype(float) @ of
    return np.asarray(np.divide(total, count, out=np.full_like(total, NAN), where=count > 0))


def exposure(ranks: Floats) -> Floats:
    """Attention that a place gets, ``1 / log2(1 + rank)``: 1 for the first, 0.5 for the third, 0 for inf.

    The model of Singh & Joachims 2018, which is that of discounted cumulative gain (Järvelin & Kekäläinen 2002).
    """
    return np.asarray(1 / np.log2(1 + ranks))


def _known(top: Floats, bottom: Floats, lists: RankedLists) -> Floats:
    some = lists.sizes > 0
    known = some[:, None] & some & (bottom > 0)
    return np.divide(top, bottom, out=np.full_like(top, NAN), where=known)


def _pairs_in_order(own: Floats, ranks: Floats) -> Floats:
    """(L,) how many pairs of the list ``own`` (V,) stand in the same order in each of the lists ``ranks`` (L, V)."""
    order = np.argsort(own)[: int(np.isfinite(own).sum())]
    theirs = ranks[:, order]
    same = theirs[:, :, None] < theirs[:, None, :]
    return np.asarray(np.triu(same, k=1).sum(axis=(1, 2)), dtype=float)
