"""Is an answer a refusal? A short list of openings, so that refusals are counted beside every gap."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_REFUSAL = re.compile(
    r"^\W*(?:i(?:'m| am) (?:sorry|afraid|unable|not able)|i (?:cannot|can't|can not|won't|will not) "
    r"(?:help|assist|answer|comment|do|provide|comply|assess|give)|as an ai\b|sorry,? (?:but )?i)",
    re.IGNORECASE,
)


def is_refusal(texts: Sequence[str]) -> NDArray[np.bool_]:
    """(n,) True where a text opens like a refusal; a screen with errors both ways, not a classifier."""
    return np.array([bool(_REFUSAL.match(text.strip())) for text in texts], dtype=bool)
