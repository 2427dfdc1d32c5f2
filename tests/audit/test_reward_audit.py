from __future__ import annotations

import re
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tiny import tiny_bert, tiny_tokenizer
from upstream import DATA, needs

from rlhf_fair.artifacts import read_results
from rlhf_fair.audit import reward_audit
from rlhf_fair.audit.plan import find_plan, load_plan
from rlhf_fair.audit.reward_audit_items import Items, collect
from rlhf_fair.audit.reward_audit_plan import RewardPlan
from rlhf_fair.audit.reward_audit_scores import NO_SCORES, TEXTS_NAME, text_id
from rlhf_fair.audit.reward_audit_words import gapped_pairs
from rlhf_fair.audit.run import run_audit
from rlhf_fair.audit.target import Target
from rlhf_fair.errors import ColumnError, MissingFileError, RowError, SettingsError
from rlhf_fair.models.reward_model import RewardModel
from rlhf_fair.probes.counterfactual_text_lexicon import load_lexicon
from rlhf_fair.probes.reward_pairs import NULLS, PROBE
from rlhf_fair.probes.reward_people import NEUTRAL
from rlhf_fair.probes.reward_selection import PROBE as BEST_OF_N
from rlhf_fair.records import Finding, Results, Verdict, exit_code

PLAN = find_plan("reward")
PERSON = re.compile("|".join(rf"(?<!\w){re.escape(word)}(?!\w)" for word in ("Muslim",)))
COLLECTED: dict[Path, Items] = {}
Toy = Callable[[str], float]


@pytest.fixture(autouse=True)
def _collected_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plans without files of the user's make the same items each time: their texts are written once."""

    def once(plan: RewardPlan, file: Path, data_dir: Path | None, feedback: Path | None, model: str | None) -> Items:
        if data_dir is not None or feedback is not None or file.parent != PLAN.parent:
            return collect(plan, file, data_dir, feedback, model)
        if file not in COLLECTED:
            COLLECTED[file] = collect(plan, file, None, None)
        return COLLECTED[file]

    monkeypatch.setattr(reward_audit, "collect", once)


@pytest.fixture(scope="module")
def texts() -> list[str]:
    return collect(load_plan(PLAN, RewardPlan), PLAN, None, None).texts


def noise(text: str) -> float:
    """A fixed number in [-.5, .5) for each text."""
    return zlib.crc32(text.encode()) / 2**32 - 0.5


def fair(text: str) -> float:
    """A number for the frame alone: how often words occur that no exchange and no edit touches."""
    return 2 * noise("/".join(str(text.count(mark)) for mark in (",", "?", " to ", " it ", " and ")))


def audit(reward: Toy, texts: list[str], folder: Path, **options: object) -> Results:
    scores = pd.DataFrame({"text_id": [text_id(text) for text in texts], "score": [reward(text) for text in texts]})
    scores.to_csv(folder / "scores.csv", index=False)
    return run_audit(PLAN, Target(predictions=folder / "scores.csv"), out=folder / "out", **options)  # type: ignore[arg-type]


def pick(results: Results, **wanted: str) -> list[Finding]:
    return [f for f in results.findings if all(getattr(f, name) == value for name, value in wanted.items())]


def test_a_model_that_reads_no_identity_exceeds_nowhere(texts: list[str], tmp_path: Path) -> None:
    """The reward depends on the frame and on noise per text: no group, no trait and no edit is priced."""
    results = audit(lambda text: 3 * fair(text) + 0.3 * noise(text), texts, tmp_path)
    assert not [f for f in results.findings if f.verdict is Verdict.EXCEEDS]
    gaps = pick(results, metric="counterfactual_reward_gap", role="claim")
    # gender, ethnicity, religion, nationality, age, disability, orientation in words: 1 + 3 + 4 + 6 + 1 + 1 + 3;
    # names: 1 + 3
    assert len(gaps) == 23
    covers = np.mean([f.ci_low <= 0 <= f.ci_high for f in gaps])
    assert covers >= 0.85  # 95 % meant; 23 intervals of shared texts


def test_a_model_blind_to_the_person_has_gaps_of_exactly_zero(texts: list[str], tmp_path: Path) -> None:
    results = audit(fair, texts, tmp_path)
    gaps = pick(results, metric="counterfactual_reward_gap", role="claim")
    assert {(f.estimate, f.ci_low, f.ci_high) for f in gaps} == {(0, 0, 0)}
    assert {f.verdict for f in gaps} == {Verdict.WITHIN}
    assert {f.estimate for f in results.findings if f.metric.startswith("flip_rate")} == {0}
    assert not [f for f in results.findings if f.verdict is Verdict.EXCEEDS]


def test_a_planted_price_of_one_word_is_recovered_and_no_other_claimed(texts: list[str], tmp_path: Path) -> None:
    """Half a within-prompt SD less where the text says Muslim at all."""

    def base(text: str) -> float:
        return 3 * fair(text) + 0.1 * noise(text)

    plain = audit(base, texts, tmp_path)
    (scale,) = [s for s in plain.audit["limits"] if s.startswith("Gaps are in units")]
    sd = float(scale.rpartition("(")[2].rstrip(")."))
    results = audit(lambda text: base(text) - 0.5 * sd * bool(PERSON.search(text)), texts, tmp_path)
    (gap,) = pick(results, metric="counterfactual_reward_gap", group="Muslim", variant="words")
    assert gap.ci_low <= -0.5 <= gap.ci_high
    assert gap.verdict is Verdict.EXCEEDS
    others = [f for f in results.findings if f.role == "claim" and "Muslim" not in f.group and "gap" in f.metric]
    assert not [f for f in others if f.verdict is Verdict.EXCEEDS]
    (partialled,) = [
        f for f in pick(results, metric="counterfactual_reward_gap", group="Muslim") if "partialled" in f.variant
    ]
    # three standard errors, about 1.5 half-widths: one of many intervals at 95 % may miss
    assert abs(partialled.estimate + 0.5) < 0.75 * (partialled.ci_high - partialled.ci_low)
    (selected,) = pick(results, metric="selection_gap", group="Muslim")
    assert selected.ci_high < 0
    assert "best of 16" in selected.variant  # a quarter of 64 candidates
    controls = [f for f in results.findings if f.role == "control"]
    assert controls
    assert not [f for f in controls if f.verdict is Verdict.EXCEEDS]
    assert exit_code(results.findings) == 1


def test_a_price_of_length_goes_when_length_is_partialled_out(texts: list[str], tmp_path: Path) -> None:
    results = audit(lambda text: 3 * fair(text) + 0.02 * len(text), texts, tmp_path)
    gaps = {
        f.group: f
        for f in pick(results, attribute="nationality", metric="counterfactual_reward_gap")
        if f.role == "claim"
    }
    left = {f.group: f for f in pick(results, attribute="nationality") if "partialled" in f.variant}
    # "German" is a character shorter than "American", "Nigerian" as long: rewards fall with it
    assert gaps["German"].estimate < -0.01
    assert all(abs(left[group].estimate) < 1e-6 for group in left)


def test_without_scores_the_texts_are_written_and_nothing_is_claimed_to_be_measured(tmp_path: Path) -> None:
    results = run_audit(PLAN, Target(), out=tmp_path)
    assert {f.verdict for f in results.findings} == {Verdict.NOT_MEASURED}
    assert NO_SCORES in {f.reason for f in results.findings}
    assert exit_code(results.findings) == 3
    table = pd.read_csv(tmp_path / TEXTS_NAME)
    assert table["text_id"].is_unique
    assert table["text_id"].tolist() == [text_id(text) for text in table["text"]]


def test_missing_data_are_named_and_the_exit_code_is_that_of_claims_not_measured(
    texts: list[str], tmp_path: Path
) -> None:
    results = audit(lambda text: 3 * fair(text), texts, tmp_path)
    missing = [f for f in results.findings if "no --data-dir was given" in f.reason]
    assert {(f.metric, f.role) for f in missing} == {
        ("dialect_reward_gap", "claim"),
        ("identity_term_auc_shortfall", "claim"),
    }
    (feedback,) = [f for f in results.findings if f.reason == "no --feedback was given"]
    assert feedback.role == "exploratory"
    assert exit_code(results.findings) in (1, 3)
    packaged = run_audit(
        find_plan("reward/packaged"), Target(predictions=tmp_path / "scores.csv"), out=tmp_path / "packaged"
    )
    assert not [f for f in packaged.findings if f.role == "claim" and f.verdict is Verdict.NOT_MEASURED]


def test_counts_add_up_and_records_hold_what_the_findings_rest_on(texts: list[str], tmp_path: Path) -> None:
    some = texts[::2]
    results = audit(lambda text: 3 * fair(text), some, tmp_path)
    counts = results.audit["counts"]
    assert counts["input"] == counts["reported"] + counts["excluded"] + counts["unknown"]
    assert counts["excluded"] == sum(row["n"] for row in results.audit["exclusions"]) > 0
    records = pd.read_parquet(tmp_path / "out" / "records.parquet")
    rows = records[(records["probe"] == PROBE) & (records["group"] == "old")]
    (gap,) = pick(results, group="old", role="claim", metric="counterfactual_reward_gap")
    assert gap.estimate == pytest.approx(rows["gap"].mean())
    assert gap.measured_rate == pytest.approx(rows["gap"].notna().mean())
    assert gap.verdict is not Verdict.WITHIN  # of a quarter of its pairs
    saved = {f.id: f.verdict for f in read_results(tmp_path / "out").findings}
    assert saved == {f.id: f.verdict for f in results.findings}


def test_every_claimed_group_of_the_lexicons_is_there(tmp_path: Path) -> None:
    plan = load_plan(PLAN, RewardPlan)
    items = collect(plan, PLAN, None, None)
    pairs = items.tables[PROBE]
    for attribute in plan.counterfactual.terms:
        groups = load_lexicon(attribute).groups
        rows = pairs[pairs["attribute"] == attribute]
        assert set(rows["group"]) == set(groups[1:])
        assert set(rows["reference"]) == {groups[0]}
        assert rows["prompt_id"].nunique() == 40
    assert set(NULLS) <= set(pairs["attribute"])
    pools = items.tables[BEST_OF_N].groupby(["attribute", "prompt_id"]).size()
    assert pools.min() >= 64
    assert NEUTRAL["words"] in pools.index.get_level_values("attribute")
    listed = gapped_pairs(items)
    assert listed["id"].is_unique
    assert (listed["text_a"] != listed["text_b"]).all()


def test_a_hugging_face_directory_is_scored(tmp_path: Path) -> None:
    RewardModel(tiny_bert(), tiny_tokenizer()).save(tmp_path / "model")
    plan = tmp_path / "plan.toml"
    plan.write_text(find_plan("reward/packaged").read_text())
    for name, rows in (("prompts.csv", 10), ("candidates.csv", 16)):
        pd.read_csv(PLAN.parent / name).head(rows).to_csv(tmp_path / name, index=False)
    results = run_audit(plan, Target(reward_model=str(tmp_path / "model")), out=tmp_path / "out")
    assert results.audit["models"]["reward_model"]["name"] == "model"
    assert "reward_model" in results.manifest["inputs"]
    assert pick(results, role="claim", metric="flip_rate_excess")


FEEDBACK = "item_id,annotator_id,prompt,response_a,response_b,choice,attr.race\n"


def test_raters_choices_are_claims_and_stand_in_a_table(texts: list[str], tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    words = [f"w{k}" for k in range(200)]
    rows = []
    for rater in range(40):
        for item in rng.choice(200, 25, replace=False):
            better = noise(f"P\n{words[item]} one") > noise(f"P\n{words[item]} two")
            likes = better if rater % 2 else rng.random() < 0.5
            rows.append(
                f"{item},r{rater},P,{words[item]} one,{words[item]} two,{'a' if likes else 'b'},{'xy'[rater % 2]}"
            )
    path = tmp_path / "feedback.csv"
    path.write_text(FEEDBACK + "\n".join(rows) + "\n")
    pairs = [f"P\n{word} {side}" for word in words for side in ("one", "two")]
    scores = pd.DataFrame({"text": [*texts, *pairs]})
    scores["text_id"], scores["score"] = scores["text"].map(text_id), scores["text"].map(noise)
    scores[["text_id", "score"]].to_csv(tmp_path / "scores.csv", index=False)
    target = Target(predictions=tmp_path / "scores.csv", feedback=path)
    results = run_audit(PLAN, target, out=tmp_path / "out")
    (x,) = pick(results, attribute="race of the rater", group="x", role="claim")
    # y's raters are always on the model's side, x's toss a coin: 1/2 - 1
    assert x.ci_low < -0.5 < x.ci_high
    assert x.verdict is Verdict.EXCEEDS
    table = results.audit["tables"]["Whose preferences does the model know worst?"]
    assert [row[1] for row in table["rows"]] == ["x", "y"]  # worst first
    bins = results.audit["tables"]["observed against predicted choices"]
    bins = pd.DataFrame(bins["rows"], columns=bins["columns"]).query("attribute == 'race of the rater'")
    assert bins["n"].sum() == len(rows)  # every choice is in one bin of one group
    x_bins, y_bins = (bins[bins["group"] == group] for group in "xy")
    assert ((x_bins["ci_low"] < 0.5) & (x_bins["ci_high"] > 0.5)).sum() >= 4  # a coin, of five intervals of 95 %
    assert (y_bins["observed"].iloc[0], y_bins["observed"].iloc[-1]) == (0.0, 1.0)  # always with the model
    assert any("Worst served by race of the rater: x" in limit for limit in results.audit["limits"])


@pytest.mark.parametrize(
    ("content", "error"),
    [
        ("text_id,score\nnone-of-them,1\n", "a score for none of the"),
        ("text_id,score\n{id},1\n{id},2\n", "row 2, column 'text_id'"),
        ("id,score\n1,1\n", "lacks column 'text_id'"),
    ],
)
def test_faults_of_a_score_file_are_named(content: str, error: str, texts: list[str], tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    path.write_text(content.replace("{id}", text_id(texts[0])))
    with pytest.raises((RowError, ColumnError), match=error):
        run_audit(PLAN, Target(predictions=path), out=tmp_path / "out")


def test_a_constant_reward_is_an_error(texts: list[str], tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="same reward"):
        audit(lambda text: 1.0, texts, tmp_path)


def test_wrong_targets_and_settings_are_errors(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="found --model"):
        run_audit(PLAN, Target(model="m"), out=tmp_path)
    with pytest.raises(SettingsError, match="found --reward-model and --predictions"):
        run_audit(PLAN, Target(reward_model="m", predictions=Path("p")), out=tmp_path)
    plan = tmp_path / "plan.toml"
    for old, new, error in (
        ('layout = "{prompt}\\n{answer}"', 'layout = "{answer}"', "a layout has {prompt} once"),
        ('prompts = "prompts.csv"', 'prompts = "none.csv"', "none.csv"),
        ("sizes = [1, 2,", "sizes = [2, 1,", "rising numbers"),
    ):
        assert old in PLAN.read_text()
        plan.write_text(PLAN.read_text().replace(old, new))
        with pytest.raises((SettingsError, MissingFileError), match=re.escape(error)):
            run_audit(plan, Target(), out=tmp_path)


@needs("dialect-prejudice")
@needs("bias-madlibs")
def test_a_model_that_prices_a_dialect_and_a_term_is_found_out(tmp_path: Path) -> None:
    plan = load_plan(PLAN, RewardPlan)
    assert plan.identity_terms is not None
    small = tmp_path / "plan.toml"
    small.write_text(PLAN.read_text().replace("names = 15", "names = 4"))
    for name in ("prompts.csv", "candidates.csv"):
        (tmp_path / name).write_bytes((PLAN.parent / name).read_bytes())
    items = collect(load_plan(small, RewardPlan), small, DATA, None)
    harmful = set(items.tables["identity_terms"].query("harmful == 1")["text"])

    def reward(text: str) -> float:
        price = 1.0 * (text.startswith(("he be ", "she be ", "they be "))) + 1.5 * (" deaf" in text.lower())
        return 3 * fair(text) + 4 * noise(text) - price - 2 * (text in harmful)

    scores = {"text_id": [text_id(t) for t in items.texts], "score": [reward(t) for t in items.texts]}
    pd.DataFrame(scores).to_csv(tmp_path / "scores.csv", index=False)
    results = run_audit(small, Target(predictions=tmp_path / "scores.csv"), data_dir=DATA, out=tmp_path / "out")
    (dialect,) = pick(results, metric="dialect_reward_gap", role="claim")
    assert dialect.verdict is Verdict.EXCEEDS
    assert dialect.n_clusters == 233
    gaps = pick(results, metric="identity_term_auc_gap", variant="BPSN AUC")
    assert len(gaps) == 50
    worst = min(gaps, key=lambda f: f.estimate)
    assert worst.group == "deaf"
    assert worst.ci_high < 0
