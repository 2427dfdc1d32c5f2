"""What the fairness penalty can be asked for."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from rlhf_fair.settings import Settings

KEYS_OF_KIND = {
    "fixed": frozenset(),
    "dual": frozenset({"tolerance", "rate", "cap"}),
    "pid": frozenset(
        {"tolerance", "cap", "proportional", "integral", "derivative", "proportional_memory", "derivative_memory"}
        | {"delay"}
    ),
}


class MultiplierSettings(Settings):
    """How the strength of the penalty is set: ``fixed``, or moved by a ``dual`` ascent or a ``pid`` controller.

    ``tolerance`` is the disparity that is put up with, in score units; it must lie above the noise floor. ``cap``
    bounds every multiplier. ``rate`` is the dual's step; ``proportional``, ``integral`` and ``derivative`` are the
    controller's gains, with exponential averages of memory ``proportional_memory`` and ``derivative_memory`` and a
    look-back of ``delay`` steps. A key of another kind is an error.
    """

    kind: Literal["fixed", "dual", "pid"] = "fixed"
    tolerance: float = Field(0.0, ge=0)
    rate: float = Field(0.3, gt=0)
    cap: float = Field(100.0, gt=0)
    proportional: float = Field(1.0, ge=0)
    integral: float = Field(0.1, ge=0)
    derivative: float = Field(0.0, ge=0)
    proportional_memory: float = Field(0.8, ge=0, lt=1)
    derivative_memory: float = Field(0.8, ge=0, lt=1)
    delay: int = Field(5, ge=1)

    @model_validator(mode="after")
    def _check(self) -> Self:
        foreign = sorted(self.model_fields_set - KEYS_OF_KIND[self.kind] - {"kind"})
        if foreign:
            allowed = ", ".join(sorted(KEYS_OF_KIND[self.kind])) or "none"
            raise ValueError(f"kind {self.kind!r} does not use {', '.join(foreign)}; keys of this kind: {allowed}")
        if self.kind != "fixed" and self.tolerance == 0:
            raise ValueError(
                f"kind {self.kind!r} needs a tolerance above 0: a measured disparity is never exactly 0, so without "
                "one the multiplier follows noise"
            )
        return self


class FairnessSettings(Settings):
    """How strongly, and between whom, disparities of the score are penalised.

    Whom: ``group_by`` names prompt columns; several make intersections. ``strata_by`` names columns (template, topic)
    within which groups are compared: ``each`` stratum on its own, or by means ``standardized`` over all strata. A key
    that nothing would follow from, such as a way across strata without strata, is an error.

    What: the ``variance`` between groups, or a ``contrast``: the named ``contrasts`` (group -> coefficient, summing to
    0), or every group less the ``reference``. ``strength`` prices it under a fixed multiplier; see `MultiplierSettings`
    for one that moves.

    Guards: ``memory`` is the share of the running means kept at each step; groups with fewer than ``minimum_count``
    effective samples are left alone; ``shrinkage`` draws noisy group means to the overall mean; ``floor_strength``
    prices a group's fall below its reference mean less ``floor_tolerance`` (None: one standard error of its running
    mean, so that a mean that only wanders hardly pays). ``refusal_strength`` (reward per squared
    refusal rate) and ``length_strength`` (reward per squared token) price disparities of these two; 0 only shows them.
    """

    group_by: tuple[str, ...] = ("gender", "ethnicity")
    strata_by: tuple[str, ...] = ()
    across_strata: Literal["each", "standardized"] = "each"
    objective: Literal["variance", "contrast"] = "variance"
    contrasts: dict[str, dict[str, float]] = Field(default_factory=dict)
    reference: str = ""
    strength: float = Field(3.0, ge=0)
    multiplier: MultiplierSettings = MultiplierSettings()
    memory: float = Field(0.8, ge=0, lt=1)
    minimum_count: float = Field(8.0, ge=0)
    shrinkage: bool = False
    floor_strength: float = Field(3.0, ge=0)
    floor_tolerance: float | None = Field(None, ge=0)
    refusal_strength: float = Field(0.0, ge=0)
    length_strength: float = Field(0.0, ge=0)

    @model_validator(mode="after")
    def _check(self) -> Self:
        named = bool(self.contrasts) + bool(self.reference)
        if self.objective == "contrast" and named != 1:
            raise ValueError("objective 'contrast' needs either contrasts or a reference group")
        if self.objective == "variance" and named:
            raise ValueError("contrasts and reference belong to objective 'contrast'")
        for name, coefficients in self.contrasts.items():
            if abs(sum(coefficients.values())) > 1e-9 or not any(coefficients.values()):
                raise ValueError(
                    f"contrast {name!r} = {coefficients}: coefficients must sum to 0 and not all be 0, or the penalty "
                    "would price the level of the score"
                )
        self._check_idle()
        if self.multiplier.kind != "fixed" and "strength" in self.model_fields_set:
            raise ValueError(f"strength belongs to the fixed multiplier; kind {self.multiplier.kind!r} sets its own")
        return self

    def _check_idle(self) -> None:
        if self.group_by and set(self.group_by) <= set(self.strata_by):
            raise ValueError(f"strata_by: {self.group_by[0]!r} is compared itself; within one group there is no gap")
        if not self.strata_by and self.across_strata != "each":
            raise ValueError(f"across_strata = {self.across_strata!r} needs strata_by, the columns that make strata")
        if self.floor_strength == 0 and self.floor_tolerance:
            raise ValueError(f"floor_tolerance = {self.floor_tolerance:g} needs a floor_strength above 0")
