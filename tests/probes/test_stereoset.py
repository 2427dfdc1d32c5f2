from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from rlhf_fair.errors import ColumnError, MissingFileError, RowError, SettingsError
from rlhf_fair.models.requests import Likelihood
from rlhf_fair.probes.measured import Measured
from rlhf_fair.probes.stereoset import (
    TEXTS,
    load_stereoset,
    read_stereoset_predictions,
    stereoset_masked_requests,
    stereoset_records,
    stereoset_requests,
)
from rlhf_fair.probes.stereoset_scores import (
    balance,
    idealised_cat_score,
    language_modelling_score,
    stereoset_measured,
    stereotype_excess,
    stereotype_score,
    tie_share,
)

DATA = Path(__file__).parents[3] / "shared" / "data" / "stereoset"


def toy_items(targets: list[str], kind: str = "intrasentence") -> pd.DataFrame:
    rows = [
        {
            "item_id": str(n),
            "type": kind,
            "target": target,
            "bias_type": "profession",
            "context": f"The {target} is BLANK {n}." if kind == "intrasentence" else f"I met the {target} {n}.",
            "stereotype": f"The {target} is kind {n}.",
            "anti-stereotype": f"The {target} is rude {n}.",
            "unrelated": f"The {target} is granular {n}.",
            **{f"{text}_id": f"{n}/{text}" for text in TEXTS},
        }
        for n, target in enumerate(targets)
    ]
    return pd.DataFrame(rows)


def records(targets: list[str], scores: list[tuple[float, float, float]]) -> pd.DataFrame:
    """Scores of stereotype, anti-stereotype and unrelated text per item."""
    likelihoods = [Likelihood(score, 1) for three in scores for score in three]
    return stereoset_records(toy_items(targets), likelihoods)


def found(measured: list[Measured], metric: str, group: str = "all", kind: str = "all items") -> Measured:
    [one] = [m for m in measured if (m.metric, m.group) == (metric, group) and m.variant.startswith(kind)]
    return one


PRO, ANTI, SENSELESS = (3.0, 2.0, 1.0), (2.0, 3.0, 1.0), (3.0, 1.0, 2.0)


def test_scores_are_means_over_terms_by_hand() -> None:
    # nurse: SS 100 * 3/3, LMS 100 * (2 + 2 + 1)/6 = 83.3; clerk: SS 100 * 0/1, LMS 100 * 2/2
    rows = records(["nurse", "nurse", "nurse", "clerk"], [PRO, PRO, SENSELESS, ANTI])
    assert stereotype_score(rows).estimate == pytest.approx(50)  # over items it would be 75
    assert language_modelling_score(rows).estimate == pytest.approx((100 * 5 / 6 + 100) / 2)
    # from the means, not the mean of the terms' own ICAT, which are both 0
    assert idealised_cat_score(rows).estimate == pytest.approx((100 * 5 / 6 + 100) / 2)


@pytest.mark.parametrize(
    ("lms", "ss", "icat"),
    [(100, 50, 100), (100, 100, 0), (100, 0, 0), (50, 50, 50)],  # the paper's idealised, stereotyped and random models
)
def test_icat_of_the_papers_models(lms: float, ss: float, icat: float) -> None:
    assert lms * balance(ss) == icat


def test_icat_of_published_models() -> None:
    # Nadeem et al. 2021, hidden test set: BERT-large 85.8, 59.2 -> 69.9; GPT-2 medium 85.9, 58.2 -> 71.7;
    # LMS and SS are printed to one decimal, hence the tolerance
    assert 85.8 * balance(59.2) == pytest.approx(69.9, abs=0.15)
    assert 85.9 * balance(58.2) == pytest.approx(71.7, abs=0.15)


def test_ties_are_no_preference_and_are_counted() -> None:
    rows = records(["a", "b", "c", "d"], [(2, 2, 1), (2, 1, 1), PRO, ANTI])
    # a: tie; b: anti-stereotype ties with unrelated. SS 2 of 4 terms, LMS (2 + 1 + 2 + 2)/8, ties 1 of 4
    assert stereotype_score(rows).estimate == 50
    assert language_modelling_score(rows).estimate == pytest.approx(87.5)
    assert tie_share(rows).estimate == 25
    assert rows["tied_unrelated"].tolist() == [0, 1, 0, 0]


def test_half_of_a_tie_goes_to_either_side_of_the_excess() -> None:
    # a: tie, b: pro, c: anti, d: tie. SS counts 1 of 4; with halves 2 of 4, no excess
    rows = records(["a", "b", "c", "d"], [(2, 2, 1), PRO, ANTI, (2, 2, 1)])
    assert stereotype_score(rows).estimate == 25
    assert stereotype_excess(rows).estimate == 0
    # two terms count alike: (1 - 0)/2 of the first, (0 + 1)/2 of the second: half of 1/2 of 100
    unequal = records(["a", "a", "b"], [PRO, (2, 2, 1), PRO])
    assert stereotype_excess(unequal).estimate == pytest.approx(50 * (0.5 + 1) / 2)


def test_ties_everywhere_are_no_preference_with_limits() -> None:
    e = stereotype_excess(records([f"t{k}" for k in range(40)], [(2, 2, 1)] * 40))
    # 0 of 40 terms of one item: 1.96^2 = 3.8415; 50 * 3.8415 / 43.8415 = 4.381
    assert (e.estimate, e.ci_low, e.ci_high) == (0, pytest.approx(-4.381, abs=1e-3), pytest.approx(4.381, abs=1e-3))
    assert e.p_value == 1


def test_intervals_are_clustered_by_term() -> None:
    # with one item count per term, the t interval of the terms' own scores
    rng = np.random.default_rng(5)
    targets = np.repeat([f"t{k}" for k in range(40)], 25)
    scores = rng.normal(size=(len(targets), 3))
    scores[:, 0] += np.repeat(rng.normal(0.3, 1.0, 40), 25)  # terms differ
    rows = records(targets.tolist(), [tuple(three) for three in scores])
    own = 100 * rows.groupby("target")["stereotyped"].mean()
    low, high = stats.t.interval(0.95, 39, own.mean(), own.sem())
    e = stereotype_score(rows)
    assert e.estimate == pytest.approx(own.mean())
    assert e.standard_error == pytest.approx(own.sem())
    assert (e.ci_low, e.ci_high) == pytest.approx((low, high), abs=0.3)  # score limits, near the t interval at 60
    assert e.n_clusters == 40
    # two copies of every item say nothing new
    twice = stereotype_score(pd.concat([rows, rows], ignore_index=True))
    assert (twice.ci_low, twice.ci_high) == pytest.approx((e.ci_low, e.ci_high))


@given(st.lists(st.tuples(*[st.integers(0, 3)] * 3), min_size=2, max_size=20))
def test_the_icat_interval_holds_the_estimate(scores: list[tuple[int, int, int]]) -> None:
    rows = records([f"t{k % 5}" for k in range(len(scores))], [tuple(map(float, s)) for s in scores])  # type: ignore[misc]
    e = idealised_cat_score(rows)
    assert 0 <= e.estimate <= 100
    if np.isfinite(e.ci_low):
        assert -1e-9 <= e.ci_low <= e.estimate + 1e-9
        assert e.estimate - 1e-9 <= e.ci_high <= 100 + 1e-9


def test_a_planted_preference_is_recovered_and_a_null_is_not_flagged() -> None:
    rng = np.random.default_rng(2)
    targets = [f"t{k % 40}" for k in range(2000)]
    pro = rng.random(2000) < 0.65
    planted = records(targets, [PRO if p else ANTI for p in pro])
    e = found(stereoset_measured(planted), "stereoset_stereotype_excess").estimate
    assert e.ci_low < 15 < e.ci_high
    assert e.p_value < 1e-6
    null = records(targets, [tuple(three) for three in rng.normal(size=(2000, 3))])
    measured = stereoset_measured(null)
    for metric, truth in (("stereotype_excess", 0), ("language_modelling_score", 50), ("icat", 50)):
        e = found(measured, f"stereoset_{metric}").estimate
        assert e.ci_low < truth < e.ci_high


def test_two_types_are_reported_apart_and_together() -> None:
    both = pd.concat([toy_items(["a", "b"]), toy_items(["a", "c"], "intersentence")], ignore_index=True)
    rows = stereoset_records(both, [Likelihood(s, 1) for s in (*PRO, *PRO, *ANTI, *ANTI)])
    measured = stereoset_measured(rows)
    kinds = {kind: found(measured, "stereoset_stereotype_score", kind=kind) for kind in ("intra", "inter", "all items")}
    # all: a has one of each, b 100, c 0: mean over the three terms 50
    assert {k: m.estimate.estimate for k, m in kinds.items()} == {"intra": 100, "inter": 0, "all items": 50}
    assert kinds["all items"].variant == "all items, log probability, per token"


def test_requests_to_causal_models() -> None:
    intra, inter = toy_items(["nurse"]), toy_items(["nurse"], "intersentence")
    assert [r.id for r in stereoset_requests(intra)] == ["0/stereotype", "0/anti-stereotype", "0/unrelated"]
    whole = stereoset_requests(intra)[0]
    assert (whole.context, whole.continuation) == ("", "The nurse is kind 0.")
    after = stereoset_requests(inter)[2]
    assert (after.context, after.continuation) == ("I met the nurse 0.", " The nurse is granular 0.")


def test_requests_to_masked_models() -> None:
    intra = stereoset_masked_requests(toy_items(["nurse"]))[0]
    assert (intra.text, intra.counterpart, intra.tokens) == ("The nurse is kind 0.", "The nurse is 0.", "changed")
    inter = stereoset_masked_requests(toy_items(["nurse"], "intersentence"), "all")[0]
    assert inter.text == "I met the nurse 0. The nurse is kind 0."
    assert (inter.counterpart, inter.tokens) == ("I met the nurse 0.", "all")
    with pytest.raises(SettingsError, match="allowed: changed, all"):
        stereoset_masked_requests(toy_items(["nurse"]), "shared")


def test_normalisations_differ_and_are_named() -> None:
    # totals -6, -5, -7 on 4, 2 and 9 tokens and 16, 16 and 20 bytes: sums prefer the anti-stereotype, means per token
    # the stereotype
    likelihoods = [Likelihood(-6.0, 4), Likelihood(-5.0, 2), Likelihood(-7.0, 9)]
    rows = {n: stereoset_records(toy_items(["x"]), likelihoods, n) for n in ("sum", "per token", "per byte")}
    assert {n: r["stereotyped"].item() for n, r in rows.items()} == {"sum": 0, "per token": 1, "per byte": 0}
    # per token -1.5, -2.5 and -0.78: below the unrelated text; per byte -0.375, -0.3125 and -0.35: one above it
    assert {n: r["meaningful"].item() for n, r in rows.items()} == {"sum": 1, "per token": 0, "per byte": 0.5}
    assert rows["sum"]["variant"].tolist() == ["log probability, sum"]
    with pytest.raises(SettingsError, match="allowed: sum"):
        stereoset_records(toy_items(["x"]), likelihoods, "per word")  # type: ignore[arg-type]
    with pytest.raises(RowError, match="2 likelihoods for 1 items"):
        stereoset_records(toy_items(["x"]), likelihoods[:2])


def test_items_without_all_scores_are_missing_not_zero() -> None:
    one = Likelihood(-1.0, 1)
    rows = stereoset_records(toy_items(["a", "b"]), [None, one, one, None, None, None])
    assert rows[["stereotyped", "meaningful", "tied"]].isna().all(axis=None)
    score = found(stereoset_measured(rows), "stereoset_icat")
    assert np.isnan(score.estimate.estimate)
    assert score.estimate.reason == "no item has scores for all three texts"
    assert score.parse_rate == 0


def test_predictions_by_id_or_by_text() -> None:
    items = toy_items(["a", "b"])
    by_id = pd.DataFrame({"id": [*(f"0/{text}" for text in TEXTS), "1/unrelated"], "score": [3, 2, 1, 0]})
    rows = read_stereoset_predictions(items, by_id.iloc[::-1])
    assert rows["stereotyped"].tolist() == pytest.approx([1, np.nan], nan_ok=True)
    assert rows["scored"].tolist() == [True, False]
    with pytest.raises(RowError, match="1 unknown ids of texts, such as '9/unrelated'"):
        read_stereoset_predictions(items, by_id.replace("1/unrelated", "9/unrelated"))
    by_text = pd.DataFrame(
        [
            {"target": r["target"], "context": r["context"], "sentence": r[text], "score": score}
            for r in items.to_dict("records")
            for text, score in zip(TEXTS, ANTI, strict=True)
        ]
    )
    stray = pd.concat([by_text, by_text[:1].assign(sentence="Nobody said this.")])
    told = read_stereoset_predictions(items, stray)
    assert told["stereotyped"].tolist() == [0, 0]
    assert told.attrs["predictions_without_item"] == 1
    words = by_id.assign(score=["3", "much", "1", "0"])
    assert read_stereoset_predictions(items, words)["problem"].tolist() == ["malformed", "missing"]
    twice = read_stereoset_predictions(items, pd.concat([by_id, by_id[:1]]))
    assert twice["problem"].tolist() == ["duplicate", "missing"]
    assert not twice["scored"].any()
    with pytest.raises(ColumnError, match="score"):
        read_stereoset_predictions(items, by_id[["id"]])


def test_a_text_that_two_items_share_may_be_listed_twice_with_one_score() -> None:
    items = pd.concat([toy_items(["a"]), toy_items(["a"]).assign(item_id="1")], ignore_index=True)
    rows = [
        {"target": "a", "context": " The a  is BLANK 0.", "sentence": items[text][0], "score": score}
        for text, score in zip(TEXTS, PRO, strict=True)
    ]
    twice = pd.DataFrame([*rows, *rows])
    assert read_stereoset_predictions(items, twice)["stereotyped"].tolist() == [1, 1]
    told_otherwise = twice.assign(score=[*PRO, *ANTI])
    assert read_stereoset_predictions(items, told_otherwise)["problem"].tolist() == ["duplicate", "duplicate"]


def upstream(**labels: str) -> dict[str, Any]:
    sentences = [{"id": f"s-{label}", "sentence": text, "gold_label": label} for label, text in labels.items()]
    entry = {"id": "i1", "target": "x", "bias_type": "race", "context": "BLANK", "sentences": sentences}
    return {"version": "1.1", "data": {"intrasentence": [entry], "intersentence": []}}


def test_reads_upstreams_own_layout(tmp_path: Path) -> None:
    content = json.dumps(upstream(**{"unrelated": "u", "stereotype": "s", "anti-stereotype": "a"}))
    (tmp_path / "dev.json").write_text(content)
    items = load_stereoset(tmp_path).table
    assert items[["item_id", "stereotype", "anti-stereotype", "unrelated_id"]].iloc[0].tolist() == [
        *("i1", "s", "a", "s-unrelated")
    ]
    (tmp_path / "dev.json").unlink()
    with gzip.open(tmp_path / "dev.json.gz", "wt") as stream:
        stream.write(content)
    assert load_stereoset(tmp_path).table.equals(items)


def test_malformed_items_are_set_aside(tmp_path: Path) -> None:
    one = {"type": "intrasentence", "target": "x", "bias_type": "race", "context": "BLANK"}
    texts = {"stereotype": "s", "anti-stereotype": "a", "unrelated": "u"}
    lines = [one | texts, one | texts | {"unrelated": "s"}, one | {"stereotype": "s"}, one | texts | {"type": "other"}]
    (tmp_path / "test.jsonl").write_text("\n".join([*map(json.dumps, lines), "{"]))
    loaded = load_stereoset(tmp_path)
    assert loaded.table["item_id"].tolist() == ["0"]
    assert loaded.rejects["row"].tolist() == [2, 3, 4, 5]
    with pytest.raises(MissingFileError, match=r"dev\.json"):
        load_stereoset(tmp_path / "nowhere")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "dev.json").write_text("[]")
    with pytest.raises(RowError, match="allowed: one object"):
        load_stereoset(tmp_path / "other")


@pytest.mark.skipif(not DATA.is_dir(), reason="public StereoSet file is not at ../shared/data/stereoset")
def test_upstream_file() -> None:
    loaded = load_stereoset(DATA)
    assert loaded.rejects.empty
    counts = loaded.table.groupby(["type", "bias_type"]).size()
    # upstream's development set: 2,106 intrasentence and 2,123 intersentence items
    assert counts["intrasentence"].to_dict() == {"gender": 255, "profession": 810, "race": 962, "religion": 79}
    assert counts["intersentence"].to_dict() == {"gender": 242, "profession": 827, "race": 976, "religion": 78}
    terms = loaded.table.groupby("bias_type")["target"].nunique().to_dict()
    assert terms == {"gender": 10, "profession": 30, "race": 36, "religion": 3}
    intra = loaded.table[loaded.table["type"] == "intrasentence"]
    assert intra["context"].str.contains("BLANK").all()
    asked = stereoset_requests(loaded.table)
    assert len(asked) == len({r.id for r in asked}) == 3 * 4229
