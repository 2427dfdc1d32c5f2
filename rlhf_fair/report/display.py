"""What a page shows, as plain data: cells, tables, plots and sections, with every number already rounded and worded.

Nothing here computes. The HTML and Markdown writers print these objects, and the figures draw them, so a plot and the
table beside it cannot differ.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class Cell:
    """One table cell. ``verdict`` names the icon drawn before the text; ``missing`` marks a value not measured.

    ``detail`` is a second, quieter line.
    """

    text: str
    verdict: str = ""
    missing: bool = False
    detail: str = ""


@dataclass(frozen=True)
class Column:
    """A column's heading; numbers are set right-aligned. ``wide``: it holds the longest text of its table."""

    label: str
    numeric: bool = False
    wide: bool = False


LONG_ROWS = 300
"""More rows than these are packed, and only some of them stand in the page as they are."""
FIRST_ROWS = 100


@dataclass(frozen=True)
class Table:
    """Rows of cells under columns. ``paged`` tables are folded away, and filtered where scripts run.

    ``important``: positions of rows that a long table shows without scripts as well, as far as there is room.
    """

    id: str
    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    paged: bool = False
    stacked: bool = False
    note: str = ""
    important: tuple[int, ...] = ()

    @property
    def long(self) -> bool:
        """True for a table of which only a part is HTML; see `report.long_tables`."""
        return len(self.rows) > LONG_ROWS

    @property
    def written(self) -> tuple[tuple[Cell, ...], ...]:
        """The rows that are HTML: all; of a long table the first and the important ones, `LONG_ROWS` at most."""
        if not self.long:
            return self.rows
        later = [at for at in self.important if at >= FIRST_ROWS][: LONG_ROWS - FIRST_ROWS]
        return self.rows[:FIRST_ROWS] + tuple(self.rows[at] for at in later)

    @property
    def narrow(self) -> bool:
        """True for a table that would look lost across the whole page."""
        return len(self.columns) <= 3


@dataclass(frozen=True)
class Point:
    """One mark: ``at`` is its place on the category or step axis, ``value`` with its interval on the other axis.

    ``low`` and ``high`` are None where there is no interval; ``hover`` is the same text as in the table. In a scatter
    plot the place is an estimate as well, with an interval from ``at_low`` to ``at_high``.
    """

    at: float
    value: float
    low: float | None = None
    high: float | None = None
    hover: str = ""
    at_low: float | None = None
    at_high: float | None = None


@dataclass(frozen=True)
class Series:
    """Points that share a name, a colour and a shape. ``joined`` draws a line through them.

    ``banded`` draws the intervals as one band along the line, and not as a bar at each point; ``blocks`` draws nothing
    but a pale block from ``low`` to ``high`` of each point.
    """

    name: str
    colour: str
    symbol: str
    points: tuple[Point, ...]
    joined: bool = False
    marked: bool = True
    banded: bool = False
    blocks: bool = False


@dataclass(frozen=True)
class Key:
    """One entry of a chart's legend."""

    name: str
    colour: str
    symbol: str


@dataclass(frozen=True)
class Plot:
    """One figure: where its ticks stand, which value means parity, and which lines are thresholds.

    ``log`` draws values on a log axis, as ratios want; ``value_ticks`` then says where it is labelled.
    """

    id: str
    title: str
    label: str
    kind: Literal["forest", "stages", "steps", "scatter"]
    series: tuple[Series, ...]
    value_title: str
    ticks: tuple[tuple[float, str], ...] = ()
    value_ticks: tuple[float, ...] = ()
    log: bool = False
    parity: float | None = None
    thresholds: tuple[float, ...] = ()
    value_range: tuple[float, float] | None = None
    at_range: tuple[float, float] | None = None
    at_title: str = ""
    subtitle: str = ""
    legend: tuple[Key, ...] = ()


@dataclass(frozen=True)
class Chart:
    """Plots that are read together in so many columns, their legend, and the table with the same numbers."""

    id: str
    title: str
    note: str
    plots: tuple[Plot, ...]
    legend: tuple[Key, ...]
    table: Table
    columns: int = 2


@dataclass(frozen=True)
class Piece:
    """A stretch of a text. ``mark``: "" for none, else up-1 to up-3 or down-1 to down-3; ``value``: its number."""

    text: str
    mark: str = ""
    value: str = ""


@dataclass(frozen=True)
class MarkedText:
    """A text in pieces, under a label."""

    label: str
    pieces: tuple[Piece, ...]


@dataclass(frozen=True)
class Example:
    """Texts that are read together."""

    heading: str
    detail: str
    texts: tuple[MarkedText, ...]


@dataclass(frozen=True)
class Examples:
    """Example texts, folded away until a reader asks for them."""

    id: str
    caption: str
    note: str
    items: tuple[Example, ...]


@dataclass(frozen=True)
class Section:
    """A heading that is a question, the answer in sentences, then charts, tables and example texts."""

    id: str
    heading: str
    short: str
    answer: tuple[str, ...] = ()
    bullets: tuple[str, ...] = ()
    charts: tuple[Chart, ...] = ()
    tables: tuple[Table, ...] = ()
    examples: Examples | None = None


@dataclass(frozen=True)
class Tally:
    """How many claims got one verdict."""

    verdict: str
    word: str
    count: int


@dataclass(frozen=True)
class Gap:
    """One of the largest gaps, in words."""

    sentence: str
    detail: str
    verdict: str
    word: str


@dataclass(frozen=True)
class Summary:
    """The first screen: what was asked, the verdict in one sentence, the worst gaps, the scope and its edges."""

    title: str
    question: str
    verdict: str
    sensitivity: str
    tallies: tuple[Tally, ...]
    gaps: tuple[Gap, ...]
    scope: tuple[tuple[str, str], ...]
    not_shown: tuple[str, ...]
    kind: str = "Bias audit report"


@dataclass(frozen=True)
class Page:
    """The whole report."""

    summary: Summary
    sections: tuple[Section, ...]
    results_sha256: str
    results_json: bytes = field(repr=False)
