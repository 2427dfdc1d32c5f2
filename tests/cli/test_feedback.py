"""`rlhf-fair feedback`: rows add up, and aggregates are what one gets by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from typer.testing import CliRunner, Result

import rlhf_fair
from rlhf_fair.annotators.quality_settings import QualitySettings
from rlhf_fair.cli.feedback import app
from rlhf_fair.errors import ColumnError, RlhfFairError, RowError, SettingsError
from rlhf_fair.settings import read_toml

FEEDBACK = """\
{"item_id": "x", "annotator_id": "p", "kind": "pair", "choice": "a"}
{"item_id": "x", "annotator_id": "q", "kind": "pair", "choice": "a"}
{"item_id": "x", "annotator_id": "r", "kind": "pair", "choice": "b"}
{"item_id": "x", "annotator_id": "p", "kind": "rating", "value": 1}
{"item_id": "x", "annotator_id": "r", "kind": "rating", "value": 4}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "f.jsonl").write_text(FEEDBACK)
    (tmp_path / "panel.csv").write_text("annotator_id,attr.gender\np,woman\nq,woman\nr,man\n")
    (tmp_path / "w.csv").write_text("annotator_id,weight\np,1\nq,1\nr,4\n")
    return tmp_path


def run(folder: Path, command: str) -> Result:
    arguments = [str(folder / word[1:]) if word.startswith("@") else word for word in command.split()]
    return CliRunner().invoke(app, arguments, catch_exceptions=False)


def test_sound_feedback_passes(folder: Path) -> None:
    result = run(folder, "validate @f.jsonl --annotators @panel.csv --out @checked --json")
    assert result.exit_code == 0
    assert json.loads(result.stdout)["accepted"] == 5
    assert len((folder / "checked/accepted.jsonl").read_text().splitlines()) == 5
    assert run(folder, "validate @checked/accepted.jsonl").exit_code == 0


def test_rejects_are_written_and_set_the_exit_code(folder: Path) -> None:
    with (folder / "f.jsonl").open("a") as stream:
        stream.write('nonsense\n{"item_id": "x", "annotator_id": "z", "kind": "pair", "choice": "a"}\n')
        stream.write('{"item_id": "x", "annotator_id": "q", "kind": "pair", "choice": "n/a"}\n')
    result = run(folder, "validate @f.jsonl --annotators @panel.csv --missing n/a --out @checked")
    assert result.exit_code == 2
    assert "8 rows: 5 accepted, 3 rejected" in result.stdout
    rejects = pd.read_csv(folder / "checked/rejects.csv")
    assert rejects["row"].tolist() == [6, 7, 8]
    assert rejects["code"].tolist() == ["malformed", "unknown_id", "inconsistent"]


def test_aggregate_plain_weighted_and_by_group(folder: Path) -> None:
    def p_a(options: str) -> float:
        assert run(folder, f"aggregate @f.jsonl --out @out.csv {options}").exit_code == 0
        table = pd.read_csv(folder / "out.csv").set_index("kind")
        assert set(table.index) == {"pair", "rating"}
        return float(table.loc["pair", "p_a"])

    assert p_a("") == pytest.approx(2 / 3)
    assert p_a("--weights @w.csv") == pytest.approx(1 / 3)  # (1 + 1) / 6
    assert p_a("--panel @panel.csv --by gender --min-group 1") == pytest.approx(0.5)  # women 1, men 0
    assert p_a("--rule majority --weights @w.csv") == 0
    result = run(folder, "aggregate @f.jsonl --out @out.csv --weights @w.csv --json")
    assert json.loads(result.stdout)["flipped"] == 1


def test_faults_are_named(folder: Path) -> None:
    with pytest.raises(SettingsError, match="--by gender needs --panel"):
        run(folder, "aggregate @f.jsonl --out @out.csv --by gender")
    with pytest.raises(SettingsError, match="median is for ratings"):
        run(folder, "aggregate @f.jsonl --out @out.csv --rule median")
    with pytest.raises(ColumnError, match="weights lacks column 'weight'"):
        run(folder, "aggregate @f.jsonl --out @out.csv --weights @panel.csv")
    (folder / "w.csv").write_text("annotator_id,weight\np,1\n")
    with pytest.raises(RowError, match="weights lack annotator 'q'"):
        run(folder, "aggregate @f.jsonl --out @out.csv --weights @w.csv")
    assert not (folder / "out.csv").exists()


def test_rules_that_need_groups_say_so_and_decide(folder: Path) -> None:
    def p_a(options: str) -> float:
        assert run(folder, f"aggregate @f.jsonl --out @out.csv --kind pair {options}").exit_code == 0
        return float(pd.read_csv(folder / "out.csv")["p_a"].iloc[0])

    assert p_a("--rule group-balanced --panel @panel.csv --by gender --min-group 1") == 0.5  # women 1, men 0
    assert (
        p_a("--rule max-min --panel @panel.csv --by gender --min-group 1") == 0.5
    )  # whatever is chosen, one group has nothing
    assert p_a("--rule jury --panel @panel.csv --by gender --seats woman=1 --seats man=2") == 0
    assert p_a("--rule population-weighted --weights @w.csv") == pytest.approx(1 / 3)
    assert p_a("--rule dawid-skene") > 0.5
    assert p_a("--rule bradley-terry") > 0.5
    for options, message in {
        "--rule max-min": "--rule max-min needs --by ATTRIBUTE with --panel FILE",
        "--rule population-weighted": "needs --weights FILE",
        "--rule jury --panel @panel.csv --by gender --weights @w.csv": "makes no use of --weights FILE",
        "--rule jury --panel @panel.csv --by gender --seats girl=2": "names group 'girl'; the panel has: man, woman",
        "--rule jury --panel @panel.csv --by gender --seats woman": "'woman'; allowed: GROUP=NUMBER",
        "--rule bradley-terry": "bradley-terry is for pairs; for ratings allowed: mean, .*--kind picks",
        "--rule max-min --panel @panel.csv --by gender": "no group has 5 raters .*0 undisclosed; too small: man 1, wom",
        "--kind scalar": "no scalars; has kinds: pair, rating",
    }.items():
        with pytest.raises(RlhfFairError, match=message):
            run(folder, f"aggregate @f.jsonl --out @no.csv {options}")
    assert not (folder / "no.csv").exists()


def test_who_is_in_no_group_is_said_with_counts(folder: Path) -> None:
    """Five men and five women for a, one who prefers not to say and one of another group against: no vetoes."""
    panel = "".join(f"r{k},{'man' if k < 5 else 'woman'}\n" for k in range(10)) + "r10,prefer_not_to_say\nr11,other\n"
    (folder / "panel.csv").write_text("annotator_id,attr.gender\n" + panel)
    rows = "".join(f"x,r{k},pair,{'a' if k < 10 else 'b'}\n" for k in range(12))
    (folder / "f.csv").write_text("item_id,annotator_id,kind,choice\n" + rows)

    def run_rule(rule: str, options: str = "") -> tuple[float, dict[str, Any]]:
        command = f"aggregate @f.csv --rule {rule} --panel @panel.csv --by gender --out @out.csv {options}"
        summary = json.loads(run(folder, f"{command} --json").stdout)
        if not options:
            said = run(folder, command).stdout
            assert "groups: man 5, woman 5 raters" in said
            assert "raters in no group, counted one by one: 1 undisclosed, other 1 (fewer than 5)" in said
        return float(pd.read_csv(folder / "out.csv")["p_a"].iloc[0]), summary["groups_counted"]

    counted = {"counted": {"man": 5, "woman": 5}, "too_small": {"other": 1}, "undisclosed": 1, "min_group": 5}
    assert run_rule("max-min") == (1, counted)
    assert run_rule("jury") == (1, counted)
    balanced, _ = run_rule("group-balanced")
    assert balanced == pytest.approx(10 / 12)  # ten of twelve are balanced, all for a; two count one by one
    every = "--min-group 1 --count-undisclosed"
    assert run_rule("max-min", every)[0] == 0.5  # one person's veto
    assert run_rule("group-balanced", every)[0] == 0.5  # 1, 1, 0 and 0
    assert run_rule("jury", "--seats other=1")[0] == 0  # named: kept though it is one person
    flips = json.loads(
        run(folder, "flips @f.csv --panel @panel.csv --by gender --min-group 6 --lots 0 --out @flips --json").stdout
    )
    assert "no group has 6 raters" in flips["skipped"]["max-min"]
    assert {row["group"] for row in flips["groups"]} == {"man", "woman", "other", "prefer_not_to_say"}  # all reported


def test_scalars_aggregate_and_texts_are_only_counted(folder: Path) -> None:
    rows = [
        {"item_id": "x", "annotator_id": "p", "kind": "scalar", "value": -1},
        {"item_id": "x", "annotator_id": "q", "kind": "scalar", "value": 2},
        {"item_id": "x", "annotator_id": "q", "kind": "edit", "text": "better"},
    ]
    (folder / "s.jsonl").write_text("\n".join(map(json.dumps, rows)))
    result = run(folder, "aggregate @s.jsonl --out @out.csv --json")
    assert json.loads(result.stdout)["collected_only"] == {"edit": 1}
    assert pd.read_csv(folder / "out.csv")["value"].tolist() == [0.5]
    (folder / "s.jsonl").write_text(json.dumps(rows[2]))
    with pytest.raises(RowError, match="no pairs, ratings or scalars; has kinds: edit"):
        run(folder, "aggregate @s.jsonl --out @out.csv")


def test_flips_writes_three_tables_that_agree_with_its_json(folder: Path) -> None:
    command = "flips @f.jsonl --panel @panel.csv --by gender --weights @w.csv --kind pair --out @flips --lots 19"
    command += " --min-group 1"
    result = run(folder, f"{command} --json")
    assert result.exit_code == 0
    summary = json.loads(result.stdout)
    assert json.loads((folder / "flips/flips.json").read_text())["groups"] == summary["groups"]
    assert set(summary["skipped"]) == {"median"}
    groups = {(row["rule"], row["group"]): row for row in summary["groups"]}
    assert groups["majority", "man"]["contradicted"] == 1
    assert groups["population-weighted", "man"]["contradicted"] == 0
    assert groups["majority", "man"]["contradicted_ci_low"] is None  # one item: no interval, and it says why
    assert groups["majority", "man"]["contradicted_reason"]
    assert len(pd.read_csv(folder / "flips/groups.csv")) == len(summary["groups"]) == 8 * 2
    items = pd.read_csv(folder / "flips/items.csv")
    assert items[items["flipped"] == True]["rule"].tolist() == ["population-weighted"]  # noqa: E712
    assert "against own majority" in run(folder, command).stdout
    with pytest.raises(SettingsError, match="holds kinds pair, rating; choose one with --kind"):
        run(folder, "flips @f.jsonl --panel @panel.csv --by gender --out @flips")
    for cut in ("nan", "inf"):
        with pytest.raises(SettingsError, match=f"--cut {cut}; allowed: a finite number"):
            run(folder, f"flips @f.jsonl --kind rating --panel @panel.csv --by gender --out @no --cut {cut}")
    with pytest.raises(SettingsError, match="rule = 'best'"):
        run(folder, f"{command} --rule best")


def test_quality_keeps_the_excluded_with_reasons_and_audits_itself(folder: Path) -> None:
    rows = [
        {"item_id": f"i{k}", "annotator_id": rater, "kind": "pair", "choice": choice, "seconds": 5.0 + k}
        for rater, choice in (("p", "a"), ("q", "b"), ("r", "a"))
        for k in range(8)
    ]
    (folder / "f.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (folder / "gold.csv").write_text("item_id,choice\n" + "".join(f"i{k},a\n" for k in range(8)))
    (folder / "q.toml").write_text("[audit]\nsimulations = 8\n")
    (folder / "items.csv").write_text("item_id,answer\ni0,a\n")
    command = "quality @f.jsonl --gold @gold.csv --settings @q.toml --panel @panel.csv --by gender --out @q"
    result = run(folder, f"{command} --json")
    summary = json.loads(result.stdout)
    assert (summary["excluded_raters"], summary["excluded_rows"], summary["rows"]) == (1, 8, 24)
    excluded = [json.loads(line) for line in (folder / "q/excluded.jsonl").read_text().splitlines()]
    assert {(row["annotator_id"], row["reason"]) for row in excluded} == {("q", "gold: 0 of 8 correct; needed: 70%")}
    assert len((folder / "q/kept.jsonl").read_text().splitlines()) == 16
    assert {row["differs"] for row in summary["audit"]} == {"man", "woman"}
    assert json.loads((folder / "q/quality.json").read_text())["audit"] == summary["audit"]
    assert (result.exit_code, summary["verdict"]) == (3, "inconclusive")  # three raters settle nothing
    result = run(folder, f"{command} --no-audit")
    assert result.stdout.startswith("1 of 3 raters excluded, with 8 of 24 rows")
    assert "not measured: whether a group loses honest raters more than 0.05 more often" in result.stdout  # one man
    assert result.exit_code == 3
    (folder / "q.toml").write_text("[gold]\nminimum_share = 2\n")
    with pytest.raises(SettingsError, match=r"gold\.minimum_share = 2"):
        run(folder, command)
    with pytest.raises(ColumnError, match="gold lacks column 'choice'"):
        run(folder, "quality @f.jsonl --gold @items.csv --out @q")


def test_quality_ends_with_one_where_a_group_loses_its_raters(folder: Path) -> None:
    rows = [
        {"item_id": f"i{k}", "annotator_id": f"{group}{n}", "kind": "pair", "choice": "a" if group == "m" else "b"}
        for group in "mw"
        for n in range(30)
        for k in range(8)
    ]
    (folder / "f.jsonl").write_text("\n".join(map(json.dumps, rows)))
    people = "".join(f"{group}{n},{group}\n" for group in "mw" for n in range(30))
    (folder / "panel.csv").write_text("annotator_id,attr.gender\n" + people)
    (folder / "gold.csv").write_text("item_id,choice\n" + "".join(f"i{k},a\n" for k in range(8)))
    command = "quality @f.jsonl --gold @gold.csv --panel @panel.csv --by gender --no-audit --out @q"
    result = run(folder, command)
    assert result.exit_code == 1
    assert (
        "beyond its limit: some group loses honest raters more than 0.05 more often (here: m; here: w)" in result.stdout
    )
    assert "8 gold items that most of some group answers otherwise" in result.stdout


def test_the_shipped_thresholds_pass_their_own_audit_and_are_the_defaults(folder: Path) -> None:
    shipped = Path(rlhf_fair.__file__).parents[1] / "audits/panel-feedback/quality.toml"
    assert read_toml(shipped, QualitySettings) == QualitySettings()
    rows = [
        {"item_id": f"i{k}", "annotator_id": rater, "kind": "pair", "choice": "ab"[k % 2], "seconds": 5.0 + k + n}
        for n, rater in enumerate("pq")
        for k in range(8)
    ]
    (folder / "f.jsonl").write_text("\n".join(map(json.dumps, rows)))
    result = run(folder, f"quality @f.jsonl --settings {shipped} --out @q")
    assert result.exit_code == 0
    assert "within its limit: no group loses honest raters more than 0.05 more often" in result.stdout
    result = run(folder, f"quality @f.jsonl --settings {shipped} --out @q --no-audit")
    assert result.exit_code == 3
    assert "not measured" in result.stdout


def test_quality_says_what_its_exit_codes_mean() -> None:
    text = " ".join(CliRunner().invoke(app, ["quality", "--help"]).stdout.split())
    for words in ("Exit code 0: every such gap", "1: a group's honest raters", "3: for some group it cannot be told"):
        assert words in text


@pytest.mark.parametrize("command", ["validate", "aggregate", "flips", "quality"])
def test_help_has_an_example(command: str) -> None:
    result = CliRunner().invoke(app, [command, "--help"])
    assert f"Example: rlhf-fair feedback {command}" in " ".join(result.stdout.split())
