"""What was measured in both audits from the compared items, and again without each group of clusters."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rlhf_fair.audit.compare_items import Matched
from rlhf_fair.audit.compare_kind import Kind
from rlhf_fair.audit.findings import Measurement, finding_id
from rlhf_fair.errors import SettingsError
from rlhf_fair.stats.columns import Floats
from rlhf_fair.stats.grouped_jackknife import Heard, LeaveOuts, leave_groups_out

MISSING = (np.nan, 0)


@dataclass(frozen=True)
class Numbers:
    """``a``, ``b``: the V numbers with the same ids, in the order of A. ``only_a``, ``only_b``: ids of the others."""

    a: tuple[Measurement, ...]
    b: tuple[Measurement, ...]
    only_a: tuple[str, ...]
    only_b: tuple[str, ...]

    @property
    def ids(self) -> list[str]:
        """The ids of the findings that they are, or would be if the plan had limits for them."""
        return [finding_id(m) for m in self.a]


def numbers_of(matched: Matched, kind: Kind) -> Numbers:
    """All numbers of the matched items, but for second opinions that take too long to be computed often.

    Refused where A and B have none in common.
    """
    a, b = ({finding_id(m): m for m in kind.measure(rows)} for rows in (matched.a, matched.b))
    often = kind.again(matched.a)(np.ones(len(matched.a), dtype=bool))
    shared = [id for id in a if id in b and id in often]
    if not shared:
        raise SettingsError(
            f"the two audits have no number in common: A has {next(iter(a), 'none')!r}, B {next(iter(b), 'none')!r}; "
            "allowed: models that were asked in the same way"
        )
    only_a, only_b = tuple(id for id in a if id not in b), tuple(id for id in b if id not in a)
    return Numbers(tuple(a[id] for id in shared), tuple(b[id] for id in shared), only_a, only_b)


def leave_outs_of(
    matched: Matched, kind: Kind, numbers: Numbers, *, n_groups: int, seed: int, heard: Heard | None = None
) -> list[LeaveOuts]:
    """Of 2 V values, A's numbers and then B's: the same clusters are left out of both."""
    ids = numbers.ids

    again = [kind.again(records) for records in (matched.a, matched.b)]

    def recompute(kept: NDArray[np.bool_]) -> tuple[Floats, Floats]:
        both = np.array([found.get(id, MISSING) for found in (one(kept) for one in again) for id in ids])
        used = both[:, 1].reshape(2, -1).sum(axis=0)
        return both[:, 0], np.tile(used, 2)

    return leave_groups_out(
        recompute,
        matched.ways(kind.clusters, kind.apart),
        n_groups=n_groups,
        apart=matched.codes(kind.apart) if kind.apart else None,
        rng=np.random.default_rng(seed),
        heard=heard,
    )
