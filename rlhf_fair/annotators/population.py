"""Who the model is for: the population's margins, and the joint distribution they imply."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from pydantic import Field, NonNegativeInt

from rlhf_fair.errors import InfeasibleError, SettingsError, about_file
from rlhf_fair.settings import Settings, read_toml
from rlhf_fair.tables import ATTRIBUTE_PREFIX, read_table

CROSS = "*"
"""Joins attribute names, and levels, of a crossed margin: ``gender*age``, ``woman*18-29``."""

MOST_PEOPLE = 1e15
"""No cell counts more; larger numbers are slips, and their sums would lose the small ones."""
MAX_CELLS = 1_000_000
DISAGREEMENT = 0.02
"""Two margins may imply shares of one level that differ this much (published percentages are rounded)."""

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Margin:
    """Shares of the levels of one attribute, or of the crossed levels of several.

    ``shares`` is indexed by level (one attribute) or by tuples of levels, and sums to 1; with ``multi_select`` (people
    may name several levels) each is the share of people who name the level, and the sum may be more.
    """

    attributes: tuple[str, ...]
    shares: pd.Series
    multi_select: bool = False

    @property
    def name(self) -> str:
        """``gender`` or ``gender*age``."""
        return CROSS.join(self.attributes)

    def levels(self) -> list[tuple[str, ...]]:
        """Each cell as a tuple of levels, in order."""
        return [level if isinstance(level, tuple) else (level,) for level in self.shares.index]

    def one_way(self, attribute: str) -> pd.Series:
        """Shares of one attribute's levels implied by this margin."""
        levels = [level[self.attributes.index(attribute)] for level in self.levels()]
        return pd.Series(self.shares.to_numpy()).groupby(pd.Index(levels), sort=False).sum()


@dataclass(frozen=True)
class Population:
    """A population described by one-way or crossed margins.

    Examples
    --------
    >>> people = Population.from_shares({"gender": {"woman": 51, "man": 49}, "age": {"young": 0.4, "old": 0.6}})
    >>> people.joint()["woman", "old"]
    np.float64(0.306)
    """

    margins: tuple[Margin, ...]
    minimums: tuple[tuple[str, int], ...] = ()
    """Cells (``gender=woman,race=Black``) and the least number of panel members in each, see `minimums`."""

    def __post_init__(self) -> None:
        if not self.margins:
            raise SettingsError("population has no margins")
        for attribute in self.attributes:
            sharing = (m for m in self.margins if attribute in m.attributes and not m.multi_select)
            implied = [(m.name, m.one_way(attribute)) for m in sharing]
            for name, shares in implied[1:]:
                _require_same(attribute, implied[0][0], implied[0][1], name, shares)

    @classmethod
    def from_shares(
        cls,
        margins: Mapping[str, Mapping[str, Any]],
        *,
        multi_select: Sequence[str] = (),
        minimums: Mapping[str, int] | None = None,
    ) -> Population:
        """Margins by name; a crossed margin is named ``gender*age`` and nests its levels. Counts are normalised.

        Margins with an attribute of ``multi_select`` are not: each value is the share of people who name the level.
        """
        built = tuple(
            _margin(tuple(name.split(CROSS)), _flat_cells(name, cells), multi_select) for name, cells in margins.items()
        )
        known = {name for margin in built for name in margin.attributes}
        for name in multi_select:
            if name.removeprefix(ATTRIBUTE_PREFIX) not in known:
                raise SettingsError(f"population: multi_select names {name!r}; allowed: {', '.join(sorted(known))}")
        return cls(built, tuple((minimums or {}).items()))

    @classmethod
    def from_table(cls, table: pd.DataFrame) -> Population:
        """One row for each margin cell: attribute columns, empty where the margin does not use them, and ``share``.

        ``count`` may stand in place of ``share``; rows that fill the same attributes form one margin.
        """
        values = [name for name in ("share", "count") if name in table.columns]
        if len(values) != 1:
            raise SettingsError(f"population table needs one column 'share' or 'count'; has {list(table.columns)}")
        texts = table.drop(columns=values).astype("str")
        cells: dict[tuple[str, ...], list[tuple[tuple[str, ...], float]]] = {}
        for (_, row), value in zip(texts.iterrows(), table[values[0]], strict=True):
            filled = row.dropna()
            filled = filled[filled != ""]
            cells.setdefault(tuple(map(str, filled.index)), []).append((tuple(filled), value))
        return cls(tuple(_margin(attributes, entries) for attributes, entries in cells.items()))

    @classmethod
    def read(cls, path: Path) -> Population:
        """Read a ``.toml`` file with a ``[margins]`` section, or a table (see `from_table`).

        The file may also hold ``multi_select = ["race"]`` and a section ``[minimums]`` with
        ``"gender=woman,race=Black" = 10``.
        """
        if path.suffix == ".toml":
            content = read_toml(path, _PopulationFile, "population")
            with about_file(path):
                return cls.from_shares(content.margins, multi_select=content.multi_select, minimums=content.minimums)
        table = read_table(path)
        with about_file(path):
            return cls.from_table(table)

    @property
    def attributes(self) -> tuple[str, ...]:
        """Attribute names in order of first use."""
        return tuple(dict.fromkeys(name for margin in self.margins for name in margin.attributes))

    def levels(self, attribute: str) -> list[str]:
        """Levels of one attribute, in order of first use."""
        own = [
            (margin, margin.attributes.index(attribute)) for margin in self.margins if attribute in margin.attributes
        ]
        return list(dict.fromkeys(cell[place] for margin, place in own for cell in margin.levels()))

    def joint(self, seed: pd.Series | None = None) -> pd.Series:
        """Shares of all cells: ``seed`` (counts over the cells, default all ones) raked to the margins.

        With the default seed, attributes that share no margin are independent.
        """
        if several := [margin.name for margin in self.margins if margin.multi_select]:
            raise SettingsError(f"population margin {several[0]!r} overlaps, so it has no table of cells")
        levels = [self.levels(name) for name in self.attributes]
        shape = tuple(map(len, levels))
        if np.prod(shape, dtype=float) > MAX_CELLS:
            raise SettingsError(f"population crosses to {np.prod(shape, dtype=float):.0f} cells; allowed: {MAX_CELLS}")
        index = pd.MultiIndex.from_product(levels, names=list(self.attributes))
        start = np.ones(shape) if seed is None else seed.reindex(index, fill_value=0).to_numpy(float).reshape(shape)
        targets = [(self._axes(margin), self._margin_table(margin)) for margin in self.margins]
        return pd.Series(rake(start, targets, accept=DISAGREEMENT).table.ravel(), index=index, name="share")

    def _axes(self, margin: Margin) -> tuple[int, ...]:
        return tuple(self.attributes.index(name) for name in margin.attributes)

    def _margin_table(self, margin: Margin) -> FloatArray:
        table = np.zeros([len(self.levels(name)) for name in margin.attributes])
        for level, share in zip(margin.levels(), margin.shares, strict=True):
            place = [self.levels(a).index(part) for a, part in zip(margin.attributes, level, strict=True)]
            table[tuple(place)] = share
        return table


@dataclass(frozen=True)
class Raked:
    """Result of `rake`: the table, its largest distance from a margin as a share of the total, and the sweeps used."""

    table: FloatArray
    max_error: float
    iterations: int


def rake(
    seed: ArrayLike,
    margins: Sequence[tuple[tuple[int, ...], ArrayLike]],
    *,
    tolerance: float = 1e-10,
    accept: float = 1e-6,
    max_iterations: int = 1000,
) -> Raked:
    """Iterative proportional fitting: the table nearest to ``seed`` (in relative entropy) that has the given margins.

    Odds ratios of the seed are preserved. Deming and Stephan 1940; Ireland and Kullback 1968.

    Parameters
    ----------
    seed
        Non-negative table of any dimension.
    margins
        Pairs (axes kept, target sums over them); axes in the order of the target's dimensions.
    tolerance, accept
        Stop when all margins hold within ``tolerance`` of the total; raise if they miss by more than ``accept``.

    Raises
    ------
    InfeasibleError
        A wanted cell is empty in the seed, or the margins contradict each other.
    """
    table = np.array(seed, dtype=float)
    targets = [(axes, np.asarray(target, dtype=float)) for axes, target in margins]
    error = np.inf
    for iteration in range(1, max_iterations + 1):
        previous, error = error, 0.0
        for axes, target in targets:
            sums = _sum_to(table, axes)
            if np.any((sums == 0) & (target > 0)):
                raise InfeasibleError(f"raking: a wanted margin cell over axes {axes} is empty in the seed")
            error = max(error, float(np.max(np.abs(sums - target)) / target.sum()))
            factor = np.divide(target, sums, out=np.zeros_like(target), where=sums > 0)
            table *= _spread(factor, axes, table.ndim)
        if error <= tolerance or (iteration > 50 and error > 0.999999 * previous):
            break
    error = max(float(np.max(np.abs(_sum_to(table, axes) - t)) / t.sum()) for axes, t in targets)
    if error > accept:
        raise InfeasibleError(f"raking: margins contradict each other or the seed; off by {error:.3g} of the total")
    return Raked(table, error, iteration)


class _PopulationFile(Settings):
    margins: dict[str, dict[str, Any]]
    source: str = ""
    multi_select: tuple[str, ...] = ()
    minimums: dict[str, NonNegativeInt] = Field(default_factory=dict)


def _flat_cells(name: str, cells: Mapping[str, Any]) -> list[tuple[tuple[str, ...], Any]]:
    """Nested levels as (tuple of levels, value)."""
    flat: list[tuple[tuple[str, ...], Any]] = []
    for level, value in cells.items():
        if isinstance(value, Mapping):
            flat += [((str(level), *rest), v) for rest, v in _flat_cells(name, value)]
        else:
            flat.append(((str(level),), value))
    return flat


def _margin(
    attributes: tuple[str, ...], cells: Sequence[tuple[tuple[str, ...], Any]], multi_select: Sequence[str] = ()
) -> Margin:
    """Check one margin's cells and normalise them, unless people may name several."""
    attributes = tuple(name.strip().removeprefix(ATTRIBUTE_PREFIX) for name in attributes)
    name = CROSS.join(attributes)
    if not attributes or len(set(attributes)) < len(attributes):
        raise SettingsError(f"population margin {name!r} must name distinct attributes")
    for level, value in cells:
        if len(level) != len(attributes):
            raise SettingsError(f"population margin {name!r}: cell {CROSS.join(level)!r} does not name {attributes}")
        number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
        if not number or not 0 <= value <= MOST_PEOPLE:
            allowed = f"allowed: a number from 0 to {MOST_PEOPLE:g}"
            raise SettingsError(f"population margin {name!r}: {CROSS.join(level)} = {value!r}; {allowed}")
    levels = [level for level, _ in cells]
    shares = np.array([float(value) for _, value in cells])
    if len(set(levels)) < len(levels):
        raise SettingsError(f"population margin {name!r} names a cell twice")
    if not shares.sum() > 0:
        raise SettingsError(f"population margin {name!r} sums to 0")
    index: Any = pd.Index([level[0] for level in levels], dtype="str") if len(attributes) == 1 else _multi(levels)
    if not set(attributes).isdisjoint(name.removeprefix(ATTRIBUTE_PREFIX) for name in multi_select):
        if shares.max() > 1:
            raise SettingsError(
                f"population margin {name!r}: {CROSS.join(levels[int(shares.argmax())])} = {shares.max():g}; "
                "allowed where people name several: 0 to 1, the share of people who name it"
            )
        return Margin(attributes, pd.Series(shares, index=index, name=name), multi_select=True)
    return Margin(attributes, pd.Series(shares / shares.sum(), index=index, name=name))


def _multi(levels: Iterable[tuple[str, ...]]) -> pd.MultiIndex:
    return pd.MultiIndex.from_tuples(list(levels))


def _require_same(attribute: str, first: str, a: pd.Series, second: str, b: pd.Series) -> None:
    gap = a.subtract(b, fill_value=0).abs()
    if gap.max() > DISAGREEMENT:
        level = gap.idxmax()
        raise SettingsError(
            f"population margins {first!r} and {second!r} disagree on {attribute}={level}: "
            f"{a.get(level, 0.0):.3f} and {b.get(level, 0.0):.3f}"
        )


def _sum_to(table: FloatArray, axes: tuple[int, ...]) -> FloatArray:
    """Sums over all other axes, dimensions in the order of ``axes``."""
    others = tuple(axis for axis in range(table.ndim) if axis not in axes)
    kept = sorted(axes)
    return np.transpose(table.sum(axis=others), [kept.index(axis) for axis in axes])


def _spread(factor: FloatArray, axes: tuple[int, ...], ndim: int) -> FloatArray:
    """``factor`` shaped so that it broadcasts against the full table."""
    ordered = np.transpose(factor, np.argsort(axes))
    return ordered.reshape([ordered.shape[sorted(axes).index(a)] if a in axes else 1 for a in range(ndim)])
