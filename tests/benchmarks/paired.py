"""A mean over seeds with its interval, for differences that are paired by seed."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.stats import t as student


def interval(values: pd.Series, digits: str = "+.1f") -> str:
    """Mean and 95 % limits by Student's t; of one seed the value alone."""
    mean = values.mean()
    if len(values) < 2:
        return f"{mean:{digits}}"
    half = student.ppf(0.975, len(values) - 1) * values.std() / np.sqrt(len(values))
    return f"{mean:{digits}} [{mean - half:{digits}}, {mean + half:{digits}}]"
