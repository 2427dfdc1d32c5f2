"""The diff command: what it prints and writes, and how it ends."""

from __future__ import annotations

import json

import pytest
import typer
from saved_audits import crows_plan, pairs, save
from typer.testing import CliRunner

from rlhf_fair.artifacts import verify_manifest
from rlhf_fair.cli.diff import diff
from rlhf_fair.errors import IntegrityError, SettingsError

app = typer.Typer()
app.command()(diff)
FEW = ("--groups", "12")


def run(*arguments: object):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def audits(tmp_path_factory):
    """Folders by name: fair twice, and biased."""
    root = tmp_path_factory.mktemp("audits")
    kinds = {"fair": {"seed": 1}, "again": {"seed": 1}, "biased": {"seed": 2, "leaning": 0.9}}
    return {name: save(root / name, crows_plan(), pairs(150, **options)) for name, options in kinds.items()}


def test_nothing_changed_ends_with_0_and_says_so(audits):
    result = run(audits["fair"], audits["again"], *FEW)
    assert result.exit_code == 0
    assert "\nunchanged " in "\n" + result.stdout
    assert "(n = 150)\n" in result.stdout
    assert "150 items compared; 0 only in A, 0 only in B, 0 not measured in both" in result.output


def test_a_claim_that_newly_exceeds_ends_with_1_and_writes_the_report(audits, tmp_path):
    result = run(audits["fair"], audits["biased"], *FEW, "--out", tmp_path)
    assert result.exit_code == 1
    assert "newly exceeds" in result.output
    about = {"manifest.json", "statement.json", "audit-log.jsonl"}
    assert {path.name for path in tmp_path.iterdir()} == {"index.html", "diff.md", "diff.json"} | about
    assert verify_manifest(tmp_path) == 3
    content = json.loads((tmp_path / "diff.json").read_text())
    assert content["items"]["compared"] == 150
    assert set(json.loads((tmp_path / "manifest.json").read_text())["inputs"]) == {
        f"{side}/{name}" for side in "AB" for name in ("results.json", "records.parquet")
    }


def test_an_open_question_ends_with_3(tmp_path):
    few = [save(tmp_path / str(seed), crows_plan(), pairs(24, seed=seed, own=2.0)) for seed in (1, 2)]
    result = run(*few, *FEW)
    assert result.exit_code == 3
    assert "it is open" in result.output


def test_json_is_one_line_with_what_a_gate_needs(audits):
    result = run(audits["fair"], audits["biased"], *FEW, "--json")
    content = json.loads(result.output)
    assert content["exit_code"] == result.exit_code == 1
    assert content["claims"] == {"new": 1}
    assert content["report"] is None


def test_quiet_prints_nothing(audits):
    result = run(audits["fair"], audits["biased"], *FEW, "--quiet")
    assert (result.output, result.exit_code) == ("", 1)


def test_bad_input_ends_with_2_and_a_tampered_folder_with_4(audits, tmp_path):
    other = save(tmp_path / "other", crows_plan(threshold=11.0, margin=11.0), pairs(150))
    error = run(audits["fair"], other).exception
    assert isinstance(error, SettingsError)
    assert error.exit_code == 2
    (other / "records.parquet").write_bytes(b"")
    error = run(other, other).exception
    assert isinstance(error, IntegrityError)
    assert error.exit_code == 4


def test_help_has_an_example():
    assert "Example: rlhf-fair diff" in run("--help").output
