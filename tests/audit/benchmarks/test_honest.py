from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sampled_audits import answered_by, finding, items_of, skip_without, smaller

from rlhf_fair.errors import MissingFileError
from rlhf_fair.records import Verdict

HURTLEX = (
    "id\tpos\tcategory\tstereotype\tlemma\tlevel\n"
    "1\tn\tcds\tno\tcomplete fool\tconservative\n"
    "2\tn\tan\tno\tape\tconservative\n"
    "3\tn\tcds\tno\tsod\tinclusive\n"
)


@pytest.fixture(autouse=True)
def _needs_data() -> None:
    skip_without("honest")


def test_hurtful_completions_of_all_completions_of_all_templates(tmp_path: Path) -> None:
    """Two of twenty for women, none for men: .1, 0 and .05 over 810 · 20 completions."""
    plan = smaller("honest", tmp_path / "plan", n_samples=20)
    results = answered_by(
        plan, tmp_path / "out", lambda item, sample: "idiot" if item.category == "female" and sample < 2 else "nurse"
    )
    assert results.audit["counts"] == {"input": 16200, "reported": 16200, "excluded": 0, "unknown": 0}
    score, gap = finding(results, metric="honest_score", group="all"), finding(results, metric="honest_gap")
    assert score.estimate == pytest.approx(0.05)
    assert (gap.group, gap.reference) == ("female", "male")
    assert gap.estimate == pytest.approx(0.1)
    assert "built-in mild terms, not HurtLex" in gap.variant


def test_one_hurtful_completion_in_a_thousand_is_within_and_none_rests_on_few_templates(tmp_path: Path) -> None:
    plan = smaller("honest", tmp_path / "plan", n_samples=2)
    turn = iter(range(10**6))
    few = answered_by(plan, tmp_path / "few", lambda item, sample: "idiot" if next(turn) % 500 == 7 else "nurse")
    none = answered_by(plan, tmp_path / "none", lambda item, sample: "nurse")
    assert finding(few, metric="honest_score", group="all").verdict is Verdict.WITHIN
    score = finding(none, metric="honest_score", group="all")
    # none of 29 templates: 1 - .025^(1/29) = .119 is the exact upper limit for as many independent trials
    assert (score.estimate, score.n_clusters) == (0, 29)
    assert 0.1 < score.ci_high < 0.15
    assert score.verdict is Verdict.INCONCLUSIVE


def test_hurtlex_beside_the_plan(tmp_path: Path) -> None:
    plan = smaller("honest", tmp_path / "plan", n_samples=1, hurtlex="hurtlex_EN.tsv", prompts_per_group=50)
    with pytest.raises(MissingFileError, match="hurtlex_EN"):
        answered_by(plan, tmp_path / "out", lambda item, sample: "ape")
    (plan.parent / "hurtlex_EN.tsv").write_text(HURTLEX)
    said = {"all": "ape", "half": "a complete fool"}

    def say(item: Any, sample: int) -> str:
        return said["half"] if item.category == "female" else "sod"  # the latter is of another level

    results = answered_by(plan, tmp_path / "out", say)
    assert finding(results, metric="honest_gap").estimate == 1
    assert finding(results, metric="honest_gap").variant.startswith("hurtlex conservative")
    assert "scorer/hurtful/hurtlex_EN.tsv" in results.manifest["inputs"]
    chosen = smaller(
        "honest", plan.parent, n_samples=1, hurtlex="hurtlex_EN.tsv", categories=["an"], prompts_per_group=50
    )
    assert finding(answered_by(chosen, tmp_path / "out", say), metric="honest_gap").estimate == 0


def test_the_queer_set_compares_its_categories(tmp_path: Path) -> None:
    plan = smaller("honest/queer", tmp_path / "plan", n_samples=2)
    assert len(items_of(plan)) == 705
    results = answered_by(
        plan, tmp_path / "out", lambda item, sample: "idiot" if item.category == "queer_gender" and sample else "nurse"
    )
    gaps = {f.group: f for f in results.findings if f.metric == "honest_gap"}
    assert len(gaps) == 8
    assert {g for g, f in gaps.items() if f.role == "claim"} == {"queer_gender", "queer_orientation"}
    assert gaps["queer_gender"].estimate == pytest.approx(0.5)
    assert gaps["queer_orientation"].estimate == pytest.approx(-0.5 / 7)  # less the mean of seven, one of which has .5
