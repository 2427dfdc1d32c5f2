"""Which raters make a group that a rule may treat as one: those who said who they are, and are not too few.

Who prefers not to say has nothing in common with others who do not; and the mean of one or two raters is their own
opinion, which would weigh as much as a group of hundreds, or veto as its worst-off. Neither is a group for the rules
that treat groups alike (group-balanced, max-min, jury). Their judgements still count, one by one, in the overall mean.

The least size is counted in raters of the whole feedback and not on the item: with three judgements an item almost
every group is a single rater there, and a least size of two would leave no groups at all. Over the items of a
collection the single raters change, so that none of them is the group.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import pandas as pd

from rlhf_fair.annotators.population import CROSS
from rlhf_fair.errors import SettingsError

MIN_GROUP = 5
"""Raters a group needs by default: no one of them is then more than a fifth of it."""

UNDISCLOSED = frozenset({"prefer_not_to_say", "prefer_not_to_disclose", "unknown", "(unknown)"})
"""Levels that disclose nothing, in lower case and with underscores for blanks and hyphens."""

NO_GROUP = "(unknown)"


@dataclass(frozen=True)
class CountedGroups:
    """Result of `counted_groups`.

    ``groups``: by annotator_id, missing where somebody is of no group that counts. ``counted``, ``too_small``: raters
    with judgements by group; ``undisclosed``: such raters without a group. All of them add up to the raters.
    """

    groups: pd.Series
    counted: dict[str, int]
    too_small: dict[str, int]
    undisclosed: int


def counted_groups(
    groups: pd.Series,
    raters: Collection[str],
    *,
    min_group: int = MIN_GROUP,
    count_undisclosed: bool = False,
    keep: Collection[str] = (),
) -> CountedGroups:
    """Take out of ``groups`` who makes no group.

    Parameters
    ----------
    groups
        By annotator_id, crossed levels joined by ``*``; missing where not known.
    raters
        Those with judgements; others are not counted.
    min_group
        Least raters of a group, >= 1.
    count_undisclosed
        Treat those who did not say as groups like any other, under `NO_GROUP` or the level they have.
    keep
        Groups that count whatever their size, such as those given seats by name.
    """
    if min_group < 1:
        raise SettingsError(f"min_group {min_group}; allowed: 1 or more raters")
    label = groups.astype("object").where(groups.notna(), NO_GROUP).astype("str")
    silent = label.map(_undisclosed)
    if count_undisclosed:
        silent = pd.Series(False, index=label.index)
    silent &= ~label.isin(list(keep))
    judged = label.index.isin(list(raters))
    sizes = {str(name): int(n) for name, n in label[judged & ~silent].value_counts().sort_index().items()}
    too_small = {name: n for name, n in sizes.items() if n < min_group and name not in keep}
    return CountedGroups(
        groups=label.astype("object").where(~silent & ~label.isin(list(too_small))),
        counted={name: n for name, n in sizes.items() if name not in too_small},
        too_small=too_small,
        undisclosed=int((silent & judged).sum()),
    )


def _undisclosed(label: str) -> bool:
    """Whether a level, or one of those crossed, discloses nothing.

    >>> [_undisclosed(label) for label in ("woman", "Prefer not to say", "woman*unknown")]
    [False, True, True]
    """
    return any(level.strip().lower().replace(" ", "_").replace("-", "_") in UNDISCLOSED for level in label.split(CROSS))
