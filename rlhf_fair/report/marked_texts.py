"""Example texts whose words are marked by what they contribute: by line, by sign and by number, not by colour alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from rlhf_fair.report import numbers as num
from rlhf_fair.report.display import Example, Examples, MarkedText, Piece

LEVELS = 3
LEAST = 0.1
"""Contributions below this share of the largest one of the pair are not marked."""
LONGEST = 4000
"""Characters of a text that are shown."""


def marked_examples(rows: Sequence[Mapping[str, Any]]) -> Examples | None:
    """Pairs of texts with marks; None where there is none to show."""
    items = tuple(item for item in map(_example, rows) if item)
    if not items:
        return None
    note = (
        "Texts as they were scored; they may be offensive. A solid line raises the reward of text a above that of text "
        "b, a broken one lowers it; the thicker, the more. What a word that both share contributes stands in text a."
    )
    return Examples(
        "words-examples", f"Example texts with marked words ({num.plural(len(items), 'pair')})", note, items
    )


def _example(row: Mapping[str, Any]) -> Example | None:
    texts = [text for text in row.get("texts") or () if isinstance(text, Mapping) and isinstance(text.get("text"), str)]
    if not texts:
        return None
    places = [_places(text) for text in texts]
    largest = max((abs(value) for found in places for _, _, value in found), default=0.0)
    gap = row.get("gap")
    shown = num.shown(gap, 2, sign=True) if isinstance(gap, float | int) else num.MISSING
    return Example(
        heading=f"{row.get('kind')}: gap {shown}",
        detail=str(row.get("why") or ""),
        texts=tuple(
            MarkedText(f"Text {text.get('side')}", _pieces(text["text"], found, largest))
            for text, found in zip(texts, places, strict=True)
        ),
    )


def _places(text: Mapping[str, Any]) -> list[tuple[int, int, float]]:
    """(start, end, contribution) in order, without what overlaps or lies outside the text."""
    found, at = [], 0
    rows = [row for row in text.get("words") or () if isinstance(row, Mapping)]
    usable = [row for row in rows if type(row.get("start")) is int and type(row.get("end")) is int]
    for row in sorted(usable, key=lambda row: int(row["start"])):
        start, end, value = row["start"], row["end"], row.get("contribution")
        if at <= start < end <= min(len(text["text"]), LONGEST) and isinstance(value, int | float):
            if math.isfinite(value):
                found.append((start, end, float(value)))
            at = end
    return found


def _pieces(text: str, places: Sequence[tuple[int, int, float]], largest: float) -> tuple[Piece, ...]:
    """The text cut at the words that are marked; nothing of it is lost."""
    pieces, at = [], 0
    for start, end, value in places:
        if largest == 0 or abs(value) < LEAST * largest:
            continue
        level = min(LEVELS, 1 + int(LEVELS * abs(value) / largest))
        if start > at:
            pieces.append(Piece(text[at:start]))
        tone = "up" if value > 0 else "down"
        pieces.append(Piece(text[start:end], f"{tone}-{level}", num.shown(value, 2, sign=True)))
        at = end
    rest = text[at:LONGEST] + (" …" if len(text) > LONGEST else "")
    return (*pieces, Piece(rest)) if rest else tuple(pieces)
