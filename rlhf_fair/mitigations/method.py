"""What a method is: where it acts, how it fills a folder, and the policy that the folder holds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rlhf_fair.mitigations.kit import Kit
from rlhf_fair.mitigations.policies import Policy

ActsOn = Literal["nothing", "data", "reward", "optimisation", "answers"]


@dataclass(frozen=True)
class Method:
    """``build(kit, folder)`` writes what the method learns; ``open(kit, folder)`` gives the policy.

    ``needs``: methods whose folders it takes as they are; their cost counts as its own too. ``no_kl``: why the policy's
    divergence from the SFT model is not estimated; "" for a plain language model.
    """

    name: str
    label: str
    acts_on: ActsOn
    summary: str
    build: Callable[[Kit, Path], None]
    open: Callable[[Kit, Path], Policy]
    needs: tuple[str, ...] = ()
    no_kl: str = ""


def open_model(kit: Kit, folder: Path) -> Policy:
    """The policy of a folder that holds a language model."""
    return kit.model_policy(folder)


def open_sft(kit: Kit, folder: Path) -> Policy:
    """The SFT policy."""
    return kit.model_policy(kit.made.sft)
