"""rlhf-fair: audit a model's bias, fine-tune it under a fairness constraint, report it verifiably.

Names are loaded on first use, so that importing the package loads neither torch nor pandas.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rlhf_fair.artifacts import read_results, verify_manifest
    from rlhf_fair.records import Estimate, Finding, Results, Verdict

__version__ = "0.1.0"

_HOME = {
    "Estimate": "rlhf_fair.records",
    "Finding": "rlhf_fair.records",
    "Results": "rlhf_fair.records",
    "Verdict": "rlhf_fair.records",
    "read_results": "rlhf_fair.artifacts",
    "verify_manifest": "rlhf_fair.artifacts",
}

__all__ = ["Estimate", "Finding", "Results", "Verdict", "read_results", "verify_manifest"]


def __getattr__(name: str) -> object:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'rlhf_fair' has no attribute {name!r}")
