"""Which words two nearly equal texts share, and which of them are exchanged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

from rlhf_fair.models.word_spans import Word


@dataclass(frozen=True)
class Exchange:
    """Neighbouring words of one text, ``a``, in the place of those of the other, ``b``; either may be empty."""

    a: tuple[int, ...]
    b: tuple[int, ...]


@dataclass(frozen=True)
class Alignment:
    """Positions of words. Every word of either text is in ``shared`` or in one of the ``exchanges``, once."""

    shared: tuple[tuple[int, int], ...]
    exchanges: tuple[Exchange, ...]


def align(a: Sequence[Word], b: Sequence[Word]) -> Alignment:
    """Line up two texts by their longest common runs of words, as written (Ratcliff & Metzener 1988, by difflib).

    That comparison is not symmetric; here the texts are put in a fixed order first, so that `align(b, a)` is the
    mirror image of `align(a, b)`.
    """
    texts_a, texts_b = [word.text for word in a], [word.text for word in b]
    swapped = texts_b < texts_a
    first, second = (texts_b, texts_a) if swapped else (texts_a, texts_b)
    shared: list[tuple[int, int]] = []
    exchanges: list[Exchange] = []
    for kind, i, i_end, j, j_end in SequenceMatcher(None, first, second, autojunk=False).get_opcodes():
        in_a, in_b = (range(j, j_end), range(i, i_end)) if swapped else (range(i, i_end), range(j, j_end))
        if kind == "equal":
            shared += zip(in_a, in_b, strict=True)
        else:
            exchanges.append(Exchange(tuple(in_a), tuple(in_b)))
    return Alignment(tuple(shared), tuple(exchanges))
