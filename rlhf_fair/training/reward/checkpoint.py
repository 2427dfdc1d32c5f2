"""The state of a training run on disk, so that a killed run goes on as if nothing had happened."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rlhf_fair.artifacts import atomic_path, sorted_json
from rlhf_fair.errors import SettingsError
from rlhf_fair.settings import plain


@dataclasses.dataclass
class Progress:
    """Where a run stands: steps done in all, seconds spent, and the curve so far."""

    steps: int = 0
    seconds: float = 0.0
    curve: list[dict[str, float]] = dataclasses.field(default_factory=list)


def keep(path: Path, identity: str, parts: dict[str, Any], progress: Progress) -> None:
    """Write the state of every part (anything with ``state_dict``), replacing the file in one move."""
    content = {"identity": identity, **vars(progress), "parts": {name: p.state_dict() for name, p in parts.items()}}
    with atomic_path(path) as temporary:
        torch.save(content, temporary)


def restore(path: Path, identity: str, parts: dict[str, Any]) -> Progress:
    """Load the state into every part; a file that is not there is a run not begun.

    Raises
    ------
    SettingsError
        The file is damaged, or belongs to a run of other data or settings, or from other weights.
    """
    if not path.is_file():
        return Progress()
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for a damaged file
        raise SettingsError(f"checkpoint {path} cannot be read; delete it to start again") from error
    if content["identity"] != identity:
        raise SettingsError(
            f"checkpoint {path} belongs to other data or settings, or to a model that started from other weights; "
            "delete it or choose another folder"
        )
    for name, part in parts.items():
        part.load_state_dict(content["parts"][name])
    return Progress(content["steps"], content["seconds"], content["curve"])


def fingerprint(*things: Any) -> str:
    """SHA-256 over settings, arrays and texts: equal runs have equal ones, whatever object holds them."""
    digest = hashlib.sha256()
    for thing in things:
        _feed(digest, thing)
    return digest.hexdigest()


def weight_digests(module: torch.nn.Module) -> list[str]:
    """Name, shape, type and SHA-256 of every parameter: equal on every device, and for equal weights alone.

    One parameter at a time is copied to the machine's memory. A processor hashes 0.4 to 2 GB a second: 7 billion
    float32 weights take 15 to 70 s, once for each run with a checkpoint.
    """
    return [f"{name} {tuple(p.shape)} {p.dtype} {_sha256(p)}" for name, p in module.named_parameters()]


def _sha256(tensor: torch.Tensor) -> str:
    flat = tensor.detach().cpu().contiguous().flatten()
    return hashlib.sha256(flat.view(torch.uint8).numpy()).hexdigest()  # as bytes, since numpy lacks bfloat16


def _feed(digest: Any, thing: Any) -> None:
    digest.update(type(thing).__name__.encode())
    if isinstance(thing, torch.nn.Parameter):
        digest.update(str(tuple(thing.shape)).encode())
    elif isinstance(thing, np.ndarray | torch.Tensor):
        digest.update(np.ascontiguousarray(np.asarray(thing)).tobytes())
    elif hasattr(thing, "model_dump"):
        digest.update(sorted_json(plain(thing)))
    elif isinstance(thing, dict):
        _feed(digest, [part for item in thing.items() for part in item])
    elif isinstance(thing, list | tuple):
        digest.update(str(len(thing)).encode())
        for part in thing:
            _feed(digest, part)
    elif hasattr(thing, "__dict__"):
        for name in sorted(vars(thing)):
            if not name.startswith("_"):
                digest.update(name.encode())
                _feed(digest, vars(thing)[name])
    else:
        digest.update(str(thing).encode())
