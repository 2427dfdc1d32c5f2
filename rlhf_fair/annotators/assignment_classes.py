"""Assignment where items need a language or skills: a flow of kinds of people to classes of items, then winding.

The flow says how many judgements each kind of people gives each class (`assignment_flow`); people of a kind share them
evenly; then the people of each class are wound around its items as if there were no others (`assignment_winding`).
"""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass

import numpy as np
import pandas as pd

from rlhf_fair.annotators.assignment_eligibility import Eligibility, eligibility
from rlhf_fair.annotators.assignment_flow import BoolArray, Cells, IntArray, Network, level_supply, mixed
from rlhf_fair.annotators.assignment_winding import fill, shuffle, wind


@dataclass(frozen=True)
class Work:
    """What is to be shared out, and among whom.

    items (classes,): in each class; giver (members,): the giver each member belongs to; capacity (members,): at most
    the items a member may judge at all; group (members,); alike (givers,): True where all members have one capacity.
    """

    who: Eligibility
    items: IntArray
    giver: IntArray
    capacity: IntArray
    group: IntArray
    alike: BoolArray
    network: Network

    def room(self, level: int) -> IntArray:
        """What givers can give when nobody does more than ``level``, (givers,)."""
        return np.bincount(self.giver, np.minimum(self.capacity, level), len(self.alike)).astype(np.int64)

    @property
    def supply(self) -> IntArray:
        return self.room(int(self.capacity.max(initial=0)))

    def judgements_without_capacities(self) -> int:
        """Most judgements the same members could give if nobody's capacity were limited."""
        cells, network = self.network.cells, copy(self.network)
        members = np.bincount(self.giver, minlength=network.givers)
        network.room = network.room.copy()
        network.room[network.of_cells] = members[cells.giver] * self.items[cells.taker]
        return network.solve(members * self.items.sum()).total


def work(
    items: pd.DataFrame, members: pd.DataFrame, capacity: IntArray, group: IntArray, slots: int, distinct: int
) -> Work:
    """Classes, givers and the network between them.

    Members with the same eligibility and group are one giver where none could ever be given one item twice, that is,
    where their capacities do not exceed their smallest class; others are one only where their capacities are equal.
    So cells say all there is to say about single people.
    """
    who = eligibility(items, members)
    count = who.items
    capacity = np.minimum(capacity, (who.allowed @ count)[who.member_kind])
    smallest = np.where(who.allowed, count, np.iinfo(np.int64).max).min(axis=1)[who.member_kind]
    large = np.where(capacity > smallest, capacity, 0)
    keys = np.stack([who.member_kind, group, large], axis=1)
    givers, giver = np.unique(keys, axis=0, return_inverse=True)
    giver = giver.reshape(-1).astype(np.int64)
    cell_giver, taker = np.nonzero(who.allowed[givers[:, 0]])
    limit = np.zeros((len(givers), len(count)), dtype=np.int64)
    for number, n in enumerate(count):
        limit[:, number] = np.bincount(giver, np.minimum(capacity, n), len(givers))
    cells = Cells(cell_giver, taker, givers[cell_giver, 1], limit[cell_giver, taker])
    network = Network(
        cells, len(givers), slots * count, fresh=lambda taker, _: count[taker], again=(slots - distinct) * count
    )
    return Work(who, count, giver, capacity, group, givers[:, 2] > 0, network)


def assign_classes(plan: Work, slots: int, distinct: int, rng: np.random.Generator) -> IntArray:
    """Who judges each item, (items, slots), as places in the panel. All judgements must be feasible."""
    network, supply = plan.network, plan.supply
    if network.solve(supply).total < network.demand.sum():
        network = network.with_again(network.fewest_repeats(supply))
    level = level_supply(network, plan.room, int(plan.capacity.max()))
    cells = mixed(network, level).cells
    member, taker = _units(plan, level, cells, rng)
    person = np.empty((len(plan.who.item_class), slots), dtype=np.int64)
    for number, n in enumerate(plan.items.tolist()):
        people, loads = np.unique(member[taker == number], return_counts=True)
        _, group = np.unique(plan.group[people], return_inverse=True)
        line = wind(loads.astype(np.int64), group, n, rng).reshape(slots, n).T[rng.permutation(n)]
        shuffle(line, group, distinct, rng)
        person[plan.who.item_class == number] = people[line]
    return person


def _units(plan: Work, level: IntArray, cells: IntArray, rng: np.random.Generator) -> tuple[IntArray, IntArray]:
    """Every judgement's member and class, (judgements,) each: people of a giver share what it gives evenly.

    People whose capacity exceeds a class take turns, so that nobody gets more of a class than it has items; for the
    others any order does, and a random one mixes what they see.
    """
    loads = np.zeros(len(plan.giver), dtype=np.int64)
    ends = np.cumsum(np.bincount(plan.giver, minlength=len(level)))
    parts = np.split(np.argsort(plan.giver, kind="stable"), ends[:-1])
    for people, total in zip(parts, level.tolist(), strict=True):
        loads[people] = fill(plan.capacity[people], total, rng)
    place = np.empty(len(loads))
    place[np.lexsort((rng.random(len(loads)), -loads))] = np.arange(len(loads)) / len(loads)
    member = np.repeat(np.arange(len(loads)), loads)
    lap = np.arange(len(member)) - np.repeat(np.cumsum(loads) - loads, loads)
    giver = plan.giver[member]
    # one order in all laps, and who has a judgement more than others first: no stretch repeats anybody too soon
    turn = np.where(plan.alike[giver], lap + place[member], rng.random(len(member)))
    member = member[np.argsort(giver * (lap.max(initial=0) + 1) + turn, kind="stable")]  # by giver, then by turn
    by_giver = np.argsort(plan.network.cells.giver, kind="stable")
    return member, np.repeat(plan.network.cells.taker[by_giver], cells[by_giver])
