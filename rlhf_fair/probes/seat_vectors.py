"""Vectors of texts from a file, for encoders that are served elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from rlhf_fair.errors import RowError
from rlhf_fair.json_cells import json_cell
from rlhf_fair.probes.likelihoods import DUPLICATE, MALFORMED, MISSING
from rlhf_fair.stats.columns import Floats
from rlhf_fair.tables import require_columns


@dataclass(frozen=True)
class ReadVectors:
    """``vectors``: (n, dimensions), NaN where a text has none, and ``problems`` says why, else "".

    ``n_strangers``: rows for texts that nobody asked for.
    """

    vectors: Floats
    problems: list[str]
    n_strangers: int


def read_vectors(texts: Sequence[str], table: pd.DataFrame) -> ReadVectors:
    """The vectors of ``texts`` in a table with the columns text and embedding, a list of numbers (or its JSON text).

    All vectors have as many dimensions as most of them; one of another length is malformed, like one that holds no
    finite number in some place. A text with several rows has none.

    Raises
    ------
    ColumnError, RowError
        A column does not exist; no row holds a vector.
    """
    require_columns(table, ("text", "embedding"), "embeddings")
    parsed = [_vector(cell) for cell in table["embedding"]]
    lengths = [len(vector) for vector in parsed if vector is not None]
    if not lengths:
        raise RowError("embeddings hold no list of numbers in the column 'embedding'")
    width = int(np.bincount(lengths).argmax())
    found: dict[str, tuple[Floats | None, str]] = {}
    names = table["text"].astype("str")
    for text, vector in zip(names, parsed, strict=True):
        sound = vector is not None and len(vector) == width
        found[text] = (None, DUPLICATE) if text in found else (vector, "") if sound else (None, MALFORMED)
    rows = [found.get(text, (None, MISSING)) for text in texts]
    vectors = np.full((len(texts), width), np.nan)
    for row, (vector, _) in enumerate(rows):
        if vector is not None:
            vectors[row] = vector
    return ReadVectors(vectors, [problem for _, problem in rows], int((~names.isin(list(texts))).sum()))


def _vector(cell: object) -> Floats | None:
    try:
        vector = np.array(json_cell(cell) if isinstance(cell, str) else cell, dtype=float)
    except (ValueError, TypeError, OverflowError):
        return None
    return vector if vector.ndim == 1 and len(vector) and np.isfinite(vector).all() else None
