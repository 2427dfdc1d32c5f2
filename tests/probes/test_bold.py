from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from rlhf_fair.errors import MissingFileError, RowError, SettingsError
from rlhf_fair.probes.bold import FILES, bold_measured, load_bold
from rlhf_fair.probes.generation_scores import Scoring, add_scores
from rlhf_fair.probes.generations import generation_records, generation_requests

DATA = Path(__file__).parents[3] / "shared/data/bold"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="data set not at hand: ../shared/data/bold")


class Kind:
    """1 for a text with "kind", else 0."""

    name = "kind"

    def score(self, texts: Sequence[str]) -> NDArray[np.float64]:
        return np.array([float("kind" in text) for text in texts])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    pages = {group: {f"{group} page {p}": [f"{group} {p} {k}" for k in range(2)] for p in range(20)} for group in "ab"}
    for name in FILES.values():
        (tmp_path / name).write_text(json.dumps(pages))
    return tmp_path


@needs_data
def test_upstreams_counts() -> None:
    read = load_bold(DATA)
    everything = read.table["domain"].value_counts().to_dict()
    assert len(read.table) + len(read.rejects) == 23679
    # the authors' table: gender 3,204, politics 1,984, profession 10,195, race 7,657, religion 639; five are blank
    assert everything == {
        "profession": 10195,
        "race": 7657,
        "gender": 3204,
        "political_ideology": 1984 - 3,
        "religious_ideology": 639 - 2,
    }
    assert read.rejects["code"].tolist() == ["missing"] * 5
    assert read.table.groupby("domain")["group"].nunique().to_dict() == {
        "gender": 2,
        "political_ideology": 12,
        "profession": 18,
        "race": 4,
        "religious_ideology": 7,
    }


def test_items_are_numbered_within_their_page(folder: Path) -> None:
    items = load_bold(folder).table
    assert items["item_id"].tolist()[:3] == [
        "bold/gender/a/a page 0/0",
        "bold/gender/a/a page 0/1",
        "bold/gender/a/a page 1/0",
    ]
    assert items["prompt"].tolist()[0] == "a 0 0"


def test_a_planted_bias_is_recovered_in_its_domain_and_nowhere_else(folder: Path) -> None:
    items = load_bold(folder).table
    requests = generation_requests(items, 2)
    spoken = np.repeat(((items["domain"] == "race") & (items["group"] == "a")).to_numpy(), 2)
    # kind in three of four continuations about group a in one domain, in one of four elsewhere
    answers = [
        "kind" if (place // 4 % 4 != 0) == bool(planted) else "late"
        for place, planted in zip(range(len(requests)), spoken, strict=True)
    ]
    records = add_scores(generation_records(items, answers, 2), Scoring({"sentiment": Kind()}))
    gaps = [one for one in bold_measured(records, dict.fromkeys(FILES, "b")) if one.metric == "sentiment_gap"]
    assert [(one.attribute, one.group, one.reference) for one in gaps] == [(domain, "a", "b") for domain in FILES]
    for gap in gaps:
        planted = 0.5 if gap.attribute == "race" else 0.0
        assert gap.estimate.estimate == pytest.approx(planted)
        assert (gap.estimate.ci_low > 0) == (planted > 0)
        assert (gap.estimate.n, gap.estimate.n_clusters) == (160, 40)  # clusters are pages, not prompts or samples


def test_copies_of_a_pages_prompts_are_no_new_evidence(folder: Path) -> None:
    items = load_bold(folder).table.query("domain == 'race'")
    answers = ["kind" if place % 3 else "late" for place in range(len(items))]
    once = add_scores(generation_records(items, answers), Scoring({"sentiment": Kind()}))
    five = add_scores(
        generation_records(items, [a for a in answers for _ in range(5)], 5), Scoring({"sentiment": Kind()})
    )
    few, many = (bold_measured(table, {"race": "b"})[0].estimate for table in (once, five))
    assert (many.ci_low, many.ci_high) == pytest.approx((few.ci_low, few.ci_high))


def test_missing_answers_are_left_out_and_counted(folder: Path) -> None:
    items = load_bold(folder).table.query("domain == 'race'")
    answers = [None if place % 4 == 0 else "kind" if place % 3 else "late" for place in range(len(items))]
    records = add_scores(generation_records(items, answers), Scoring({"sentiment": Kind()}))
    estimate = bold_measured(records)[0].estimate
    assert (estimate.n, estimate.n_left_out) == (60, 20)


def test_faults_of_the_user(folder: Path) -> None:
    records = generation_records(load_bold(folder).table, ["x"] * 400)
    with pytest.raises(SettingsError, match="references name domain 'age'"):
        bold_measured(records, {"age": "x"})
    (folder / FILES["race"]).write_text('{"a": ["prompt"]}')
    with pytest.raises(RowError, match="group -> title -> prompts"):
        load_bold(folder)
    (folder / FILES["race"]).unlink()
    with pytest.raises(MissingFileError, match="BOLD"):
        load_bold(folder)
