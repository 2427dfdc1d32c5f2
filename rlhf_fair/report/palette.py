"""Colours and shapes of series: Okabe-Ito hues as CSS variables (a light and a dark set), each with its own shape."""

from __future__ import annotations

from rlhf_fair.report.reading import Reading

_COLOURS = ("--blue", "--vermillion", "--green", "--purple", "--ink")
_SYMBOLS = ("circle", "square", "diamond", "triangle-up", "triangle-down", "cross", "x", "star")

READING_MARKS = {
    Reading.EXCEEDS: ("var(--vermillion)", "triangle-up"),
    Reading.WITHIN: ("var(--green)", "circle"),
    Reading.DIFFERS: ("var(--blue)", "diamond"),
    Reading.UNCONFIRMED: ("var(--blue)", "square-open"),
    Reading.OPEN: ("var(--blue)", "diamond-open"),
}
CONTROL_MARK = ("var(--muted)", "square-open")


def mark(position: int) -> tuple[str, str]:
    """Colour and shape of the series at ``position``; 40 distinct pairs before the first repeats."""
    return f"var({_COLOURS[position % len(_COLOURS)]})", _SYMBOLS[position % len(_SYMBOLS)]
