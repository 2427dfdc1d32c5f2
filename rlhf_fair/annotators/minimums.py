"""Least numbers of persons in named cells: ``gender=woman,race=Black:10``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rlhf_fair.annotators.multi_select import SEPARATOR, names_level
from rlhf_fair.annotators.population import Population
from rlhf_fair.errors import SettingsError
from rlhf_fair.tables import ATTRIBUTE_PREFIX


@dataclass(frozen=True)
class Cell:
    """Persons who have all the levels named; ``levels`` are pairs (attribute, level) in the order given."""

    levels: tuple[tuple[str, str], ...]

    @classmethod
    def parse(cls, text: str) -> Cell:
        """Read ``gender=woman,race=Black``."""
        pairs = [part.partition("=") for part in text.split(",")]
        levels = tuple((name.strip().removeprefix(ATTRIBUTE_PREFIX), level.strip()) for name, _, level in pairs)
        if not all(mark and name and level for (_, mark, _), (name, level) in zip(pairs, levels, strict=True)):
            raise SettingsError(f"cell {text!r}; allowed: attribute=level, several joined by commas")
        if len(dict(levels)) < len(levels):
            raise SettingsError(f"cell {text!r} names an attribute twice")
        return cls(levels)

    @property
    def name(self) -> str:
        """``gender=woman,race=Black``; several levels of one attribute as ``race=Black|White``."""
        named: dict[str, list[str]] = {}
        for attribute, level in self.levels:
            named.setdefault(attribute, []).append(level)
        return ",".join(f"{attribute}={SEPARATOR.join(levels)}" for attribute, levels in named.items())

    def check(self, population: Population) -> None:
        """Raise `SettingsError` where an attribute or level is not the population's."""
        for attribute, level in self.levels:
            if attribute not in population.attributes:
                raise SettingsError(f"cell {self.name!r}: allowed attributes: {', '.join(population.attributes)}")
            if level not in population.levels(attribute):
                allowed = ", ".join(population.levels(attribute))
                raise SettingsError(f"cell {self.name!r}: allowed levels of {attribute}: {allowed}")

    def holds(self, table: pd.DataFrame) -> NDArray[np.bool_]:
        """(n,) which rows lie in the cell; attributes in the form of `multi_select.canonical_table`."""
        inside = np.ones(len(table), dtype=bool)
        for attribute, level in self.levels:
            inside &= names_level(table[ATTRIBUTE_PREFIX + attribute], level)
        return inside


EVERYBODY = Cell(())


@dataclass(frozen=True)
class Minimum:
    """At least ``persons`` in ``cell``."""

    cell: Cell
    persons: int

    @classmethod
    def parse(cls, text: str) -> Minimum:
        """Read ``gender=woman,race=Black:10``.

        >>> Minimum.parse("gender=woman,race=Black:10").persons
        10
        """
        cell, mark, persons = text.rpartition(":")
        if not mark or not persons.strip().isdecimal():
            raise SettingsError(f"minimum {text!r}; allowed: attribute=level,attribute=level:persons")
        return cls(Cell.parse(cell), int(persons))


def merged(declared: Mapping[str, int], given: tuple[Minimum, ...]) -> tuple[Minimum, ...]:
    """A population's own minimums, replaced by those ``given`` for the same cell, and then the rest of these."""
    own = [Minimum(Cell.parse(text), persons) for text, persons in declared.items()]
    table = {frozenset(minimum.cell.levels): minimum for minimum in (*own, *given)}
    return tuple(table.values())
