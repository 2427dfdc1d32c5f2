"""The shipped audits of single fields: their prompts expand as they should, and they find what was planted."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from rlhf_fair.audit.benchmark_plan import load_benchmark_plan
from rlhf_fair.audit.generation import GenerationPlan, load_prompts
from rlhf_fair.audit.plan import find_plan, load_plan
from rlhf_fair.audit.run import run_audit
from rlhf_fair.audit.target import Target
from rlhf_fair.models.lexicon import LexiconScorer
from rlhf_fair.probes.counterfactual_text import groups_in, restore
from rlhf_fair.probes.counterfactual_text_lexicon import load_lexicon
from rlhf_fair.probes.counterfactual_text_prompts import read_prompts, read_replacements
from rlhf_fair.probes.recommendation import NEUTRAL, category_of, load_categories, load_recommendation
from rlhf_fair.records import Finding, Results, Verdict

FIELDS = {  # quantity, an answer high on its ruler, one low on it
    "customer-service": (
        "accommodation",
        "We will refund you right away.",
        "That is not possible, and we must decline.",
    ),
    "financial-advice": ("favourability", "Go ahead: it makes sense.", "Do not borrow: too risky."),
    "medical-triage": ("urgency", "Call an ambulance.", "It is harmless and will pass."),
    "open-dialogue": ("warmth", "What a wonderful and remarkable person.", "What a lazy and selfish person."),
}


@pytest.fixture(params=FIELDS)
def field(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def plan(field: str) -> GenerationPlan:
    return load_plan(field, GenerationPlan)


@pytest.fixture
def prompts(field: str, plan: GenerationPlan) -> pd.DataFrame:
    return load_prompts(plan, find_plan(field).parent)


def test_every_prompt_has_versions_for_every_group(field: str, plan: GenerationPlan, prompts: pd.DataFrame) -> None:
    written = read_prompts(find_plan(field).parent / plan.prompts)
    assert len(written) == 120
    assert written["prompt"].is_unique
    assert set(written["prompt_id"]) == set(prompts["twin_of"])
    assert (written.groupby("topic").size() == 5).all()
    assert plan.counterfactual is not None
    for attribute in plan.counterfactual.attributes:
        versions = prompts[prompts[attribute].notna()]
        groups = load_lexicon(attribute).groups
        per_prompt = versions.groupby("twin_of")[attribute].agg(set)
        assert (per_prompt == set(groups)).all()
        assert len(per_prompt) >= 48
        assert versions["topic"].nunique() == 24  # clusters


def test_every_version_speaks_of_its_group_and_can_be_undone(plan: GenerationPlan, prompts: pd.DataFrame) -> None:
    original = prompts.set_index("prompt_id")["prompt"]
    assert plan.counterfactual is not None
    for attribute in plan.counterfactual.attributes:
        lexicon = load_lexicon(attribute)
        for _, row in prompts[prompts[attribute].notna()].iterrows():
            assert groups_in(row["prompt"], lexicon)[0] == row[attribute]
            if row["prompt_id"] != row["twin_of"]:
                assert restore(row["prompt"], read_replacements(row["replacements"])) == original[row["twin_of"]]


def test_the_ruler_reads_both_ends(field: str, plan: GenerationPlan) -> None:
    quantity, high, low = FIELDS[field]
    ruler = plan.scorers[0]
    assert ruler.quantity == quantity
    scorer = LexiconScorer.load(find_plan(field).parent / ruler.file)
    assert scorer.source
    assert scorer.score([high, low]).tolist() == [1, -1]
    assert set(scorer.phrases.values()) == {1, 0.5, 0, -0.5, -1}


def test_a_planted_gap_is_found_and_no_other(
    field: str, plan: GenerationPlan, prompts: pd.DataFrame, tmp_path: Path
) -> None:
    quantity, high, low = FIELDS[field]
    lexicon = load_lexicon("gender")
    of_women = prompts["prompt"].map(lambda text: groups_in(text, lexicon)[:1] == ("woman",))
    worse = prompts["twin_of"].map(lambda one: sum(map(ord, one)) % 3 > 0)  # two prompts in three answer women worse
    texts = [low if one else high for one in of_women & worse]
    results = audited(field, plan, prompts.assign(text=texts), tmp_path)
    claims = [f for f in results.findings if f.role == "claim" and f.metric == quantity]
    (gender,) = (f for f in claims if f.attribute == "gender")
    pairs = prompts["gender"].notna() & (prompts["prompt_id"] == prompts["twin_of"])
    assert gender.estimate == pytest.approx(-2 * worse[pairs].mean())
    assert gender.n_clusters == 24
    assert gender.verdict is Verdict.EXCEEDS
    assert {f.estimate for f in claims if f.attribute != "gender"} == {0.0}


def test_without_a_difference_nothing_is_found(
    field: str, plan: GenerationPlan, prompts: pd.DataFrame, tmp_path: Path
) -> None:
    _, high, low = FIELDS[field]
    even = prompts["twin_of"].str[-1].isin(["2", "4"])
    results = audited(field, plan, prompts.assign(text=[low if one else high for one in even]), tmp_path)
    assert {f.estimate for f in results.findings if f.role == "claim"} == {0.0}
    assert not [f for f in results.findings if f.verdict is Verdict.EXCEEDS]
    counts = results.audit["counts"]
    assert counts["input"] == counts["reported"] + counts["excluded"] + counts["unknown"]


def audited(field: str, plan: GenerationPlan, answers: pd.DataFrame, folder: Path) -> Results:
    repeated = answers.loc[answers.index.repeat(plan.n_samples), ["prompt_id", "text"]]
    repeated.to_csv(folder / "answers.csv", index=False)
    return run_audit(find_plan(field), Target(predictions=folder / "answers.csv"), out=folder / "out")


JOBS = (
    *("Engineer", "Nurse", "Teacher", "Accountant", "Writer", "Electrician", "Cook", "Chemist", "Carer", "Lawyer"),
    *("Designer", "Plumber"),
)
COURSES = (
    *("Physics", "Nursing", "Education", "Law", "History", "Forestry", "Tourism", "Biology", "Medicine", "Economics"),
    *("Design", "Statistics"),
)


def test_recommendations_expand_and_their_tables_fit() -> None:
    folder = find_plan("recommendation").parent
    loaded = load_recommendation(folder)
    items = loaded.table
    assert loaded.rejects.empty
    assert items["item_id"].is_unique
    assert items["topic"].nunique() == 44
    sizes = items.groupby(["attribute", "group"]).size()
    assert sizes["", NEUTRAL] == sizes["gender", "man"] == sizes["gender", "woman"] == 2 * 44
    assert (sizes["ethnicity"] == 44).all()
    categories = load_categories(folder)
    assert not categories.duplicated(["domain", "phrase"]).any()
    assert items.loc[items["domain"].isin(categories["domain"]), "topic"].nunique() == 26
    for domain, names in (("jobs", JOBS), ("courses", COURSES)):
        rows = categories[categories["domain"] == domain]
        phrases = dict(zip(rows["phrase"], rows["category"], strict=True))
        assert all(category_of(name.lower(), phrases) for name in names)


def recommended(planted: bool, folder: Path) -> dict[tuple[str, str, str, str], Finding]:
    """Every list is a rotation of twelve names by topic and sample; women's, if planted, has the sciences last."""
    items = load_recommendation(find_plan("recommendation").parent).table
    plan = load_benchmark_plan("recommendation")
    rows = []
    for number, item in enumerate(items.itertuples()):
        names = {"jobs": JOBS, "courses": COURSES}.get(str(item.domain), tuple(f"Thing {k}" for k in range(12)))
        for sample in range(3):
            turn = (7 * number + 5 * sample) % 12
            order = [*names[turn:], *names[:turn]]
            if planted and item.group == "woman":
                order.sort(key=lambda name: name in ("Engineer", "Chemist", "Physics", "Biology", "Statistics"))
            text = "\n".join(f"{place}. {name}" for place, name in enumerate(order[:10], 1))
            rows.append({"item_id": item.item_id, "sample": sample, "text": text})
    pd.DataFrame(rows).to_csv(folder / "answers.csv", index=False)
    assert plan.seed == 1
    target = Target(predictions=folder / "answers.csv")
    results = run_audit(find_plan("recommendation"), target, out=folder / "out")
    assert results.audit["counts"] == {"input": 1320, "reported": 1320, "excluded": 0, "unknown": 0}
    return {(f.metric, f.group, f.reference, f.variant): f for f in results.findings}


def test_the_audit_of_recommendations_finds_what_was_planted(tmp_path: Path) -> None:
    found = recommended(True, tmp_path)
    science = found["exposure_gap", "woman", "man", "technology and science"]
    assert (science.role, science.verdict) == ("claim", Verdict.EXCEEDS)
    assert science.estimate < -0.05
    assert found["jaccard_shift", "woman", NEUTRAL, "@10"].verdict is not Verdict.WITHIN
    for group in ("Black", "Hispanic", "Asian"):
        assert found["exposure_gap", group, "White", "technology and science"].verdict is not Verdict.EXCEEDS


def test_the_audit_of_recommendations_is_silent_without_a_difference(tmp_path: Path) -> None:
    found = recommended(False, tmp_path)
    assert not [f for f in found.values() if f.verdict is Verdict.EXCEEDS]
    assert {f.role for f in found.values()} == {"claim", "exploratory"}
    assert sum(f.role == "claim" for f in found.values()) == 6 + 2 * 4
