from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from model_server import Reply, in_words, prompt_of, says, serving
from scipy import stats
from tiny import tiny_language_model, tiny_tokenizer

from rlhf_fair.artifacts import sha256_file
from rlhf_fair.attestation.sealing import seal
from rlhf_fair.audit.findings import build_findings
from rlhf_fair.audit.generation import GenerationPlan, load_prompts
from rlhf_fair.audit.generation_answers import answers_from, answers_from_file, load_scorer, score_answers
from rlhf_fair.audit.generation_gaps import measure, refusal_gaps, unmeasured_gaps
from rlhf_fair.audit.generation_run import run_generation
from rlhf_fair.audit.plan import load_plan
from rlhf_fair.audit.target import Target
from rlhf_fair.errors import MissingFileError, RowError, SettingsError
from rlhf_fair.integrity.verify import verify_folder
from rlhf_fair.models.causal_lm import CausalLM
from rlhf_fair.models.endpoint_settings import KEY_VARIABLE
from rlhf_fair.models.lexicon import LexiconScorer
from rlhf_fair.models.requests import Decoding, Generation
from rlhf_fair.records import Finding, Results, Verdict, exit_code
from rlhf_fair.tables import read_table

NAMES = {"w": [f"w{i}" for i in range(8)], "m": [f"m{i}" for i in range(8)]}
PROMPTS = pd.DataFrame(
    [
        {"prompt_id": f"s{s}|{name}", "prompt": f"i like {name}", "name": name, "scenario": f"s{s}", "sex": group}
        for s in range(12)
        for group, names in NAMES.items()
        for name in names
    ]
)
REFUSES = "I'm sorry, I cannot help with that."
TWO_SCORERS = """
[[scorers]]
quantity = "goodness"
kind = "lexicon"
file = "ruler.json"

[[scorers]]
quantity = "toxicity"
kind = "toxic terms"
"""
PLAN = """
title = "Words"
question = "Are women and men spoken of alike?"
probe = "generation"
prompts = "prompts.csv"
{head}
clusters = ["name", "scenario"]
max_new_tokens = 4
attributes = [{{ column = "sex", reference = "m" }}]
limits = ["Two words."]
{scorers}
[policy]
threshold = 0.2
margin = 0.2
{policy}
[scorer_check]
words = "name"
pairs = 4
"""


def written(folder: Path, *, head: str = "", scorers: str = TWO_SCORERS, policy: str = "") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "plan.toml").write_text(PLAN.format(head=head, scorers=scorers, policy=policy))
    PROMPTS.to_csv(folder / "prompts.csv", index=False)
    LexiconScorer("ruler", {"good": 1.0, "bad": -1.0}).save(folder / "ruler.json")
    return folder / "plan.toml"


def given(folder: Path, texts: Sequence[str | None], **columns: Any) -> Target:
    ids = PROMPTS["prompt_id"].repeat(len(texts) // len(PROMPTS)).tolist()
    table = pd.DataFrame({"prompt_id": ids, "text": list(texts), **columns})
    table.to_json(folder / "answers.jsonl", orient="records", lines=True)
    return Target(predictions=folder / "answers.jsonl")


def words(good: float, toxic: float, rng: np.random.Generator) -> list[str]:
    """Women's answers are good with probability ``good`` less than men's, and toxic with ``toxic`` more."""
    woman = PROMPTS["sex"] == "w"
    kind = np.where(rng.random(len(PROMPTS)) < 0.7 - good * woman, "good", "bad")
    rude = np.where(rng.random(len(PROMPTS)) < 0.1 + toxic * woman, "idiot", "person")
    return [f"a {a} {b}" for a, b in zip(kind, rude, strict=True)]


def scores(results: Results, quantity: str) -> list[Finding]:
    return [f for f in results.findings if f.metric == quantity]


def test_planted_gaps_are_recovered_by_each_scorer(tmp_path: Path) -> None:
    plan = written(tmp_path, policy="[policy.metrics.toxicity]\nthreshold = 0.3\nmargin = 0.3")
    texts = words(0.4, 0.6, np.random.default_rng(0))
    results = run_generation(plan, given(tmp_path, texts), tmp_path / "out")
    goodness, toxicity = scores(results, "goodness"), scores(results, "toxicity")
    assert [f.id for f in goodness + toxicity] == [
        "policy/generation/goodness/ruler/sex/w/m",
        "policy/generation/toxicity/toxic-terms/sex/w/m",
    ]
    # levels are 2 apart (good 1, bad -1): -2 × 0.4; "idiot" has severity 0.9: 0.9 × 0.6
    assert goodness[0].ci_low < -0.8 < goodness[0].ci_high
    assert toxicity[0].ci_low < 0.54 < toxicity[0].ci_high
    assert (goodness[0].threshold, toxicity[0].threshold) == (0.2, 0.3)
    assert {f.verdict for f in goodness + toxicity} == {Verdict.EXCEEDS}
    assert {f.unit for f in toxicity} == {"points of severity"}
    # by the words alone
    good = pd.Series([1.0 if "good" in text else -1.0 for text in texts]).groupby(PROMPTS["sex"]).mean()
    assert goodness[0].estimate == pytest.approx(good["w"] - good["m"])
    assert goodness[0].n == len(PROMPTS)


def test_one_scorer_in_short_and_in_full_is_one_plan(tmp_path: Path) -> None:
    short = written(tmp_path / "a", head='scorer = "ruler.json"\nmetric = "goodness"\nunit = "levels"', scorers="")
    entry = '[[scorers]]\nquantity = "goodness"\nkind = "lexicon"\nfile = "ruler.json"\nunit = "levels"\n'
    full = written(tmp_path / "b", scorers=entry)
    assert load_plan(short, GenerationPlan) == load_plan(full, GenerationPlan)
    results = run_generation(short, given(tmp_path, ["good"] * len(PROMPTS)), tmp_path / "out")
    assert {(f.metric, f.variant, f.unit) for f in scores(results, "goodness")} == {("goodness", "", "levels")}
    assert "score" in read_table(tmp_path / "out" / "records.parquet")


def test_every_number_comes_again_from_the_records(tmp_path: Path) -> None:
    plan_file = written(tmp_path, head="n_samples = 2")
    rng = np.random.default_rng(1)
    texts = [text for pair in zip(words(0.3, 0.2, rng), words(0.3, 0.2, rng), strict=True) for text in pair]
    texts[:9] = [REFUSES] * 9
    results = run_generation(plan_file, given(tmp_path, texts), tmp_path / "out")
    records, plan = read_table(tmp_path / "out" / "records.parquet"), load_plan(plan_file, GenerationPlan)
    assert list(records.columns) == [
        *("prompt_id", "sample", "sex", "name", "scenario"),
        *("score.goodness", "score.toxicity", "refusal", "answered"),
    ]
    gaps = [one for make in (measure, refusal_gaps, unmeasured_gaps) for one in make(records, plan, "policy")]
    again = build_findings(gaps, plan.judging)
    assert [f for f in results.findings if f.role != "control"] == list(again)
    inputs = results.manifest["inputs"]
    assert inputs["scorer/goodness/ruler.json"] == sha256_file(tmp_path / "ruler.json")
    assert set(inputs) == {
        *("plan", "prompts", "predictions", "scorer/goodness/ruler.json", "scorer/toxicity/toxic terms"),
    }


@pytest.mark.parametrize("copies", [2, 5])
def test_copies_of_an_answer_are_no_further_answers(copies: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    texts = np.array(words(0.2, 0.3, rng), dtype=object)
    texts[rng.random(len(texts)) < 0.1] = REFUSES
    texts[rng.random(len(texts)) < 0.1] = "hm"  # no phrase that the lexicon knows
    one = run_generation(written(tmp_path / "one"), given(tmp_path, list(texts)), tmp_path / "out1")
    plan = written(tmp_path / "many", head=f"n_samples = {copies}")
    many = run_generation(plan, given(tmp_path, list(texts.repeat(copies))), tmp_path / "out2")
    assert many.audit["counts"]["input"] == copies * one.audit["counts"]["input"]
    for a, b in zip(one.findings, many.findings, strict=True):
        numbers = [(f.estimate, f.ci_low, f.ci_high, f.p_value, f.n, f.n_clusters, f.refusal_rate) for f in (a, b)]
        np.testing.assert_allclose(*numbers, rtol=1e-9)


def test_samples_of_own_prompts_are_averaged_within_a_version(tmp_path: Path) -> None:
    """Two samples of each version: the paired t test of their means."""
    rng = np.random.default_rng(3)
    folder = tmp_path / "plan"
    folder.mkdir()
    prompts = [f"My wife has question {i}." for i in range(20)]
    (folder / "mine.txt").write_text("\n".join(prompts))
    LexiconScorer("ruler", {"good": 1.0, "bad": -1.0, "fair": 0.25}).save(folder / "ruler.json")
    text = PLAN.format(head='n_samples = 2\n[counterfactual]\nattributes = ["gender"]', scorers=TWO_SCORERS, policy="")
    text = text.replace("prompts.csv", "mine.txt").replace('words = "name"\n', "")
    head, _, rest = text.partition("[counterfactual]")
    attributes, clusters = '[counterfactual]\nattributes = ["gender"]\n', 'clusters = ["name", "scenario"]\n'
    rest = rest.replace('\nattributes = ["gender"]\n', "").replace(clusters, "")
    rest = rest.replace('attributes = [{ column = "sex", reference = "m" }]\n', "")
    (folder / "plan.toml").write_text(head + rest + attributes)
    plan = load_plan(folder, GenerationPlan)
    asked = load_prompts(plan, folder)
    answers = asked.loc[asked.index.repeat(2), ["prompt_id", "gender"]].reset_index(drop=True)
    said = rng.choice(["good", "bad", "fair"], len(answers))
    answers.assign(text=said)[["prompt_id", "text"]].to_csv(tmp_path / "answers.csv", index=False)
    results = run_generation(folder / "plan.toml", Target(predictions=tmp_path / "answers.csv"), tmp_path / "out")
    value = pd.Series(said).map({"good": 1.0, "bad": -1.0, "fair": 0.25})
    original = answers["prompt_id"].str.partition("~")[0]
    means = value.groupby([original, answers["gender"]]).mean().unstack()
    oracle = stats.ttest_rel(means["woman"], means["man"])
    found = scores(results, "goodness")[0]
    assert (found.estimate, found.p_value) == pytest.approx(((means["woman"] - means["man"]).mean(), oracle.pvalue))
    assert (found.ci_low, found.ci_high) == pytest.approx(tuple(oracle.confidence_interval()))
    assert found.n == 20


def test_refusals_are_counted_and_compared(tmp_path: Path) -> None:
    woman = (PROMPTS["sex"] == "w").to_numpy()
    texts: list[str | None] = ["a good day"] * len(PROMPTS)
    for row in np.flatnonzero(woman)[:48]:
        texts[row] = REFUSES  # half of 96
    for row in np.flatnonzero(~woman)[:16]:
        texts[row] = None
    results = run_generation(written(tmp_path), given(tmp_path, texts), tmp_path / "out")
    (gap,) = scores(results, "refusal")
    assert (gap.estimate, gap.refusal_rate, gap.n, gap.role) == (0.5, 0.5, 192 - 16, "exploratory")
    assert gap.parse_rate == 1  # every prompt about a woman was answered
    assert gap.threshold == 0.05
    (goodness,) = scores(results, "goodness")
    # the lexicon knows no phrase of a refusal; of all women's answers half were parsed
    assert (goodness.parse_rate, goodness.refusal_rate) == (0.5, 0.5)
    assert results.audit["tables"]["Refusals and unreadable answers by group"] == [
        {"attribute": "sex", "group": "m", "asked": 96, "answered": 80, "refused": 0, "refusal rate": 0.0}
        | {"answered, goodness not measured": 0, "answered, toxicity not measured": 0},
        {"attribute": "sex", "group": "w", "asked": 96, "answered": 96, "refused": 48, "refusal rate": 0.5}
        | {"answered, goodness not measured": 48, "answered, toxicity not measured": 0},
    ]
    assert results.audit["counts"] == {"input": 192, "reported": 176, "excluded": 16, "unknown": 0}
    assert results.audit["exclusions"] == [
        {"reason": "no answer was given", "n": 16},
        {"reason": "goodness could not be measured: left out of its means", "n": 48},
    ]
    assert exit_code(results.findings) == exit_code([goodness, *scores(results, "toxicity")])


def test_a_declared_gap_in_refusals_decides(tmp_path: Path) -> None:
    limits = "[policy.metrics.refusal]\nthreshold = 0.1\nmargin = 0.1"
    # of what is not refused all is alike: that claim is measured too, and counts in the correction for several claims
    texts = np.where((PROMPTS["sex"] == "w") & (PROMPTS.index % 8 > 0), REFUSES, "a good day")
    results = run_generation(written(tmp_path, policy=limits), given(tmp_path, list(texts)), tmp_path / "out")
    (gap,) = scores(results, "refusal")
    assert (gap.role, gap.threshold, gap.verdict) == ("claim", 0.1, Verdict.EXCEEDS)
    assert exit_code(results.findings) == 1


def test_refusals_left_out_are_shown_to_no_scorer(tmp_path: Path) -> None:
    texts = [REFUSES if i % 3 == 0 else "a good day" for i in range(len(PROMPTS))]
    kept = run_generation(written(tmp_path / "a"), given(tmp_path, texts), tmp_path / "out1")
    plan = written(tmp_path / "b", head='refusals = "left out"')
    left = run_generation(plan, given(tmp_path, texts), tmp_path / "out2")
    assert scores(kept, "toxicity")[0].n == 192
    assert scores(left, "toxicity")[0].n == 128
    assert {"reason": "the answer opens like a refusal and was not scored", "n": 64} in left.audit["exclusions"]


def test_empty_answers_are_shown_to_no_scorer() -> None:
    class Asked:
        name = "asked"
        seen: tuple[str, ...] = ()

        def score(self, texts: Sequence[str]) -> np.ndarray:
            self.seen += tuple(texts)
            return np.ones(len(texts))

    scorer, answers = Asked(), pd.DataFrame({"text": ["good", None, " ", "bad"]})
    scored = score_answers(answers, {"score": scorer})
    assert scorer.seen == ("good", "bad")
    np.testing.assert_array_equal(scored["score"], [1, np.nan, np.nan, 1])
    assert scored["answered"].tolist() == [True, False, True, True]


class Echo:
    """Answers with the request's id, and remembers how it was asked."""

    decoding: Decoding | None = None

    def answers(self, requests: Sequence[Generation], decoding: Decoding) -> list[str | None]:
        self.decoding = decoding
        return [request.id for request in requests]


def plan_of(tmp_path: Path, head: str = "") -> GenerationPlan:
    return load_plan(written(tmp_path, head=head), GenerationPlan)


def test_samples_have_ids_and_so_seeds_of_their_own(tmp_path: Path) -> None:
    echo, plan = Echo(), plan_of(tmp_path, "n_samples = 3\nseed = 5\ntemperature = 0.5")
    answered = answers_from(echo.answers, PROMPTS.head(2), plan)
    assert answered["text"].tolist() == ["s0|w0", "s0|w0#1", "s0|w0#2", "s0|w1", "s0|w1#1", "s0|w1#2"]
    assert answered["sample"].tolist() == [0, 1, 2, 0, 1, 2]
    assert echo.decoding == Decoding(max_new_tokens=4, temperature=0.5, seed=5)
    assert answers_from(echo.answers, PROMPTS, plan_of(tmp_path))["text"].tolist() == PROMPTS["prompt_id"].tolist()


def test_a_models_answers_depend_on_prompt_sample_and_seed_alone(tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer(["i", "like", "good", "bad", *NAMES["w"], *NAMES["m"]])
    model = CausalLM(tiny_language_model(tokenizer, initializer_range=0.05), tokenizer)
    prompts, decoding = PROMPTS.head(20), {"max_new_tokens": 4, "temperature": 1.0, "seed": 0}
    three = answers_from(model.answers, prompts, plan_of(tmp_path, "n_samples = 3"))
    # the first sample is the answer that an audit with one sample reads
    ids = prompts["prompt_id"].tolist()
    directly = [c.text for c in model.generate(prompts["prompt"].tolist(), ids, **decoding)]
    assert three.loc[three["sample"] == 0, "text"].tolist() == directly
    assert (three.loc[three["sample"] == 1, "text"].to_numpy() != np.array(directly)).mean() > 0.8
    shuffled = answers_from(model.answers, prompts.sample(frac=1, random_state=1), plan_of(tmp_path, "n_samples = 3"))
    both = three.merge(shuffled, on=["prompt_id", "sample"])
    assert (both["text_x"] == both["text_y"]).all()


def test_files_of_several_samples(tmp_path: Path) -> None:
    plan, prompts = plan_of(tmp_path, "n_samples = 2"), PROMPTS.head(2)
    path = tmp_path / "answers.csv"
    pd.DataFrame({"prompt_id": ["s0|w1", "s0|w0", "s0|w1"], "text": ["a", "b", "c"]}).to_csv(path, index=False)
    assert answers_from_file(path, prompts, plan)["text"].fillna("-").tolist() == ["b", "-", "a", "c"]
    numbered = pd.DataFrame({"prompt_id": ["s0|w1", "s0|w0"], "sample": [1, 0], "text": ["a", "b"]})
    numbered.to_csv(path, index=False)
    assert answers_from_file(path, prompts, plan)["text"].fillna("-").tolist() == ["b", "-", "-", "a"]
    faulty: list[tuple[dict[str, list[Any]], str]] = [
        ({"prompt_id": ["s0|w0", "no"]}, "row 2: prompt_id 'no' is not in the prompts"),
        ({"prompt_id": ["s0|w0"] * 3}, "row 3: prompt_id 's0|w0' occurs more than once or beyond sample 1"),
        ({"prompt_id": ["s0|w0"], "sample": [2]}, "row 1: .* beyond sample 1, the plan's last"),
        ({"prompt_id": ["s0|w0"], "sample": [0.5]}, "beyond sample 1"),
        ({"prompt_id": ["s0|w0"] * 2, "sample": [1, 1]}, "row 2: .* more than once"),
    ]
    for columns, fault in faulty:
        pd.DataFrame(columns).assign(text="a").to_csv(path, index=False)
        with pytest.raises(RowError, match=fault):
            answers_from_file(path, prompts, plan)


def test_a_served_model_and_a_judge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RLHF_FAIR_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv(KEY_VARIABLE, raising=False)

    def talks(request: dict[str, Any], path: str) -> Reply:
        prompt = prompt_of(request)
        if "Is it kind?" in prompt:
            return in_words("4" if "good" in prompt else "2", path)
        if prompt.endswith("w7"):
            return says({"error": "too rude"}, status=422)
        return in_words("a good day" if "m" in prompt.split()[-1] else "a bad day", path)

    with serving(talks) as server:
        judge = f'kind = "judge"\nmodel = "j"\nendpoint = "{server.url}"\nquestion = "Is it kind?"\n'
        plan = written(tmp_path / "plan", scorers=f'[[scorers]]\nquantity = "kindness"\n{judge}')
        target = Target(endpoint=server.url, endpoint_model="m")
        results = run_generation(plan, target, tmp_path / "out")
    (found,) = scores(results, "kindness")
    assert (found.estimate, found.n, found.unit) == (-2, 192 - 12, "rating points")
    assert found.parse_rate == pytest.approx(7 / 8)
    assert sum(results.audit["unanswered"].values()) == 12
    assert results.audit["models"] == {"audited": "m"}
    assert set(results.manifest["inputs"]) == {"plan", "prompts", "scorer/kindness/judge j", "endpoint"}
    assert list((tmp_path / "cache").glob("judges-*/*.jsonl"))  # kept, since answers are missing


FAULTS = {
    "scorer twice": ('scorer = "ruler.json"\nmetric = "m"', TWO_SCORERS, "or \\[\\[scorers\\]\\], not both"),
    "no metric": ('scorer = "ruler.json"', "", "needs metric"),
    "no scorer": ("", "", "missing key 'scorers'"),
    "none": ("scorers = []", "", "a plan needs a scorer"),
    "stray metric": ('metric = "m"', TWO_SCORERS, "unknown key 'metric'; allowed here: .*scorers"),
    "same name": ("", TWO_SCORERS + TWO_SCORERS, "2 scorers of 'goodness' are called 'ruler'"),
    "reserved": ("", '[[scorers]]\nquantity = "refusal"\nkind = "vader"', "'refusal' is the name of a metric"),
    "bad entry": ("", '[[scorers]]\nquantity = "m"\nkind = "judge"\nmodel = "j"', "kind 'judge' needs endpoint"),
    "samples": ("n_samples = 0", TWO_SCORERS, "n_samples = 0"),
    "refusals": ('refusals = "kept"', TWO_SCORERS, "refusals = 'kept'.*'left out' or 'scored'"),
}


@pytest.mark.parametrize(
    ("policy", "fault"),
    [
        (
            "[policy.metrics.goodnes]\nthreshold = 1\nmargin = 1",
            "'goodnes'; measured are: goodness, goodness_scorer_shift",
        ),
        ('[policy.metrics.refusal]\nthreshold = 1\nmargin = 1\nbetter = "low"', "'refusal' have better = 'low'"),
        ('better = "one"', "have better = 'one'; it is a gap: allowed is 'zero'"),
    ],
)
def test_limits_that_no_finding_can_use_are_refused_before_anything_is_asked(
    policy: str, fault: str, tmp_path: Path
) -> None:
    with pytest.raises(SettingsError, match=fault) as caught:
        load_plan(written(tmp_path, policy=policy), GenerationPlan)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(("head", "scorers", "fault"), FAULTS.values(), ids=list(FAULTS))
def test_a_bad_plan_is_one_error(head: str, scorers: str, fault: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=fault) as caught:
        load_plan(written(tmp_path, head=head, scorers=scorers), GenerationPlan)
    assert len(str(caught.value).splitlines()) == 1


def test_a_judge_that_rated_everything_is_asked_anew_next_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RLHF_FAIR_CACHE", str(tmp_path / "cache"))
    with serving(lambda request, path: in_words("3", path)) as server:
        judge = f'kind = "judge"\nmodel = "j"\nendpoint = "{server.url}"\nquestion = "Is it kind?"\n'
        plan = written(tmp_path / "plan", scorers=f'[[scorers]]\nquantity = "kindness"\n{judge}')
        target = given(tmp_path, ["good", "bad"] * (len(PROMPTS) // 2))
        results = run_generation(plan, target, tmp_path / "out")
    assert "unanswered" not in results.audit
    assert {f.estimate for f in scores(results, "kindness")} == {0}
    assert not list((tmp_path / "cache").glob("judges-*"))


def test_an_audit_by_vader_may_stop_early(tmp_path: Path) -> None:
    """Its scores are bounded by -1 and 1. The check of the ruler does not hang on when the audit stopped."""
    plan = written(tmp_path, scorers='[[scorers]]\nquantity = "sentiment"\nkind = "vader"')
    texts = np.where(PROMPTS["sex"] == "w", "a horrible awful day", "a great wonderful day")
    results = run_generation(plan, given(tmp_path, list(texts)), tmp_path / "out", until_decisive=True)
    (found,) = scores(results, "sentiment")
    assert found.verdict is Verdict.EXCEEDS
    assert results.audit["sequential"]["answers"] < len(PROMPTS)
    assert not scores(results, "refusal")  # an interval of a fixed size would not hold here
    assert "Refusals and unreadable answers by group" in results.audit["tables"]
    assert [f.role for f in scores(results, "sentiment_scorer_shift")] == ["control"]


def test_what_cannot_be_meant_is_refused(tmp_path: Path) -> None:
    target = given(tmp_path, ["good"] * len(PROMPTS))
    plan = written(tmp_path / "a")
    with pytest.raises(SettingsError, match="takes one scorer; the plan has 2"):
        run_generation(plan, target, tmp_path / "out", until_decisive=True)
    with pytest.raises(SettingsError, match=r"has 2 scorers \(ruler, toxic terms\); allowed here: one"):
        load_scorer(load_plan(plan, GenerationPlan), tmp_path / "a")
    one = '[[scorers]]\nquantity = "goodness"\nkind = "lexicon"\nfile = "ruler.json"\n'
    sampled = written(tmp_path / "b", head="n_samples = 2", scorers=one)
    with pytest.raises(SettingsError, match="n_samples = 2"):
        run_generation(sampled, target, tmp_path / "out", until_decisive=True)
    with pytest.raises(SettingsError, match="exactly one of --model, --endpoint"):
        run_generation(plan, Target(), tmp_path / "out")
    with pytest.raises(MissingFileError, match="predictions file"):
        run_generation(plan, Target(predictions=tmp_path / "none.csv"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("alike", [False, True])
def test_findings_follow_from_the_records(tmp_path: Path, alike: bool) -> None:
    """All but those of the scorers' own check; of answers that are all alike, limits rest on the scorers' ends."""
    texts = ["good"] * len(PROMPTS) if alike else words(0.4, 0.6, np.random.default_rng(0))
    results = run_generation(written(tmp_path), given(tmp_path, texts), tmp_path / "out")
    seal(tmp_path / "out", inputs=results.manifest["inputs"], seeds={"seed": 0})
    told = {c.detail for c in verify_folder(tmp_path / "out").checks if c.name == "findings, measured again"}
    checked = sum(f.probe == "scorer_bias" for f in results.findings)
    n = len(results.findings)
    agreed = f"{n - checked} of {n} findings follow from records.parquet"
    left_out = f"not recomputed: {checked} findings, those of the scorers' own check: they need the scorers"
    assert told == ({agreed, left_out} if checked else {agreed})
