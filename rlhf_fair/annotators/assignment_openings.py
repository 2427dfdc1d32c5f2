"""Judgements that drop-outs left open, and the search for who takes them: in rounds, then by a largest flow."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from rlhf_fair.annotators.assignment_eligibility import BoolArray, IntArray, capacities, eligibility, group_codes
from rlhf_fair.annotators.assignment_flow import Cells, Network
from rlhf_fair.annotators.assignment_leavers import Leavers
from rlhf_fair.annotators.assignment_orders import interleaved
from rlhf_fair.annotators.assignment_places import places
from rlhf_fair.annotators.assignment_winding import fill_up
from rlhf_fair.errors import RowError
from rlhf_fair.tables import require_columns

ROUNDS = 12
MOST_CELLS = 4_000_000
"""Items x people that the exact search looks at; beyond, only items still open take part in it."""
OPEN = -1


@dataclass(frozen=True)
class RepairTerms:
    """What the assignment promised; a group is a combination of levels of ``group_columns``."""

    distinct_groups: int = 1
    group_columns: tuple[str, ...] = ()
    capacity_column: str = "capacity"


class Openings:
    """Open judgements, who sits on the affected items, and what everybody could still take.

    ``load`` is all that was assigned to a person, judged already or not: capacities are for the whole collection, and
    level totals keep the clusters of an analysis even.
    """

    def __init__(
        self,
        assignments: pd.DataFrame,
        people: pd.DataFrame,
        leavers: Leavers,
        items: pd.DataFrame | None,
        terms: RepairTerms,
        rng: np.random.Generator,
    ) -> None:
        require_columns(assignments, ["item_id", "annotator_id", "slot"], "assignments")
        self.table, self.people, self.terms, self.rng = assignments, people, terms, rng
        self.person = places(assignments["annotator_id"], people["annotator_id"])
        if (self.person < 0).any():
            stranger = assignments["annotator_id"].iloc[int(np.argmax(self.person < 0))]
            raise RowError(f"assignments: {stranger!r} is neither in the panel nor in the pool")
        self.gone = gone = people["annotator_id"].isin(list(leavers.annotator_ids)).to_numpy(dtype=np.bool_)
        self.rows = np.flatnonzero(leavers.open_rows)
        self.was = self.person[self.rows]
        self.group = group_codes(people, terms.group_columns)
        load = np.bincount(self.person, minlength=len(people)).astype(np.int64)
        most = capacities(people, terms.capacity_column, max(len(assignments), 1))
        self.load, self.spare = load, np.where(gone, 0, np.maximum(most - load, 0))
        self._seat(assignments["item_id"], items)
        self.now = np.full(len(self.rows), OPEN, dtype=np.int64)
        shown = assignments["order"].iloc[self.rows].to_numpy() if "order" in assignments else np.zeros(len(self.rows))
        self.sign = np.where(shown == "ab", 1, -1)

    def _seat(self, item_id: pd.Series, items: pd.DataFrame | None) -> None:
        """item (open,): the affected item of each open judgement; team (items, most): who stays on it, padded."""
        affected = item_id.iloc[self.rows]
        self.item_ids = affected.drop_duplicates(ignore_index=True)
        self.item, where = places(affected, self.item_ids), places(item_id, self.item_ids)
        concerned = np.flatnonzero(where >= 0)
        where = where[concerned]
        self.concerned, self.concerned_item = concerned, where  # rows of the affected items, and which those are
        stays = np.ones(len(item_id), dtype=np.bool_)
        stays[self.rows] = False
        stays = stays[concerned]
        where, who = where[stays], self.person[concerned[stays]]
        order = np.argsort(where, kind="stable")
        where, who = where[order], who[order]
        rank = np.arange(len(where)) - np.searchsorted(where, where)
        n, wide = len(self.item_ids), int(rank.max(initial=-1)) + 1
        holes = np.bincount(self.item, minlength=n)
        first = np.argsort(self.item, kind="stable")
        self.seat = np.empty(len(self.item), dtype=np.int64)
        self.seat[first] = wide + np.arange(len(first)) - np.searchsorted(self.item[first], self.item[first])
        self.team = np.full((n, wide + int(holes.max(initial=0))), OPEN, dtype=np.int64)
        self.team[where, rank] = who
        if items is None:
            self.item_class, self.allowed = np.zeros(n, dtype=np.int64), np.ones((1, 1), dtype=np.bool_)
            self.kind = np.zeros(len(self.people), dtype=np.int64)
            return
        number = places(items["item_id"], self.item_ids)  # looking up many among few is faster
        row = np.full(n, -1, dtype=np.int64)
        row[number[number >= 0]] = np.flatnonzero(number >= 0)
        if (row < 0).any():
            raise RowError(f"items: {self.item_ids[int(np.argmax(row < 0))]!r} of the assignments is missing")
        who_may = eligibility(items.iloc[row], self.people)
        self.item_class, self.allowed, self.kind = who_may.item_class, who_may.allowed, who_may.member_kind

    @property
    def open(self) -> BoolArray:
        return np.asarray(self.now == OPEN)

    def needed(self) -> IntArray:
        """New groups that each item's open judgements have to bring, (items,)."""
        groups = distinct_known(self.team, self.group)
        holes = np.bincount(self.item[self.open], minlength=len(self.team))
        return np.asarray(np.clip(self.terms.distinct_groups - groups, 0, holes), dtype=np.int64)

    def in_rounds(self) -> None:
        """Offer open judgements, one of an item at a time, first to people of the same group, then to anybody."""
        for attempt in range(ROUNDS):
            before = int(self.open.sum())
            if not before:
                return
            left = np.flatnonzero(self.open)
            batch = left[np.unique(self.item[left], return_index=True)[1]]
            self._offer(batch, same_group=attempt < ROUNDS // 2)

    def _offer(self, batch: IntArray, *, same_group: bool) -> None:
        classes = self.item_class[self.item[batch]]
        groups = self.group[self.was[batch]] if same_group else np.zeros(len(batch), dtype=np.int64)
        key = classes * (int(self.group.max(initial=0)) + 1) + groups
        order = np.lexsort((self.rng.random(len(batch)), key))
        batch, key = batch[order], key[order]
        must = self.needed() >= np.bincount(self.item[self.open], minlength=len(self.team))
        for part in np.split(batch, np.flatnonzero(np.diff(key)) + 1):
            able = self.allowed[self.kind, self.item_class[self.item[part[0]]]] & (self.spare > 0)
            if same_group:
                able &= self.group == self.group[self.was[part[0]]]
            candidates = np.flatnonzero(able)
            count = min(len(part), int(self.spare[candidates].sum()))
            if count == 0:
                continue
            units = fill_up(self.load[candidates], self.spare[candidates], count, self.rng)
            shuffled = self.rng.permutation(len(candidates))
            line = np.repeat(candidates[shuffled], units[shuffled])
            taking = part[:count]
            taking = taking[interleaved(self.sign[taking])]
            team = self.team[self.item[taking]]
            fits = ~(team == line[:, None]).any(axis=1)
            known = ((self.group[team] == self.group[line][:, None]) & (team != OPEN)).any(axis=1)
            fits &= ~(must[self.item[taking]] & known)
            self._take(taking[fits], line[fits])

    def _take(self, judgement: IntArray, person: IntArray) -> None:
        self.now[judgement] = person
        self.team[self.item[judgement], self.seat[judgement]] = person
        taken = np.bincount(person, minlength=len(self.load))
        self.load, self.spare = self.load + taken, self.spare - taken

    def by_flow(self) -> bool:
        """Fill what is open by letting new judgements change hands; returns whether all of them could take part."""
        room = self.spare + np.bincount(self.now[~self.open], minlength=len(self.spare))
        candidates = np.flatnonzero(room > 0)
        every = len(self.team) * len(candidates) <= MOST_CELLS
        part = (
            np.arange(len(self.team))
            if every
            else np.unique(self.item[self.open])[: MOST_CELLS // max(len(candidates), 1)]
        )
        mine = np.isin(self.item, part)
        held = mine & ~self.open
        np.subtract.at(self.load, self.now[held], 1)
        np.add.at(self.spare, self.now[held], 1)
        before = self.now.copy()
        self.now[mine] = OPEN
        self.team[self.item[mine], self.seat[mine]] = OPEN
        cells, network = self._network(part, candidates)
        if not len(cells.giver):
            return every
        place = np.searchsorted(part, self.item[held])
        width = len(candidates) + 1
        key, wanted = cells.taker * width + cells.giver, place * width + np.searchsorted(candidates, before[held])
        start = np.isin(key, wanted).astype(np.int64)
        supply = self.spare[candidates]
        flow = network.solve(supply, start=network.net(start))
        relaxed = network.with_again(network.demand)
        flow = relaxed.solve(supply, start=flow.net)
        self._settle(part, candidates, cells, flow.cells, before, mine)
        return every

    def _network(self, part: IntArray, candidates: IntArray) -> tuple[Cells, Network]:
        """Candidates to items; a group counts as fresh once where it is not on the item yet."""
        may = self.allowed[self.kind[candidates]][:, self.item_class[part]]
        for seat in range(self.team.shape[1]):
            sits = self.team[part, seat]
            there = np.searchsorted(candidates, sits)
            known = (sits != OPEN) & (there < len(candidates))
            known[known] = candidates[there[known]] == sits[known]
            may[there[known], np.flatnonzero(known)] = False
        giver, taker = np.nonzero(may)
        groups = int(self.group.max(initial=0)) + 1
        team = self.team[part]
        there = np.unique((np.arange(len(part))[:, None] * groups + self.group[team])[team != OPEN])
        holes = np.bincount(self.item, minlength=len(self.team))[part]
        needed = self.needed()[part]

        def fresh(item: IntArray, group: IntArray) -> IntArray:
            return np.where(np.isin(item * groups + group, there), 0, 1).astype(np.int64)

        cells = Cells(giver, taker, self.group[candidates[giver]], np.ones(len(giver), dtype=np.int64))
        return cells, Network(cells, len(candidates), holes, fresh=fresh, again=holes - needed)

    def _settle(
        self, part: IntArray, candidates: IntArray, cells: Cells, flow: IntArray, before: IntArray, mine: BoolArray
    ) -> None:
        """Seat the flow's people: who was there already keeps the judgement, others take the free ones in turn."""
        taker, person = part[cells.taker[flow > 0]], candidates[cells.giver[flow > 0]]
        people = len(self.load)
        chosen = taker * people + person
        kept = mine & (before != OPEN) & np.isin(self.item * people + before, chosen)
        self._take(np.flatnonzero(kept), before[kept])
        new = ~np.isin(chosen, self.item[kept] * people + before[kept])
        taker, person = taker[new], person[new]
        order = np.argsort(taker, kind="stable")
        taker, person = taker[order], person[order]
        free = np.flatnonzero(mine & ~kept)
        free = free[np.argsort(self.item[free], kind="stable")]
        rank = np.arange(len(taker)) - np.searchsorted(taker, taker)
        self._take(free[np.searchsorted(self.item[free], taker) + rank], person)


def distinct_known(team: IntArray, group: IntArray) -> IntArray:
    """Different groups in each row of people, open seats left out."""
    codes = np.sort(np.where(team == OPEN, OPEN, group[team]), axis=1)
    if codes.shape[1] == 0:
        return np.zeros(len(codes), dtype=np.int64)
    new = np.ones(codes.shape, dtype=np.bool_)
    new[:, 1:] = np.diff(codes, axis=1) != 0
    return np.asarray((new & (codes != OPEN)).sum(axis=1), dtype=np.int64)
