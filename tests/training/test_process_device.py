"""No GPU is needed: what torch and accelerate say of one is put in their mouths."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from accelerate import PartialState
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedType

from rlhf_fair.errors import SettingsError
from rlhf_fair.training import process_device
from rlhf_fair.training.ppo.devices import Devices
from rlhf_fair.training.ppo.settings import PPOSettings
from rlhf_fair.training.process_device import open_device
from rlhf_fair.training.reward.devices import open_accelerator
from rlhf_fair.training.reward.settings import RewardSettings


@pytest.fixture(autouse=True)
def accelerate_as_it_was() -> Iterator[None]:
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The GPUs that became the current one, the first of two at the start."""
    current = [0]
    monkeypatch.setattr(process_device, "pick_device", lambda name: "cuda" if name == "auto" else name)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: current.append(torch.device(device).index))
    monkeypatch.setattr(torch.cuda, "current_device", lambda: current[-1])
    monkeypatch.setattr("accelerate.state.check_cuda_p2p_ib_support", lambda: True)
    return current


def opened_by_trainers(name: str) -> set[torch.device]:
    """Where the trainers of policies and of reward models compute."""
    return {Devices(PPOSettings(device=name)).device, open_accelerator(RewardSettings(device=name), None).device}


def test_a_gpu_is_the_one_that_was_named(two_gpus: list[int]) -> None:
    assert opened_by_trainers("cuda:1") == {torch.device("cuda:1")}
    assert two_gpus[-1] == 1
    assert open_device("cuda:0") == torch.device("cuda:0")
    assert open_device("auto") == open_device("cuda") == torch.device("cuda:0")  # the current one, by its number


def test_an_earlier_run_does_not_decide(two_gpus: list[int]) -> None:
    for name in ("cuda:0", "cpu", "cuda:0"):
        assert opened_by_trainers(name) == {torch.device(name)}


@pytest.fixture
def second_of_two(two_gpus: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """The second of two processes that share two GPUs."""

    def begin(self: Any, cpu: bool = False, **_: Any) -> None:
        self.__dict__ = self._shared_state
        device = torch.device("cuda:1")
        self._shared_state |= {"device": device, "num_processes": 2, "process_index": 1, "local_process_index": 1}
        self._shared_state |= {"distributed_type": DistributedType.MULTI_GPU, "backend": "nccl", "_cpu": cpu}

    monkeypatch.setattr(PartialState, "__init__", begin)
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)


@pytest.mark.usefixtures("second_of_two")
def test_each_of_several_processes_has_a_gpu_of_its_own() -> None:
    assert open_device("auto") == open_device("cuda") == torch.device("cuda:1")
    with pytest.raises(SettingsError, match="'cuda:0' names one GPU for 2 processes; allowed: auto, cpu, cuda"):
        open_device("cuda:0")
