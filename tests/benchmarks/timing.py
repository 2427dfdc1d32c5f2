"""Seconds, CPU seconds and peak memory of several ways to the same numbers, side by side."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Timed(Generic[T]):
    """seconds: on the wall. cpu_seconds: of all threads. peak_mib: needed beyond what was held before (Linux only)."""

    name: str
    values: list[T]
    seconds: float
    cpu_seconds: float
    peak_mib: float


def timed(name: str, answer: Callable[[], list[T]]) -> Timed[T]:
    before = peak_memory(reset=True)
    began, cpu_began = time.perf_counter(), time.process_time()
    values = answer()
    seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - cpu_began
    return Timed(name, values, seconds, cpu_seconds, peak_memory() - before)


def peak_memory(*, reset: bool = False) -> float:
    """Most MiB this process held since the last reset."""
    status = Path("/proc/self/status")
    if not status.is_file():
        return float("nan")
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def compare(title: str, runs: Sequence[Timed[float]]) -> None:
    """Every run against the last, ours: how many times its seconds, and how far its numbers are apart."""
    ours = runs[-1]
    print(f"\n{title}\n  {'':<36}{'wall s':>9}{'ours x':>8}{'CPU s':>9}{'ours x':>8}{'apart by':>10}{'MiB':>7}")
    for run in runs:
        apart = max(abs(one - other) for one, other in zip(run.values, ours.values, strict=True))
        wall = f"{run.seconds:>9.2f}{run.seconds / ours.seconds:>8.2f}"
        cpu = f"{run.cpu_seconds:>9.2f}{run.cpu_seconds / ours.cpu_seconds:>8.2f}"
        print(f"  {run.name:<36}{wall}{cpu}{apart:>10.1e}{run.peak_mib:>+7.0f}")
