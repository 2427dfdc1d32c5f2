"""Work as a flow from kinds of people through their groups to classes of items, in whole judgements.

    source -> giver -> (class, group) -> class -> sink
                             \\-> again -/

A giver is a kind of people who may judge the same classes and share a group. What a group gives a class counts towards
different groups up to once for each item (the upper way); more than that goes ``again``, for which a class has as much
room as its items have slots beyond the different groups wanted. So the flow is full exactly when everybody's work can
be laid out with distinct people and enough distinct groups on every item: winding a line of n items never meets one
item twice with fewer than n judgements. Cells are kinds × classes, never people × items.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, sparse

from rlhf_fair.errors import SettingsError

IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]

LARGEST = 2**31 - 1
"""Most judgements at once: scipy's maximum flow counts in 32 bits."""


@dataclass(frozen=True)
class Cells:
    """Who can give what to whom: giver, taker, group and limit, each (cells,)."""

    giver: IntArray
    taker: IntArray
    group: IntArray
    limit: IntArray


@dataclass(frozen=True)
class Flow:
    """cells: (cells,); given: (givers,); taken: (takers,); again: by groups that an item already has, (takers,); net
    and residual: what each arc carries (negative against it), what it could still carry, (nodes, nodes)."""

    cells: IntArray
    given: IntArray
    taken: IntArray
    again: IntArray
    net: sparse.csr_array
    residual: sparse.csr_array

    @property
    def total(self) -> int:
        return int(self.taken.sum())


class Network:
    """The arcs, ready to be solved for several supplies.

    Parameters
    ----------
    givers, demand
        Number of givers; judgements each taker needs, (takers,).
    fresh
        (taker, group) codes of pairs -> judgements of that group that count towards different groups there.
    again
        Judgements by groups it already has that a taker has room for, (takers,).
    """

    def __init__(
        self,
        cells: Cells,
        givers: int,
        demand: IntArray,
        *,
        fresh: Callable[[IntArray, IntArray], IntArray],
        again: IntArray,
    ) -> None:
        if demand.sum() > LARGEST:
            raise SettingsError(f"{demand.sum()} judgements; allowed: at most {LARGEST} at once, so split the items")
        takers, groups = len(demand), int(cells.group.max(initial=0)) + 1
        pairs, pair = np.unique(cells.taker * groups + cells.group, return_inverse=True)
        self.cells, self.givers, self.takers, self.demand = cells, givers, takers, demand
        self.pair_taker, self.pair_group, self.pair = pairs // groups, pairs % groups, pair
        first = 1 + givers
        pair_node, again_node = first + np.arange(len(pairs)), first + len(pairs) + np.arange(takers)
        taker_node, self.sink = again_node + takers, first + len(pairs) + 2 * takers
        self.nodes, self.again_node, self.taker_node = self.sink + 1, again_node, taker_node
        source = np.zeros(givers, dtype=np.int64)
        parts = [
            (source, 1 + np.arange(givers), np.zeros(givers, dtype=np.int64)),
            (1 + cells.giver, pair_node[pair], cells.limit),
            (pair_node, taker_node[self.pair_taker], fresh(self.pair_taker, self.pair_group)),
            (pair_node, again_node[self.pair_taker], demand[self.pair_taker]),
            (again_node, taker_node, again),
            (taker_node, np.full(takers, self.sink), demand),
        ]
        self.tail, self.head, room = (np.concatenate([part[i] for part in parts]) for i in range(3))
        self.room = np.minimum(room, LARGEST)
        ends = np.cumsum([len(part[0]) for part in parts])
        self.of_givers, self.of_cells, self.of_fresh, self.of_repeats, self.of_again, self.of_demand = (
            slice(int(end) - len(part[0]), int(end)) for part, end in zip(parts, ends, strict=True)
        )

    def solve(self, supply: IntArray, limit: IntArray | None = None, *, start: sparse.csr_array | None = None) -> Flow:
        """A largest flow with at most ``supply`` (givers,) and ``limit`` (cells,).

        ``start``, another flow's ``net``, is extended: everybody gives at least what they gave, since a longer way
        never leads back through the source.
        """
        room = self.room.copy()
        room[self.of_givers] = np.minimum(supply, LARGEST)
        if limit is not None:
            room[self.of_cells] = np.minimum(limit, room[self.of_cells])
        capacity = self._matrix(room)
        left = capacity if start is None else sparse.csr_array(capacity - start)
        found = sparse.csgraph.maximum_flow(left, 0, self.sink).flow
        net = sparse.csr_array(found if start is None else start + found)
        residual = sparse.csr_array(capacity - net)
        residual.eliminate_zeros()
        carried = np.asarray(net[self.tail, self.head]).reshape(-1).astype(np.int64)
        return Flow(
            carried[self.of_cells],
            carried[self.of_givers],
            carried[self.of_demand],
            carried[self.of_again],
            net,
            residual,
        )

    def net(self, cells: IntArray) -> sparse.csr_array:
        """The flow in which cells carry what is given here, (cells,): as much of it as can be counts as fresh."""
        carried = np.zeros(len(self.room), dtype=np.int64)
        carried[self.of_cells] = cells
        carried[self.of_givers] = np.bincount(self.cells.giver, cells, self.givers)
        by_pair = np.bincount(self.pair, cells, len(self.pair_taker)).astype(np.int64)
        carried[self.of_fresh] = np.minimum(by_pair, self.room[self.of_fresh])
        carried[self.of_repeats] = by_pair - carried[self.of_fresh]
        carried[self.of_again] = np.bincount(self.pair_taker, carried[self.of_repeats], self.takers)
        carried[self.of_demand] = np.bincount(self.cells.taker, cells, self.takers)
        matrix = self._matrix(carried)
        return sparse.csr_array(matrix - matrix.T)

    def reached(self, flow: Flow) -> BoolArray:
        """(nodes,): True where more could still come to from the source: the source's side of the smallest cut."""
        found = np.zeros(self.nodes, dtype=np.bool_)
        found[sparse.csgraph.breadth_first_order(flow.residual, 0, return_predecessors=False)] = True
        return found

    def short(self, flow: Flow) -> BoolArray:
        """(takers,): True on the sink's side of the smallest cut nearest to it: jointly short of what they need."""
        backwards = sparse.csr_array(flow.residual.T)
        found = np.zeros(self.nodes, dtype=np.bool_)
        found[sparse.csgraph.breadth_first_order(backwards, self.sink, return_predecessors=False)] = True
        return np.asarray(found[self.taker_node])

    def fewest_repeats(self, supply: IntArray) -> IntArray:
        """The ``again`` rooms (takers,) with which all demand can be met, and least more of them in total.

        A network's matrix is totally unimodular, so the simplex method's corner is in whole judgements.
        """
        room, arcs = self.room.copy(), len(self.room)
        room[self.of_givers] = supply
        tail = np.concatenate([self.tail, self.again_node])
        head = np.concatenate([self.head, self.taker_node])
        upper = np.concatenate([room, self.demand])
        lower = np.zeros(len(upper))
        lower[self.of_demand] = self.demand
        balance = sparse.coo_array(
            (np.repeat([1.0, -1.0], len(tail)), (np.concatenate([tail, head]), np.tile(np.arange(len(tail)), 2))),
            shape=(self.nodes, len(tail)),
        ).tocsr()[1 : self.sink]
        cost = np.concatenate([np.zeros(arcs), np.ones(self.takers)])
        found = optimize.milp(
            cost,
            bounds=optimize.Bounds(lower, upper.astype(float)),
            constraints=optimize.LinearConstraint(balance, 0.0, 0.0),
        )
        assert found.x is not None, found.message  # the caller has seen that all demand can be met
        more = np.rint(found.x[arcs:]).astype(np.int64)
        return np.asarray(self.room[self.of_again] + more)

    def with_again(self, again: IntArray) -> Network:
        """The same network with other room for repeats, (takers,)."""
        other = copy(self)
        other.room = self.room.copy()
        other.room[self.of_again] = again
        return other

    def _matrix(self, values: IntArray) -> sparse.csr_array:
        shape, ends = (self.nodes, self.nodes), (self.tail, self.head)
        return sparse.csr_array(sparse.coo_array((values.astype(np.int32), ends), shape=shape))


def level_supply(network: Network, room: Callable[[int], IntArray], highest: int) -> IntArray:
    """What every giver gives (givers,) when people's loads are as level as the flow allows; demand must be reachable.

    ``room(level)`` is what givers can give when nobody does more than ``level``, up to ``highest``. Loads are raised
    together; givers that can get no more keep what they have, and the others go on. Sets of people and what they can
    give at most form a polymatroid, so filling up in this way leaves the smallest loads as large and the largest as
    small as they can be at once (Megiddo 1974; Fujishige 1980), to a judgement within each giver.
    """
    fixed = np.zeros(network.givers, dtype=np.int64)
    rising = np.ones(network.givers, dtype=np.bool_)
    total = int(network.demand.sum())
    while True:

        def supply(level: int, fixed: IntArray = fixed, rising: BoolArray = rising) -> IntArray:
            return np.where(rising, room(level), fixed)

        level = _highest(lambda level: int(supply(level).sum()) <= total, highest)
        flow = network.solve(supply(level))
        while flow.total < supply(level).sum():  # some are asked for more than they can give
            stuck = network.reached(flow)[1 : 1 + network.givers]
            most = flow.total - int(supply(level)[~stuck].sum())
            level = _highest(lambda level: int(supply(level)[stuck].sum()) <= most, level - 1)  # noqa: B023
            flow = network.solve(supply(level))
        flow = network.solve(supply(min(level + 1, highest)), start=flow.net)
        if flow.total == total:
            return flow.given
        stuck = network.reached(flow)[1 : 1 + network.givers] & rising
        fixed = np.where(stuck, flow.given, fixed)
        rising = rising & ~stuck


def _highest(fits: Callable[[int], bool], most: int) -> int:
    """The largest level from 0 to ``most`` that fits, where 0 does and larger ones never more than smaller ones."""
    low, high = 0, most
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low


def mixed(network: Network, supply: IntArray, rounds: int = 60) -> Flow:
    """A full flow at this supply in which givers spread over takers about in proportion to both, as far as it can.

    The proportions come from iterative proportional fitting; the flow may exceed them by as little as is feasible.
    """
    cells, demand = network.cells, network.demand
    wanted = np.minimum(supply[cells.giver], cells.limit).astype(float)
    for _ in range(rounds):
        for code, target in ((cells.taker, demand), (cells.giver, supply)):
            now = np.bincount(code, wanted, len(target))
            factor = np.divide(target, now, out=np.zeros(len(target)), where=now > 0)
            wanted = np.minimum(wanted * factor[code], cells.limit)
    for slack in (1.0, 1.1, 1.5, 3.0):
        flow = network.solve(supply, np.ceil(wanted * slack).astype(np.int64))
        if flow.total == demand.sum():
            return flow
    return network.solve(supply)
