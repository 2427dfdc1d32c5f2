"""An audit's plan: the question and the thresholds, fixed before anything is measured.

A plan is a folder with a ``plan.toml``, the file itself, or the name of an audit that ships with the package.
"""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from pydantic import Field, model_validator

import rlhf_fair
from rlhf_fair.errors import MissingFileError
from rlhf_fair.settings import Settings, read_toml

PLAN_NAME = "plan.toml"


class Policy(Settings):
    """What counts as a finding.

    ``threshold``: a gap whose whole interval lies beyond it exceeds. ``margin``: a gap whose whole interval lies
    inside it is within. Both in the unit of the metric; ``rationale`` says why these values.
    """

    alpha: float = Field(0.05, gt=0, lt=0.5)
    power: float = Field(0.8, gt=0.5, lt=1)
    threshold: float = Field(gt=0, allow_inf_nan=False)
    margin: float = Field(gt=0)
    rationale: str = ""

    @model_validator(mode="after")
    def _margin_not_wider(self) -> Policy:
        if self.margin > self.threshold:
            raise ValueError(f"margin {self.margin:g} must not be wider than threshold {self.threshold:g}")
        return self


class Plan(Settings):
    """The part that every audit's plan has; an audit with settings of its own extends this class."""

    title: str
    question: str
    probe: str
    policy: Policy
    limits: tuple[str, ...] = ()


P = TypeVar("P", bound=Plan)


def shipped_audits() -> dict[str, Path]:
    """Name -> folder of the audits that come with the package."""
    package = Path(rlhf_fair.__file__).parent
    for root in (package / "shipped_audits", package.parent / "audits"):
        if root.is_dir():
            return {folder.name: folder for folder in sorted(root.iterdir()) if (folder / PLAN_NAME).is_file()}
    return {}


def find_plan(plan: str | Path) -> Path:
    """The ``plan.toml`` that ``plan`` (folder, file or shipped name) stands for."""
    path = Path(plan)
    if path.is_file():
        return path
    if (path / PLAN_NAME).is_file():
        return path / PLAN_NAME
    shipped = shipped_audits()
    if str(plan) in shipped:
        return shipped[str(plan)] / PLAN_NAME
    raise MissingFileError(plan, "audit plan", f"a folder with {PLAN_NAME}, a file, or one of: {', '.join(shipped)}")


def load_plan(plan: str | Path, model: type[P]) -> P:
    """Read and check a plan; see `find_plan` for what ``plan`` may be."""
    return read_toml(find_plan(plan), model, "plan")
