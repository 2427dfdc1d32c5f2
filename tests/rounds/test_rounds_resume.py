"""A run that is killed (signal 9, nothing is cleaned up) and started again ends bit-equal to one that never was."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from forked import CAN_FORK

from rlhf_fair.artifacts import read_json, sha256_file
from rlhf_fair.rounds.files import write_rounds
from rlhf_fair.rounds.run import AllRounds, run_rounds
from rounds.tiny_rounds import with_first_round_of, with_rounds

pytestmark = pytest.mark.skipif(not CAN_FORK, reason="this system cannot fork")

TWO = with_rounds(count=2)
Event = tuple[str, int]
"""What is being done, and how much of it is done; -1: a stage is about to be built."""


def in_process(out: Path, plan: Path, dies: Callable[[Event], bool]) -> None:
    """Run until ``dies`` is true of an event, and no further."""

    def heard(what: str, done: int, total: int) -> None:
        if dies((what, done)):
            os.kill(os.getpid(), signal.SIGKILL)

    run_rounds(TWO, out, plan_name=plan, progress=heard, on_stage=lambda name, ready: ready or heard(name, -1, 0))


def killed(out: Path, plan: Path, dies: Callable[[Event], bool]) -> bool:
    """Whether the run in ``out`` was killed; else it came to its end."""
    child = multiprocessing.get_context("fork").Process(target=in_process, args=(out, plan, dies))
    child.start()
    child.join(timeout=600)
    assert child.exitcode in (0, -signal.SIGKILL)
    return child.exitcode != 0


def contents(out: Path) -> dict[str, Any]:
    """Every file of every stage; of records of training all but how long it took."""
    files = (path for path in sorted((out / "stages").rglob("*")) if path.is_file())
    return {path.relative_to(out).as_posix(): _content(path) for path in files}


def _content(path: Path) -> Any:
    if path.name != "training.json":
        return sha256_file(path)
    record = read_json(path, "record of a training")
    curve = [{name: value for name, value in row.items() if "seconds" not in name} for row in record["curve"]]
    return record | {"seconds": None, "curve": curve}


def same_tables(one: Path, other: Path) -> Iterator[bool]:
    """Whether the tables that a run ends with are the same, byte for byte."""
    for name in ("rounds.csv", "drift.csv", "records.parquet", "truth.json"):
        yield (one / name).read_bytes() == (other / name).read_bytes()


POINTS: Sequence[tuple[Event, str]] = (
    (("round-2-selection", -1), ""),  # between two stages
    (("reward model, round 2", 1), "round-2-reward"),
    (("fair-ppo-round-2", 1), "round-2-policy"),
    (("round-2-watched", -1), ""),
)
"""Where a round is killed, and the stage that is half built then."""


def test_a_round_killed_between_and_within_stages_ends_as_if_it_had_not_been(
    finished: tuple[Path, AllRounds], small_plan: Path, tmp_path: Path
) -> None:
    out = with_first_round_of(finished[0], tmp_path / "rounds")
    for event, half_built in POINTS:
        assert killed(out, small_plan, event.__eq__), f"there was no {event}"
        left = {path.name for path in (out / "stages").iterdir()}
        assert [name.split(".")[1] for name in left if name.endswith(".partial")] == [half_built] * bool(half_built)
        assert half_built not in left
    write_rounds(out, run_rounds(TWO, out, plan_name=small_plan))
    assert not list((out / "stages").glob(".*"))
    ours, theirs = contents(out), contents(finished[0])
    assert ours == theirs
    assert all(same_tables(out, finished[0]))


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_a_run_killed_anywhere_ends_as_if_it_had_not_been(
    finished: tuple[Path, AllRounds], small_plan: Path, tmp_path: Path, seed: int
) -> None:
    rng, out, kills = np.random.default_rng(seed), tmp_path / "rounds", 0
    while kills < 10:
        left = iter(range(int(rng.integers(1, 60)), -1, -1))
        if not killed(out, small_plan, lambda event, left=left: next(left) == 0):
            break
        kills += 1
    assert kills > 2
    write_rounds(out, run_rounds(TWO, out, plan_name=small_plan))
    ours, theirs = contents(out), contents(finished[0])
    assert ours == theirs
    assert all(same_tables(out, finished[0]))
