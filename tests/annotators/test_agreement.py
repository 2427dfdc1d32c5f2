"""α by kind of judgement and by group of annotators."""

from __future__ import annotations

import pandas as pd

from rlhf_fair.annotators.agreement import agreement_table


def test_table_by_kind_and_group() -> None:
    feedback = pd.DataFrame(
        {
            "item_id": ["x", "x", "y", "y", "x", "y"],
            "annotator_id": ["p", "q", "p", "q", "r", "r"],
            "kind": "pair",
            "choice": ["a", "a", "b", "b", "b", "a"],
        }
    )
    table = agreement_table(feedback, groups=pd.Series({"p": "g", "q": "g"})).set_index("group")
    assert table.index.tolist() == ["(all)", "g", "(unknown)"]
    assert table.loc["g", "alpha"] == 1
    assert table.loc["(all)", "alpha"] < 0.1
    assert table.loc["(unknown)", "reason"] == "no unit has two ratings"
