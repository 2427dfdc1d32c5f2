"""Running sums over batches: the one place that group statistics live in, on one machine or shared by many.

A batch holds too few samples of each group, so older batches count on with a weight that fades by ``memory`` a step.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from rlhf_fair.errors import RlhfFairError
from rlhf_fair.training.fairness.sums import BatchSums, Cell


class RunningMoments(NamedTuple):
    """Faded moments: sum of weights, of squared weights, of weighted values and of weighted squares."""

    mass: float
    squared_mass: float
    total: float
    squares: float

    def fade(self, weight: float) -> RunningMoments:
        """Let all that came before count ``weight`` times as much."""
        return RunningMoments(
            weight * self.mass, weight**2 * self.squared_mass, weight * self.total, weight * self.squares
        )


NOTHING = RunningMoments(0.0, 0.0, 0.0, 0.0)


@dataclass(frozen=True)
class GroupState:
    """What is known of all cells. version: batches added so far, by anyone. steps: the same in whole training batches.

    rows: all rows, faded as the cells are; what they exceed a measure's cells by had no group, or not that measure.

    The two differ where a batch arrives in pieces (`LocalStore`'s ``rows_per_step``). multipliers: the state of those
    that the store moves for all its users; None where each moves its own.
    """

    cells: Mapping[Cell, RunningMoments] = field(default_factory=dict)
    version: int = 0
    steps: float = 0.0
    multipliers: Mapping[str, Any] | None = None
    rows: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """Plain lists and numbers, cells in order."""
        cells = [[*cell, *moments] for cell, moments in sorted(self.cells.items())]
        moved = {} if self.multipliers is None else {"multipliers": dict(self.multipliers)}
        return {"version": self.version, "steps": self.steps, "rows": self.rows, "cells": cells} | moved

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> GroupState:
        """Restore what `to_json` gave."""
        try:
            cells = {Cell(*map(str, row[:3])): RunningMoments(*map(float, row[3:])) for row in content["cells"]}
            rows = float(content.get("rows", 0.0))  # states of old checkpoints have none
            return cls(cells, int(content["version"]), float(content["steps"]), content.get("multipliers"), rows)
        except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
            raise RlhfFairError(f"this is no state of group statistics: {error!r}") from error


class GroupStore(Protocol):
    """Where group statistics are kept: in this process (`LocalStore`), over all-reduce, HTTP or a Ray actor."""

    def add(self, sums: BatchSums) -> GroupState:
        """Take in one batch (with many processes: this process's part) and return the state to shape it with."""

    def read(self) -> GroupState:
        """The state as it is; nothing fades."""

    def state_dict(self) -> dict[str, Any]:
        """Plain numbers for a checkpoint."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a checkpoint."""


class LocalStore:
    """Running sums in this process; safe to use from several threads, of which none loses another's batch.

    ``memory`` is the weight the past keeps at each step. A batch added is one step; with ``rows_per_step`` a batch of n
    rows is n / ``rows_per_step`` of one, for servers that hear of every sample on its own.
    """

    def __init__(self, memory: float, *, rows_per_step: int | None = None) -> None:
        self.memory, self.rows_per_step = memory, rows_per_step
        self._state = GroupState()
        self._lock = threading.Lock()

    def add(self, sums: BatchSums) -> GroupState:
        """Fade the past, add the batch."""
        with self._lock:
            self._state = self._with(sums)
            return self._state

    def read(self) -> GroupState:
        """The state as it is."""
        return self._state

    def state_dict(self) -> dict[str, Any]:
        """The state as plain numbers."""
        return self._state.to_json()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        with self._lock:
            self._state = GroupState.from_json(state)

    def _with(self, sums: BatchSums) -> GroupState:
        """The state with one batch more."""
        steps = 1.0 if self.rows_per_step is None else sums.rows / self.rows_per_step
        weight = self.memory**steps
        cells = {cell: moments.fade(weight) for cell, moments in self._state.cells.items()}
        for cell, (n, total, squares) in sums.cells.items():
            old = cells.get(cell, NOTHING)
            cells[cell] = RunningMoments(old.mass + n, old.squared_mass + n, old.total + total, old.squares + squares)
        rows = weight * self._state.rows + sums.rows
        return GroupState(cells, self._state.version + 1, self._state.steps + steps, rows=rows)
