"""Several processes that share one job, as ``accelerate launch`` starts them: the first writes, the others read."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager


def is_first() -> bool:
    """Whether this process writes the files; one alone always does."""
    return int(os.environ.get("RANK", "0")) == 0


@contextmanager
def first_goes_ahead() -> Iterator[None]:
    """The first process runs the block, then all others do: they find what it has written.

    Their devices are open by then; see `rlhf_fair.training.process_device`.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield
        return
    from accelerate import PartialState

    with PartialState().main_process_first():
        yield
