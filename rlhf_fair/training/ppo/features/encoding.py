"""How the columns of a table become the numbers that a network reads: learned once, the same ever after."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.api.types import is_bool_dtype, is_numeric_dtype
from pydantic import Field

from rlhf_fair.errors import ColumnError, RowError, SettingsError
from rlhf_fair.settings import Settings


class NumberColumn(Settings):
    """Becomes (x - mean) / sd; 0 where ``sd`` is 0, since a column that never varied says nothing."""

    kind: Literal["number"] = "number"
    name: str
    mean: float
    sd: float = Field(ge=0)


class ChoiceColumn(Settings):
    """Becomes one indicator for each of ``choices``."""

    kind: Literal["choice"] = "choice"
    name: str
    choices: tuple[str, ...]


class FeatureEncoding(Settings):
    """The columns in their order. Numbers and truth values are standardized, all else is one of a set of choices."""

    columns: tuple[Annotated[NumberColumn | ChoiceColumn, Field(discriminator="kind")], ...]

    @property
    def size(self) -> int:
        """Length of an encoded row."""
        return sum(1 if isinstance(column, NumberColumn) else len(column.choices) for column in self.columns)

    def encode(self, table: pd.DataFrame) -> NDArray[np.float32]:
        """(n, size).

        Raises
        ------
        ColumnError, RowError
            A column is absent, a value is missing or not finite, or a choice is one that was not seen in learning.
        """
        parts = [
            _standardized(column, table) if isinstance(column, NumberColumn) else _indicators(column, table)
            for column in self.columns
        ]
        return np.column_stack(parts).astype(np.float32)


def learn_encoding(table: pd.DataFrame, features: Sequence[str]) -> FeatureEncoding:
    """Means, standard deviations and choices of the columns ``features``."""
    if not features or not len(table):
        raise SettingsError(f"a decider needs features and rows; has features {list(features)} and {len(table)} rows")
    columns: list[NumberColumn | ChoiceColumn] = []
    for name in features:
        if _is_number(_column(table, name)):
            columns.append(_spread(name, _numbers(table, name)))
        else:
            columns.append(ChoiceColumn(name=name, choices=tuple(sorted(set(_texts(table, name))))))
    return FeatureEncoding(columns=tuple(columns))


def _spread(name: str, values: NDArray[np.float64]) -> NumberColumn:
    with np.errstate(over="ignore"):
        mean, sd = float(values.mean()), float(values.std())
    if not (np.isfinite(mean) and np.isfinite(sd)):
        raise RowError(
            f"feature {name!r} reaches {np.abs(values).max():g}, so that it has no finite mean or spread; write it in "
            "another unit, or leave it out"
        )
    return NumberColumn(name=name, mean=mean, sd=sd)


def _standardized(column: NumberColumn, table: pd.DataFrame) -> NDArray[np.float64]:
    values = _numbers(table, column.name)
    standardized = (values - column.mean) / (column.sd or np.inf)
    if (wide := np.abs(standardized) > np.finfo(np.float32).max).any():
        first = int(np.argmax(wide))
        raise RowError(
            f"feature {column.name!r} is {values[first]:g} in row {table.index[first]}, {standardized[first]:.3g} SDs "
            "from what was learned: too far for a network, to which it is infinite"
        )
    return standardized


def _indicators(column: ChoiceColumn, table: pd.DataFrame) -> NDArray[np.float64]:
    values = pd.Series(_texts(table, column.name))
    unknown = ~values.isin(column.choices)
    if unknown.any():
        first = int(np.argmax(unknown))
        raise RowError(
            f"feature {column.name!r} is {values[first]!r} in row {table.index[first]} "
            f"({int(unknown.sum())} such rows); known: {', '.join(column.choices)}"
        )
    return np.stack([values == choice for choice in column.choices], axis=1).astype(float)


def _is_number(column: pd.Series) -> bool:
    return bool(is_bool_dtype(column.dtype) or is_numeric_dtype(column.dtype))


def _column(table: pd.DataFrame, name: str) -> pd.Series:
    if name not in table.columns:
        raise ColumnError("the table of features", name, table.columns)
    return table[name]


def _numbers(table: pd.DataFrame, name: str) -> NDArray[np.float64]:
    column = _column(table, name)
    if not _is_number(column):
        raise RowError(f"feature {name!r} is of type {column.dtype}; it was learned as a number")
    values = column.to_numpy(dtype=float, na_value=np.nan)
    _refuse(~np.isfinite(values), table, name)
    return values


def _texts(table: pd.DataFrame, name: str) -> list[str]:
    column = _column(table, name)
    _refuse(column.isna().to_numpy(), table, name)
    return [str(value) for value in column]


def _refuse(missing: NDArray[np.bool_], table: pd.DataFrame, name: str) -> None:
    if missing.any():
        first = table.index[int(np.argmax(missing))]
        raise RowError(
            f"feature {name!r} is missing or not finite in {int(missing.sum())} of {len(table)} rows, first in row "
            f"{first}; fill it in, or leave these rows or this feature out"
        )
