from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tiny import tiny_bert, tiny_tokenizer

from rlhf_fair.errors import RowError
from rlhf_fair.models.classifier import ClassifierScorer
from rlhf_fair.probes.generation_scores import add_scores, score_columns, scored_texts
from rlhf_fair.probes.generations import generation_records, generation_requests
from rlhf_fair.probes.measured import Measured
from rlhf_fair.probes.regard import BEGINNINGS, PAIRS, load_regard, regard_measured, regard_scoring

DATA = Path(__file__).parents[3] / "shared/data/nlg-bias"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="data set not at hand: ../shared/data/nlg-bias")


class Words:
    """A classifier that is sure: a thief has negative regard, a doctor positive, anybody else neutral."""

    name = "words"

    def probabilities(self, texts: Sequence[str]) -> pd.DataFrame:
        negative = np.array([float("thief" in text) for text in texts])
        positive = np.array([float("doctor" in text) for text in texts])
        return pd.DataFrame({"negative": negative, "positive": positive, "neutral": 1 - negative - positive})


@pytest.fixture
def items(tmp_path: Path) -> pd.DataFrame:
    (tmp_path / "demographics.txt").write_text("\n".join(PAIRS) + "\n")
    return load_regard(tmp_path).table


def gap(measured: list[Measured], metric: str, attribute: str) -> Measured:
    (found,) = [one for one in measured if (one.metric, one.attribute) == (metric, attribute)]
    return found


@needs_data
def test_upstreams_subjects_and_beginnings() -> None:
    read = load_regard(DATA)
    assert len(read.table) == 60  # 6 subjects, 10 beginnings
    assert read.rejects.empty
    assert set(read.table["subject"]) == set(PAIRS)


@needs_data
def test_every_annotated_sentence_starts_with_one_of_the_beginnings() -> None:
    lines = [line for path in (DATA / "regard").glob("*.tsv") for line in path.read_text().splitlines()]
    assert len(lines) == 212 + 60 + 30 + 235
    starts = tuple(f"XYZ {beginning}" for beginning in BEGINNINGS)
    assert all(line.split("\t")[1].startswith(starts) for line in lines)


def test_the_classifier_sees_one_sentence_without_the_group(items: pd.DataFrame) -> None:
    records = generation_records(items.iloc[:1], [" a doctor. She liked it."])
    assert records["prompt"].tolist() == ["The woman was known for"]
    assert scored_texts(records, regard_scoring(Words())) == ["XYZ was known for a doctor."]


def test_the_gap_is_the_difference_of_mean_label_probabilities(items: pd.DataFrame) -> None:
    # women: thieves after 4 of 10 beginnings, doctors after 1; men: thieves after 1, doctors after 3
    said = {"The woman": ["thief"] * 4 + ["doctor"] + ["clerk"] * 5, "The man": ["thief"] + ["doctor"] * 3 + ["x"] * 6}
    answers = [said.get(s, ["clerk"] * 10)[k % 10] for k, s in enumerate(items["subject"])]
    measured = regard_measured(add_scores(generation_records(items, answers), regard_scoring(Words())))
    negative, positive = (gap(measured, f"regard_{label}_gap", "gender") for label in ("negative", "positive"))
    assert (negative.group, negative.reference) == ("The woman", "The man")
    assert negative.estimate.estimate == pytest.approx(0.4 - 0.1)
    assert positive.estimate.estimate == pytest.approx(0.1 - 0.3)
    assert negative.estimate.n_clusters == 10  # beginnings, for both subjects the same
    neutral = gap(measured, "regard_neutral_gap", "gender").estimate.estimate
    assert negative.estimate.estimate + positive.estimate.estimate + neutral == pytest.approx(0)


def test_a_transformers_classifier_reads_the_regard(items: pd.DataFrame) -> None:
    names = dict(enumerate(("negative", "neutral", "positive")))
    model = tiny_bert(num_labels=3, id2label=names, label2id={name: k for k, name in names.items()})
    classifier = ClassifierScorer(model, tiny_tokenizer(), {"positive": 1, "negative": -1}, name="tiny")
    records = add_scores(generation_records(items, ["a kind friend"] * 60), regard_scoring(classifier))
    columns = [score.column for score in score_columns(records)]
    assert records[columns].sum(axis=1).tolist() == pytest.approx([1.0] * 60)
    # the subject is hidden and the continuations are the same, so no classifier can find a gap
    gaps = [m for m in regard_measured(records) if m.metric.startswith("regard_") and m.metric.endswith("_gap")]
    assert len(gaps) == 9  # three labels for three pairs
    assert [one.estimate.estimate for one in gaps] == pytest.approx([0.0] * 9)


def test_refusals_for_one_subject_only(items: pd.DataFrame) -> None:
    answers = [
        "I'm sorry, but I cannot help with that." if subject == "The Black person" and place % 2 else "clerk"
        for place, subject in enumerate(items["subject"])
    ]
    measured = regard_measured(add_scores(generation_records(items, answers), regard_scoring(Words())))
    refusal = gap(measured, "refusal_gap", "race")
    assert refusal.estimate.estimate == pytest.approx(0.5)
    assert refusal.estimate.p_value < 0.05
    assert gap(measured, "regard_negative_gap", "race").refusal_rate == pytest.approx(0.25)
    assert gap(measured, "refusal_gap", "gender").estimate.estimate == 0


def test_samples_of_a_prompt_share_its_beginning(items: pd.DataFrame) -> None:
    requests = generation_requests(items, 3)
    answers = ["thief" if hash_free(request.id) else "clerk" for request in requests]
    measured = regard_measured(add_scores(generation_records(items, answers, 3), regard_scoring(Words())))
    estimate = gap(measured, "regard_negative_gap", "gender").estimate
    assert (estimate.n, estimate.n_clusters) == (60, 10)


def hash_free(text: str) -> bool:
    """Some requests and not others, the same ones on every machine."""
    return sum(map(ord, text)) % 3 == 0


def test_subjects_without_a_pair_are_rejected(tmp_path: Path) -> None:
    (tmp_path / "demographics.txt").write_text("The man\nThe woman\nThe tall person\n")
    read = load_regard(tmp_path)
    assert (len(read.table), len(read.rejects)) == (20, 10)
    (tmp_path / "demographics.txt").write_text("\n")
    with pytest.raises(RowError, match="names no subject"):
        load_regard(tmp_path)
