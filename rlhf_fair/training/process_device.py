"""Where this process trains: its own GPU of several processes, or the device that a single one is told."""

from __future__ import annotations

import torch

from rlhf_fair.errors import SettingsError
from rlhf_fair.models.reward_model import pick_device


def open_device(name: str) -> torch.device:
    """The device of this process, by number, for everything that a run loads; torch's current GPU from now on.

    Of several processes each has a GPU of its own, which accelerate deals out, or all have the CPU. Accelerate keeps
    its state for the whole process; what an earlier run left there does not decide for this one.

    Raises
    ------
    SettingsError
        The device is not on this machine, or one GPU is named for several processes.
    """
    from accelerate import PartialState
    from accelerate.state import AcceleratorState

    named = torch.device(pick_device(name))
    AcceleratorState._reset_state(reset_partial_state=not torch.distributed.is_initialized())
    state = PartialState(cpu=named.type == "cpu")
    if torch.distributed.is_initialized():
        if named.type == "cuda" and named.index is not None:
            raise SettingsError(
                f"device = {name!r} names one GPU for {state.num_processes} processes; allowed: auto, cpu, cuda"
            )
        own = state.device
        return torch.device("cpu") if own.type == "cpu" else own
    if named.type == "cuda":
        if named.index is not None:
            torch.cuda.set_device(named)
        named = torch.device("cuda", torch.cuda.current_device())
    state.device = named
    return named
