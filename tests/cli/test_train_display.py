from __future__ import annotations

import io
import math
from typing import Any

import pytest
from rich.console import Console

from rlhf_fair.cli import train_display
from rlhf_fair.cli.train_display import told, training_display


def row(step: int, **more: float) -> dict[str, Any]:
    return {
        "step": float(step),
        "reward": 0.5 + step,
        "kl": 0.25,
        "gap": 0.2,
        "noise_floor": 0.05,
        "kappa": 1.5,
        **more,
    }


@pytest.fixture
def printed(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What goes to a terminal that is none."""
    stream = io.StringIO()
    monkeypatch.setattr("rich.console.Console", lambda **_: Console(file=stream, width=200))
    return stream


def test_a_log_gets_the_first_and_the_last_step_and_one_now_and_then(
    printed: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(train_display.time, "monotonic", lambda: now[0])
    with training_display(hidden=False) as display:
        display.progress("held-out answers before training", 10, 20)
        display.progress("held-out answers before training", 20, 20)
        for step in range(1, 11):
            display.step(row(step), 10)
            now[0] += 10.0
    lines = printed.getvalue().splitlines()
    assert lines[0] == "held-out answers before training: 20"
    assert [line.partition(" ·")[0] for line in lines[1:]] == [f"step {step}/10" for step in (1, 4, 7, 10)]
    assert lines[1] == "step 1/10 · reward 1.5 · KL 0.25 nats · gap 0.2 (noise floor 0.05) · kappa 1.5"
    assert lines[2].endswith(" · 0:01:00 left")  # 3 steps took 30 s, 6 are left


def test_a_resumed_run_takes_its_own_steps_for_the_time_left(
    printed: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr(train_display.time, "monotonic", lambda: now[0])
    with training_display(hidden=False) as display:
        display.step(row(90), 100)
        now[0] += 60.0
        display.step(row(92), 100)
    assert printed.getvalue().splitlines()[1].endswith(" · 0:04:00 left")  # 30 s a step, 8 are left


def test_who_moved_most_comes_first_with_its_standard_error_and_what_is_missing_is_left_out() -> None:
    groups = {"moved:a": 0.1, "moved_se:a": 0.05, "moved:b": -0.3, "moved:c": math.nan, "moved:d": 0.0}
    said = dict(told({**row(1), **groups, "gap": math.nan, "refusals": 0.25}))
    assert said["moved"] == "b −0.30, a +0.10 ± 0.05, d 0.00"
    assert said["refusals"] == "25.0 %"
    assert "gap" not in said
    many = {f"moved:{k}": float(k) for k in range(9)}
    assert dict(told({"step": 1.0, **many}))["moved"].endswith("3 +3.00 and 3 more")


def test_quiet_is_silent(printed: io.StringIO) -> None:
    with training_display(hidden=True) as display:
        display.progress("x", 1, 1)
        display.step(row(1), 1)
    assert printed.getvalue() == ""


def test_a_terminal_shows_bars_and_the_last_row(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    terminal = Console(file=stream, width=100, force_terminal=True)
    monkeypatch.setattr("rich.console.Console", lambda **_: terminal)
    with training_display(hidden=False) as display:
        display.progress("held-out answers before training", 3, 3)
        display.step(row(1, **{"moved:woman": 0.5}), 4)
    shown = stream.getvalue()
    assert "held-out answers before training" in shown
    assert "1/4" in shown
    assert "0.2 (noise floor 0.05)" in shown
    assert "woman +0.50" in shown
