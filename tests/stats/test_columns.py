from __future__ import annotations

import numpy as np
import pytest

from rlhf_fair.errors import RowError
from rlhf_fair.stats.columns import (
    check_among,
    check_lengths,
    check_shares,
    design_weights,
    kish_effective_n,
    kish_effective_rows,
    numbers,
)


def test_faults_name_column_value_and_what_is_allowed() -> None:
    with pytest.raises(RowError, match="b has 1 rows, a has 2"):
        check_lengths({"none given": None, "b": [1]}, 2, "a")
    with pytest.raises(RowError, match=r"decision holds 2; allowed: 0, 0\.5, 1 and NaN for missing"):
        check_among("decision", np.array([0.5, np.nan, 2.0]), (0, 0.5, 1))
    with pytest.raises(RowError, match=r"share holds -0\.5; allowed: \[0, 1\]"):
        check_shares("share", np.array([np.nan, 0.0, 1.0, -0.5]))
    with pytest.raises(RowError, match=r"x has shape \(1, 2\); allowed: one number per row"):
        numbers("x", [[1, 2]])
    with pytest.raises(RowError, match="x holds inf"):
        check_among("x", np.array([1, np.inf]), (0, 1))
    with pytest.raises(RowError, match="weights row 2: 0; allowed: positive finite numbers"):
        design_weights([1, 0], 2)


def test_no_weights_are_weights_of_one() -> None:
    assert design_weights(None, 3).tolist() == [1, 1, 1]


def test_kish() -> None:
    assert kish_effective_n([2, 2, 2]) == pytest.approx(3)  # equal weights lose nothing
    assert kish_effective_n([1, 0, 0]) == pytest.approx(1)
    assert np.isnan(kish_effective_n([0, 0]))


def test_kish_by_group() -> None:
    # 10^2 / 22 and (1 + 1)^2 / 2
    found = kish_effective_rows(np.array([1.0, 1, 1, 1, 3, 3, 1, 1]), np.repeat([0, 1], [6, 2]), 3)
    assert found[:2] == pytest.approx([100 / 22, 2])
    assert np.isnan(found[2])
