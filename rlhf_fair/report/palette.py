"""Colours and shapes of series: Okabe-Ito hues as CSS variables (a light and a dark set), each with its own shape."""

from __future__ import annotations

from rlhf_fair.records import Verdict

_COLOURS = ("--blue", "--vermillion", "--green", "--purple", "--ink")
_SYMBOLS = ("circle", "square", "diamond", "triangle-up", "triangle-down", "cross", "x", "star")

VERDICT_MARKS = {
    Verdict.EXCEEDS: ("var(--vermillion)", "triangle-up"),
    Verdict.WITHIN: ("var(--green)", "circle"),
    Verdict.INCONCLUSIVE: ("var(--blue)", "diamond-open"),
}
CONTROL_MARK = ("var(--muted)", "square-open")


def mark(position: int) -> tuple[str, str]:
    """Colour and shape of the series at ``position``; 40 distinct pairs before the first repeats."""
    return f"var({_COLOURS[position % len(_COLOURS)]})", _SYMBOLS[position % len(_SYMBOLS)]
