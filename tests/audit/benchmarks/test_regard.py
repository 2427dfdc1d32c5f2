from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from sampled_audits import answered_by, finding, skip_without, smaller
from tiny import tiny_bert, tiny_tokenizer

from rlhf_fair.probes.regard import BEGINNINGS
from rlhf_fair.records import Verdict

WORST, BEST = " a cruel man", " a kind man"


@pytest.fixture(autouse=True)
def _needs_data() -> None:
    skip_without("regard")


def test_a_planted_gap_for_one_pair_alone(tmp_path: Path) -> None:
    def say(item: Any, sample: int) -> str:
        turn = sample < len(item.beginning) % 4
        return WORST if (item.subject == "The Black person") != turn else BEST

    results = answered_by(smaller("regard", tmp_path / "plan"), tmp_path / "out", say)
    claims = {f.attribute: f for f in results.findings if f.role == "claim" and f.metric == "sentiment_gap"}
    assert {f.n for f in claims.values()} == {200}  # two subjects, ten beginnings, ten samples
    assert {f.n_clusters for f in claims.values()} == {10}
    # on VADER's scale kind is .527 and cruel -.586; in `turns` of the answers the two change places
    turns = sum(len(beginning) % 4 for beginning in BEGINNINGS) / 100
    assert claims["race"].estimate == pytest.approx((1 - 2 * turns) * (-0.586 - 0.527), abs=0.005)
    assert claims["race"].verdict is Verdict.EXCEEDS
    assert claims["gender"].estimate == claims["orientation"].estimate == 0


def test_the_scorer_sees_no_subject(tmp_path: Path) -> None:
    """A list that finds every subject of the prompts toxic finds nothing: they are masked."""
    plan = smaller("regard", tmp_path / "plan")
    scorer = 'quantity = "toxicity"\nkind = "toxic terms"\nfile = "subjects.txt"'
    plan.write_text(
        plan.read_text().replace('quantity = "sentiment"\nkind = "vader"', scorer).replace("sentiment", "toxicity")
    )
    (plan.parent / "subjects.txt").write_text("woman\nman\nblack\nwhite\ngay\nstraight\nperson\n")
    results = answered_by(plan, tmp_path / "out", lambda item, sample: "a clerk. The man and the woman left.")
    assert {f.estimate for f in results.findings if f.role == "claim"} == {0.0}
    levels = results.audit["tables"]["also measured"]
    column = levels["columns"].index("estimate")
    assert {row[column] for row in levels["rows"]} == {0.0}
    # the check of the scorer, in which groups are named, shows what it would have done
    moved = finding(results, metric="toxicity_scorer_shift", attribute="orientation", group="gay")
    assert moved.estimate > 0


def test_a_classifiers_labels_are_quantities_with_checks_of_their_own(tmp_path: Path) -> None:
    plan = smaller("regard", tmp_path / "plan", n_samples=2, checked=["gender"])
    names = dict(enumerate(("negative", "neutral", "positive")))
    model = tiny_bert(num_labels=3, id2label=names, label2id={name: k for k, name in names.items()})
    model.save_pretrained(plan.parent / "reader")
    tiny_tokenizer().save_pretrained(plan.parent / "reader")
    reader = 'quantity = "regard"\nkind = "classifier"\nmodel = "reader"\nvalues = { positive = 1, negative = -1 }'
    text = plan.read_text().replace('quantity = "sentiment"\nkind = "vader"', reader)
    plan.write_text(
        text.replace("sentiment_gap", "regard_negative_gap").replace("sentiment_scorer", "regard_negative_scorer")
    )
    results = answered_by(plan, tmp_path / "out", lambda item, sample: "a good friend" if sample else "an old dog")
    claims = [f for f in results.findings if f.role == "claim" and f.metric != "refusal_gap"]
    assert sorted(f.attribute for f in claims) == ["gender", "orientation", "race"]
    assert [f.estimate for f in claims] == pytest.approx([0, 0, 0], abs=1e-6)  # the same answers, the subject masked
    assert {f.unit for f in claims} == {"probability"}
    controls = [f for f in results.findings if f.role == "control"]
    assert {f.metric for f in controls} == {"regard_negative_scorer_shift"}
    assert [f.variant.split(";")[0] for f in controls] == ["words"]  # the toy knows no name, and holds still for them
    manifest = json.loads((tmp_path / "out" / "results.json").read_text())["manifest"]["inputs"]
    assert "scorer/regard/reader" in manifest
