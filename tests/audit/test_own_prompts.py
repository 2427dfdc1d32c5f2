from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from rlhf_fair.audit.generation import GenerationPlan, load_prompts
from rlhf_fair.audit.own_prompts import paired_gap
from rlhf_fair.audit.plan import find_plan, load_plan
from rlhf_fair.audit.run import run_audit
from rlhf_fair.audit.target import Target
from rlhf_fair.errors import SettingsError
from rlhf_fair.records import Estimate, Results, Verdict

HELPFUL, UNHELPFUL = "Certainly, here are some options.", "Unfortunately, that is not possible."


@pytest.fixture
def prompts() -> pd.DataFrame:
    return load_prompts(load_plan("own-prompts", GenerationPlan), find_plan("own-prompts").parent)


def audited(prompts: pd.DataFrame, helpful: Any, out: Path) -> Results:
    out.mkdir()
    texts = np.where(helpful, HELPFUL, UNHELPFUL)
    prompts[["prompt_id"]].assign(text=texts).to_csv(out / "answers.csv", index=False)
    return run_audit(find_plan("own-prompts"), Target(predictions=out / "answers.csv"), out=out)


def test_the_shipped_audit_pairs_every_prompt(prompts: pd.DataFrame) -> None:
    for attribute, groups in (("gender", 2), ("religion", 5), ("age", 2)):
        sizes = prompts[prompts[attribute].notna()].groupby("twin_of")[attribute].nunique()
        assert len(sizes) > 10
        assert (sizes == groups).all()


def test_a_planted_gap_is_found_for_its_attribute_alone(prompts: pd.DataFrame, tmp_path: Path) -> None:
    level = {one: int(one.split("-")[-1]) % 2 for one in prompts["twin_of"]}  # prompts differ; their versions do not
    helpful = prompts["twin_of"].map(level).eq(1) & prompts["gender"].ne("woman")
    results = audited(prompts, helpful, tmp_path / "out")
    found = {(f.attribute, f.group): f for f in results.findings if f.metric == "helpfulness"}
    assert set(found) == {("gender", "woman"), ("age", "old"), *(("religion", g) for g in RELIGIONS)}
    gender = found["gender", "woman"]
    own = prompts[prompts["gender"].notna()].drop_duplicates("twin_of")
    share = own["twin_of"].map(level).mean()
    # phrases: "certainly" 1, "here are some" .5, "options" .5 -> 2/3; "unfortunately" -.5, "not possible" -1 -> -3/4
    assert gender.estimate == pytest.approx(share * (-3 / 4 - 2 / 3))
    assert gender.n == len(own)
    assert gender.verdict is Verdict.EXCEEDS


RELIGIONS = ("Muslim", "Jewish", "Hindu", "Buddhist")


def test_a_model_that_answers_every_version_alike_has_limits(prompts: pd.DataFrame, tmp_path: Path) -> None:
    results = audited(prompts, prompts["twin_of"].str[-1].isin(list("02468")), tmp_path / "out")
    found = [f for f in results.findings if f.metric == "helpfulness"]
    for one in found:
        # the ruler's phrases go from -1 to 1, so a change is 2 at most; Clopper and Pearson's limit at 0 of n pairs
        limit = 2 * stats.beta.ppf(0.975, 1, one.n)
        assert (one.estimate, one.p_value) == (0, 1)
        assert (one.ci_low, one.ci_high) == (pytest.approx(-limit), pytest.approx(limit))
        assert one.verdict is (Verdict.WITHIN if limit < 0.2 else Verdict.INCONCLUSIVE)  # the plan's margin
        assert one.note.startswith(f"no change in any of {one.n} rows")
    assert len(found) == 6
    assert {one.verdict for one in found} == {Verdict.WITHIN, Verdict.INCONCLUSIVE}


def test_without_a_difference_nothing_is_found(prompts: pd.DataFrame, tmp_path: Path) -> None:
    helpful = prompts["twin_of"].str.len() % 2 == 0
    results = audited(prompts, helpful, tmp_path / "out")
    assert {f.estimate for f in results.findings} == {0.0}
    assert not any(f.verdict is Verdict.EXCEEDS for f in results.findings)
    counts = results.audit["counts"]
    assert counts["input"] == counts["reported"] + counts["excluded"] + counts["unknown"]
    assert {"reason": "nothing in the prompt could be swapped", "n": 1} in results.audit["exclusions"]
    without = results.audit["tables"]["Prompts without a twin"]
    assert {row["attribute"] for row in without} == {"gender", "religion", "age"}


def test_paired_gap_is_the_paired_t_test() -> None:
    rng = np.random.default_rng(0)
    man = rng.normal(size=30)
    woman = man + rng.normal(0.2, 0.5, 30)
    records = pd.DataFrame(
        {
            "twin_of": [*range(30), *range(30), 30],
            "gender": ["man"] * 30 + ["woman"] * 30 + ["woman"],
            "score": [*man, *woman, 99.0],  # the last has no counterpart and plays no part
        }
    )
    e = paired_gap(records, "gender", "woman", "man", clusters=["twin_of"], alpha=0.05)
    oracle = stats.ttest_rel(woman, man)
    assert (e.estimate, e.p_value, e.n) == pytest.approx(((woman - man).mean(), oracle.pvalue, 30))
    assert (e.ci_low, e.ci_high) == pytest.approx(tuple(oracle.confidence_interval()))
    missing = paired_gap(records, "gender", "other", "man", clusters=["twin_of"], alpha=0.05)
    assert np.isnan(missing.estimate)
    assert "no prompt has a measured version for other" in missing.reason


def test_a_text_file_and_faulty_plans(tmp_path: Path) -> None:
    folder = tmp_path / "plan"
    shutil.copytree(find_plan("own-prompts").parent, folder)
    plan = (folder / "plan.toml").read_text()
    (folder / "mine.txt").write_text("My wife asks for help.\nThe lamp is broken.\n")
    (folder / "plan.toml").write_text(plan.replace("prompts.csv", "mine.txt"))
    loaded = load_plan(folder, GenerationPlan)
    assert load_prompts(loaded, folder)["prompt_id"].tolist() == ["line-1", "line-1~gender=man"]
    assert not loaded.intersections
    (folder / "plan.toml").write_text(plan.replace('"religion"', '"height"'))
    with pytest.raises(SettingsError, match=r"counterfactual\.attributes.*no lexicon for 'height'"):
        load_plan(folder, GenerationPlan)
    with pytest.raises(SettingsError, match="until-decisive"):
        run_audit(
            find_plan("own-prompts"), Target(predictions=folder / "mine.txt"), out=tmp_path / "o", until_decisive=True
        )


def test_more_refusals_never_certify_more() -> None:
    """24 topics of 5 prompts: limits of no refusal, one and two, each of another topic."""

    def gap(refusals: int) -> Estimate:
        score = np.zeros(240)
        score[120 : 120 + 5 * refusals : 5] = 1.0
        topics = np.tile(np.repeat(np.arange(24), 5), 2)
        records = pd.DataFrame({"twin_of": [*range(120)] * 2, "topic": topics, "score": score})
        records["gender"] = ["man"] * 120 + ["woman"] * 120
        options: dict[str, Any] = {"clusters": ["twin_of", "topic"], "alpha": 0.05, "scores": (0.0, 1.0), "rates": True}
        return paired_gap(records, "gender", "woman", "man", **options)

    none, one, two = (gap(n) for n in range(3))
    assert none.ci_high > 0.1
    for e in (one, two):
        assert e.ci_low < 0.9 * none.ci_low
        assert e.ci_high > 0.9 * none.ci_high


def test_whole_topics_that_refuse_are_seldom_certified() -> None:
    """Topics refuse as a whole with 6 %, other prompts with 1 %, for women alone: a gap of .069 against a margin."""
    rng, within, runs = np.random.default_rng(0), 0, 200
    for _ in range(runs):
        whole = np.repeat(rng.random(24) < 0.06, 5)
        refused = whole | (rng.random(120) < 0.01)
        records = pd.DataFrame(
            {
                "twin_of": [*range(120)] * 2,
                "topic": np.tile(np.repeat(np.arange(24), 5), 2),
                "score": np.r_[np.zeros(120), refused.astype(float)],
                "gender": ["man"] * 120 + ["woman"] * 120,
            }
        )
        e = paired_gap(records, "gender", "woman", "man", clusters=["topic"], alpha=0.05, rates=True)
        within += e.ci_low > -0.05 and e.ci_high < 0.05
    assert within / runs <= 0.05
