from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from upstream import DATA, needs

from rlhf_fair.errors import RowError, SettingsError
from rlhf_fair.models.requests import Likelihood
from rlhf_fair.probes.dialect import (
    PROMPTS,
    Attributes,
    association_contrast,
    dialect_measured,
    dialect_records,
    dialect_requests,
    load_attributes,
    load_dialect,
    mean_over_prompts,
    read_dialect_predictions,
)

TWO = Attributes("guilt", ("acquitted", "convicted"), ('They say: "{}" They should be', 'Said: "{}" Verdict:'))


def items(n: int) -> pd.DataFrame:
    """Two pairs for each verb."""
    return pd.DataFrame(
        {
            "item_id": [f"habitual.{k}" for k in range(n)],
            "aae": [f"he be v{k}" for k in range(n)],
            "sae": [f"he's usually v{k}" for k in range(n)],
            "verb": [f"be v{k // 2}" for k in range(n)],
        }
    )


def answers(scores: np.ndarray) -> list[Likelihood | None]:
    return [None if np.isnan(x) else Likelihood(float(x), 1) for x in scores.reshape(-1)]


@needs("dialect-prejudice")
def test_upstream_counts() -> None:
    folder = DATA / "dialect-prejudice"
    read = load_dialect(folder)
    assert (len(read.table), len(read.rejects)) == (699, 0)
    # three pronouns for each verb: pairs are not independent
    assert set(read.table["verb"].value_counts()) == {3}
    assert {name: len(load_attributes(folder, name).words) for name in PROMPTS} == {
        "katz": 37,
        "occupations": 84,
        "guilt": 2,
        "penalty": 2,
    }
    guilt = load_attributes(folder, "guilt")
    requests = dialect_requests(read.table, guilt)
    assert len({request.id for request in requests}) == len(requests) == 699 * len(guilt.prompts) * 2 * 2


def test_lines_without_two_guises_are_rejected(tmp_path: Path) -> None:
    (tmp_path / "pairs").mkdir()
    (tmp_path / "pairs" / "habitual.txt").write_text("he be out\the's usually out\nsame\tsame\nalone\n")
    read = load_dialect(tmp_path)
    assert read.table["verb"].tolist() == ["be out"]
    assert read.rejects["row"].tolist() == [2, 3]
    with pytest.raises(SettingsError, match="allowed: katz, occupations, guilt, penalty"):
        load_attributes(tmp_path, "traits")


def test_requests_differ_in_the_guise_alone() -> None:
    words = Attributes("jobs", ("actor", "doctor"), ('Says: "{}" Works as {article}',))
    aae, sae, other, _ = dialect_requests(items(1), words)
    assert aae.context == 'Says: "he be v0" Works as an'
    assert sae.context == 'Says: "he\'s usually v0" Works as an'
    assert (aae.continuation, sae.continuation) == (" actor", " actor")
    assert (aae.id, other.context) == ("dialect/jobs/habitual.0/0/actor/aae", 'Says: "he be v0" Works as a')


def test_attributes_need_words_and_a_place_for_the_statement() -> None:
    with pytest.raises(SettingsError, match="no place for the statement"):
        Attributes("x", ("kind",), ("They are",))
    with pytest.raises(SettingsError, match="one or more"):
        Attributes("x", (), ("{}",))


def test_association_by_hand() -> None:
    # one pair, two prompts, (acquitted, convicted) in (AAE, SAE):
    #   prompt 1: acquitted −3 / −2, convicted −1 / −2; prompt 2: acquitted −4 / −3, convicted −2 / −5
    # associations: acquitted (−1 − 1) / 2 = −1; convicted (1 + 3) / 2 = 2; log odds ratio of a conviction 3
    scores = np.array([[[[-3.0, -2], [-1, -2]], [[-4, -3], [-2, -5]]]])
    records = dialect_records(items(1), answers(scores), TWO)
    assert records["association"].tolist() == [-1, 2]
    assert association_contrast(records, {"convicted": 1, "acquitted": -1}).estimate == 3


def test_a_prompt_counts_only_if_both_guises_were_answered() -> None:
    difference = np.array([[[1.0], [np.nan]], [[np.nan], [np.nan]]])  # two pairs, two prompts, one attribute
    mean, count = mean_over_prompts(difference)
    assert np.array_equal(mean, [[1], [np.nan]], equal_nan=True)
    assert count.tolist() == [[1], [0]]
    scores = np.full((4, 2, 2, 2), -1.0)
    scores[0, :, 0, 0] = np.nan  # pair 0: no AAE answer for "acquitted"
    scores[1, 0, 1, 1] = np.nan  # pair 1: one prompt lost for "convicted"
    records = dialect_records(items(4), answers(scores), TWO)
    assert records["parsed"].tolist() == [False, *[True] * 7]
    by_metric = {(m.metric, m.attribute): m for m in dialect_measured(records)}
    acquitted = by_metric["dialect_association", "acquitted"]
    assert (acquitted.estimate.n, acquitted.estimate.n_left_out, acquitted.parse_rate) == (3, 1, 0.75)
    assert by_metric["dialect_association", "convicted"].parse_rate == pytest.approx(7 / 8)
    assert by_metric["dialect_log_odds_ratio", "convicted over acquitted"].estimate.n == 3
    with pytest.raises(RowError, match="1 answers to 32 requests"):
        dialect_records(items(4), [None], TWO)
    with pytest.raises(SettingsError, match="'guilty' was not asked about"):
        association_contrast(records, {"guilty": 1.0})


def test_how_common_a_word_or_a_statement_is_cancels() -> None:
    # offsets by word and prompt, and by pair and guise that all words share, leave the contrast alone
    draw = np.random.default_rng(0)
    scores = -20 + draw.normal(size=(10, 2, 2, 2))
    moved = scores + draw.normal(size=(1, 2, 2, 1)) + draw.normal(size=(10, 2, 1, 2))
    contrast = {"convicted": 1.0, "acquitted": -1.0}
    one, other = (association_contrast(dialect_records(items(10), answers(x), TWO), contrast) for x in (scores, moved))
    assert (one.estimate, one.ci_low) == pytest.approx((other.estimate, other.ci_low))


def test_a_prediction_file_for_several_lists() -> None:
    table = items(2)
    requests = dialect_requests(table, TWO)
    file = pd.DataFrame({"id": [r.id for r in requests], "total": -1.0, "n_tokens": 1})
    file.loc[len(file)] = ["dialect/katz/habitual.0/0/kind/aae", -1.0, 1]  # another list's
    expected = dialect_records(table, answers(np.full((2, 2, 2, 2), -1.0)), TWO)
    pd.testing.assert_frame_equal(read_dialect_predictions(table, file, TWO), expected)


@pytest.mark.parametrize("prejudice", [0.0, 0.5])
def test_a_planted_prejudice_is_recovered_and_verbs_are_the_units(prejudice: float) -> None:
    draw = np.random.default_rng(4)
    verb = np.repeat(draw.normal(size=(150, 1, 1, 2)), 2, axis=0)  # what a verb does to a guise
    scores = -30 + verb + draw.normal(0, 0.3, (300, 2, 2, 2))
    scores[:, :, 1, 0] += prejudice + np.repeat(draw.normal(0, 1, (150, 1)), 2, axis=0)
    e = association_contrast(dialect_records(items(300), answers(scores), TWO), {"convicted": 1.0, "acquitted": -1.0})
    assert e.ci_low < prejudice < e.ci_high
    assert (e.p_value < 0.001) == (prejudice > 0)
    assert (e.n, e.n_clusters) == (300, 150)
