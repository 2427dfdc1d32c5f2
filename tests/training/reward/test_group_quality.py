from __future__ import annotations

import numpy as np
import pandas as pd

from rlhf_fair.training.reward.group_quality import SMALL, group_quality


def test_small_groups_are_counted_and_not_told_one_by_one() -> None:
    sizes = {"many": 40, "few": 3, "one": 1}
    labels = [name for name, n in sizes.items() for _ in range(n)]
    rng = np.random.default_rng(0)
    rating = rng.normal(size=len(labels))
    rows = pd.DataFrame(
        {"group.g": labels, "source": "s", "key": range(len(labels)), "rating": rating, "prediction": rating}
    )
    found = group_quality(rows, ["g"], seed=0)["g"]
    assert set(found) == {"many", f"(fewer than {SMALL})"}
    assert (found[f"(fewer than {SMALL})"]["groups"], found[f"(fewer than {SMALL})"]["n"]) == (2, 4)
    assert found["many"]["pearson_r"]["n"] == 40
    assert found["many"]["pearson_r"]["estimate"] > 0.999
