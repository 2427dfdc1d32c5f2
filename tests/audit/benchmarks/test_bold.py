from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sampled_audits import accounted, answered_by, finding, skip_without, smaller

from rlhf_fair.errors import SettingsError
from rlhf_fair.records import Verdict, exit_code

KIND, CRUEL, DULL = " was a kind man.", " was a cruel man.", " was a man."
# VADER's s / sqrt(s^2 + 15): its lexicon rates kind 2.4 and cruel -2.8
KIND_SCORE, CRUEL_SCORE = 2.4 / (2.4**2 + 15) ** 0.5, -2.8 / (2.8**2 + 15) ** 0.5


@pytest.fixture(autouse=True)
def _needs_data() -> None:
    skip_without("bold")


def test_a_planted_gap_is_found_among_all_of_upstreams_prompts(tmp_path: Path) -> None:
    """Of actresses all is kind, of actors all is dull; elsewhere both take turns."""

    def say(item: Any, sample: int) -> str:
        if item.domain == "gender":
            return KIND if item.group == "American_actresses" else DULL
        return KIND if sum(map(ord, item.title)) % 2 else DULL

    results = answered_by(smaller("bold", tmp_path / "plan", checked=["gender"]), tmp_path / "out", say)
    assert results.audit["counts"] == {"input": 23679, "reported": 23674, "excluded": 5, "unknown": 0}
    assert results.audit["exclusions"] == [{"reason": "item rejected: prompt missing", "n": 5}]
    gender = finding(results, metric="sentiment_gap", attribute="gender")
    assert (gender.group, gender.reference, gender.role) == ("American_actresses", "American_actors", "claim")
    assert gender.estimate == pytest.approx(KIND_SCORE, abs=1e-6)
    assert gender.n == 3204
    race = [f for f in results.findings if f.attribute == "race" and f.metric == "sentiment_gap"]
    assert len(race) == 4
    assert {f.role for f in race} == {"claim"}
    assert not any(f.verdict is Verdict.EXCEEDS for f in race)
    assert {f.role for f in results.findings if f.attribute == "profession"} == {"exploratory"}


def test_with_noise_the_claims_verdict_is_that_of_the_planted_gap(tmp_path: Path) -> None:
    plan = smaller("bold", tmp_path / "plan", domains=["gender", "race"], prompts_per_group=400, checked=["gender"])

    def say(item: Any, sample: int) -> str:
        noise = sum(map(ord, item.item_id)) % 10
        if item.group == "American_actresses":
            return CRUEL if noise < 8 else KIND
        return KIND if noise < 8 else CRUEL

    results = answered_by(plan, tmp_path / "out", say)
    gap = finding(results, metric="sentiment_gap", attribute="gender")
    assert gap.estimate == pytest.approx(0.6 * (CRUEL_SCORE - KIND_SCORE), abs=0.12)
    assert gap.verdict is Verdict.EXCEEDS
    assert exit_code(results.findings) == 1


def test_refusals_for_one_group_are_a_gap_of_their_own(tmp_path: Path) -> None:
    plan = smaller("bold", tmp_path / "plan", domains=["gender"], prompts_per_group=60, checked=["gender"])
    plan.write_text(plan.read_text().replace('attribute = "race"', 'attribute = "gender"'))
    refusal = "I'm sorry, but I cannot help with that."

    def say(item: Any, sample: int) -> str:
        turn = sum(map(ord, item.item_id)) % 2
        return refusal if item.group == "American_actors" and turn else KIND if turn else DULL

    results = answered_by(plan, tmp_path / "out", say)
    gap = finding(results, metric="refusal_gap")
    refused = results.audit["exclusions"]
    n = next(row["n"] for row in refused if row["reason"] == "the model refused")
    assert gap.estimate == pytest.approx(-n / 60)  # actresses less actors
    assert gap.verdict is Verdict.EXCEEDS
    assert finding(results, metric="sentiment_gap").refusal_rate == pytest.approx(n / 120)
    assert accounted(results.audit["counts"])


def test_a_reference_of_ones_own(tmp_path: Path) -> None:
    plan = smaller("bold", tmp_path / "plan", domains=["gender", "race"], prompts_per_group=5, checked=["gender"])
    text = plan.read_text()
    plan.write_text(text + '\n[bold.references]\nrace = "European_Americans"\n')
    results = answered_by(plan, tmp_path / "out", lambda item, sample: KIND if len(item.title) % 2 else DULL)
    race = [f for f in results.findings if f.attribute == "race" and f.metric == "sentiment_gap"]
    assert {f.reference for f in race} == {"European_Americans"}
    assert len(race) == 3
    plan.write_text(text + '\n[bold.references]\nrace = "Nobody"\n')
    with pytest.raises(SettingsError, match="BOLD race has no group 'Nobody'"):
        answered_by(plan, tmp_path / "out", lambda item, sample: KIND)
