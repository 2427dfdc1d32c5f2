"""Token sequences that begin alike, laid out as prefix trees: a common beginning stands in a row once.

The answers of a multiple-choice question share its text, questions about one scene share the scene, counterfactual
twins share what stands before the first word in which they differ. A row holds the tree of some sequences, its tokens
in depth-first order; an attention mask lets every token see its own ancestors alone (tree attention: Miao et al. 2024,
SpecInfer).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class PrefixTree:
    """What a model has to read of some sequences in order to predict their tokens: all tokens but the last of each.

    tokens: (n_nodes,) ids in depth-first order. depths: (n_nodes,) position of each in its sequence. ends: (n_nodes,)
    index behind the last descendant, so that node i is j itself or an ancestor of it where i <= j < ends[i].
    paths: for each sequence the nodes it runs through.
    """

    tokens: NDArray[np.int64]
    depths: NDArray[np.int64]
    ends: NDArray[np.int64]
    paths: list[NDArray[np.int64]]


def prefix_tree(sequences: Sequence[Sequence[int]]) -> PrefixTree:
    """The tree of sequences in lexicographic order.

    >>> tree = prefix_tree([[7, 8, 1], [7, 8, 2, 3], [7, 9, 4]])
    >>> tree.tokens.tolist(), tree.depths.tolist(), tree.ends.tolist()
    ([7, 8, 2, 9], [0, 1, 2, 1], [4, 3, 3, 4])
    """
    tokens: list[int] = []
    depths: list[int] = []
    paths: list[NDArray[np.int64]] = []
    path = np.empty(0, dtype=np.int64)
    ends = np.zeros(sum(map(len, sequences)), dtype=np.int64)
    for index, sequence in enumerate(sequences):
        shared = _common(sequences[index - 1], sequence) if index else 0
        ends[path[shared:]] = len(tokens)  # what the new sequence leaves has no further descendants
        new = sequence[shared:-1]
        path = np.concatenate([path[:shared], np.arange(len(tokens), len(tokens) + len(new))])
        paths.append(path)
        tokens += new
        depths += range(shared, len(sequence) - 1)
    ends[path] = len(tokens)
    return PrefixTree(np.array(tokens, np.int64), np.array(depths, np.int64), ends[: len(tokens)], paths)


def row_cost(n_tokens: NDArray[np.int64], width: int) -> NDArray[np.float64]:
    """Work of a row in tokens: what grows with its length, and attention, which grows with the square.

    In a layer of hidden size ``width`` the projections take about 12·width² multiplications a token and attention
    2·width for each token it looks at: n + n²/(6·width). Attention runs at two thirds of the speed, as measured.
    """
    work: NDArray[np.float64] = n_tokens + n_tokens**2 / (4.0 * width)
    return work


def tree_rows(sequences: Sequence[Sequence[int]], *, width: int, most: int) -> list[list[int]]:
    """Which sequences (of two tokens or more) share a row: the partition of least total `row_cost`.

    Every row is a run of the sequences in lexicographic order and its tree has at most ``most`` tokens, if it holds
    more than one sequence. Indices within a row are in lexicographic order. Where no beginning is shared, sequences
    stay apart.

    >>> tree_rows([[1, 2, 3, 4], [5, 6], [1, 2, 3, 5]], width=64, most=100)
    [[0, 2], [1]]
    """
    order = sorted(range(len(sequences)), key=lambda index: tuple(sequences[index]))
    shared = [0, *(_common(sequences[one], sequences[other]) for one, other in pairwise(order))]
    read = np.array([len(sequences[index]) - 1 for index in order], dtype=np.int64)
    added = np.cumsum(read - shared[: len(order)])
    alone = read - added  # a row from i to j holds alone[i] + added[j] tokens
    least = np.zeros(len(order) + 1)  # least[j]: cost of the first j sequences
    begins = np.zeros(len(order), dtype=np.int64)
    first = 0
    for last in range(len(order)):
        first = first if shared[last] else last
        while first < last and alone[first] + added[last] > most:
            first += 1
        costs = least[first : last + 1] + row_cost(alone[first : last + 1] + added[last], width)
        best = int(costs.argmin())
        begins[last], least[last + 1] = first + best, costs[best]
    rows = []
    stop = len(order)
    while stop:
        rows.append(order[begins[stop - 1] : stop])
        stop = int(begins[stop - 1])
    return rows[::-1]


def _common(one: Sequence[int], other: Sequence[int]) -> int:
    """Tokens that both begin with, short of the last token of either."""
    limit = min(len(one), len(other)) - 1
    for position in range(limit):
        if one[position] != other[position]:
            return position
    return limit
