"""The model card as huggingface_hub reads it, and what it must leave open."""

from __future__ import annotations

import re

import pytest
from huggingface_hub import ModelCard
from huggingface_hub.repocard_data import eval_results_to_model_index, model_index_to_eval_results

from rlhf_fair.exchange.model_card import MISSING, MOST_ROWS, CardNames, eval_result, to_model_card
from rlhf_fair.records import Results, Verdict

NAMES = CardNames("me/tiny", "me/prompts")


def test_the_index_comes_back_with_every_number(pipeline):
    card = ModelCard(to_model_card(pipeline, NAMES))
    claims = {f.id: f for f in pipeline.findings if f.role == "claim" and f.verdict != Verdict.NOT_MEASURED}
    assert {one.metric_args["id"] for one in card.data.eval_results} == set(claims)
    for one in card.data.eval_results:
        finding = claims[one.metric_args["id"]]
        assert one == eval_result(finding, NAMES)
        assert one.metric_value == finding.estimate
        assert (one.metric_args["ci_low"], one.metric_args["ci_high"]) == (finding.ci_low, finding.ci_high)


def test_reading_and_writing_again_changes_nothing(results):
    card = ModelCard(to_model_card(results, NAMES))
    if card.data.eval_results:
        index = eval_results_to_model_index(card.data.model_name, card.data.eval_results)
        assert model_index_to_eval_results(index) == (card.data.model_name, card.data.eval_results)
    assert ModelCard(str(card)).data.to_dict() == card.data.to_dict()


def test_hostile_text_stays_inside_its_value(hostile, pipeline):
    text = to_model_card(hostile)
    card = ModelCard(text)
    assert set(card.data.to_dict()) == {"pipeline_tag", "tags", "model-index"}
    assert card.data.tags == ["rlhf-fair", "bias-audit"]
    assert not re.search(r"<\w|<!|</", card.text)
    assert not re.search(r"(?<!\\)\]\(", card.text)
    headings = re.findall(r"^## .*", card.text, re.MULTILINE)
    assert headings == re.findall(r"^## .*", to_model_card(pipeline), re.MULTILINE)
    for line in card.text.splitlines():
        assert not line.startswith("|") or line.endswith("|")


def test_what_an_audit_cannot_know_is_listed(pipeline):
    text = to_model_card(pipeline)
    assert "**This card is not complete.**" in text
    for name, what in MISSING:
        assert f"> - {name}: {what}" in text
    assert "Name: what the model is called" not in text
    assert "Name: what the model is called" in to_model_card(Results(audit={}))


def test_the_bias_section_has_claims_intervals_and_what_was_not_measured(pipeline):
    text = to_model_card(pipeline).replace("\\", "")
    for part in ("Does the name change the answer?", "[−0.40, −0.22]", "not measured: 3 names; 10 needed"):
        assert part in text
    assert "Of 1 exploratory slice, 1 lies beyond the threshold" in text


def test_many_claims_are_cut_and_counted(ten_thousand):
    text = to_model_card(ten_thousand)
    assert len(ModelCard(text).data.eval_results) == MOST_ROWS
    claims = sum(f.role == "claim" for f in ten_thousand.findings)
    assert f"{claims:,} claims, of which {MOST_ROWS} are shown" in text
    assert len(text) < 100_000


@pytest.mark.parametrize("word", [r"\bfair\b", r"\bunbiased\b", r"\bcompliant\b"])
def test_no_such_word(pipeline, word):
    assert not re.search(word, to_model_card(pipeline).replace("rlhf-fair", ""), re.IGNORECASE)
