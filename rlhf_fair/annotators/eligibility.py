"""Who of a pool may be asked at all: consent given, languages and skills at hand, enough capacity."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rlhf_fair.errors import SettingsError
from rlhf_fair.tables import require_columns

CONSENT = frozenset({"yes", "y", "true", "1", "given", "granted"})
"""What counts as consent, in any case; every other cell, an empty one included, does not."""

_SEPARATORS = re.compile(r"[|;,]")


@dataclass(frozen=True)
class Needs:
    """What every member must have: all the ``languages``, all the ``skills``, room for ``capacity`` judgements."""

    languages: tuple[str, ...] = ()
    skills: tuple[str, ...] = ()
    capacity: float = 0.0

    def __post_init__(self) -> None:
        if not self.capacity >= 0:
            raise SettingsError(f"needed capacity = {self.capacity}; allowed: a number >= 0")


@dataclass(frozen=True)
class Eligibility:
    """``allowed``: (n,) who may be asked. ``reasons``: how many fail each need, each under the first one failed."""

    allowed: NDArray[np.bool_]
    reasons: dict[str, int]


def eligibility(pool: pd.DataFrame, needs: Needs) -> Eligibility:
    """Check every row. A ``consent`` column, where there is one, is always honoured, and so is a capacity of 0.

    ``languages`` and ``skills`` list several values separated by ``|``, ``;`` or ``,``; case does not matter.
    A capacity that is not known is no obstacle unless one is needed.
    """
    tests: list[tuple[str, NDArray[np.bool_]]] = []
    if "consent" in pool:
        given = pool["consent"].astype("str").str.strip().str.lower().isin(CONSENT)
        tests.append(("no consent", given.to_numpy(bool)))
    for column, wanted in (("languages", needs.languages), ("skills", needs.skills)):
        if wanted:
            require_columns(pool, [column], "pool")
        tests += [(f"{column}: lacks {value}", _lists(pool[column], value)) for value in wanted]
    if needs.capacity:
        require_columns(pool, ["capacity"], "pool")
        enough = pool["capacity"].to_numpy(float) >= needs.capacity
        tests.append((f"capacity: below {needs.capacity:g} or unknown", enough))
    elif "capacity" in pool:
        tests.append(("capacity: 0", ~(pool["capacity"].to_numpy(float) <= 0)))
    allowed, reasons = np.ones(len(pool), dtype=bool), {}
    for name, passed in tests:
        if failed := int((allowed & ~passed).sum()):
            reasons[name] = failed
        allowed &= passed
    return Eligibility(allowed, reasons)


def listed(cell: object) -> frozenset[str]:
    """The values of a cell that lists several, lower-case.

    >>> sorted(listed("en; FR"))
    ['en', 'fr']
    """
    parts: Iterable[str] = _SEPARATORS.split(cell) if isinstance(cell, str) else ()
    return frozenset(part.strip().lower() for part in parts if part.strip())


def _lists(cells: pd.Series, value: str) -> NDArray[np.bool_]:
    wanted = value.strip().lower()
    distinct = {cell: wanted in listed(cell) for cell in cells.dropna().unique()}
    return np.array([distinct.get(cell, False) for cell in cells], dtype=bool)
