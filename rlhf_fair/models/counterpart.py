"""Which tokens a text shares with its counterpart, and in which it differs."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import SequenceMatcher
from typing import get_args

from rlhf_fair.errors import SettingsError
from rlhf_fair.models.requests import PseudoLogLikelihood, Tokens


def check_tokens(requests: Sequence[PseudoLogLikelihood]) -> None:
    """Raise `SettingsError` for a choice of tokens that is unknown or has no counterpart to refer to."""
    for request in requests:
        if request.tokens not in get_args(Tokens):
            raise SettingsError(f"request {request.id!r}: tokens is {request.tokens!r}, not one of {get_args(Tokens)}")
        if request.tokens != "all" and not request.counterpart:
            raise SettingsError(f"request {request.id!r}: {request.tokens!r} tokens need a counterpart; it is empty")


def chosen_positions(ids: Sequence[int], counterpart: Sequence[int], tokens: Tokens) -> list[int]:
    """Positions in ``ids`` that are scored: all, the "shared" ones, or the "changed" ones.

    Shared tokens are the matching blocks of the longest-match comparison of the two id sequences, as in the published
    CrowS-Pairs evaluation (Nangia et al. 2020), so both texts of a pair have equally many, in the same order. That
    comparison is not symmetric in its two arguments; here they are put in a fixed order first, so that the two texts
    of a pair always agree on what they share. (Of the 1,508 published pairs one gets another, equally long match than
    with the more stereotyped sentence first.)

    >>> chosen_positions([7, 1, 8], [7, 2, 3, 8], "shared")
    [0, 2]
    """
    if tokens == "all":
        return list(range(len(ids)))
    swapped = list(counterpart) < list(ids)
    pair = (counterpart, ids) if swapped else (ids, counterpart)
    shared: set[int] = set()
    for block in SequenceMatcher(None, *pair, autojunk=False).get_matching_blocks():
        begin = block.b if swapped else block.a
        shared.update(range(begin, begin + block.size))
    return [index for index in range(len(ids)) if (index in shared) == (tokens == "shared")]
