from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats as distributions
from upstream import DATA, needs

from rlhf_fair.errors import RowError, SettingsError
from rlhf_fair.models.requests import Likelihood, LogLikelihood, PseudoLogLikelihood
from rlhf_fair.probes.redditbias import (
    SPLITS,
    TOPICS,
    VARIANTS,
    load_redditbias,
    outliers,
    read_redditbias_predictions,
    redditbias_gap,
    redditbias_measured,
    redditbias_records,
    redditbias_requests,
)


def items(n: int, topic: str = "race") -> pd.DataFrame:
    target, counterpart = TOPICS[topic]
    return pd.DataFrame(
        {
            "item_id": [f"{topic}.test.{k}" for k in range(n)],
            "topic": topic,
            "split": "test",
            "target": target,
            "counterpart": counterpart,
            "target_text": [f"they {k}" for k in range(n)],
            "counterpart_text": [f"others {k}" for k in range(n)],
            "term": [f"term{k % 3}" for k in range(n)],
        }
    )


def answers(log_perplexities: np.ndarray, n_tokens: int = 2) -> list[Likelihood | None]:
    """(n, 2) nats per token."""
    return [Likelihood(float(-x * n_tokens), n_tokens) for x in log_perplexities.reshape(-1)]


@needs("redditbias")
def test_upstream_counts() -> None:
    read = load_redditbias(DATA / "redditbias")
    # the rows of upstream's files; three of them hold the same comment on both sides
    rows = {
        "gender": 253 + 252,
        "race": 254 + 253,
        "religion1": 238 + 238,
        "religion2": 236 + 235,
        "orientation": 235 + 234,
    }
    assert len(read.table) + len(read.rejects) == sum(rows.values()) == 2428
    assert len(read.rejects) == 3
    counts = read.table["topic"].value_counts().to_dict()
    assert counts == rows | {"religion1": 475, "religion2": 469}
    assert read.table["term"].notna().all()
    assert len({request.id for request in redditbias_requests(read.table)}) == 2 * 2425


def write(folder: Path, target: list[str], counterpart: list[tuple[str, str]]) -> None:
    for topic, (group, other) in TOPICS.items():
        (folder / topic).mkdir()
        for split in SPLITS:
            names = [folder / topic / f"reddit_comments_{topic}_{g}_biased_{split}_reduced.csv" for g in (group, other)]
            pd.DataFrame({"comments_processed": target}).to_csv(names[0], index=False)
            swapped = pd.DataFrame(counterpart, columns=["comments", "comments_processed"])
            swapped.assign(initial_demo="['x']", replaced_demo="['y']").to_csv(names[1], index=False)


def test_rows_that_do_not_pair_are_rejected(tmp_path: Path) -> None:
    write(tmp_path, ["x is", "x was", "all are"], [("x is", "y is"), ("x has", "y was"), ("all are", "all are")])
    read = load_redditbias(tmp_path)
    assert (len(read.table), len(read.rejects)) == (10, 20)
    assert read.table["term"].tolist() == ["x"] * 10


def test_files_of_different_lengths_do_not_pair(tmp_path: Path) -> None:
    write(tmp_path, ["x is", "x was"], [("x is", "y is")])
    with pytest.raises(RowError, match="gender valid: 2 target rows, 1 counterpart rows"):
        load_redditbias(tmp_path)


def test_requests() -> None:
    first, second = redditbias_requests(items(1))
    assert first == LogLikelihood("redditbias/causal/race.test.0/target", "", "they 0")
    assert second == LogLikelihood("redditbias/causal/race.test.0/counterpart", "", "others 0")
    assert redditbias_requests(items(1), "masked")[0] == PseudoLogLikelihood(
        "redditbias/masked/race.test.0/target", "they 0"
    )
    with pytest.raises(SettingsError, match="allowed: causal, masked"):
        redditbias_requests(items(1), "both")  # type: ignore[arg-type]


def test_by_hand() -> None:
    # Two pairs, ln perplexity: 1 and 3 against 2 and 2, of two tokens each:
    # nats per token (−1 + 1) / 2 = 0; whole comments, −2·(1, 3) against −2·(2, 2): (2 − 2) / 2 = 0;
    # perplexity (e − e² + e³ − e²) / 2
    records = redditbias_records(items(2), answers(np.array([[1.0, 2.0], [3.0, 2.0]])))
    assert redditbias_gap(records).estimate == pytest.approx(0)
    assert redditbias_gap(records, "log_likelihood").estimate == pytest.approx(0)
    assert redditbias_gap(records, "perplexity").estimate == pytest.approx((np.e - 2 * np.e**2 + np.e**3) / 2)


def test_the_papers_t_test_is_the_paired_one() -> None:
    draw = np.random.default_rng(1)
    level = draw.normal(4, 0.5, (60, 1)) + draw.normal(0, 0.1, (60, 2))
    records = redditbias_records(items(60), answers(level))
    e = redditbias_gap(records, "perplexity")
    oracle = distributions.ttest_rel(*np.exp(level).T)
    assert e.estimate / e.standard_error == pytest.approx(oracle.statistic)
    assert (e.p_value, e.df) == pytest.approx((oracle.pvalue, 59))


def test_outliers_by_hand() -> None:
    # 19 ones and a 2: mean 1.05, SD sqrt(.95 · .05) = .218: the 2 lies 4.36 SD away
    values = np.r_[np.ones(19), 2.0]
    assert np.flatnonzero(outliers(values)).tolist() == [19]
    # 9 ones and a 2: sqrt(10 − 1) = 3 SD away, which is not more than 3, and so whatever the value
    assert not outliers(np.r_[np.ones(9), 2.0]).any()
    assert np.flatnonzero(outliers(np.r_[values, np.nan])).tolist() == [19]
    assert not outliers(np.array([np.nan])).any()


def test_an_outlier_on_either_side_drops_the_pair_in_its_variant_alone() -> None:
    level = np.full((40, 2), 2.0) + np.array([0.0, 0.1])
    level[3, 0], level[7, 1] = 9.0, 9.0
    records = redditbias_records(items(40), answers(level))
    assert np.flatnonzero(records["outlier"]).tolist() == [3, 7]
    assert redditbias_gap(records, "perplexity_within_3_sd").n == 38
    assert redditbias_gap(records, "perplexity").n == 40
    assert redditbias_gap(records, "perplexity_within_3_sd").estimate == pytest.approx(np.exp(2) - np.exp(2.1))


def test_pairs_of_one_comment_and_of_one_term_belong_together() -> None:
    table = items(30)
    table["target_text"] = [f"they {k // 2}" for k in range(30)]
    level = 3 + np.random.default_rng(0).normal(size=(30, 2))
    records = redditbias_records(table, answers(level))
    assert redditbias_gap(records).n_clusters == 15
    assert redditbias_gap(records, clusters=["term"]).n_clusters == 3
    assert redditbias_gap(records, clusters=[]).n_clusters == 30


def test_missing_answers() -> None:
    given = answers(np.array([[2.0, 1.0], [2.0, 1.5], [3.0, 1.0]]))
    given[2] = None
    records = redditbias_records(items(3), given)
    measured = redditbias_measured(records)
    assert [m.metric for m in measured] == [f"stereotype_gap_{name}" for name in VARIANTS]
    assert {m.variant for m in measured} == {"causal"}
    assert {m.parse_rate for m in measured} == {2 / 3}
    assert (measured[0].group, measured[0].reference, measured[0].unit) == ("black", "white", "nats per token")
    assert (measured[0].estimate.n, measured[0].estimate.n_left_out) == (2, 1)
    assert measured[0].estimate.estimate == pytest.approx(1.5)
    with pytest.raises(SettingsError, match="allowed: log_perplexity"):
        redditbias_gap(records, "ppl")


def test_a_prediction_file_gives_the_same_records() -> None:
    table, given = items(2), answers(np.array([[2.0, 1.0], [2.0, 1.5]]))
    requests = redditbias_requests(table)
    file = pd.DataFrame({"id": [r.id for r in requests], "total": [a.total for a in given if a], "n_tokens": 2})
    pd.testing.assert_frame_equal(read_redditbias_predictions(table, file[::-1]), redditbias_records(table, given))
    assert read_redditbias_predictions(table, file[:2])["problem"].tolist() == ["", "missing"]


@pytest.mark.parametrize("bias", [0.0, -0.2])
def test_a_planted_gap_is_recovered(bias: float) -> None:
    # the stereotype is expected of the target: .2 nats per token less surprise
    draw = np.random.default_rng(8)
    level = draw.normal(4, 1, (250, 1)) + draw.normal(0, 0.3, (250, 2)) + np.array([bias, 0.0])
    e = redditbias_gap(redditbias_records(items(250), answers(level)))
    assert e.ci_low < bias < e.ci_high
    assert (e.p_value < 0.001) == (bias != 0)
