"""Rows that hang together, directly or through others: they share a text or a cluster, and no split may part them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components


def linked_rows(keys: Sequence[pd.Series]) -> pd.Series:
    """The component that each row belongs to, named by its smallest value of the first key, as text.

    Rows are linked where any of ``keys`` has equal values as text; components are those of the graph of all links.

    >>> linked_rows([pd.Series(["a", "b", "c"]), pd.Series(["hi", "you", "hi"])]).tolist()
    ['a', 'b', 'a']
    """
    n = len(keys[0])
    codes = [pd.factorize(key.astype("str"))[0] for key in keys]
    offsets = n + np.concatenate([[0], np.cumsum([code.max(initial=-1) + 1 for code in codes])])
    rows = np.tile(np.arange(n), len(keys))
    values = np.concatenate([code + offset for code, offset in zip(codes, offsets, strict=False)])
    graph = coo_array((np.ones(len(rows)), (rows, values)), shape=(offsets[-1], offsets[-1]))
    component = pd.Series(connected_components(graph, directed=False)[1][:n], index=keys[0].index)
    return keys[0].astype("str").groupby(component).transform("min")
