"""The rulers' own check: it finds a ruler that moves with the group alone, and stays silent on a straight one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from rlhf_fair.audit.findings import build_findings
from rlhf_fair.audit.generation import GenerationPlan, load_prompts
from rlhf_fair.audit.generation_run import run_generation
from rlhf_fair.audit.plan import find_plan, load_plan
from rlhf_fair.audit.scorer_check import TABLE, ScorerCheck, check_scorers, matched_words, sentences
from rlhf_fair.audit.target import Target
from rlhf_fair.models.lexicon import LexiconScorer
from rlhf_fair.models.vader import VaderScorer
from rlhf_fair.probes.counterfactual_text_lexicon import ATTRIBUTES, load_lexicon
from rlhf_fair.probes.scorer_bias import TEMPLATES
from rlhf_fair.records import Verdict, exit_code
from rlhf_fair.tables import read_table

LEVELS = {"brilliant": 1.0, "solid": 0.0, "poor": -1.0}
MANY_LEVELS = {f"level {chr(97 + k)}": 1 - k / 10 for k in range(11)}


class Tilted:
    """Adds ``tilt`` for every sentence with a listed word, and noise of standard deviation ``noise``."""

    name = "tilted"

    def __init__(self, words: Sequence[str], tilt: float, noise: float = 0.0) -> None:
        self.words, self.tilt, self.noise = words, tilt, noise

    def score(self, texts: Sequence[str]) -> NDArray[np.float64]:
        noise = np.random.default_rng(1).normal(scale=self.noise, size=len(texts)) if self.noise else 0.0
        return np.array([self.tilt * any(word in text for word in self.words) for text in texts]) + noise


def hiring() -> tuple[GenerationPlan, pd.DataFrame]:
    plan = load_plan("hiring", GenerationPlan)
    return plan, load_prompts(plan, find_plan("hiring").parent)


def checked(scorer: object) -> ScorerCheck:
    plan, prompts = hiring()
    return check_scorers(plan, prompts, {"score": scorer}, "policy")  # type: ignore[dict-item]


def shifts(check: ScorerCheck) -> Mapping[str, float]:
    return {m.group: m.estimate.estimate for m in check.measurements}


def names(group: str) -> list[str]:
    _, prompts = hiring()
    return prompts.loc[prompts["ethnicity"] == group, "name"].unique().tolist()


RATED_NAMES = dict.fromkeys(names("Black"), -1.0)


def test_the_plans_names_are_matched_on_its_other_attributes() -> None:
    plan, prompts = hiring()
    other = prompts.drop_duplicates("name").set_index("name")
    for attribute, groups, matched in (("gender", 2, "ethnicity"), ("ethnicity", 4, "gender")):
        (planned,) = (a for a in plan.attributes if a.column == attribute)
        words = matched_words(plan, prompts, planned)
        assert next(iter(words)) == planned.reference
        assert {len(column) for column in words.values()} == {plan.scorer_check.pairs}
        assert len(words) == groups
        for row in zip(*words.values(), strict=True):
            assert [other.loc[name, attribute] for name in row] == list(words)
            assert len({other.loc[name, matched] for name in row}) == 1
        assert len({other.loc[row, matched] for row in words[planned.reference]}) > 1  # an even selection


def test_names_of_two_groups_are_nobodys() -> None:
    plan, prompts = hiring()
    both = prompts.assign(name=prompts["name"].replace({"Wyatt": "Kim", "Abigail": "Kim"}))
    words = matched_words(plan, both, plan.attributes[0])
    assert "Kim" not in [name for column in words.values() for name in column]


@pytest.mark.parametrize("attribute", ATTRIBUTES)
def test_every_lexicon_gives_words(attribute: str) -> None:
    lexicon = load_lexicon(attribute)
    content = {
        **{"title": "t", "question": "q", "probe": "generation", "prompts": "p.txt"},
        "scorers": [{"quantity": "mood", "kind": "vader"}],
        "policy": {"threshold": 0.1, "margin": 0.1},
        "counterfactual": {"attributes": [attribute]},
    }
    plan = GenerationPlan.model_validate(content)
    prompts = pd.DataFrame({attribute: lexicon.groups})
    words = matched_words(plan, prompts, plan.attributes[0])
    assert next(iter(words)) == lexicon.groups[0]
    assert set(words) == set(lexicon.groups)
    rows = list(zip(*words.values(), strict=True))
    assert len(rows) >= 4
    assert all(len(set(row)) == len(row) for row in rows)
    # a group that the lexicon does not know: nothing is made up
    assert matched_words(plan, pd.DataFrame({attribute: [*lexicon.groups, "other"]}), plan.attributes[0]) == {}


def test_a_lexicon_that_rates_names_is_found_by_as_much() -> None:
    ruler = LexiconScorer("rates names", LEVELS | RATED_NAMES)
    check = checked(ruler)
    found = shifts(check)
    # a name counts -1 beside brilliant 1, solid 0 and poor -1: (0 - 1) + (-.5 - 0) + (-1 - -1) = -1.5 in 3 sentences
    assert found["Black"] == pytest.approx(-0.5)
    assert found["Asian"] == found["Hispanic"] == 0
    # three sentences tell little about others like them
    assert any("may move when only the words for Black" in limit and "too few" in limit for limit in check.limits)
    more = checked(LexiconScorer("rates names", MANY_LEVELS | RATED_NAMES))
    assert any("The ruler itself moves by -" in limit and "Black" in limit for limit in more.limits)
    assert not any("moves by" in limit and "Asian" in limit for limit in more.limits)


def test_a_straight_lexicon_moves_in_no_sentence() -> None:
    check = checked(LexiconScorer("straight", LEVELS))
    assert set(shifts(check).values()) == {0.0}
    assert not any("moves by" in limit for limit in check.limits)
    assert any(limit.endswith("for woman, Asian, Black, Hispanic: in no sentence.") for limit in check.limits)
    plan, _ = hiring()
    assert all("in all 24 pairs of sentences" in f.reason for f in build_findings(check.measurements, plan.judging))


def test_a_tilt_is_measured_as_it_was_planted_and_noise_is_none() -> None:
    plan, _ = hiring()
    tilted = checked(Tilted(names("Black"), 0.3, noise=0.02))
    assert shifts(tilted)["Black"] == pytest.approx(0.3, abs=0.02)
    verdicts = {f.group: f.verdict for f in build_findings(tilted.measurements, plan.judging)}
    # the planted gender column holds Black women and men alike: the tilt cancels there
    assert verdicts["Black"] is Verdict.EXCEEDS
    assert {verdicts[g] for g in ("Asian", "Hispanic")} == {Verdict.WITHIN}
    noisy = checked(Tilted([], 0.0, noise=0.02))
    assert not any("moves by" in limit for limit in noisy.limits)


def test_the_installed_vader_moves_with_a_name_that_it_rates() -> None:
    """Its authors' list has the word "precious" at 2.7, and none of the other names."""
    plan, prompts = hiring()
    wide = plan.scorer_check.model_copy(update={"pairs": 32})  # every name
    vader = VaderScorer.installed()
    assert [n for n in prompts["name"].unique() if n.lower() in vader.valences] == ["Precious"]
    check = check_scorers(plan.model_copy(update={"scorer_check": wide}), prompts, {"score": vader}, "policy")
    strongest = {row["group"]: row["moves most with"] for row in check.rows}
    assert strongest["Black"].startswith("Precious for ")
    assert strongest["woman"].startswith("Precious for ")
    assert (strongest["Asian"], strongest["Hispanic"]) == ("", "")
    sizes = {row["group"]: row["shift"] for row in check.rows}
    assert sizes["Black"] > 0
    assert sizes["Asian"] == sizes["Hispanic"] == 0


def test_limits_of_a_shift_are_those_of_what_is_measured() -> None:
    plan, prompts = hiring()
    check = check_scorers(plan, prompts, {"score": Tilted([], 0.0)}, "policy")
    judged = build_findings(check.measurements, plan.judging)
    assert {(f.metric, f.threshold, f.role) for f in judged} == {("favourability_scorer_shift", 0.1, "control")}


def test_what_a_lexicon_cannot_read_is_not_put_before_it() -> None:
    assert sentences(VaderScorer({"good": 1.0})) == TEMPLATES
    many = LexiconScorer("many", {f"phrase {i}": i / 100 for i in range(100)})
    chosen = sentences(many)
    assert len(chosen) == len(TEMPLATES)
    read = many.score([sentence.replace("{person}", "Ann") for sentence in chosen])
    assert (read.min(), read.max()) == (0, 0.99)


def test_an_unread_attribute_is_named_and_nothing_is_claimed() -> None:
    plan, prompts = hiring()
    plan = plan.model_copy(update={"scorer_check": type(plan.scorer_check)()})
    renamed = prompts.assign(gender=prompts["gender"].replace({"man": "m", "woman": "f"}))
    attributes = (plan.attributes[0].model_copy(update={"reference": "m"}), plan.attributes[1])
    check = check_scorers(plan.model_copy(update={"attributes": attributes}), renamed, {"score": Tilted([], 0)}, "p")
    assert {m.attribute for m in check.measurements} == {"ethnicity"}
    assert check.limits[0].startswith("Whether the rulers move with gender alone was not checked")


def test_a_tilted_ruler_shows_in_the_report_and_decides_nothing(tmp_path: Path) -> None:
    _, prompts = hiring()
    folder = tmp_path / "plan"
    folder.mkdir()
    source = find_plan("hiring").parent
    (folder / "plan.toml").write_text((source / "plan.toml").read_text())
    prompts.to_csv(folder / "prompts.csv", index=False)
    LexiconScorer("rates names", MANY_LEVELS | RATED_NAMES).save(folder / "favourability.json")
    scenarios = prompts["scenario"].astype("category").cat.codes % 3
    texts = scenarios.map({0: "level a", 1: "level f", 2: "level k"})  # nothing that depends on the name
    prompts[["prompt_id"]].assign(text=texts).to_csv(tmp_path / "answers.csv", index=False)
    results = run_generation(folder / "plan.toml", Target(predictions=tmp_path / "answers.csv"), tmp_path / "out")
    rows = {row["group"]: row for row in results.audit["tables"][TABLE]}
    # levels 1, .9 … 0 less the mean with -1, (level - 1) / 2: shifts of -(level + 1) / 2, on average -.75
    assert rows["Black"]["shift"] == pytest.approx(-0.75)
    controls = [f for f in results.findings if f.role == "control"]
    assert {f.probe for f in controls} == {"scorer_bias"}
    assert len({f.id for f in results.findings}) == len(results.findings)
    assert exit_code(results.findings) == exit_code([f for f in results.findings if f.role != "control"])
    assert any("The ruler itself moves by" in limit for limit in results.audit["limits"])
    assert "text" not in read_table(tmp_path / "out" / "records.parquet")
