"""Covariance matrices that inclusion-exclusion over crossed clusterings may leave with negative variances."""

from __future__ import annotations

import numpy as np

from rlhf_fair.stats.columns import Floats


def square_root(covariance: Floats) -> Floats:
    """A matrix R with R R' = ``covariance`` (symmetric), negative eigenvalues taken as 0.

    >>> square_root(np.array([[4.0, 0.0], [0.0, -1.0]])) @ square_root(np.array([[4.0, 0.0], [0.0, -1.0]])).T
    array([[4., 0.],
           [0., 0.]])
    """
    values, vectors = np.linalg.eigh(covariance)
    return np.asarray(vectors * np.sqrt(np.maximum(values, 0.0)))


def proper_covariance(matrix: Floats) -> Floats:
    """The nearest matrix without negative variances: negative eigenvalues of the symmetric ``matrix`` become 0."""
    root = square_root(matrix)
    return np.asarray(root @ root.T)
