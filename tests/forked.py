"""Runs a function in two processes of one gloo group, as a launcher would start it, without importing torch again."""

from __future__ import annotations

import multiprocessing
import os
import socket
from collections.abc import Callable
from typing import Any

CAN_FORK = hasattr(os, "fork")


def in_two_processes(function: Callable[..., None], *arguments: Any) -> None:
    """Call ``function(*arguments)`` as rank 0 and rank 1; an exit code other than 0 is an error here."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_rank, args=(rank, port, function, arguments)) for rank in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout=180)
    assert [process.exitcode for process in processes] == [0, 0]


def _rank(rank: int, port: int, function: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    from accelerate.state import AcceleratorState, GradientState, PartialState

    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    for state in (AcceleratorState, GradientState, PartialState):
        state._reset_state()  # what this process inherited of its parent's
    function(*arguments)
