from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from model_server import Reply, in_words, prompt_of, serving
from pydantic import ValidationError
from tiny import tiny_bert, tiny_tokenizer

from rlhf_fair.errors import MissingFileError, SettingsError
from rlhf_fair.models.endpoint_settings import KEY_VARIABLE
from rlhf_fair.models.vader import installed_files
from rlhf_fair.probes.scorers import JUDGE_KEY_VARIABLE, ScorerPlan, open_classifier, open_scorer, scorer_inputs

LABELS = {0: "negative", 1: "positive"}


def entry(**content: Any) -> ScorerPlan:
    return ScorerPlan.model_validate({"quantity": "mood"} | content)


@pytest.fixture
def regard(tmp_path: Path) -> Path:
    model = tiny_bert(num_labels=2, id2label=LABELS, label2id={name: i for i, name in LABELS.items()})
    model.save_pretrained(tmp_path / "regard")
    tiny_tokenizer().save_pretrained(tmp_path / "regard")
    return tmp_path


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ({"kind": "lexicon"}, "'lexicon' needs file"),
        ({"kind": "lexicon", "file": "a.json", "model": "m"}, "'lexicon' has no model; allowed: file"),
        ({"kind": "vader", "question": "q"}, "'vader' has no question; allowed: file"),
        ({"kind": "classifier", "model": "m"}, "'classifier' needs values"),
        ({"kind": "classifier", "values": {"a": 1}}, "'classifier' needs model"),
        ({"kind": "judge", "model": "m", "endpoint": "http://h/v1"}, "'judge' needs question"),
        (
            {"kind": "judge", "model": "m", "endpoint": "http://h/v1", "question": "q", "file": "a.json"},
            "'judge' has no file; allowed: model, endpoint, question",
        ),
        ({"kind": "thermometer"}, "'lexicon', 'vader', 'toxic terms', 'classifier' or 'judge'"),
        ({"kind": "vader", "quantity": "a:b"}, "quantity"),
        ({"kind": "vader", "size": 3}, "size"),
    ],
)
def test_a_wrong_combination_is_one_error_when_the_plan_is_read(content: dict[str, Any], fault: str) -> None:
    with pytest.raises(ValidationError, match=fault) as caught:
        entry(**content)
    assert caught.value.error_count() == 1


def test_units_unless_a_plan_names_one() -> None:
    assert entry(kind="vader").unit == "points"
    assert entry(kind="toxic terms").unit == "points of severity"
    assert entry(kind="vader", unit="compound").unit == "compound"


def test_word_lists(tmp_path: Path) -> None:
    (tmp_path / "mine.json").write_text(json.dumps({"name": "mine", "phrases": {"kind": 1, "cruel": -1}}))
    (tmp_path / "mine.txt").write_text("kind\t2.0\ncruel\t-2.0\n")
    (tmp_path / "terms.txt").write_text("cruel\n")
    texts = ["a kind day", "a cruel day", "a day", "what an idiot"]
    lexicon = open_scorer(entry(kind="lexicon", file="mine.json"), tmp_path)
    np.testing.assert_array_equal(lexicon.score(texts), [1, -1, np.nan, np.nan])
    vader = open_scorer(entry(kind="vader", file="mine.txt"), tmp_path)
    half = 2 / np.sqrt(2**2 + 15)  # the published normalisation
    np.testing.assert_allclose(vader.score(texts), [half, -half, 0, 0])
    terms = open_scorer(entry(kind="toxic terms", file="terms.txt"), tmp_path)
    np.testing.assert_array_equal(terms.score(texts), [0, 1, 0, 0])
    assert open_scorer(entry(kind="toxic terms"), tmp_path).score(texts)[3] > 0.5
    assert open_scorer(entry(kind="vader"), tmp_path).score(["VADER is smart, handsome, and funny."])[0].round(
        4
    ) == pytest.approx(0.8316)  # printed in the authors' README


def test_inputs_are_digests_of_what_was_read(tmp_path: Path, regard: Path) -> None:
    (tmp_path / "mine.json").write_text('{"phrases": {"kind": 1}}')
    digest = hashlib.sha256(b'{"phrases": {"kind": 1}}').hexdigest()
    assert scorer_inputs(entry(kind="lexicon", file="mine.json"), tmp_path) == {"scorer/mood/mine.json": digest}
    read = {name: hashlib.sha256(name.read_bytes()).hexdigest() for name in installed_files()}
    named = {f"scorer/mood/{file.name}": digest for file, digest in read.items()}
    assert scorer_inputs(entry(kind="vader"), tmp_path) == named
    with pytest.raises(MissingFileError, match=r"scorer for 'mood' not found.*none\.json"):
        scorer_inputs(entry(kind="lexicon", file="none.json"), tmp_path)
    classifier = entry(kind="classifier", model="regard", values={"positive": 1})
    before = scorer_inputs(classifier, regard)
    (regard / "regard" / "config.json").write_text("{}")
    after = scorer_inputs(classifier, regard)
    assert before.keys() == after.keys() == {"scorer/mood/regard"}
    assert before != after
    judges = [scorer_inputs(entry(kind="judge", model="m", endpoint="http://h/v1", question=q), tmp_path) for q in "ab"]
    assert judges[0].keys() == judges[1].keys()
    assert judges[0] != judges[1]


def test_a_classifier_beside_the_plan(regard: Path) -> None:
    plan = entry(kind="classifier", model="regard", values={"positive": 1, "negative": -1})
    texts = ["good day", "i hate the dog"]
    scorer, labels = open_scorer(plan, regard), open_classifier(plan, regard)
    assert scorer.name == labels.name == "regard"
    shares = labels.probabilities(texts)
    np.testing.assert_allclose(shares.sum(axis=1), 1)
    np.testing.assert_allclose(scorer.score(texts), shares["positive"] - shares["negative"])
    elsewhere = plan.model_copy(update={"model": str(regard / "regard")})
    np.testing.assert_allclose(open_scorer(elsewhere, Path("nowhere")).score(texts), scorer.score(texts))
    with pytest.raises(SettingsError, match="'vader' gives no labels; allowed: classifier"):
        open_classifier(entry(kind="vader"), regard)


def test_a_judge_gets_its_own_key_and_keeps_what_it_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_VARIABLE, "key-of-the-audited-server")
    monkeypatch.delenv(JUDGE_KEY_VARIABLE, raising=False)

    def rates(request: dict[str, Any], path: str) -> Reply:
        return in_words("5" if "\nkind\n" in prompt_of(request) else "2", path)

    with serving(rates) as server:
        plan = entry(kind="judge", model="m", endpoint=server.url, question="Is it kind?")
        journal = tmp_path / "judge.jsonl"
        np.testing.assert_array_equal(open_scorer(plan, tmp_path, journal=journal).score(["kind", "cruel"]), [5, 2])
        assert all("authorization" not in headers for headers in server.headers)
        asked = len(server.requests)
        np.testing.assert_array_equal(open_scorer(plan, tmp_path, journal=journal).score(["cruel", "kind"]), [2, 5])
        assert len(server.requests) == asked
        monkeypatch.setenv(JUDGE_KEY_VARIABLE, "key-of-the-judge")
        open_scorer(plan, tmp_path).score(["kind"])
        assert server.headers[-1]["authorization"] == "Bearer key-of-the-judge"


def test_bounds_hold_what_scorers_say(tmp_path: Path, regard: Path) -> None:
    (tmp_path / "sum.json").write_text(json.dumps({"combine": "sum", "phrases": {"kind": 1}}))
    texts = ["kind kind kind", "cruel", "i hate the dog", "you idiot", "Great!!! GREAT!!!"]
    plans = [
        entry(kind="vader"),
        entry(kind="toxic terms"),
        entry(kind="lexicon", file="sum.json"),
        entry(kind="classifier", model="regard", values={"positive": 1, "negative": -1}),
    ]
    bounds = [open_scorer(plan, tmp_path).bounds for plan in plans]
    assert bounds == [(-1, 1), (0, 1), (-np.inf, np.inf), (-1, 1)]
    for plan, (low, high) in zip(plans, bounds, strict=True):
        scores = open_scorer(plan, tmp_path).score(texts)
        measured = scores[np.isfinite(scores)]
        assert ((measured >= low) & (measured <= high)).all()
    one = open_scorer(entry(kind="classifier", model="regard", values={"positive": 1}), regard)
    assert one.bounds == (0, 1)  # "negative" counts 0
