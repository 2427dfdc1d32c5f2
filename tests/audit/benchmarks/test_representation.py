from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sampled_audits import answered_by, finding, items_of, skip_without, smaller

from rlhf_fair.errors import SettingsError
from rlhf_fair.probes.representation import GENDER_TERMS
from rlhf_fair.records import Verdict, exit_code

SHE, HE = "she laughed", "he laughed"


def test_shipped_prompts_name_nobody_and_each_occupation_four_times(tmp_path: Path) -> None:
    items = items_of(smaller("representation", tmp_path))
    assert set(items["about"].value_counts()) == {4}
    assert items["about"].nunique() == 40
    words = {word for words in GENDER_TERMS.values() for word in words}
    assert not any(words & set(prompt.lower().replace(",", "").split()) for prompt in items["prompt"])


def test_one_gender_alone_exceeds(tmp_path: Path) -> None:
    results = answered_by(
        smaller("representation", tmp_path / "plan"),
        tmp_path / "out",
        lambda item, sample: SHE if (sample + len(item.item_id)) % 10 == 0 else HE,
    )
    assert results.audit["counts"] == {"input": 3200, "reported": 3200, "excluded": 0, "unknown": 0}
    distance = finding(results, metric="demographic_representation")
    assert distance.estimate == pytest.approx(0.4, abs=0.03)  # |.1 - .5|
    assert distance.verdict is Verdict.EXCEEDS
    assert exit_code(results.findings) == 1


def test_occupations_tied_to_a_gender_though_the_shares_are_equal(tmp_path: Path) -> None:
    def say(item: Any, sample: int) -> str:
        noise = (sample + len(item.prompt)) % 10 == 0
        women = (sorted_places[item.about] % 2 == 0) != noise
        return SHE if women else HE

    plan = smaller("representation", tmp_path / "plan", n_samples=10)
    sorted_places = {about: place for place, about in enumerate(sorted(set(items_of(plan)["about"])))}
    results = answered_by(plan, tmp_path / "out", say)
    overall = finding(results, metric="demographic_representation")
    assert overall.estimate <= 0.01  # prompts clump, so the noise that is taken off is more than there is in the shares
    assert overall.verdict is not Verdict.EXCEEDS
    tied = finding(results, metric="stereotypical_association")
    assert tied.estimate == pytest.approx(0.4, abs=0.05)
    assert tied.verdict is Verdict.EXCEEDS


def test_women_and_men_by_lot_pass(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    results = answered_by(
        smaller("representation", tmp_path / "plan"),
        tmp_path / "out",
        lambda item, sample: SHE if rng.random() < 0.5 else HE,
    )
    for claim in (f for f in results.findings if f.role == "claim" and f.n):
        assert claim.ci_low <= claim.estimate <= claim.ci_high
    assert exit_code(results.findings) == 0


def test_both_alike_everywhere_exceed_nothing(tmp_path: Path) -> None:
    results = answered_by(
        smaller("representation", tmp_path / "plan", n_samples=10),
        tmp_path / "out",
        lambda item, sample: SHE if sample % 2 else HE,
    )
    assert not any(f.verdict is Verdict.EXCEEDS for f in results.findings)
    assert finding(results, metric="demographic_representation").estimate <= 0.01


def test_bolds_pages_are_the_clusters_and_its_groups_the_occupations(tmp_path: Path) -> None:
    skip_without("representation/bold")
    results = answered_by(
        smaller("representation/bold", tmp_path / "plan"),
        tmp_path / "out",
        lambda item, sample: SHE if sum(map(ord, item.item_id)) % 2 else HE,
    )
    assert results.audit["counts"]["reported"] == 10195
    items = items_of(smaller("representation/bold", tmp_path / "plan"))
    assert items["about"].nunique() == 18
    distance = finding(results, metric="demographic_representation")
    assert (distance.n, distance.n_clusters) == (10195, items["cluster"].nunique())


def test_words_and_prompts_of_ones_own(tmp_path: Path) -> None:
    plan = smaller("representation", tmp_path / "plan", prompts="mine.csv", n_samples=2, associated=["garden"])
    text = plan.read_text() + '\n[representation.terms]\nyoung = ["teenager"]\nold = ["pensioner"]\n'
    plan.write_text(text + "\n[representation.target]\nyoung = 0.25\nold = 0.75\n")
    rows = [f"{k},Somebody came by,{k // 2}" for k in range(40)]
    (plan.parent / "mine.csv").write_text("\n".join(["item_id,prompt,cluster", *rows, "40,,1"]))
    say = ("a teenager in the garden", "a pensioner", "a pensioner in the garden", "a pensioner")
    results = answered_by(plan, tmp_path / "out", lambda item, sample: say[int(item.item_id) % 4])
    assert results.audit["counts"] == {"input": 81, "reported": 80, "excluded": 1, "unknown": 0}
    distance = finding(results, metric="demographic_representation")
    assert distance.group == "young / old"
    assert distance.estimate <= 0.01  # a quarter are young, as the target has it
    assert distance.n_clusters == 20
    # with the garden: half of the words are young, .25 from the target
    tied = finding(results, metric="stereotypical_association")
    assert "words in the answer" in tied.variant
    assert tied.estimate == pytest.approx(0.25, abs=0.05)
    plan.write_text(text + "\n[representation.target]\nyoung = 0.5\nold = 0.75\n")
    with pytest.raises(SettingsError, match="sum 1"):
        items_of(plan)
