"""What was checked of a folder, and how it came out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rlhf_fair.errors import IntegrityError

Outcome = Literal["agrees", "disagrees", "not proven", "not done"]
"""``not proven``: it does not agree, and an honest reason is possible that nothing in the folder can prove."""

MOST_BYTES = 2**28
"""Of a JSON file or a page; what is larger is refused rather than read into memory."""


@dataclass(frozen=True)
class Check:
    """One check in words; ``detail`` says what agrees, what does not, or why it was not done."""

    name: str
    outcome: Outcome
    detail: str


@dataclass(frozen=True)
class Verification:
    """All checks of one folder. ``files``: in the manifest. ``signer``: id of the key of a valid signature, else ""."""

    folder: Path
    files: int
    checks: tuple[Check, ...]
    signer: str = ""

    @property
    def problems(self) -> tuple[Check, ...]:
        """Checks that came out wrong."""
        return tuple(check for check in self.checks if check.outcome == "disagrees")

    @property
    def unproven(self) -> tuple[Check, ...]:
        """Checks that neither agree nor disagree, such as of a page that another version rendered otherwise."""
        return tuple(check for check in self.checks if check.outcome == "not proven")


def read_small(folder: Path, name: str) -> bytes:
    """A file of the folder; `IntegrityError` where it is missing or too large to be read at once."""
    path = folder / name
    try:
        if not path.is_file():
            raise IntegrityError(f"missing: {name}")
        if path.stat().st_size > MOST_BYTES:
            raise IntegrityError(f"{name} is larger than {MOST_BYTES // 2**20} MiB: not read")
        return path.read_bytes()
    except OSError as error:
        raise IntegrityError(f"{name} cannot be read: {error.strerror or error}") from error
