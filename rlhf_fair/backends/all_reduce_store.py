"""A `GroupStore` whose batches are summed over all processes of one accelerate or torchrun job."""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce
from operator import add
from typing import Any

from rlhf_fair.training.fairness import BatchSums, GroupState, GroupStore


class AllReduceStore:
    """Every process adds its part at the same time, and all hold the same state in a store of their own.

    Parts are added in the order of ranks, so all states are equal to the last bit. Sums go as objects, not as a tensor:
    which groups occur differs between processes.
    """

    def __init__(self, store: GroupStore, accelerator: Any) -> None:
        self.store, self.accelerator = store, accelerator

    def add(self, sums: BatchSums) -> GroupState:
        """A step of all processes: each must call it."""
        from accelerate.utils import gather_object

        parts = gather_object([sums.to_json()])
        return self.store.add(reduce(add, map(BatchSums.from_json, parts)))

    def read(self) -> GroupState:
        """The state of this process, which is that of all."""
        return self.store.read()

    def state_dict(self) -> dict[str, Any]:
        """As that of the store within, so that a checkpoint serves any number of processes."""
        return self.store.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Each process loads the same."""
        self.store.load_state_dict(state)
