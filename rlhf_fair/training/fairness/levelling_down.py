"""No group may be brought down to close a gap: a price on falling below a reference level."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from rlhf_fair.training.fairness.snapshot import GroupSnapshot
from rlhf_fair.training.fairness.sums import Floats


def floor_prices(
    snapshot: GroupSnapshot, reference_means: Mapping[str, float], *, strength: float, tolerance: float
) -> Floats:
    """(groups,) prices of strength / 2 sum_g p_g [ref_g - tolerance - mu_g]+^2: negative where a group has fallen.

    Over all strata together: a level is promised to a group, not to its part in one template. Groups without a
    reference have no floor.
    """
    floors = np.array([reference_means.get(group, -np.inf) for group in snapshot.groups])
    return -strength * np.maximum(floors - tolerance - snapshot.means, 0.0)
