"""Where training runs: accelerate decides on processes and precision."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rlhf_fair.errors import SettingsError
from rlhf_fair.training.process_device import open_device
from rlhf_fair.training.reward.settings import RewardSettings

EXTRAS = {"tensorboard": "tensorboard", "wandb": "wandb"}
"""Tracker -> the package it needs."""


def open_accelerator(settings: RewardSettings, folder: Path | None) -> Any:
    """An ``accelerate.Accelerator``; several processes if started by ``accelerate launch`` or ``torchrun``.

    ``folder`` receives the event files of trackers that write some.
    """
    from accelerate import Accelerator
    from accelerate.utils import is_tensorboard_available, is_wandb_available

    present = {"tensorboard": is_tensorboard_available, "wandb": is_wandb_available}
    for tracker in settings.trackers:
        if not present[tracker]():
            raise SettingsError(f"trackers: {tracker} is not installed (pip install {EXTRAS[tracker]})")
    accelerator = Accelerator(
        cpu=open_device(settings.device).type == "cpu",
        mixed_precision=settings.precision,
        log_with=list(settings.trackers) or None,
        project_dir=None if folder is None else str(folder),
    )
    if settings.trackers:
        accelerator.init_trackers("reward", config=_flat(settings))
    return accelerator


def _flat(settings: RewardSettings) -> dict[str, Any]:
    """Numbers and strings only, as trackers want them."""
    plain = settings.model_dump(mode="json")
    return {name: value if isinstance(value, int | float | str) else str(value) for name, value in plain.items()}
