"""The audit of selection and scoring rates: DCWP's own numbers, what is left out, unknown or refused, and the files."""

from __future__ import annotations

import io
import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from dcwp import DCWP_RACE, DCWP_SEX
from fairlearn.metrics import demographic_parity_ratio
from typer.testing import CliRunner

from rlhf_fair.audit.plan import find_plan
from rlhf_fair.audit.run import run_audit
from rlhf_fair.audit.selection_rates import measure
from rlhf_fair.audit.selection_rates_plan import load_selection_rates_plan
from rlhf_fair.audit.target import Target
from rlhf_fair.cli.app import app
from rlhf_fair.demo.applicants import applicants
from rlhf_fair.errors import ColumnError, MissingFileError, RowError, SettingsError
from rlhf_fair.records import Finding, Results, Verdict
from rlhf_fair.report.publication import publication_csv, publication_of
from rlhf_fair.tables import read_table, write_table

PLAN = """
title = "People"
question = "Who is selected?"
probe = "selection-rates"
min_people = 2
most_rejected = 0.5
[policy]
threshold = 0.8
margin = 0.8
better = "one"
[applicants]
kind = "selection"
outcome = "selected"
[[attributes]]
name = "sex"
column = "sex"
unknown = ["n/a"]
categories = { "Male" = ["m"], "Female" = ["f", "woman"] }
"""


def audited(tmp_path: Path, table: pd.DataFrame, plan: str = PLAN) -> Results:
    tmp_path.mkdir(exist_ok=True)
    (tmp_path / "plan.toml").write_text(plan)
    write_table(tmp_path / "people.csv", table)
    return run_audit(tmp_path / "plan.toml", Target(predictions=tmp_path / "people.csv"), out=tmp_path / "out")


def people(table: dict[str, tuple[int, int]]) -> pd.DataFrame:
    rows = [(sex, int(i < chosen)) for sex, (n, chosen) in table.items() for i in range(n)]
    return pd.DataFrame(rows, columns=["sex", "selected"])


def by_group(results: Results) -> dict[str, Finding]:
    return {finding.group: finding for finding in results.findings}


def test_the_departments_example_to_the_printed_digits(tmp_path: Path) -> None:
    """168 people of whom 84 score above the median, by sex and, another time, by race."""
    for column, example in (("sex", DCWP_SEX), ("race_ethnicity", DCWP_RACE)):
        scores = [[60 + i % 7] * 1 if i < above else [40] for n, above, *_ in example.values() for i in range(n)]
        table = pd.DataFrame(
            {"applicant_id": range(168), "sex": "", "race_ethnicity": "", "score": np.concatenate(scores)}
        )
        table[column] = [name for name, (n, *_) in example.items() for _ in range(n)]
        write_table(tmp_path / f"{column}.csv", table)
        target = Target(predictions=tmp_path / f"{column}.csv")
        published = publication_of(run_audit(find_plan("ll144/score"), target, out=tmp_path / column))
        assert published is not None
        (shown,) = (t for t in published.tables if t.attributes == (column.replace("_", "/"),))
        assert {row.category[0] for row in shown.rows} == set(example)
        for row in shown.rows:
            n, above, rate, ratio = example[row.category[0]]
            # 18/28 = .642857 is printed .642 by the Department, which rounds elsewhere (10/24 = .41666 is printed .417)
            assert (row.n, row.chosen, row.impact_ratio) == (n, above, ratio)
            assert row.rate == ("0.643" if rate == "0.642" else rate)
        others = [t for t in published.tables if t is not shown]
        assert [t.unknown for t in others] == [168, 168]


def test_strictly_above_the_median_of_everybody(tmp_path: Path) -> None:
    # [1, 2, 2, 2, 3]: 1 of 5 lies above the median; the one above is of unknown sex and still counts for the median
    plan = PLAN.replace('kind = "selection"', 'kind = "score"').replace('"selected"', '"score"')
    table = pd.DataFrame({"sex": ["m", "m", "f", "f", ""], "score": [1, 2, 2, 2, 3]})
    results = audited(tmp_path, table, plan)
    records = read_table(tmp_path / "out" / "records.parquet")
    assert sorted(records["outcome"]) == [0, 0, 0, 0, 1]
    assert records.loc[records["sex"].isna(), "outcome"].tolist() == [1]
    assert {f.reason for f in results.findings} == {"no category has a rate above 0"}
    assert {f.verdict for f in results.findings} == {Verdict.NOT_MEASURED}


def test_the_ratio_is_fairlearns_and_a_bare_miss_is_no_finding(tmp_path: Path) -> None:
    table = people({"Male": (50, 25), "Female": (50, 19)})
    female = by_group(audited(tmp_path, table))["Female"]
    ratio = demographic_parity_ratio(table["selected"], table["selected"], sensitive_features=table["sex"])
    assert female.estimate == pytest.approx(ratio)
    assert female.estimate < 0.8
    assert female.verdict == Verdict.INCONCLUSIVE
    many = by_group(audited(tmp_path / "many", people({"Male": (5000, 2500), "Female": (5000, 1900)})))
    # .76; log R has the standard error sqrt(1/1900 - 1/5000 + 1/2500 - 1/5000) = .0230, so the interval ends at .795
    assert (many["Female"].verdict, many["Female"].role) == (Verdict.EXCEEDS, "claim")
    assert (many["Male"].verdict, many["Male"].role) == (Verdict.WITHIN, "exploratory")  # the highest is no claim
    assert many["Female"].reference == "highest rate"


def test_categories_left_out_small_or_unknown(tmp_path: Path) -> None:
    plan = PLAN.replace('categories = { "Male" = ["m"], "Female" = ["f", "woman"] }', "")
    plan = plan.replace("min_people = 2", "min_people = 10")
    plan += '[small_categories]\nleave_out_below = 0.02\njustification = "very few"\n'
    table = people({"a": (200, 100), "b": (200, 90), "tiny": (3, 3), "small": (9, 2), "n/a": (7, 3)})
    results = audited(tmp_path, table, plan)
    found = by_group(results)
    # 3 of 412 whose category is known is 0.73 %: left out and no claim; 9 are 2.18 %: in the ratio, and not compared
    assert (found["tiny"].verdict, found["tiny"].role) == (Verdict.NOT_MEASURED, "exploratory")
    assert (found["small"].verdict, found["small"].role) == (Verdict.NOT_MEASURED, "claim")
    assert "min_people = 10" in found["small"].reason
    published = publication_of(results)
    assert published is not None
    (shown,) = published.tables
    rows = {row.category[0]: row for row in shown.rows}
    assert (rows["tiny"].n, rows["tiny"].rate, rows["tiny"].impact_ratio) == (3, "1.000", "left out")
    assert (rows["a"].impact_ratio, rows["b"].impact_ratio, rows["small"].impact_ratio) == ("1.00", "0.90", "0.44")
    assert (shown.unknown, shown.justification) == (7, "very few")
    csv = pd.read_csv(io.StringIO(publication_csv(published)), dtype=str, keep_default_na=False)
    assert csv.loc[csv["sex"] == "unknown", "Number of applicants"].tolist() == ["7"]
    assert csv.loc[csv["sex"] == "tiny", "Note"].tolist() == ["very few"]
    bounds = results.audit["tables"]["What if the people of unknown category were known?"]
    low = {row[1]: row[3] for row in bounds["rows"]}
    # b lowest: the 4 unknown who were not selected are b, the 3 selected make "tiny" 6 of 6: 90/204
    assert low["b"] == pytest.approx(90 / 204, abs=1e-4)


def test_rows_that_cannot_be_used_are_told_at_the_terminal(tmp_path: Path) -> None:
    (tmp_path / "plan.toml").write_text(PLAN.replace('outcome = "selected"', 'outcome = "selected"\nid = "id"'))
    table = people({"m": (20, 10), "f": (20, 8)}).astype(object).assign(id=[f"a{i}" for i in range(40)])
    table.loc[2, "selected"], table.loc[30, "id"] = "yes", "a3"
    write_table(tmp_path / "people.csv", table)
    command = ["audit", str(tmp_path / "plan.toml"), "--predictions", str(tmp_path / "people.csv"), "--out"]
    told = CliRunner().invoke(app, [*command, str(tmp_path / "out")]).stdout
    first = "people.csv row 3, column 'selected': 'yes' is not allowed; allowed: true, false, 1, 0"
    assert f"2 rows cannot be used, see {tmp_path / 'out' / 'rejects.csv'}; the first: {first}\n" in told
    told = CliRunner().invoke(app, [*command, str(tmp_path / "json"), "--json"]).stdout
    assert json.loads(told)["rejected_rows"] == 2
    (tmp_path / "plan.toml").write_text(PLAN)
    write_table(tmp_path / "people.csv", people({"m": (20, 10), "f": (20, 8)}))
    assert "cannot be used" not in CliRunner().invoke(app, [*command, str(tmp_path / "sound")]).stdout


def test_whoever_is_unknown_in_one_attribute_is_counted_as_unknown(tmp_path: Path) -> None:
    """2 of unknown sex, 3 of unknown race, 1 of both: 6 people in no cell of the crossing; all as published."""
    plan = (
        PLAN
        + '[[attributes]]\nname = "race"\ncolumn = "race"\nunknown = ["?"]\n[[intersections]]\nof = ["sex", "race"]\n'
    )
    cells = [("m", "a")] * 9 + [("f", "b")] * 5 + [("n/a", "a")] * 2 + [("m", "?")] * 3 + [("n/a", "?")]
    table = pd.DataFrame(cells, columns=["sex", "race"]).assign(selected=[i % 2 for i in range(20)])
    results = audited(tmp_path, table, plan)
    assert results.audit["counts"] == {"input": 20, "reported": 14, "excluded": 0, "unknown": 6}
    assert results.audit["unknown_by_table"] == {"sex": 3, "race": 4, "sex × race": 6}
    published = publication_of(results)
    assert published is not None
    assert [table.unknown for table in published.tables] == [3, 4, 6]


def test_every_row_is_accounted_for_and_rejects_say_why(tmp_path: Path) -> None:
    table = people({"m": (20, 10), "F ": (20, 8), "n/a": (4, 1), "mael": (1, 1)}).astype(object)
    table.loc[0, "selected"] = "maybe"
    table.loc[1, "selected"] = ""
    results = audited(tmp_path, table)
    assert results.audit["counts"] == {"input": 45, "reported": 38, "excluded": 3, "unknown": 4}
    rejects = pd.read_csv(tmp_path / "out" / "rejects.csv")
    assert rejects[["row", "column", "value"]].to_numpy().tolist() == [[1, "selected", "maybe"], [45, "sex", "mael"]]
    assert rejects["message"][1] == "people.csv row 45, column 'sex': 'mael' is not allowed; allowed: Male, Female"
    account = results.audit["tables"]["where every row went, table by table"]
    assert account["rows"] == [["sex", 45, 38, 4, 1, 2]]


def test_faults_are_named(tmp_path: Path) -> None:
    good = people({"Male": (20, 10), "Female": (20, 10)})
    with pytest.raises(ColumnError, match=r"people\.csv lacks column 'selected'"):
        audited(tmp_path, good.rename(columns={"selected": "hired"}))
    strict = PLAN.replace("most_rejected = 0.5", "most_rejected = 0.01")
    with pytest.raises(RowError, match=r"1 of 41 rows cannot be used; .*row 1, column 'sex': 'x'"):
        audited(tmp_path, pd.concat([pd.DataFrame({"sex": ["x"], "selected": [1]}), good]), strict)
    with pytest.raises(RowError, match="repeats an earlier row with the same id"):
        audited(tmp_path, good.assign(id=1), PLAN.replace("[applicants]", '[applicants]\nid = "id"'))
    with pytest.raises(MissingFileError, match="table of people not found"):
        run_audit(tmp_path / "plan.toml", Target(predictions=tmp_path / "none.csv"), out=tmp_path / "out")
    with pytest.raises(SettingsError, match=r"names no applicants\.file: give --predictions"):
        run_audit(tmp_path / "plan.toml", Target(), out=tmp_path / "out")
    with pytest.raises(SettingsError, match="give --predictions; found --model"):
        run_audit(tmp_path / "plan.toml", Target(model="m"), out=tmp_path / "out")


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('better = "one"', "", "better = 'one'"),
        ("min_people = 2", "min_people = 0", "min_people = 0"),
        ('["f", "woman"]', '["f", "M"]', r"\['m'\] stand for more than one thing"),
        ('name = "sex"', 'name = "outcome"', "allowed: any but 'outcome' and 'cluster'"),
        ('kind = "selection"', 'kind = "rank"', "applicants.kind = 'rank'"),
        ('outcome = "selected"', 'outcome = "selected"\nselected = ["yes"]', "go together"),
        ("[[attributes]]", '[[intersections]]\nof = ["sex", "age"]\n[[attributes]]', "intersections name 'age'"),
        ("[[attributes]]", "[small_categories]\nleave_out_below = 0.02\n[[attributes]]", "needs a justification"),
        ("[[attributes]]", "[small_categories]\nleave_out_below = 0.2\n[[attributes]]", "less than or equal to 0.02"),
        ("[applicants]", "[applicants]\ncolour = 1", "unknown key 'applicants.colour'; allowed here: file, synthetic"),
    ],
)
def test_plans_that_cannot_be_meant_are_refused(tmp_path: Path, old: str, new: str, told: str) -> None:
    (tmp_path / "plan.toml").write_text(PLAN.replace(old, new))
    with pytest.raises(SettingsError, match=told):
        load_selection_rates_plan(tmp_path / "plan.toml")


def test_decisions_in_words_and_clusters(tmp_path: Path) -> None:
    words = '[applicants]\nselected = ["hired", "offer"]\nnot_selected = ["declined"]\ncluster = "person"'
    table = people({"Male": (60, 40), "Female": (60, 20)})
    plain = by_group(audited(tmp_path / "plain", table))["Female"]
    said = table.assign(
        selected=np.where(table["selected"] == 1, np.where(table.index % 2, "Hired", " offer"), "declined"),
        person=[f"P{index // 4}" for index in range(120)],
    )
    clustered = by_group(audited(tmp_path / "clustered", said, PLAN.replace("[applicants]", words)))["Female"]
    assert clustered.estimate == pytest.approx(plain.estimate)
    assert clustered.n_clusters == 30
    assert clustered.ci_high - clustered.ci_low > plain.ci_high - plain.ci_low


def test_names_of_categories_change_nothing_but_names(tmp_path: Path) -> None:
    plan = PLAN.replace('categories = { "Male" = ["m"], "Female" = ["f", "woman"] }', "")
    table = people({"a": (40, 30), "b": (40, 20), "c": (40, 8)})
    renamed = table.assign(sex=table["sex"].map({"a": "z", "b": "y", "c": "x"}))
    before, after = by_group(audited(tmp_path / "1", table, plan)), by_group(audited(tmp_path / "2", renamed, plan))
    for old, new in (("a", "z"), ("b", "y"), ("c", "x")):
        one, other = before[old].model_dump(), after[new].model_dump()
        for name in ("estimate", "ci_low", "ci_high", "p_value", "p_adjusted", "verdict", "n"):
            assert one[name] == pytest.approx(other[name]) if isinstance(one[name], float) else one[name] == other[name]


def test_findings_follow_from_the_records_which_name_nobody(tmp_path: Path) -> None:
    results = run_audit(find_plan("ll144/score"), Target(), out=tmp_path)
    records = read_table(tmp_path / "records.parquet")
    assert list(records.columns) == ["outcome", "sex", "race/ethnicity"]  # no id, no score
    again = {(m.attribute, m.group): m.estimate for m in measure(load_selection_rates_plan("ll144/score"), records)}
    for finding in results.findings:
        e = again[finding.attribute, finding.group]
        assert (math.isnan(e.estimate) and math.isnan(finding.estimate)) or (
            (e.estimate, e.ci_low, e.ci_high) == (finding.estimate, finding.ci_low, finding.ci_high)
        )


def test_the_planted_difference_is_found_and_no_other(tmp_path: Path) -> None:
    """Scores are planted 12 points lower for one category and 3 for another: `rlhf_fair.demo.applicants.SHIFTS`."""
    write_table(tmp_path / "people.csv", applicants(10_000, np.random.default_rng(1)))
    results = run_audit(find_plan("ll144"), Target(predictions=tmp_path / "people.csv"), out=tmp_path / "out")
    single = {f.group: f.verdict for f in results.findings if f.attribute == "race/ethnicity"}
    assert single.pop("Black or African American") == Verdict.EXCEEDS
    assert Verdict.EXCEEDS not in single.values()
    assert single["White"] == single["Hispanic or Latino"] == Verdict.WITHIN


def test_the_shipped_example_is_what_its_script_makes() -> None:
    made = io.StringIO()
    applicants(1000, np.random.default_rng(144)).to_csv(made, index=False, lineterminator="\n")
    assert (find_plan("ll144").parent / "example.csv").read_text() == made.getvalue()


def test_the_command_with_the_example_writes_what_verifies(tmp_path: Path) -> None:
    out = str(tmp_path / "report")
    ran = CliRunner().invoke(app, ["audit", "ll144", "--out", out, "--json"])
    told = json.loads(ran.stdout)
    assert (ran.exit_code, told["simulated_rows"]) == (1, 1000)
    assert "no audit of any tool" in (tmp_path / "report" / "publication.html").read_text()
    assert CliRunner().invoke(app, ["report", out, "--quiet"]).exit_code == 0
    assert CliRunner().invoke(app, ["verify", out, "--quiet"]).exit_code == 0
