"""Batches of texts of similar length: little padding, still in random order."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

CHUNK_BATCHES = 16
"""Rows are sorted by length within shuffled chunks of this many batches."""


def epoch_batches(lengths: NDArray[np.int64], batch_size: int, rng: np.random.Generator) -> list[NDArray[np.int64]]:
    """Every row exactly once, in batches of similar length and random order."""
    order = rng.permutation(len(lengths))
    size = batch_size * CHUNK_BATCHES
    batches = []
    for start in range(0, len(order), size):
        chunk = order[start : start + size]
        chunk = chunk[np.argsort(lengths[chunk], kind="stable")]
        batches += [chunk[at : at + batch_size] for at in range(0, len(chunk), batch_size)]
    return [batches[index] for index in rng.permutation(len(batches))]


def share_of(batches: list[NDArray[np.int64]], process: int, processes: int) -> list[NDArray[np.int64]]:
    """The batches of one of several processes: every ``processes``-th, started over so that all get equally many.

    >>> [int(rows[0]) for rows in share_of([np.array([0]), np.array([1]), np.array([2])], 1, 2)]
    [1, 0]
    """
    rounds = -(-len(batches) // processes)
    return [batches[(turn * processes + process) % len(batches)] for turn in range(rounds)]
