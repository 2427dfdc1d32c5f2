from __future__ import annotations

import numpy as np
import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from rlhf_fair.mitigations.examination import spread_over


@given(names=st.integers(1, 40), copies=st.integers(1, 12), n=st.integers(1, 300), seed=st.integers(0, 3))
def test_prompts_are_spread_evenly_over_names(names: int, copies: int, n: int, seed: int) -> None:
    """No name is drawn twice more than another; the table repeats them in order, which a stride would alias with."""
    table = pd.DataFrame({"name": np.tile(np.arange(names), copies)})
    found = spread_over(table, "name", n, np.random.default_rng(seed))
    assert len(found) == min(n, len(table))
    assert found.index.is_unique
    assert found.index.is_monotonic_increasing
    drawn = found["name"].value_counts().reindex(range(names), fill_value=0)
    assert drawn.max() - drawn.min() <= 1
    assert found.equals(spread_over(table, "name", n, np.random.default_rng(seed)))
