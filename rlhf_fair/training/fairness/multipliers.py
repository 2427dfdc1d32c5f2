"""Multipliers: how strongly a disparity is priced, fixed or moved until it lies within a tolerance.

Both moving rules keep one-sided multipliers for constraints ``cost <= limit``. A difference that must lie within +-eps
is two of them, on +D and on -D, and their difference is the price: noise pushes both in turn and cancels, while one
multiplier on abs(D) would be pumped up by noise, as E abs(D) is never 0. A squared disparity is one, on what exceeds
its chance value, against eps^2; the constraint is divided by eps on both sides, and the price is that of its slope, so
that a multiplier is reward per unit of score, and rates have the same unit, for both.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from rlhf_fair.training.fairness.disparities import Disparity
from rlhf_fair.training.fairness.settings import MultiplierSettings


class OneSided(Protocol):
    """A multiplier of one constraint, range [0, cap]."""

    value: float

    def step(self, cost: float, limit: float) -> None: ...
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: Mapping[str, Any]) -> None: ...


class Dual:
    """Projected dual ascent: value <- value + rate (cost - limit), cut to [0, cap]."""

    def __init__(self, rate: float, cap: float) -> None:
        self.rate, self.cap = rate, cap
        self.value = 0.0

    def step(self, cost: float, limit: float) -> None:
        """Move once."""
        self.value = min(max(self.value + self.rate * (cost - limit), 0.0), self.cap)

    def state_dict(self) -> dict[str, Any]:
        """The value."""
        return {"value": self.value}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        self.value = float(state["value"])


class PID:
    """Proportional, integral and derivative control of the excess ``cost - limit`` (Stooke, Achiam & Abbeel 2020).

    value = [Kp EMA(excess) + I + Kd [EMA(cost) - EMA(cost) ``delay`` steps ago]+ ]+ with I <- [I + Ki excess]+; value
    and I are cut at the cap, so that a long violation is not paid off for as long again. Averages start at 0 (excess)
    and at the first cost, without which the derivative would take the start for a rise.
    """

    def __init__(self, settings: MultiplierSettings) -> None:
        self.settings = settings
        self.value = self.integral = self.smooth_excess = 0.0
        self.smooth_costs: list[float] = []

    def step(self, cost: float, limit: float) -> None:
        """Move once."""
        s, excess = self.settings, cost - limit
        self.smooth_excess = s.proportional_memory * self.smooth_excess + (1 - s.proportional_memory) * excess
        self.integral = min(max(self.integral + s.integral * excess, 0.0), s.cap)
        last = self.smooth_costs[-1] if self.smooth_costs else cost
        smooth = s.derivative_memory * last + (1 - s.derivative_memory) * cost
        self.smooth_costs = [*self.smooth_costs, smooth][-s.delay - 1 :]
        rise = max(smooth - self.smooth_costs[0], 0.0)
        value = s.proportional * self.smooth_excess + self.integral + s.derivative * rise
        self.value = min(max(value, 0.0), s.cap)

    def state_dict(self) -> dict[str, Any]:
        """Value, integral and averages."""
        return {
            "value": self.value,
            "integral": self.integral,
            "smooth_excess": self.smooth_excess,
            "smooth_costs": list(self.smooth_costs),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        self.value, self.integral = float(state["value"]), float(state["integral"])
        self.smooth_excess, self.smooth_costs = float(state["smooth_excess"]), list(state["smooth_costs"])


class Multipliers:
    """The multiplier of every disparity, by name; ``strength`` is the fixed one."""

    def __init__(self, settings: MultiplierSettings, strength: float) -> None:
        self.settings, self.strength = settings, strength
        self._sides: dict[str, OneSided] = {}

    def move(self, found: Iterable[Disparity]) -> None:
        """One step of every multiplier whose disparity can be estimated; fixed ones stay."""
        if self.settings.kind == "fixed":
            return
        limit = self.settings.tolerance
        for disparity in found:
            if not disparity.estimable:
                continue
            if disparity.signed:
                self._side(f"{disparity.name}+").step(disparity.value, limit)
                self._side(f"{disparity.name}-").step(-disparity.value, limit)
            else:
                self._side(disparity.name).step((disparity.value - disparity.noise**2) / limit, limit)

    def kappa(self, disparity: Disparity) -> float:
        """What the disparity's prices are multiplied by; 0 where it cannot be estimated.

        Fixed: strength times the slope of half the squared difference, or of half the squared disparity itself.
        """
        if not disparity.estimable:
            return 0.0
        if self.settings.kind == "fixed":
            return self.strength * (disparity.value if disparity.signed else 1.0)
        if disparity.signed:
            return self._value(f"{disparity.name}+") - self._value(f"{disparity.name}-")
        return self._value(disparity.name) / self.settings.tolerance  # the slope of V / eps is that of V over eps

    def values(self) -> dict[str, float]:
        """Every moving multiplier."""
        return {name: side.value for name, side in self._sides.items()}

    def state_dict(self) -> dict[str, Any]:
        """Every multiplier's state."""
        return {name: side.state_dict() for name, side in self._sides.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        self._sides = {}
        for name, content in state.items():
            self._side(name).load_state_dict(content)

    def _side(self, name: str) -> OneSided:
        if name not in self._sides:
            s = self.settings
            self._sides[name] = PID(s) if s.kind == "pid" else Dual(s.rate, s.cap)
        return self._sides[name]

    def _value(self, name: str) -> float:
        return self._sides[name].value if name in self._sides else 0.0
