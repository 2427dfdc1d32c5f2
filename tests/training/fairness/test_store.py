"""Sums and stores: however samples are split over processes, statistics are those of the whole."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlhf_fair.errors import RlhfFairError
from rlhf_fair.training.fairness import BatchSums, FairnessSettings, FairnessShaper, GroupState, LocalStore
from rlhf_fair.training.fairness.sums import LENGTH, SCORE, Cell, Moments

ROWS = st.lists(
    st.tuples(
        st.sampled_from(["x", "y"]),
        st.sampled_from(["a", "b", None]),
        st.floats(-100, 100) | st.just(float("nan")),
        st.integers(0, 3),  # which process holds the row
    ),
    max_size=40,
)


def sums_of(rows: list[tuple[str, str | None, float, int]]) -> BatchSums:
    scores = np.array([score for *_, score, _ in rows], dtype=float)
    return BatchSums.of([group for _, group, *_ in rows], {SCORE: scores}, [stratum for stratum, *_ in rows])


def same(one: BatchSums, other: BatchSums) -> bool:
    assert one.cells.keys() == other.cells.keys()
    for cell, moments in one.cells.items():
        assert other.cells[cell] == pytest.approx(moments, rel=1e-9, abs=1e-9)
    return (one.rows, one.unknown, one.unscored) == (other.rows, other.unknown, other.unscored)


@given(ROWS)
def test_merged_parts_are_the_whole(rows: list[tuple[str, str | None, float, int]]) -> None:
    parts = [sums_of([row for row in rows if row[3] == process]) for process in range(4)]
    assert same(sum(parts, BatchSums()), sums_of(rows))


@given(ROWS)
def test_a_trip_over_the_network_changes_no_bit(rows: list[tuple[str, str | None, float, int]]) -> None:
    sums = sums_of(rows)
    assert BatchSums.from_json(json.loads(json.dumps(sums.to_json()))) == sums
    state = LocalStore(0.9).add(sums)
    assert GroupState.from_json(json.loads(json.dumps(state.to_json()))) == state


@given(ROWS)
def test_every_row_is_measured_unknown_or_unscored(rows: list[tuple[str, str | None, float, int]]) -> None:
    sums = sums_of(rows)
    assert sum(moments.n for moments in sums.cells.values()) + sums.unknown + sums.unscored == len(rows) == sums.rows


@given(ROWS, ROWS)
def test_streaming_a_step_in_pieces_is_one_step(
    first: list[tuple[str, str | None, float, int]], second: list[tuple[str, str | None, float, int]]
) -> None:
    """Processes that send their parts as sums, merged before the store, get what one process would get."""
    merged, whole = LocalStore(0.7), LocalStore(0.7)
    for rows in (first, second):
        parts = [sums_of([row for row in rows if row[3] == process]) for process in range(4)]
        merged_state, state = merged.add(sum(parts, BatchSums())), whole.add(sums_of(rows))
    assert merged_state.cells.keys() == state.cells.keys()
    for cell, moments in state.cells.items():
        assert merged_state.cells[cell] == pytest.approx(moments, rel=1e-9, abs=1e-9)
    assert (merged_state.version, merged_state.steps) == (2, 2.0)


def test_moments_by_hand() -> None:
    lengths = np.array([np.nan, 2.0, np.nan, 4.0])  # only a missing score makes a row unscored
    sums = BatchSums.of(["a", None, "a", "b"], {SCORE: np.array([1.0, 5.0, 3.0, np.nan]), LENGTH: lengths})
    assert sums.cells == {Cell(SCORE, "", "a"): (2.0, 4.0, 10.0), Cell(LENGTH, "", "b"): (1.0, 4.0, 16.0)}
    assert (sums.rows, sums.unknown, sums.unscored) == (4, 1, 1)


def test_fading_by_hand() -> None:
    # memory 1/2. a: 1 3, then 5: mass 1 + 1, squared mass 2/4 + 1, sum 2 + 5, squares 5 + 25
    store = LocalStore(0.5)
    store.add(BatchSums.of(["a", "a"], {SCORE: np.array([1.0, 3.0])}))
    state = store.add(BatchSums.of(["a"], {SCORE: np.array([5.0])}))
    assert state.cells[Cell(SCORE, "", "a")] == (2.0, 1.5, 7.0, 30.0)
    assert state.version == 2


def test_a_server_that_hears_single_rows_fades_by_rows() -> None:
    """Four rows are a step: after them the past counts 1/2, as after one batch of four."""
    old, new = BatchSums.of(["a"] * 4, {SCORE: np.ones(4)}), [BatchSums.of(["b"], {SCORE: np.ones(1)})] * 4
    single = LocalStore(0.5, rows_per_step=4)
    single.add(old)
    for row in new:
        state = single.add(row)
    whole = LocalStore(0.5)
    whole.add(old)
    expected = whole.add(sum(new, BatchSums()))
    assert state.cells[Cell(SCORE, "", "a")] == pytest.approx(expected.cells[Cell(SCORE, "", "a")])
    # rows of the new step have faded a little among themselves: 1 + 2^-1/4 + 2^-1/2 + 2^-3/4
    assert state.cells[Cell(SCORE, "", "b")].mass == pytest.approx(3.1426, abs=1e-4)
    assert (state.version, state.steps) == (5, 2.0)


def test_multipliers_move_once_a_step_however_many_rows_tell_of_it() -> None:
    settings = FairnessSettings.model_validate(
        {"multiplier": {"kind": "dual", "tolerance": 0.1, "rate": 1.0}, "minimum_count": 0.0}
    )
    shaper = FairnessShaper(settings, store=LocalStore(0.5, rows_per_step=2))
    values = []
    for score, group in [(1.0, "a"), (0.0, "b"), (1.0, "a"), (0.0, "b")]:
        shaper.shape(np.zeros(1), np.array([score]), [group])
        values.append(shaper.multipliers.values().get("variance", 0.0))
    assert values[0] == 0
    assert values[1] == values[2]
    assert values[3] != values[2]


def test_staleness_counts_what_others_added_in_between() -> None:
    store, settings = LocalStore(0.5), FairnessSettings()
    one, other = FairnessShaper(settings, store=store), FairnessShaper(settings, store=store)

    def staleness(shaper: FairnessShaper) -> tuple[float, float]:
        row = shaper.shape(np.zeros(1), np.zeros(1), ["a"]).metrics
        return row["version"], row["staleness"]

    assert staleness(one) == (1, 0)
    assert staleness(one) == (2, 0)
    other.shape(np.zeros(1), np.zeros(1), ["a"])
    other.shape(np.zeros(1), np.zeros(1), ["a"])
    assert staleness(one) == (5, 2)


@pytest.mark.parametrize(
    "content",
    [{}, {"cells": [["score", "", "a", 1.0]], "rows": 1}, {"cells": [["score", "", "a", "x", 1, 1]], "rows": 1}],
)
def test_what_are_no_sums_is_refused(content: dict[str, object]) -> None:
    with pytest.raises(RlhfFairError, match="no group sums"):
        BatchSums.from_json(content)
    with pytest.raises(RlhfFairError, match="no state of group statistics"):
        GroupState.from_json(content)


def test_sums_that_are_not_finite_are_refused() -> None:
    content = {"cells": [["score", "", "a", 1.0, float("inf"), 1.0]], "rows": 1, "unknown": 0, "unscored": 0}
    with pytest.raises(RlhfFairError, match="not finite"):
        BatchSums.from_json(content)


class SlowCells(dict[Cell, Moments]):
    """Cells that let other threads run while they are read."""

    def items(self) -> Any:
        time.sleep(0.005)
        return super().items()


def test_no_thread_loses_another_ones_batch() -> None:
    store = LocalStore(memory=1.0)
    one = BatchSums(SlowCells({Cell(SCORE, "", "a"): Moments(1.0, 2.0, 4.0)}), rows=1)
    with ThreadPoolExecutor(8) as threads:
        versions = sorted(state.version for state in threads.map(store.add, [one] * 40))
    assert versions == list(range(1, 41))  # each got the state that it made
    assert store.read().cells == {Cell(SCORE, "", "a"): (40.0, 40.0, 80.0, 160.0)}
    assert (store.read().steps, store.read().rows) == (40.0, 40.0)
