"""No group may be brought down to close a gap: a price on falling below a reference level."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from rlhf_fair.training.fairness.snapshot import GroupSnapshot
from rlhf_fair.training.fairness.sums import Floats


def floor_prices(
    snapshot: GroupSnapshot, reference_means: Mapping[str, float], *, strength: float, tolerance: float | None
) -> Floats:
    """(groups,) prices of strength / 2 sum_g p_g [ref_g - tolerance_g - mu_g]+^2: negative where a group has fallen.

    Over all strata together: a level is promised to a group, not to its part in one template. Groups without a
    reference have no floor. Without a ``tolerance`` it is one standard error of the group's running mean: a mean that
    only wanders about its floor then pays a fifth of what it would at none, E[Z - 1]+ = .083 against E[Z]+ = .399; a
    group with too few samples for a standard error pays nothing.
    """
    floors = np.array([reference_means.get(group, -np.inf) for group in snapshot.groups])
    given = np.nan_to_num(snapshot.standard_errors, nan=np.inf) if tolerance is None else tolerance
    return -strength * np.maximum(floors - given - snapshot.means, 0.0)
