"""JSON that stands in one cell of a table."""

from __future__ import annotations

import json
from typing import Any


def json_cell(text: str) -> Any:
    """What the cell holds.

    Raises
    ------
    ValueError
        The text is no JSON, or none that can be read: nested too deeply, or a whole number of thousands of digits.
    """
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
