"""The columns of held-out records that are ours, beside those that come from the table of prompts."""

from __future__ import annotations

TEXT, REWARD, LENGTH, REFUSED, UNFINISHED, LOG_RATIO = "text", "reward", "length", "refused", "unfinished", "log_ratio"
SAMPLE, SCORE = "sample", "score"
MEASURED = (LENGTH, UNFINISHED, LOG_RATIO, REFUSED, REWARD)
"""What is measured of every answer."""
OURS = (SAMPLE, TEXT, *MEASURED, SCORE)
"""Names that a group, a stratum or a cluster cannot have."""
PREFIXES = ("score.", "reward.")
"""How the columns of rulers and of single rewards begin."""


def is_ours(column: str) -> bool:
    """Whether a column of records has a meaning of its own.

    >>> is_ours("length"), is_ours("reward.kindness"), is_ours("gender")
    (True, True, False)
    """
    return column in OURS or column.startswith(PREFIXES)
