"""What a panel lacks for an assignment: which items call for more than all who may judge them can give, and of whom.

The proof is a smallest cut of the flow in `assignment_flow`: a set of classes of items and all that can reach them.
What is missing there is also the cheapest repair in judgements, since each new judgement mends one at most.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import sparse

from rlhf_fair.annotators.assignment_classes import Work, work
from rlhf_fair.annotators.assignment_eligibility import capacities, group_codes, group_labels
from rlhf_fair.annotators.assignment_flow import BoolArray, Flow, IntArray

ANYBODY, ANOTHER = "any group", "another group"
NAMED = 5
"""Classes that a sentence names at most."""


@dataclass(frozen=True)
class Shortages:
    """What cannot be had from a panel.

    Parameters
    ----------
    missing
        Fewest judgements that newcomers would have to give for every promise to hold; 0 = nothing is lacking.
    missing_without_groups
        The same if one group for each item were enough; where it is 0, only the different groups are lacking.
    classes
        One row for each class of items in a conflict: needs (in words), items, first_item, missing,
        eligible_annotators, eligible_capacity (items they may judge, other work aside), eligible_groups, recruit (whom
        it lacks: judgements by group), people (newcomers for that at the least, at the panel's median capacity).
    conflicts
        Sentences, each the proof for one set of classes that draw on the same people.
    more_capacity_would_do
        Whether nothing would be lacking if the same members judged more.
    """

    missing: int
    missing_without_groups: int
    classes: pd.DataFrame
    conflicts: tuple[str, ...]
    more_capacity_would_do: bool

    def __str__(self) -> str:
        rows = self.classes[self.classes["missing"] > 0]
        lacks = [f"{r.needs} (e.g. item {r.first_item}): {r.recruit}" for r in rows.head(NAMED).itertuples()]
        more = f"; and {len(rows) - NAMED} more kinds of items" if len(rows) > NAMED else ""
        other = "; or raise the capacity of those eligible" if self.more_capacity_would_do else ""
        return f"{'; '.join(self.conflicts)}. Cheapest repair: recruit for {'; '.join(lacks)}{more}{other}"


def shortages(
    items: pd.DataFrame,
    members: pd.DataFrame,
    *,
    ratings_per_item: int,
    distinct_groups: int = 1,
    group_columns: Sequence[str] = (),
    capacity_column: str = "capacity",
) -> Shortages:
    """What stands in the way of `assign` keeping every promise; the arguments are those of `assign`."""
    capacity = capacities(members, capacity_column, len(items))
    group = group_codes(members, group_columns)
    plan = work(items, members, capacity, group, ratings_per_item, distinct_groups)
    return find_shortages(plan, items["item_id"], group_labels(members, group_columns))


def find_shortages(plan: Work, item_id: pd.Series, labels: Sequence[str]) -> Shortages:
    """`shortages` of work that is prepared already; ``labels`` are the names of groups by code."""
    network, supply = plan.network, plan.supply
    flow = network.solve(supply)
    missing = network.demand - flow.taken
    free = network.with_again(network.demand).solve(supply)
    short = np.flatnonzero(network.short(flow)) if missing.any() else np.zeros(0, dtype=np.int64)
    rows = [_row(plan, flow, int(taker), missing, item_id, labels) for taker in short]
    total = int(network.demand.sum())
    return Shortages(
        int(missing.sum()),
        total - free.total,
        pd.DataFrame(rows, columns=list(_COLUMNS)),
        tuple(_conflicts(plan, short, missing)),
        plan.judgements_without_capacities() == total,
    )


_COLUMNS = (
    "needs",
    "items",
    "first_item",
    "missing",
    "eligible_annotators",
    "eligible_capacity",
    "eligible_groups",
    "recruit",
    "people",
)


def _row(
    plan: Work, flow: Flow, taker: int, missing: IntArray, item_id: pd.Series, labels: Sequence[str]
) -> tuple[object, ...]:
    eligible = plan.who.allowed[plan.who.member_kind, taker] & (plan.capacity > 0)
    n = int(plan.items[taker])
    recruits = _recruits(plan, flow, taker, int(missing[taker]), labels)
    usual = max(int(np.median(plan.capacity[plan.capacity > 0])), 1) if (plan.capacity > 0).any() else n
    return (
        plan.who.names[taker],
        n,
        item_id.iloc[int(np.argmax(plan.who.item_class == taker))],
        int(missing[taker]),
        int(eligible.sum()),
        int(np.minimum(plan.capacity[eligible], n).sum()),
        len(np.unique(plan.group[eligible])),
        ", ".join(f"{count} judgements by {name}" for name, count in recruits),
        sum(-(-count // min(n, usual)) for _, count in recruits),
    )


def _recruits(plan: Work, flow: Flow, taker: int, missing: int, labels: Sequence[str]) -> list[tuple[str, int]]:
    """Whose judgements would mend a class: of any group if repeats have room, else of as few groups as possible."""
    network, n = plan.network, int(plan.items[taker])
    if missing <= int(network.room[network.of_again][taker] - flow.again[taker]):
        return [(ANYBODY, missing)] if missing else []
    room = dict.fromkeys(range(len(labels)), n)
    mine = network.cells.taker == taker
    given = np.bincount(network.cells.group[mine], flow.cells[mine]).astype(np.int64)
    room.update({group: max(n - int(count), 0) for group, count in enumerate(given)})
    found: list[tuple[str, int]] = []
    for group, most in sorted(room.items(), key=lambda entry: -entry[1]):
        count = min(most, missing)
        if count and labels:
            found.append((labels[group], count))
            missing -= count
    while missing > 0:
        found.append((ANOTHER, min(n, missing)))
        missing -= min(n, missing)
    return found


def _conflicts(plan: Work, short: IntArray, missing: IntArray) -> list[str]:
    """One sentence for each set of short classes that share people."""
    network, cells = plan.network, plan.network.cells
    inside = np.isin(cells.taker, short)
    ends = (cells.giver[inside], network.givers + cells.taker[inside])
    size = network.givers + network.takers
    graph = sparse.coo_array((np.ones(int(inside.sum()), dtype=np.int8), ends), shape=(size, size))
    _, part_of = sparse.csgraph.connected_components(graph, directed=False)
    label = np.asarray(part_of)[network.givers + short]
    sentences = []
    for part in np.unique(label):
        takers = short[label == part]
        names = " or ".join(f"({plan.who.names[taker]})" for taker in takers[:NAMED])
        more = f" or {len(takers) - NAMED} other sets of needs" if len(takers) > NAMED else ""
        which = f" that need {names}{more}" if len(plan.items) > 1 else ""
        wanted, lacking = int(network.demand[takers].sum()), int(missing[takers].sum())
        able = int(_eligible(plan, takers).sum())
        sentences.append(
            f"{int(plan.items[takers].sum())} items{which} call for {wanted} judgements, "
            f"of which the {able} annotators eligible can give at most {wanted - lacking} under these limits: "
            f"{lacking} short"
        )
    return sentences


def _eligible(plan: Work, takers: IntArray) -> BoolArray:
    kinds = np.asarray(plan.who.allowed[:, takers].any(axis=1))
    return np.asarray(kinds[plan.who.member_kind] & (plan.capacity > 0))
