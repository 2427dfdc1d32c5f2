"""Presentation orders after a change: flips that even out what people see and leave every item as even as it was."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.int64]


def even_out(
    item: IntArray,
    person: IntArray,
    sign: IntArray,
    balance: tuple[IntArray, IntArray],
    rng: np.random.Generator,
) -> NDArray[np.bool_]:
    """Which judgements (judgements,) to flip; ``sign`` is 1 for ab and -1 for ba.

    ``balance`` is ab minus ba of every item and every person. A flip is made where a person has at least 2 more of that
    order and the item at least 1 more, so the person gains and the item goes from 1 to -1 at worst.
    """
    of_item, of_person = (part.copy() for part in balance)
    sign, flipped = sign.copy(), np.zeros(len(item), dtype=np.bool_)
    while True:
        useful = np.flatnonzero((sign * of_person[person] >= 2) & (sign * of_item[item] >= 1))
        if not len(useful):
            return flipped
        useful = rng.permutation(useful)
        useful = useful[np.unique(item[useful], return_index=True)[1]]
        useful = useful[np.unique(person[useful], return_index=True)[1]]
        of_item[item[useful]] -= 2 * sign[useful]
        of_person[person[useful]] -= 2 * sign[useful]
        sign[useful] *= -1
        flipped[useful] ^= True


def interleaved(sign: IntArray) -> IntArray:
    """An order of judgements (places) in which any stretch has both signs in about the proportion they have overall."""
    rank = np.empty(len(sign))
    for value in (-1, 1):
        places = np.flatnonzero(sign == value)
        rank[places] = (np.arange(len(places)) + 0.5) / max(len(places), 1)
    return np.asarray(np.lexsort((sign, rank)))
