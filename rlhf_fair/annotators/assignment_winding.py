"""Lines of people wound around items: level loads, distinct people and groups, shuffled, both orders equally often.

People stand in one line, grouped, each taking as much of it as the number of items they judge. The line is wound
around the items, once for each slot. A stretch no longer than the number of items never meets the same item twice, so
everybody's items are distinct and so are the groups; the rest is shuffling that keeps both. O(items × slots).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

SHUFFLES = 8
"""Rounds of random swaps for each slot after winding; the law of the result hardly changes after a few."""

IntArray = NDArray[np.int64]


def fill(capacity: IntArray, total: int, rng: np.random.Generator) -> IntArray:
    """Share ``total`` as evenly as capacities allow; who gets one more is random. Needs total <= Σ capacity."""
    low, high = 0, int(capacity.max(initial=0))
    while low < high:  # the highest full level that does not exceed the total
        level = (low + high + 1) // 2
        low, high = (level, high) if int(np.minimum(capacity, level).sum()) <= total else (low, level - 1)
    filled = np.minimum(capacity, low)
    more = np.flatnonzero(capacity > low)
    filled[rng.permutation(more)[: total - int(filled.sum())]] += 1
    return filled


def fill_up(load: IntArray, spare: IntArray, total: int, rng: np.random.Generator) -> IntArray:
    """Share ``total`` so that loads on top of those there are end as level as spare capacities allow.

    Who gets one more is random. Needs total <= Σ spare.
    """
    low, high = 0, int((load + spare).max(initial=0))
    while low < high:
        level = (low + high + 1) // 2
        low, high = (level, high) if int(np.clip(level - load, 0, spare).sum()) <= total else (low, level - 1)
    filled = np.clip(low - load, 0, spare)
    more = np.flatnonzero(np.clip(low + 1 - load, 0, spare) > filled)
    filled[rng.permutation(more)[: total - int(filled.sum())]] += 1
    return np.asarray(filled)


def wind(loads: IntArray, group: IntArray, n: int, rng: np.random.Generator) -> IntArray:
    """The line of people, (items × slots,): groups that fill whole rounds first, so the others lie side by side.

    Side by side, the small groups cover every item equally often (give or take one): no order does better.
    """
    load = np.bincount(group, loads)
    shuffled = rng.permutation(len(load))
    place = np.empty(len(load), dtype=np.int64)
    place[shuffled[np.argsort(load[shuffled] < n, kind="stable")]] = np.arange(len(load))
    order = np.lexsort((rng.random(len(group)), place[group]))
    return np.repeat(order, loads[order])


def shuffle(person: IntArray, group: IntArray, distinct: int, rng: np.random.Generator) -> None:
    """Swap people between random items, in place, wherever both items keep distinct people and enough groups.

    Slots are shuffled within items before each round: people wound into the same slot would never meet otherwise.

    Parameters
    ----------
    person
        (items, slots), each row distinct people; ``group`` (people,) is indexed by them.
    distinct
        Groups to keep for each item, or as many as it has.
    """
    n, slots = person.shape
    half = n // 2
    for slot in np.tile(np.arange(slots), SHUFFLES):
        if slot == 0:
            rng.permuted(person, axis=1, out=person)
        order = rng.permutation(n)
        one, two = order[:half], order[half : 2 * half]
        first, second = person[one], person[two]
        mine, theirs = first[:, slot].copy(), second[:, slot].copy()
        others = np.arange(slots) != slot
        allowed = ~((first == theirs[:, None]) & others).any(axis=1) & ~((second == mine[:, None]) & others).any(axis=1)
        if distinct > 1:
            for row, new in ((first, theirs), (second, mine)):
                groups = group[row]
                before = np.minimum(_distinct(groups), distinct)
                groups[:, slot] = group[new]
                allowed &= _distinct(groups) >= before
        person[one[allowed], slot], person[two[allowed], slot] = theirs[allowed], mine[allowed]


def _distinct(codes: IntArray) -> IntArray:
    """Number of different values in each row: those that equal none to their left."""
    slots = codes.shape[1]
    count = np.ones(len(codes), dtype=np.int64)
    columns = np.ascontiguousarray(codes.T)
    for right in range(1, slots):
        repeated = columns[0] == columns[right]
        for left in range(1, right):
            repeated |= columns[left] == columns[right]
        count += ~repeated
    return count


def balanced_coin(item: IntArray, person: IntArray, rng: np.random.Generator) -> NDArray[np.bool_]:
    """A coin for each judgement that falls equally often on both sides, give or take 1, for each item and each person.

    Judgements are paired within items and within people; partners must differ. The pairs form paths and even cycles,
    so two colours do, found as the two halves of the graph's double cover.
    """
    total = len(item)
    left, right = (np.concatenate(ends) for ends in zip(_pairs(item, rng), _pairs(person, rng), strict=True))
    tail = np.concatenate([left, left + total])
    head = np.concatenate([right + total, right])
    graph = sparse.coo_array((np.ones(len(tail), dtype=np.int8), (tail, head)), shape=(2 * total, 2 * total))
    _, side = sparse.csgraph.connected_components(graph, directed=False)
    here, there = side[:total], side[total:]
    coin = rng.random(2 * total) < 0.5  # one flip for each component, looked up by its lower label
    return (here < there) ^ coin[np.minimum(here, there)]


def _pairs(label: IntArray, rng: np.random.Generator) -> tuple[IntArray, IntArray]:
    """Disjoint random pairs of positions with equal labels; at most one position of a label stays alone."""
    order = np.argsort(label + rng.random(len(label)), kind="stable")  # by label, in random order within each
    ordered = label[order]
    count = np.bincount(label)
    rank = np.arange(len(order)) - (np.cumsum(count) - count)[ordered]
    first = np.flatnonzero((rank[:-1] % 2 == 0) & (ordered[:-1] == ordered[1:]))
    return order[first], order[first + 1]
