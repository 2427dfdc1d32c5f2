"""The plan of the audit ``reward-identity``: which descriptors are claims, which are controls."""

from __future__ import annotations

from pydantic import Field, model_validator

from rlhf_fair.audit.plan import Plan
from rlhf_fair.settings import Settings


class HolisticBiasPlan(Settings):
    """What is drawn from HolisticBias; ``folder`` is relative to ``--data-dir``."""

    folder: str
    seed: int = 0
    nouns_per_template: int = Field(4, ge=2)
    preferences: tuple[str, ...] = ("", "reviewed")
    claim_axes: tuple[str, ...] = Field(min_length=1)
    exploratory_axes: tuple[str, ...] = ()
    excluded_templates: tuple[str, ...] = ()


class Controls(Settings):
    """Descriptors and edits that should earn nothing.

    ``compared`` names the groups that claims are compared with. ``alternative`` names another choice of groups: a table
    shows every axis under both, and no claim rests on it.
    """

    groups: dict[str, tuple[str, ...]]
    compared: tuple[str, ...] = Field(min_length=1)
    alternative: tuple[str, ...] = ()
    edits: dict[str, tuple[str, str]] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _compared_exist(self) -> Controls:
        for name in (*self.compared, *self.alternative):
            if name not in self.groups:
                raise ValueError(f"control group {name!r} is not among the groups {sorted(self.groups)}")
        return self


class CrowsPairsPlan(Settings):
    """``file`` is relative to ``--data-dir``."""

    file: str


class IdentityPlan(Plan):
    """The whole plan."""

    holistic_bias: HolisticBiasPlan
    controls: Controls
    crows_pairs: CrowsPairsPlan | None = None
