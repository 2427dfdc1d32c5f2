from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from rlhf_fair.errors import MissingFileError, SettingsError
from rlhf_fair.probes.generation_scores import add_scores
from rlhf_fair.probes.generations import generation_records
from rlhf_fair.probes.measured import Measured
from rlhf_fair.probes.real_toxicity import (
    expected_maximum,
    load_real_toxicity,
    real_toxicity_measured,
    toxicity_scoring,
)

DATA = Path(__file__).parents[3] / "shared/data/real-toxicity-prompts"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="data set not at hand: ../shared/data/real-toxicity-prompts")


class Percent:
    """Reads the toxicity from the text: "t40" is 0.4."""

    name = "percent"

    def score(self, texts: Sequence[str]) -> NDArray[np.float64]:
        return np.array([float(text[1:]) / 100 if text[:1] == "t" else np.nan for text in texts])


def written(folder: Path, toxicity: list[float | None]) -> pd.DataFrame:
    rows = [
        {"filename": f"{k}.txt", "begin": 0, "end": 9, "prompt": {"text": f"p{k}", "toxicity": t}, "challenging": False}
        for k, t in enumerate(toxicity)
    ]
    (folder / "prompts.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    return load_real_toxicity(folder).table


def measured(items: pd.DataFrame, answers: list[str | None], n_samples: int, k: int) -> list[Measured]:
    records = add_scores(generation_records(items, answers, n_samples), toxicity_scoring(Percent()))
    return real_toxicity_measured(records, k)


def only(found: list[Measured], metric: str, band: str = "all") -> Measured:
    (one,) = [m for m in found if m.metric.startswith(metric) and m.group == band]
    return one


@needs_data
def test_the_files_counts() -> None:
    read = load_real_toxicity(DATA)
    assert (len(read.table), len(read.rejects)) == (5000, 0)
    assert read.table["band"].value_counts().to_dict() == {"non-toxic": 3732, "toxic": 1249, "unknown": 19}
    assert read.table["document"].nunique() == 4994


def test_the_mean_of_the_maxima_by_hand(tmp_path: Path) -> None:
    items = written(tmp_path, [0.1, 0.6, 0.2])
    # maxima .4, .9, .5: mean .6; two of three reach .5
    answers: list[str | None] = ["t10", "t40", "t90", "t20", "t50", "t0"]
    found = measured(items, answers, 2, 2)
    assert only(found, "expected_maximum_toxicity").estimate.estimate == pytest.approx(0.6)
    assert only(found, "toxicity_probability_at_0.5").estimate.estimate == pytest.approx(2 / 3)
    assert only(found, "expected_maximum_toxicity", "toxic").estimate.estimate == pytest.approx(0.9)
    assert only(found, "expected_maximum_toxicity", "non-toxic").estimate.estimate == pytest.approx(0.45)
    assert found[0].variant == "k=2; percent, continuation, refusals scored"


def test_bands_and_ids(tmp_path: Path) -> None:
    items = written(tmp_path, [0.5, 0.49, None])
    assert items["band"].tolist() == ["toxic", "non-toxic", "unknown"]
    assert items["item_id"].tolist()[0] == "rtp/0.txt/0-9"


def test_lines_that_cannot_be_used_are_listed(tmp_path: Path) -> None:
    good = {"filename": "a.txt", "begin": 0, "end": 9, "prompt": {"text": "p", "toxicity": 0.1}}
    rows = [good, good, good | {"begin": 1, "prompt": "{p"}, good | {"begin": 2, "prompt": {"text": None}}]
    (tmp_path / "prompts.jsonl").write_text("\n".join(["{broken", *map(json.dumps, rows)]))
    read = load_real_toxicity(tmp_path)
    assert len(read.table) == 1
    assert read.rejects[["row", "code"]].to_numpy().tolist() == [
        [1, "malformed"],
        [3, "duplicate"],
        [4, "missing"],
        [5, "missing"],
    ]


def test_a_prompt_with_too_few_scored_samples_is_left_out_not_taken_for_mild(tmp_path: Path) -> None:
    items = written(tmp_path, [0.1, 0.1, 0.1])
    answers: list[str | None] = ["t10", None, "t20", "t80", "t40", "t30"]
    estimate = only(measured(items, answers, 2, 2), "expected_maximum_toxicity").estimate
    assert estimate.estimate == pytest.approx((0.8 + 0.4) / 2)
    assert (estimate.n, estimate.n_left_out) == (2, 1)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=6), st.integers(1, 6))
def test_expected_maximum_averages_over_all_choices(scores: list[float], k: int) -> None:
    row = np.array([[*scores, np.nan]])  # a missing sample takes no part
    choices = [max(chosen) for chosen in itertools.combinations(scores, k)]
    result = expected_maximum(row, k)[0]
    if choices:
        assert result == pytest.approx(np.mean(choices))
    else:
        assert np.isnan(result)


def test_more_samples_than_k_do_not_raise_the_result() -> None:
    rng = np.random.default_rng(3)
    scores = rng.uniform(size=(4000, 10))
    # the maximum of 3 uniform numbers has mean 3/4, however many there are to choose from
    for m in (3, 5, 10):
        assert expected_maximum(scores[:, :m], 3).mean() == pytest.approx(0.75, abs=0.01)


def test_faults_of_the_user(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="RealToxicityPrompts"):
        load_real_toxicity(tmp_path)
    with pytest.raises(SettingsError, match="k is 0"):
        expected_maximum(np.zeros((1, 1)), 0)


def test_nothing_toxic_at_all_has_limits_where_scores_are_shares(tmp_path: Path) -> None:
    items = written(tmp_path, [0.1] * 50)
    records = add_scores(generation_records(items, ["t0"] * 100, 2), toxicity_scoring(Percent()))
    e = only(real_toxicity_measured(records, 2, bounded=True), "expected_maximum").estimate
    # Wilson, 0 of 50 documents: 1.96^2 / (50 + 1.96^2) = 3.8415 / 53.8415
    assert (e.estimate, e.ci_low, e.ci_high) == (0, 0, pytest.approx(0.07135, abs=1e-4))
    unbounded = only(real_toxicity_measured(records, 2), "expected_maximum").estimate
    assert np.isnan(unbounded.ci_high)
    some = add_scores(generation_records(items, ["t0"] * 99 + ["t30"], 2), toxicity_scoring(Percent()))
    assert only(real_toxicity_measured(some, 2, bounded=True), "expected_maximum").estimate.estimate == 0.3 / 50
