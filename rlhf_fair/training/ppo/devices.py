"""Where PPO runs: accelerate decides on device, precision and processes.

Every process holds the whole policy (DDP), samples and learns from its share of each batch, and all agree on the sums:
advantages, losses and group statistics are those of the whole batch. A policy too large for one device's memory needs
its weights sharded (FSDP) while it samples too; for that, take the shaping to TRL, OpenRLHF or verl by
`rlhf_fair.backends`.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from rlhf_fair.errors import SettingsError
from rlhf_fair.models.fused_activation import fuse_activations
from rlhf_fair.models.onednn_linear import use_onednn, worthwhile
from rlhf_fair.training.ppo.settings import PPOSettings
from rlhf_fair.training.process_device import open_device


def hasten(model: nn.Module, device_type: str) -> None:
    """Let ``model`` compute the same functions by faster routines where there are some."""
    fuse_activations(model)
    if device_type == "cpu" and worthwhile():
        use_onednn(model)


class Devices:
    """The processes that train one model; see `rlhf_fair.training.ppo.update.Processes`."""

    def __init__(self, settings: PPOSettings) -> None:
        from accelerate import Accelerator

        cpu = open_device(settings.device).type == "cpu"
        self.accelerator = Accelerator(cpu=cpu, mixed_precision=settings.precision)
        self.count: int = self.accelerator.num_processes
        self.model: Any = None
        if settings.batch_size % self.count or settings.minibatch_size % self.count:
            raise SettingsError(
                f"batch_size = {settings.batch_size} and minibatch_size = {settings.minibatch_size} must be multiples "
                f"of the number of processes, {self.count}"
            )

    def prepare(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> tuple[Any, Any]:
        """The model as it is to be called for gradients, and the optimiser."""
        self.model, optimizer = self.accelerator.prepare(model, optimizer)
        return self.model, optimizer

    @property
    def device(self) -> torch.device:
        """Where this process computes."""
        device: torch.device = self.accelerator.device
        return device

    @property
    def first(self) -> bool:
        """Whether this is the process that writes files."""
        return bool(self.accelerator.is_main_process)

    def share(self, n: int) -> slice:
        """The rows of a batch of ``n`` that are this process's."""
        size = n // self.count
        return slice(self.accelerator.process_index * size, (self.accelerator.process_index + 1) * size)

    def precision(self) -> AbstractContextManager[None]:
        """While open, matrix products run in the precision of the settings."""
        autocast: AbstractContextManager[None] = self.accelerator.autocast()
        return autocast

    def gather(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """The rows of all processes, in order."""
        if self.count == 1:
            return values
        rows = self.accelerator.gather(torch.from_numpy(values).to(self.device))
        return np.asarray(rows.cpu().numpy(), dtype=float)

    def total(self, values: Tensor) -> Tensor:
        """Sum over the processes, the same in each."""
        if self.count == 1:
            return values
        summed: Tensor = self.accelerator.reduce(values, reduction="sum")
        return summed

    def backward(self, loss: Tensor) -> None:
        """Add gradients."""
        self.accelerator.backward(loss)

    def without_exchange(self) -> AbstractContextManager[None]:
        """While open, gradients stay in their process."""
        if self.count == 1:
            return nullcontext()
        local: AbstractContextManager[None] = self.accelerator.no_sync(self.model)
        return local

    def clip(self, parameters: list[nn.Parameter], largest_norm: float) -> Tensor:
        """Scale the gradients down to a norm; returns the norm they had."""
        norm: Tensor = self.accelerator.clip_grad_norm_(parameters, largest_norm)
        return norm
