"""Settings of TRL's trainers under the names that the installed transformers gives them."""

from __future__ import annotations

from typing import Any


def no_checkpointing(kind: Any) -> dict[str, bool]:
    """The argument of a config class of TRL that keeps all activations: older versions have another name for it."""
    known = kind.__dataclass_fields__
    return {"activation_checkpointing" if "activation_checkpointing" in known else "gradient_checkpointing": False}
