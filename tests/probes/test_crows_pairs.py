from __future__ import annotations

import gzip
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from statsmodels.stats.proportion import proportion_confint
from upstream import DATA, needs

from rlhf_fair.errors import MissingFileError, RowError, SettingsError
from rlhf_fair.models.requests import Likelihood, LogLikelihood, PseudoLogLikelihood
from rlhf_fair.probes.crows_pairs import (
    crows_pairs_measured,
    crows_pairs_records,
    crows_pairs_requests,
    crows_pairs_score,
    load_crows_pairs,
    read_crows_pairs_predictions,
)
from rlhf_fair.probes.measured import Measured


def items(directions: list[str], types: list[str] | None = None) -> pd.DataFrame:
    n = len(directions)
    return pd.DataFrame(
        {
            "pair_id": [str(i) for i in range(n)],
            "sent_more": [f"more {i}" for i in range(n)],
            "sent_less": [f"less {i}" for i in range(n)],
            "stereo_antistereo": directions,
            "bias_type": types or ["age"] * n,
            "anon_writer": [f"w{i // 2}" for i in range(n)],
        }
    )


def answers(*pairs: tuple[float | None, float | None]) -> list[Likelihood | None]:
    return [None if x is None else Likelihood(x, 2) for pair in pairs for x in pair]


def find(measured: list[Measured], metric: str, group: str, variant: str) -> Measured:
    (one,) = [m for m in measured if (m.metric, m.group, m.variant) == (metric, group, variant)]
    return one


@needs("crows-pairs")
def test_upstream_counts() -> None:
    read = load_crows_pairs(DATA / "crows-pairs")
    table = read.table
    assert (len(table), len(read.rejects)) == (1508, 0)
    assert table["stereo_antistereo"].value_counts().to_dict() == {"stereo": 1290, "antistereo": 218}
    # Nangia et al. 2020, table 2
    assert table["bias_type"].value_counts().to_dict() == {
        "race-color": 516,
        "gender": 262,
        "socioeconomic": 172,
        "nationality": 159,
        "religion": 105,
        "age": 87,
        "sexual-orientation": 84,
        "physical-appearance": 63,
        "disability": 60,
    }
    ids = [request.id for request in crows_pairs_requests(table, "masked_shared")]
    assert len(set(ids)) == 3016


def test_reads_a_folder_and_a_gzipped_file(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="CrowS-Pairs"):
        load_crows_pairs(tmp_path)
    text = ",sent_more,sent_less,stereo_antistereo,bias_type\n0,A b,A c,stereo,age\n"
    (tmp_path / "crows_pairs_anonymized.csv.gz").write_bytes(gzip.compress(text.encode()))
    table = load_crows_pairs(tmp_path).table
    assert table["pair_id"].tolist() == ["0"]
    assert crows_pairs_records(table, answers((-1, -2)), "causal_sentence")["writer"].isna().all()


def test_each_variant_asks_for_its_own_tokens() -> None:
    pair = items(["stereo"])
    assert crows_pairs_requests(pair, "masked_shared") == [
        PseudoLogLikelihood("crows_pairs/masked_shared/0/more", "more 0", "less 0", "shared"),
        PseudoLogLikelihood("crows_pairs/masked_shared/0/less", "less 0", "more 0", "shared"),
    ]
    assert crows_pairs_requests(pair, "masked_changed_mean")[0] == PseudoLogLikelihood(
        "crows_pairs/masked_changed_mean/0/more", "more 0", "less 0", "changed"
    )
    assert crows_pairs_requests(pair, "causal_sentence")[1] == LogLikelihood(
        "crows_pairs/causal_sentence/0/less", "", "less 0"
    )
    # a causal model's answer to the same question is another variant, with ids of its own
    assert crows_pairs_requests(pair, "causal_shared")[0] == PseudoLogLikelihood(
        "crows_pairs/causal_shared/0/more", "more 0", "less 0", "shared"
    )
    with pytest.raises(SettingsError, match="allowed: masked_shared, masked_changed_mean, causal_sentence"):
        crows_pairs_requests(pair, "sentence")  # type: ignore[arg-type]


def test_the_references_rounding_and_tie_rule_by_hand() -> None:
    # more − less: +1 (hit), +.0002 (hit; rounds to a tie), 0 (tie), −1 (miss), +2 (hit)
    # exact, ties half: (1 + 1 + .5 + 0 + 1) / 5 = 70 %
    # rounded: two ties are misses overall: 2 / 5 = 40 %; of the untied stereo pairs (1st, 4th) one is a hit: 50 %;
    # of the untied antistereo pairs (5th alone) all are: 100 %
    table = items(["stereo", "stereo", "antistereo", "stereo", "antistereo"])
    records = crows_pairs_records(
        table, answers((-9, -10), (-5.0001, -5.0003), (-7, -7), (-4, -3), (-1, -3)), "masked_shared"
    )
    assert crows_pairs_score(records).estimate == pytest.approx(70)
    assert crows_pairs_score(records, rounded=True).estimate == pytest.approx(40)
    measured = crows_pairs_measured(records)
    metric = "stereotype_score_less_50"
    assert find(measured, metric, "all", "masked_shared").estimate.estimate == pytest.approx(20)
    assert find(measured, metric, "all", "masked_shared_rounded3").estimate.estimate == pytest.approx(-10)
    assert find(measured, metric, "stereo", "masked_shared_rounded3").estimate.estimate == pytest.approx(0)
    assert find(measured, metric, "antistereo", "masked_shared_rounded3").estimate.estimate == pytest.approx(50)
    # (1 + .0002 + 0 − 1 + 2) / 5
    assert find(measured, "stereotype_log_ratio", "all", "masked_shared").estimate.estimate == pytest.approx(0.40004)


def test_the_interval_is_wilsons_and_the_p_value_that_of_50() -> None:
    records = crows_pairs_records(items(["stereo"] * 60), answers(*[(-1, -2)] * 40, *[(-2, -1)] * 20), "masked_shared")
    e = crows_pairs_score(records)
    assert (e.ci_low, e.ci_high) == pytest.approx([100 * x for x in proportion_confint(40, 60, method="wilson")])
    # score test of one half: z = (2/3 − 1/2) / sqrt(1/4/60) = 2.582
    assert e.p_value == pytest.approx(0.00982, abs=1e-5)
    shifted = find(crows_pairs_measured(records), "stereotype_score_less_50", "all", "masked_shared").estimate
    assert (shifted.ci_low, shifted.ci_high) == pytest.approx((e.ci_low - 50, e.ci_high - 50))
    assert (shifted.p_value, shifted.standard_error) == pytest.approx((e.p_value, e.standard_error))


def test_ties_everywhere_are_no_preference_with_limits() -> None:
    records = crows_pairs_records(items(["stereo"] * 60), answers(*[(-1, -1)] * 60), "causal_sentence")
    e = find(crows_pairs_measured(records), "stereotype_score_less_50", "all", "causal_sentence").estimate
    # 0 of 60 leans: 1.96^2 = 3.8415; 50 * 3.8415 / 63.8415 = 3.0086
    assert (e.estimate, e.ci_low, e.ci_high) == (0, pytest.approx(-3.0086, abs=1e-3), pytest.approx(3.0086, abs=1e-3))


def test_writers_may_be_the_clusters() -> None:
    # both pairs of a writer agree: 60 pairs, 30 independent writers
    records = crows_pairs_records(items(["stereo"] * 60), answers(*[(-1, -2)] * 40, *[(-2, -1)] * 20), "masked_shared")
    by_pair, by_writer = crows_pairs_score(records), crows_pairs_score(records, clusters=["writer"])
    assert (by_pair.n_clusters, by_writer.n_clusters, by_writer.n) == (60, 30, 60)
    ratio = (by_writer.ci_high - by_writer.ci_low) / (by_pair.ci_high - by_pair.ci_low)
    assert 1.3 < ratio < 1.5  # sqrt(2), and a little for the smaller degrees of freedom


def test_missing_answers_leave_out_the_pair_and_lower_the_parse_rate() -> None:
    table = items(["stereo"] * 4)
    # a side without changed tokens has no mean: Likelihood(0, 0)
    given = [*answers((-1, -2), (None, -2), (-2, -1)), Likelihood(0, 0), Likelihood(-1, 1)]
    records = crows_pairs_records(table, given, "masked_changed_mean")
    assert records["parsed"].tolist() == [True, False, True, False]
    assert records["problem"].tolist() == ["", "missing", "", ""]
    e = find(crows_pairs_measured(records), "stereotype_score_less_50", "all", "masked_changed_mean")
    assert (e.estimate.n, e.estimate.n_left_out, e.parse_rate) == (2, 2, 0.5)
    nothing = crows_pairs_records(table, [None] * 8, "masked_changed_mean")
    assert math.isnan(crows_pairs_score(nothing).estimate)
    assert crows_pairs_score(nothing).reason
    with pytest.raises(RowError, match="3 answers to 8 requests"):
        crows_pairs_records(table, [None] * 3, "masked_changed_mean")


def test_a_prediction_file_gives_the_same_records() -> None:
    table = items(["stereo", "antistereo"])
    requests = crows_pairs_requests(table, "causal_sentence")
    file = pd.DataFrame({"id": [r.id for r in requests], "total": [-9.0, -10, -3, -2], "n_tokens": 2})
    direct = crows_pairs_records(table, answers((-9, -10), (-3, -2)), "causal_sentence")
    shuffled = file.sample(frac=1, random_state=0)
    pd.testing.assert_frame_equal(read_crows_pairs_predictions(table, shuffled, "causal_sentence"), direct)
    short = read_crows_pairs_predictions(table, file[:3], "causal_sentence")
    assert short["problem"].tolist() == ["", "missing"]


def test_a_planted_preference_is_recovered_by_type_and_none_is_found_without() -> None:
    draw = np.random.default_rng(3)
    types = ["age", "religion"] * 400
    # age: the more stereotyping sentence is likelier in 80 % of pairs; religion: in half
    likelier = draw.random(800) < np.where(np.arange(800) % 2, 0.5, 0.8)
    given = answers(*[(-1.0, -2.0) if hit else (-2.0, -1.0) for hit in likelier])
    measured = crows_pairs_measured(crows_pairs_records(items(["stereo"] * 800, types), given, "causal_sentence"))
    age = find(measured, "stereotype_score_less_50", "age", "causal_sentence").estimate
    religion = find(measured, "stereotype_score_less_50", "religion", "causal_sentence").estimate
    assert age.ci_low < 30 < age.ci_high
    assert age.p_value < 1e-6
    assert religion.ci_low < 0 < religion.ci_high
    assert not [m for m in measured if m.variant.endswith("rounded3")]  # no such rule is in use for causal models


def test_the_direction_of_a_pair_changes_nothing_but_its_slice() -> None:
    # the score asks for sent_more, whichever the direction
    given = answers((-1, -2), (-1, -2), (-2, -1))
    one = crows_pairs_records(items(["stereo"] * 3), given, "masked_shared")
    other = crows_pairs_records(items(["antistereo"] * 3), given, "masked_shared")
    assert crows_pairs_score(one) == crows_pairs_score(other)
