"""The case study on nine rating sets: its plans, its means by pandas, its family by statsmodels, its folders sealed."""

from __future__ import annotations

import gzip
import json
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from statsmodels.stats.multitest import multipletests

from rlhf_fair.audit.panel_feedback import build_results, input_files
from rlhf_fair.audit.panel_feedback_attributes import CONFLICTING, UNKNOWN, label_ratings
from rlhf_fair.audit.panel_feedback_plan import FeedbackPlan, load_feedback_plan
from rlhf_fair.audit.panel_feedback_table import read_ratings
from rlhf_fair.audit.plan import find_plan
from rlhf_fair.records import Estimate
from rlhf_fair.settings import read_toml
from rlhf_fair.stats.intervals import t_interval

ROOT = Path(__file__).parents[2]
STUDY = ROOT / "reports/case-study/feedback"
DATA = ROOT.parent / "shared/data"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="public data sets not at hand: ../shared/data")


@pytest.fixture(scope="module")
def family() -> ModuleType:
    sys.path.insert(0, str(ROOT / "tests/benchmarks"))
    try:
        import feedback_family
    finally:
        sys.path.pop(0)
    return feedback_family


@pytest.fixture(scope="module")
def gaps() -> pd.DataFrame:
    return pd.read_csv(STUDY / "gaps.csv", keep_default_na=False, na_values=[""])


def records_of(name: str) -> tuple[FeedbackPlan, pd.DataFrame]:
    plan = load_feedback_plan(find_plan(f"panel-feedback/{name}"))
    return plan, label_ratings(read_ratings(plan, *input_files(plan, None, DATA)), plan.attributes)


def test_the_nine_plans_share_the_familys_rule(family: ModuleType) -> None:
    declared = read_toml(STUDY / "family.toml", family.Family)
    assert len(set(declared.sets)) == 9
    for name in declared.sets:
        plan = load_feedback_plan(find_plan(f"panel-feedback/{name}"))
        rule = (plan.policy.alpha, plan.policy.power, plan.policy.margin, plan.policy.threshold, plan.min_raters)
        assert rule == (declared.alpha, declared.power, declared.margin, declared.margin, 10)
        assert any(attribute.role == "claim" for attribute in plan.attributes)


@needs_data
@pytest.mark.parametrize(
    ("name", "n_input", "n_raters", "n_items"),
    [  # rows, raters and items as the sets' own descriptions count them
        ("mbic", 17_775, 809, 1_700),
        ("multipico", 33_871, 506, 6_761),
        ("sbic", 16_738, 199 - 1, 4_673 - 7),  # a rater and seven posts have no rating at all
    ],
)
def test_the_plans_of_this_study_run_and_add_up(name: str, n_input: int, n_raters: int, n_items: int) -> None:
    plan = load_feedback_plan(find_plan(f"panel-feedback/{name}"))
    plan = plan.model_copy(update={"agreement": plan.agreement.model_copy(update={"permutations": 99})})
    results, records = build_results(plan, read_ratings(plan, *input_files(plan, None, DATA)))
    assert (records["rater"].nunique(), records["item"].nunique()) == (n_raters, n_items)
    counts = results.audit["counts"]
    assert counts["input"] == counts["reported"] + counts["excluded"] + counts["unknown"] == n_input
    claimed = {attribute.name for attribute in plan.attributes if attribute.role == "claim"}
    assert {finding.attribute for finding in results.findings if finding.role == "claim"} == claimed


@needs_data
def test_multipico_has_the_shares_that_were_published() -> None:
    """The set's own soft labels, item by item; and Dutch replies were judged by Dutch nationals alone."""
    _, records = records_of("multipico")
    published = {}
    for part in ("dev", "test"):
        with gzip.open(DATA / f"lewidi/MP/MP_{part}.json.gz", "rt") as stream:
            for name, item in json.load(stream).items():
                published[name] = next((v for label, v in item["soft_label"].items() if float(label) == 1), 0.0)
    share = records.groupby("item")["score"].mean() / 100
    assert len(share) == 6_761
    assert np.allclose(share, pd.Series(published)[share.index], atol=0.006)  # printed to two decimals
    raters = json.loads((DATA / "lewidi/MP/MP_annotators_meta.json").read_text())
    dutch = records.loc[records["item_type"] == "Dutch replies", "rater"].unique()
    assert {raters[rater.removeprefix("Ann")]["Nationality"] for rater in dutch} == {"Netherlands"}


@needs_data
def test_mbic_means_are_those_of_pandas() -> None:
    _, records = records_of("mbic")
    rows = pd.read_csv(DATA / "mbic/raw_labels_MBIC.csv.gz").drop_duplicates(["annotator", "sentence"])
    assert len(records) == len(rows) == 17_755  # of 17,775, twenty of them second ratings
    band = pd.cut(rows["political_ideology"], [-10.5, -3.5, 3.5, 10.5], labels=["left", "centre", "right"]).astype(str)
    known = band.groupby(rows["annotator"]).transform("nunique") == 1
    expected = 100 * (rows["label_bias"] == "Biased")[known].groupby(band[known]).mean()
    found = records.groupby("politics")["score"].mean().drop(CONFLICTING)
    pd.testing.assert_series_equal(found, expected, check_names=False)


@needs_data
def test_sbic_means_are_those_of_pandas() -> None:
    _, records = records_of("sbic")
    rows = pd.read_csv(DATA / "sbic/SBIC.v2.dev.csv.gz").dropna(subset=["offensiveYN"])
    rows = rows.drop_duplicates(["WorkerId", "post"])
    gender = rows["annotatorGender"].replace({"transman": "man", "na": np.nan})
    known = gender.groupby(rows["WorkerId"]).transform("nunique") == 1
    expected = 100 * rows["offensiveYN"][known].groupby(gender[known]).mean()
    found = records.groupby("gender")["score"].mean().drop([CONFLICTING, UNKNOWN])
    pd.testing.assert_series_equal(found, expected.drop("nonBinary", errors="ignore"), check_names=False)
    assert len(records) == len(rows)


def test_committed_corrections_are_those_of_statsmodels(gaps: pd.DataFrame) -> None:
    assert gaps["set"].nunique() == 9
    for role, method in (("claim", "holm"), ("exploratory", "fdr_bh")):
        rows = gaps[(gaps["role"] == role) & gaps["p_clustered"].notna()]
        for name in ("p_naive", "p_clustered", "p_beyond", "p_within"):
            expected = multipletests(rows[name], method=method)[1]
            assert np.allclose(rows[f"{name}_adjusted"], expected, rtol=1e-3), (role, name)


def test_committed_verdicts_follow_from_the_numbers(gaps: pd.DataFrame, family: ModuleType) -> None:
    assert (gaps["alone"] == family.verdicts(gaps, "", 0.05)).all()
    assert (gaps["verdict"] == family.verdicts(gaps, "_adjusted", 0.05)).all()
    tested = gaps[gaps["p_clustered"].notna()]
    inside = (tested["ci_low"] > -5) & (tested["ci_high"] < 5)
    assert inside[tested["verdict"] == family.WITHIN].all()
    beyond = (tested["ci_low"] > 5) | (tested["ci_high"] < -5)
    assert beyond[tested["verdict"] == family.BEYOND].all()
    assert (tested["mde_family"] > tested["mde"]).all()
    assert gaps.loc[gaps["verdict"] == family.UNMEASURED, "reason"].notna().all()


@pytest.mark.parametrize("name", ["sbic", "gbv-attitudes", "perspective-taking"])
def test_the_table_and_the_audits_tell_the_same(name: str, gaps: pd.DataFrame) -> None:
    results = json.loads((STUDY / name / "results.json").read_text())
    found = {
        (f["attribute"], f["group"]): f
        for f in results["findings"]
        if f["metric"] == "mean_rating_gap" and not f["variant"] and f["estimate"] is not None
    }
    rows = gaps[(gaps["set"] == name) & gaps["p_clustered"].notna()]
    assert {(row.attribute, row.group) for row in rows.itertuples()} == set(found)
    for row in rows.itertuples():
        finding = found[row.attribute, row.group]
        told = [finding[key] for key in ("estimate", "ci_low", "ci_high", "p_value", "mde", "margin")]
        numbers = [row.estimate, row.ci_low, row.ci_high, row.p_clustered, row.mde, row.margin]
        assert numbers == pytest.approx(told, rel=1e-4)


def estimate(gap: float, error: float, df: float = 50.0) -> Estimate:
    return t_interval(gap, error, df)


def row(family: ModuleType, gap: Estimate, role: str = "claim") -> dict[str, object]:
    tests = family.tests_of(gap, margin=5.0, alpha=0.05)
    return {"role": role, "p_naive": gap.p_value, **tests}


def test_each_verdict_worked_by_hand(family: ModuleType) -> None:
    """Alone in its family a gap is judged by its 95 % interval, gap ± 2.01 standard errors at 50 degrees of freedom."""
    cases = {
        (9.0, 1.0): family.BEYOND,  # [7.0, 11.0]
        (6.0, 1.0): family.OPEN,  # [4.0, 8.0]
        (-6.0, 1.0): family.OPEN,
        (2.0, 0.5): family.SMALL,  # [1.0, 3.0]
        (1.0, 1.0): family.WITHIN,  # [-1.0, 3.0]
        (1.0, 3.0): family.UNKNOWN,  # [-5.0, 7.0]
        (4.0, 2.5): family.UNKNOWN,  # [-1.0, 9.0]
    }
    for (gap, error), verdict in cases.items():
        judged = family.judged(pd.DataFrame([row(family, estimate(gap, error))]), alpha=0.05)
        assert judged["verdict"].item() == judged["alone"].item() == verdict


def test_claims_make_each_other_harder_and_exploratory_gaps_do_not(family: ModuleType) -> None:
    """p = .03 of two claims: Holm makes it .06 where the other is larger; five more exploratory gaps change nothing."""
    first = estimate(2.24, 1.0)  # t = 2.24 at 50 degrees of freedom: p = .030
    rows = [row(family, first), row(family, estimate(0.0, 9.0)), *[row(family, first, "exploratory")] * 5]
    judged = family.judged(pd.DataFrame(rows), alpha=0.05)
    assert judged["p_clustered"][0] == pytest.approx(0.03, abs=0.001)
    assert judged["p_clustered_adjusted"][0] == pytest.approx(2 * judged["p_clustered"][0])
    assert judged["p_clustered_adjusted"][2] == pytest.approx(
        judged["p_clustered"][2]
    )  # five equal p-values: BH leaves p


def test_what_was_not_measured_is_no_test(family: ModuleType) -> None:
    rows = [row(family, estimate(2.24, 1.0)), row(family, Estimate.not_estimable("too few"))]
    judged = family.judged(pd.DataFrame(rows), alpha=0.05)
    assert judged["verdict"].tolist()[1] == family.UNMEASURED
    assert judged["p_clustered_adjusted"][0] == judged["p_clustered"][0]
    assert judged.loc[1, ["p_within", "p_beyond", "p_within_adjusted"]].isna().all()


@settings(max_examples=100, deadline=None)
@given(st.floats(-12, 12), st.floats(0.1, 6), st.floats(0.1, 6), st.floats(3, 200))
def test_within_is_the_interval_inside_the_margin(gap: float, below: float, above: float, df: float) -> None:
    """Also where the interval is not even about the estimate, as those of rates are not."""
    sys.path.insert(0, str(ROOT / "tests/benchmarks"))
    import feedback_family

    e = Estimate(estimate=gap, ci_low=gap - below, ci_high=gap + above, standard_error=1.0, df=df, p_value=0.5)
    assume(min(abs(e.ci_low + 5), abs(e.ci_high - 5)) > 1e-9)  # an end on the margin: p is .05, the last bit decides
    p_value = feedback_family.tests_of(e, margin=5.0, alpha=0.05)["p_within"]
    assert (p_value < 0.05) == (e.ci_low > -5 and e.ci_high < 5)


def test_the_mde_of_a_family_of_one_is_the_gaps_own(family: ModuleType) -> None:
    gap = estimate(1.0, 2.0)
    alone, of_thirty = (family.family_mde(gap, tests=n, alpha=0.05, power=0.8) for n in (1, 30))
    assert alone == pytest.approx(gap.mde)
    # t[.975, 50] = 2.009, t[1 - .05/60, 50] = 3.32, t[.8, 50] = .849 (tables); times 2
    assert (alone, of_thirty) == pytest.approx((5.72, 8.35), abs=0.02)


def verify(folder: Path) -> int:
    """The command's exit code."""
    command = [sys.executable, "-c", "from rlhf_fair.cli.app import main; main()", "verify", str(folder), "--quiet"]
    return subprocess.run(command, check=False).returncode


@pytest.mark.parametrize("name", ["sbic", "gbv-attitudes", "perspective-taking"])
def test_committed_folders_are_what_they_say(name: str) -> None:
    """3: nothing disagrees, but the page was drawn with another Plotly."""
    drawn_with = json.loads((STUDY / name / "manifest.json").read_text(encoding="utf-8"))["environment"]["plotly"]
    assert verify(STUDY / name) == (0 if version("plotly") == drawn_with or name == "perspective-taking" else 3)


def test_a_kinder_verdict_is_found_out(tmp_path: Path) -> None:
    folder = tmp_path / "perspective-taking"
    shutil.copytree(STUDY / "perspective-taking", folder)
    results = folder / "results.json"
    results.write_text(results.read_text().replace("inconclusive", "within_threshold", 1))
    assert verify(folder) == 4


@pytest.mark.parametrize("name", ["sbic", "gbv-attitudes", "perspective-taking"])
def test_the_tables_withhold_the_counts_that_the_folders_withhold(name: str, gaps: pd.DataFrame) -> None:
    table = json.loads((STUDY / name / "results.json").read_text())["audit"]["tables"]["mean rating of every group"]
    rows = [dict(zip(table["columns"], one, strict=True)) for one in table["rows"]]
    told = {(one["attribute"], one["group"].removesuffix(" (reference)")): str(one["raters"]) for one in rows}
    of = gaps[gaps["set"] == name]
    for gap in of.itertuples():
        both = [told[gap.attribute, gap.group], told[gap.attribute, gap.reference]]
        assert [str(gap.n_raters), str(gap.n_raters_reference)] == both
        shown = all(n.isdigit() for n in both)
        assert [str(n).isdigit() for n in (gap.n_ratings, gap.n_items)] == [shown, shown]
    agreement = pd.read_csv(STUDY / "agreement.csv", dtype=str)
    for one in agreement[agreement["set"] == name].itertuples():
        assert one.raters == told[one.attribute, one.group]
        assert one.ratings.isdigit() == one.raters.isdigit()


def test_no_table_counts_a_group_of_few_raters(gaps: pd.DataFrame) -> None:
    agreement = pd.read_csv(STUDY / "agreement.csv", dtype=str)
    counts = pd.concat([gaps["n_raters"], gaps["n_raters_reference"], agreement["raters"]]).astype(str)
    assert not set(counts[~counts.str.isdigit()]) - {"withheld", "fewer than 10"}
    assert counts[counts.str.isdigit()].astype(int).min() >= 10
    assert gaps["reason"].dropna().str.fullmatch(r".+: fewer than 10 raters").all()
    raters = pd.read_csv(STUDY / "sets.csv").set_index("set")["raters"]
    for (name, _), rows in gaps.groupby(["set", "attribute"]):
        told = dict(zip(rows["group"], rows["n_raters"], strict=True))
        told[rows["reference"].iloc[0]] = rows["n_raters_reference"].iloc[0]
        shown = [int(n) for n in told.values() if str(n).isdigit()]
        hidden = len(told) - len(shown)
        # what is left of the set's raters could all but one each be those of any group that is withheld
        assert not hidden or raters[name] - sum(shown) - (hidden - 1) >= 10


def test_nothing_committed_is_a_text_or_a_raters_id() -> None:
    records = pd.read_parquet(STUDY / "sbic/records.parquet")
    assert records["item"].str.fullmatch("[0-9a-f]{12}").all()
    assert records["rater"].between(1, records["rater"].nunique()).all()  # running numbers
    assert not (STUDY / "gbv-attitudes/records.parquet").exists()
    assert not (STUDY / "perspective-taking/records.parquet").exists()
