"""How alike two renderings of the same data are: packed blocks by what they hold, texts by their words and numbers."""

from __future__ import annotations

import base64
import re
import zlib
from typing import Literal

Likeness = Literal["same bytes", "same content", "other numbers", "other words"]
"""``same content``: only the packing differs. ``other numbers``: under the same words."""

_BLOCK = re.compile(r'<script type="application/octet-stream" id="([^"<>]*)">([A-Za-z0-9+/=]*)</script>')
_WRITTEN = re.compile(r"[-−+]?\.?\d[\d.,]*")
_GZIP = 31


def likeness(held: bytes, made: bytes) -> Likeness:
    """``held``: of a folder, of which nothing is believed; ``made``: rendered from its data."""
    if held == made:
        return "same bytes"
    ours, theirs = _BLOCK.split(made.decode()), _BLOCK.split(held.decode("utf-8", errors="surrogateescape"))
    if len(ours) != len(theirs):
        return "other words"
    # split at two groups: text, id, packed, text, id, packed, ..., text
    judges = (_text, _text, _packed)
    found = {judges[at % 3](theirs[at], ours[at]) for at in range(len(ours))}
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


def _packed(held: str, made: str) -> Likeness:
    if held == made:
        return "same content"
    ours = _unpacked(made)
    assert ours is not None
    theirs = _unpacked(held, most_bytes=2 * len(ours) + 1)  # bounds what a hostile block can unpack to
    return "other words" if theirs is None else _text(theirs.decode("utf-8", errors="surrogateescape"), ours.decode())


def _unpacked(block: str, most_bytes: int = 0) -> bytes | None:
    """The whole of one gzip stream and nothing behind it; None where it is none or longer than ``most_bytes``."""
    try:
        packed = base64.b64decode(block, validate=True)
        stream = zlib.decompressobj(wbits=_GZIP)
        data = stream.decompress(packed, most_bytes)
    except (ValueError, zlib.error):
        return None
    return data if stream.eof and not stream.unused_data else None
