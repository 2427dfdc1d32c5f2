"""How alike two renderings of the same data are: packed blocks by what they hold, texts by their words and numbers."""

from __future__ import annotations

import base64
import math
import re
import zlib
from typing import Literal

from rlhf_fair.report.embed import FIGURES_ID

Likeness = Literal["same bytes", "same content", "other numbers", "other words"]
"""``same content``: only the packing differs. ``other numbers``: under the same words."""

RELATIVE, ABSOLUTE = 1e-9, 1e-12
"""Of coordinates in plots: rounding of the last digit may differ between machines, and nobody can see it."""

_BLOCK = re.compile(r'<script type="application/octet-stream" id="([^"<>]*)">([A-Za-z0-9+/=]*)</script>')
_WRITTEN = re.compile(r"[-−+]?\.?\d[\d.,]*")
_JSON_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?")
_GZIP = 31


def likeness(held: bytes, made: bytes) -> Likeness:
    """``held``: of a folder, of which nothing is believed; ``made``: rendered from its data."""
    if held == made:
        return "same bytes"
    ours, theirs = _BLOCK.split(made.decode()), _BLOCK.split(held.decode("utf-8", errors="replace"))
    if len(ours) != len(theirs):
        return "other words"
    # split at two groups: text, id, packed, text, id, packed, ..., text
    found = {
        _packed(theirs[at], ours[at], figures=ours[at - 1] == FIGURES_ID)
        if at % 3 == 2
        else _text(theirs[at], ours[at])
        for at in range(len(ours))
    }
    order: tuple[Likeness, ...] = ("other words", "other numbers")
    return next((worst for worst in order if worst in found), "same content")


def line_of_difference(held: bytes, made: bytes) -> int:
    """The first line, counted from 1, at which they differ."""
    ours, theirs = made.splitlines(), held.splitlines()
    pairs = zip(ours, theirs, strict=False)
    return next((at for at, (a, b) in enumerate(pairs, 1) if a != b), min(len(ours), len(theirs)) + 1)


def _text(held: str, made: str) -> Likeness:
    if held == made:
        return "same content"
    return "other numbers" if _WRITTEN.sub("#", held) == _WRITTEN.sub("#", made) else "other words"


def _packed(held: str, made: str, *, figures: bool) -> Likeness:
    if held == made:
        return "same content"
    ours = _unpacked(made)
    theirs = _unpacked(held, most_bytes=2 * len(ours or b"") + 1)  # bounds what a hostile block can unpack to
    if ours is None or theirs is None:
        return "other words"
    before, after = theirs.decode("utf-8", errors="replace"), ours.decode()
    found = _text(before, after)
    return "same content" if figures and _close(before, after) else found


def _close(held: str, made: str) -> bool:
    """Whether two texts of JSON differ in nothing but the last digits of numbers."""
    if _JSON_NUMBER.sub("#", held) != _JSON_NUMBER.sub("#", made):
        return False
    pairs = zip(_JSON_NUMBER.findall(held), _JSON_NUMBER.findall(made), strict=True)
    return all(a == b or math.isclose(float(a), float(b), rel_tol=RELATIVE, abs_tol=ABSOLUTE) for a, b in pairs)


def _unpacked(block: str, most_bytes: int = 0) -> bytes | None:
    """The whole of one gzip stream and nothing behind it; None where it is none or longer than ``most_bytes``."""
    try:
        packed = base64.b64decode(block, validate=True)
        stream = zlib.decompressobj(wbits=_GZIP)
        data = stream.decompress(packed, most_bytes)
    except (ValueError, zlib.error):
        return None
    return data if stream.eof and not stream.unused_data else None
