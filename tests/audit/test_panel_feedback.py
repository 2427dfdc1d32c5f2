"""Planted differences between rater groups are found, chance raises no alarm, and six public sets add up."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from rlhf_fair.audit.panel_feedback import build_results, input_files, run
from rlhf_fair.audit.panel_feedback_estimates import DIFFERENCE_OF_GAPS, SAME_ITEMS, measure
from rlhf_fair.audit.panel_feedback_plan import FeedbackPlan, load_feedback_plan
from rlhf_fair.audit.panel_feedback_records import coded_raters
from rlhf_fair.audit.panel_feedback_table import Ratings, read_ratings
from rlhf_fair.audit.plan import find_plan, load_plan
from rlhf_fair.audit.run import run_audit
from rlhf_fair.audit.target import Target
from rlhf_fair.errors import MissingFileError, SettingsError
from rlhf_fair.records import Finding, Results, Verdict
from rlhf_fair.report.wording import gap_sentence
from rlhf_fair.stats.contrasts import contrast_estimate
from rlhf_fair.tables import read_table

DATA = Path(__file__).parents[3] / "shared/data"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="public data sets not at hand: ../shared/data")
SETS = ("sap-attitudes", "crehate", "popquorn", "perspective-taking", "sap2019-risk", "gbv-attitudes")

PLAN = FeedbackPlan.model_validate(
    {
        "title": "t",
        "question": "q",
        "probe": "panel_feedback",
        "policy": {"threshold": 5.0, "margin": 5.0},
        "ratings": {"item": "item", "annotator": "rater", "value": "value", "low": 0, "high": 100},
        "item_type": {"column": "item_type", "reference": "plain"},
        "attributes": [
            {"name": "group", "column": "group", "reference": "a", "role": "claim", "interaction": True},
            {"name": "shoe", "column": "shoe", "reference": "left"},
        ],
        "intersections": [["group", "shoe"]],
        "min_raters": 5,
        "agreement": {"permutations": 99},
    }
)


def panel(seed: int, raters: int = 40, items: int = 60, gap: float = 0.0, interaction: float = 0.0) -> pd.DataFrame:
    """Labelled ratings on 0 to 100: raters have moods (SD 8), items qualities (SD 15), group b a gap to group a."""
    rng = np.random.default_rng(seed)
    rows = pd.MultiIndex.from_product([range(raters), range(items)], names=["rater", "item"]).to_frame(index=False)
    rows["group"] = np.where(rows["rater"] % 2 == 0, "a", "b")
    rows["shoe"] = np.where(rows["rater"] % 4 < 2, "left", "right")
    rows["item_type"] = np.where(rows["item"] % 2 == 0, "plain", "special")
    value = 50 + rng.normal(0, 8, raters)[rows["rater"]] + rng.normal(0, 15, items)[rows["item"]]
    value += (rows["group"] == "b") * (gap + interaction * (rows["item_type"] == "special"))
    rows["score"] = rows["value"] = value + rng.normal(0, 15, len(rows))
    rows["weight"] = 1.0
    return rows


def estimates(records: pd.DataFrame, plan: FeedbackPlan = PLAN) -> dict[tuple[str, str, str], Any]:
    return {(m.metric, m.variant, m.attribute): m.estimate for m in measure(records, plan.attributes, plan)}


def results_of(records: pd.DataFrame, plan: FeedbackPlan = PLAN) -> Results:
    table = records.assign(value=records["score"].round(-1).clip(0, 100), file="f", row=range(1, len(records) + 1))
    rejects = pd.DataFrame(columns=["file", "row", "column", "value", "code", "message"])
    return build_results(plan, Ratings(table, rejects, 0.0, 100.0))[0]


def claims(results: Results) -> list[Finding]:
    return [finding for finding in results.findings if finding.role == "claim"]


def test_planted_gap_and_interaction_are_recovered() -> None:
    found = [estimates(panel(seed, gap=10, interaction=20)) for seed in range(60)]
    # b - a: 10 on plain items, 30 on special ones, half of the items each: 20 on average
    truth = {
        ("mean_rating_gap", "", "group"): 20,
        ("mean_rating_gap", SAME_ITEMS, "group"): 20,
        (DIFFERENCE_OF_GAPS, "", "group × item type"): 20,
        ("mean_rating_gap", "", "shoe"): 0,
    }
    for key, true in truth.items():
        values = np.array([e[key].estimate for e in found])
        inside = np.mean([e[key].ci_low <= true <= e[key].ci_high for e in found])
        assert values.mean() == pytest.approx(true, abs=3 * values.std() / np.sqrt(len(values)))
        assert inside >= 0.85  # 60 intervals at 95 %: fewer than 51 inside has a chance of .2 %


def test_a_planted_gap_exceeds_and_the_report_tells_who() -> None:
    (claim,) = claims(results_of(panel(0, gap=20)))
    assert (claim.group, claim.reference, claim.verdict) == ("b", "a", Verdict.EXCEEDS)
    assert claim.unit == "points of mean rating"


def test_findings_in_words() -> None:
    findings = results_of(panel(0, gap=30, interaction=-30)).findings
    said = [gap_sentence(finding, 0) for finding in findings]
    assert said[0].startswith("Group: “b” gives ")
    assert " higher mean rating than “a” [" in said[0]
    (interaction,) = [
        text for finding, text in zip(findings, said, strict=True) if finding.metric == DIFFERENCE_OF_GAPS
    ]
    assert interaction.startswith("The gap differs with the item: “b on special” against “a on plain” by −")


def test_few_raters_with_many_ratings_raise_no_certainty() -> None:
    """Twelve people, 4,800 ratings, moods but no gap: ratings taken as independent would nearly always alarm."""
    plan, alarms, naive = PLAN.model_copy(update={"intersections": (), "item_type": None}), [], []
    for seed in range(300):
        records = panel(seed, raters=12, items=400)
        gap = estimates(records, plan)["mean_rating_gap", "", "group"]
        alarms.append(gap.p_value < 0.05)
        naive.append(contrast_estimate(records["score"], records["group"], {"b": 1, "a": -1}).p_value < 0.05)
        assert gap.n == 4800
        assert gap.n_clusters == 12
    # .05 in 300 trials: mean 15, SD 3.8; more than 25 has a chance of .5 %
    assert sum(alarms) <= 25
    assert sum(naive) > 200


def test_interaction_raises_no_alarm_from_chance() -> None:
    key = (DIFFERENCE_OF_GAPS, "", "group × item type")
    alarms = [estimates(panel(seed, raters=16, items=20))[key].p_value < 0.05 for seed in range(200)]
    assert sum(alarms) <= 19  # mean 10, SD 3.1


def test_equal_groups_of_many_raters_lie_within() -> None:
    (claim,) = claims(results_of(panel(1, raters=300, items=20)))
    assert claim.verdict is Verdict.WITHIN


def test_a_small_group_is_not_measured_and_still_counted() -> None:
    records = panel(0)
    records.loc[records["rater"] < 4, "group"] = "c"
    results = results_of(records)
    (c,) = [f for f in claims(results) if f.group == "c"]
    assert c.verdict is Verdict.NOT_MEASURED
    assert c.reason == "c: 4 raters, the plan asks for 5"
    means = results.audit["tables"]["mean rating of every group"]
    assert ["group", "c", 240, 4] in [row[:4] for row in means["rows"]]


def test_without_raters_the_report_says_what_that_costs() -> None:
    results = results_of(panel(0).drop(columns="rater"))
    assert "does not say who gave which rating" in results.audit["limits"][0]
    assert any("names no raters" in limit for limit in results.audit["limits"])
    assert all(f.n_clusters == 60 for f in claims(results))  # items


def test_a_group_that_agrees_on_its_own_reading_has_an_index_above_one() -> None:
    records = panel(0, raters=60, items=40)
    own = records["group"] == "b"
    records.loc[own, "score"] = np.random.default_rng(9).uniform(0, 100, 40)[records.loc[own, "item"]]
    table = results_of(records).audit["tables"]["agreement inside groups, and across to all other raters (XRR)"]
    rows = [dict(zip(table["columns"], row, strict=True)) for row in table["rows"]]
    b = next(row for row in rows if row["group"] == "b")
    assert b["inside"] == 1
    assert b["difference"] == pytest.approx(b["inside"] - b["XRR"], abs=1e-3)
    assert b["adjusted p"] <= 0.05
    shoe = next(row for row in rows if row["group"] == "right")
    assert shoe["adjusted p"] > 0.05
    assert shoe["note"] == "few raters"


def test_relabelling_raters_and_shuffling_rows_changes_no_finding() -> None:
    records = panel(3, gap=4)
    other = records.sample(frac=1, random_state=1).assign(rater=lambda r: "r" + (r["rater"] * 7 % 101).astype(str))
    for one, two in zip(results_of(records).findings, results_of(other).findings, strict=True):
        assert one.id == two.id
        assert one.estimate == pytest.approx(two.estimate)
        assert one.p_value == pytest.approx(two.p_value)


def test_records_hold_no_rater_id() -> None:
    records = coded_raters(pd.DataFrame({"rater": ["bob", "al", "bob"], "score": [1, 2, 3]}))
    assert records["rater"].tolist() == [2, 1, 2]


def command(*arguments: str | Path, cwd: Path) -> tuple[int, str, str]:
    code = "from rlhf_fair.cli.app import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], cwd=cwd, capture_output=True, text=True, check=False
    )
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout, done.stderr


def test_own_feedback_from_the_command_line(tmp_path: Path) -> None:
    records = panel(0, gap=25)
    table = pd.DataFrame(
        {
            "item_id": records["item"],
            "annotator_id": records["rater"],
            "kind": "rating",
            "value": records["value"].round(),
            "attr.group": records["group"],
            "attr.region": np.where(records["rater"] < 3, "", "here"),
        }
    )
    table.to_csv(tmp_path / "f.csv", index=False)
    code, out, _ = command("audit", "panel-feedback", "--feedback", "f.csv", "--out", "report", "--json", cwd=tmp_path)
    assert code == 1
    assert json.loads(out)["exceeds_threshold"] == 1
    results = json.loads((tmp_path / "report/results.json").read_text())
    assert results["audit"]["counts"] == {"input": 2400, "reported": 2400, "excluded": 0, "unknown": 0}
    assert "Give low and high in the plan's [ratings]" in results["audit"]["scale_note"]
    assert results["audit"]["limits"].count(results["audit"]["scale_note"]) == 1
    assert (tmp_path / "report/index.html").is_file()
    assert len(read_table(tmp_path / "report/records.parquet")) == 2400
    assert len(read_table(tmp_path / "report/records.parquet").columns) == 7
    code, out, _ = command("verify", "report", cwd=tmp_path)
    assert code == 0


def test_bad_input_on_the_command_line(tmp_path: Path) -> None:
    (tmp_path / "f.csv").write_text("item_id,annotator_id,kind,value\ni,a,rating,1\n")
    code, _, stderr = command("audit", "panel-feedback", "--feedback", "f.csv", cwd=tmp_path)
    assert code == 2
    assert "f.csv has no attr.* column" in stderr


def test_a_feedback_plan_takes_no_model_and_a_model_plan_no_feedback(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="give --feedback; found --model and --feedback"):
        run_audit(find_plan("panel-feedback/crehate"), Target(feedback=tmp_path, model="m"), out=tmp_path / "out")
    with pytest.raises(SettingsError, match="--endpoint and --predictions; found --model and --feedback"):
        run_audit(find_plan("hiring"), Target(feedback=tmp_path, model="m"), out=tmp_path / "out")


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="names no ratings file: give --feedback"):
        run(find_plan("panel-feedback"), None, tmp_path, tmp_path / "out")
    with pytest.raises(MissingFileError, match=r"CREHate_raw.*give --data-dir or --feedback"):
        run(find_plan("panel-feedback/crehate"), None, tmp_path, tmp_path / "out")
    with pytest.raises(SettingsError, match="probe"):
        load_feedback_plan(find_plan("hiring"))


def test_all_shipped_plans_have_the_same_rule() -> None:
    plans = [load_plan(f"panel-feedback/{name}", FeedbackPlan) for name in SETS]
    assert len({(p.policy.threshold, p.policy.margin, p.policy.rationale) for p in plans}) == 1
    assert all(p.min_raters == 10 for p in plans)
    assert all(any(a.role == "claim" for a in p.attributes) for p in plans)


def public(name: str, permutations: int = 99) -> tuple[FeedbackPlan, Ratings, Results, pd.DataFrame]:
    plan = load_feedback_plan(find_plan(f"panel-feedback/{name}"))
    plan = plan.model_copy(update={"agreement": plan.agreement.model_copy(update={"permutations": permutations})})
    ratings = read_ratings(plan, *input_files(plan, None, DATA))
    return plan, ratings, *build_results(plan, ratings)


@needs_data
@pytest.mark.parametrize(
    ("name", "n_input", "n_raters", "n_items"),
    [  # rows, raters and items as the sets' own descriptions count them
        ("sap-attitudes", 7_692, 641, 12),
        ("crehate", 42_546, 1_064, 1_580),
        ("popquorn", 13_036, 262, 1_500),
        ("perspective-taking", 13_080, 545, 120),
        ("sap2019-risk", 11_706, 334, 1_323),
        ("gbv-attitudes", 28_400, 43, 1_600),
    ],
)
def test_public_sets_add_up(name: str, n_input: int, n_raters: int, n_items: int) -> None:
    plan, ratings, results, records = public(name)
    assert ratings.n_input == n_input
    undecided = {"crehate": 2}.get(name, 0)  # raters who answered "I do not know" throughout
    assert records["rater"].nunique() == n_raters - undecided
    assert records["item"].nunique() == n_items
    total = results.audit["counts"]
    assert total["input"] == total["reported"] + total["excluded"] + total["unknown"] == n_input
    account = results.audit["tables"]["where every rating went, attribute by attribute"]
    for line in account["rows"]:
        row = dict(zip(account["columns"], line, strict=True))
        assert row["input"] == row["reported"] + row["excluded"] + row["unknown"] == n_input
    assert {f.attribute for f in claims(results)} == {a.name for a in plan.attributes if a.role == "claim"}
    assert records["score"].between(0, 100).all()


@needs_data
def test_perspective_taking_shares_are_the_published_ones() -> None:
    _, _, _, records = public("perspective-taking")
    truth = read_table(DATA / "perspective-taking-toxicity/comments.csv")
    for gender, column in (("Female", "pos_f"), ("Male", "pos_m")):
        rows = records[records["gender"] == gender]
        share = rows.groupby(rows["item"].astype(int))["score"].mean() / 100
        published = truth.set_index("id")[column].astype(float)
        assert np.allclose(share.sort_index(), published.sort_index(), atol=0.006)  # printed to two decimals


@needs_data
def test_crehate_majorities_are_the_published_ones() -> None:
    _, _, _, records = public("crehate")
    truth = read_table(DATA / "crehate/CREHate_final_annotations.csv").set_index("ID")
    for country in ("United States", "Australia", "United Kingdom", "South Africa", "Singapore"):
        share = records[records["country"] == country].groupby("item")["score"].mean()
        decided = share[share != 50]  # ties were broken by further ratings upstream
        published = truth[country.replace(" ", "_") + "_Hate"].astype(float)
        assert ((decided > 50) == (published[decided.index] == 1)).mean() > 0.99


@needs_data
def test_forty_three_raters_are_forty_three_witnesses() -> None:
    _, _, results, _ = public("gbv-attitudes")
    (gender,) = [f for f in claims(results) if f.attribute == "gender"]
    assert gender.n == 28_400
    assert gender.n_clusters == 43
    assert gender.mde > 10  # points: what two dozen people a side can show
