"""`rlhf-fair export`: which files it writes, and where it refuses to."""

from __future__ import annotations

import io
import json

import pandas as pd
import pytest
import typer
from typer.testing import CliRunner

from rlhf_fair.artifacts import read_results, sha256_file, write_json, write_manifest, write_results
from rlhf_fair.cli.export import export
from rlhf_fair.errors import IntegrityError, MissingFileError, OutputError, SettingsError
from rlhf_fair.exchange.folder import FILES, rendered_files

app = typer.Typer()
app.command()(export)

ALL = {name for names in FILES.values() for name in names}


@pytest.fixture
def folder(tmp_path, pipeline):
    path = tmp_path / "audit"
    write_results(path, pipeline)
    write_manifest(path, inputs={}, seeds={})
    return path


def run(*arguments: object):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def names_in(path):
    return {file.name for file in path.iterdir()}


def test_all_formats_by_default(folder, tmp_path):
    result = run(folder, "--out", tmp_path / "out", "--json")
    assert result.exit_code == 0
    assert set(json.loads(result.output)["files"]) == ALL == names_in(tmp_path / "out")
    assert names_in(folder) == {"results.json", "manifest.json"}


def test_formats_asked_for_and_others_left_alone(folder, tmp_path):
    out = tmp_path / "out"
    run(folder, "--out", out, "--format", "junit")
    (out / "mine.txt").write_text("kept")
    assert run(folder, "--out", out, "--format", "sarif, csv", "--quiet").output == ""
    assert names_in(out) == {"junit.xml", "mine.txt", "results.sarif", *FILES["csv"]}


def test_without_a_ledger_an_old_one_goes(folder, tmp_path, pipeline):
    out, bare = tmp_path / "out", tmp_path / "bare"
    run(folder, "--out", out, "--format", "csv")
    write_results(bare, pipeline.model_copy(update={"ledger": ()}))
    run(bare, "--out", out, "--format", "csv")
    assert names_in(out) == {"findings.csv"}


def test_an_unknown_format_is_refused_with_what_is_allowed(folder, tmp_path):
    error = run(folder, "--out", tmp_path / "out", "--format", "junit,pdf").exception
    assert isinstance(error, SettingsError)
    assert "'pdf'" in str(error)
    assert "model-card" in str(error)


@pytest.mark.parametrize("inside", [".", "exports", "exports/deep"])
def test_never_into_an_audits_folder(folder, inside):
    before = names_in(folder)
    error = run(folder, "--out", folder / inside).exception
    assert isinstance(error, OutputError)
    assert "verify" in str(error)
    assert names_in(folder) == before


def test_nor_into_that_of_another_audit(folder, tmp_path, pipeline):
    other = tmp_path / "other"
    write_results(other, pipeline)
    write_manifest(other, inputs={}, seeds={})
    assert isinstance(run(folder, "--out", other / "x").exception, OutputError)


def test_a_manifest_that_is_none_of_ours_is_no_reason(folder, tmp_path):
    (tmp_path / "manifest.json").write_text("{}")
    assert run(folder, "--out", tmp_path / "out", "--format", "csv").exit_code == 0


def test_results_that_were_changed_are_not_exported(folder, tmp_path):
    content = json.loads((folder / "results.json").read_text())
    content["findings"][0]["estimate"] = 0.0
    write_json(folder / "results.json", content)
    error = run(folder, "--out", tmp_path / "out").exception
    assert isinstance(error, IntegrityError)
    assert error.exit_code == 4
    assert not (tmp_path / "out").exists()


def test_a_missing_folder_and_a_comparison_are_input_errors(tmp_path):
    assert isinstance(run(tmp_path / "none", "--out", tmp_path / "out").exception, MissingFileError)
    (tmp_path / "d").mkdir()
    (tmp_path / "d/diff.json").write_text("{}")
    assert "comparison" in str(run(tmp_path / "d", "--out", tmp_path / "out").exception)


def test_a_plan_file_that_is_not_there(folder, tmp_path):
    error = run(folder, "--out", tmp_path / "out", "--plan-file", tmp_path / "plan.toml").exception
    assert isinstance(error, MissingFileError)


def test_files_name_the_hash_of_the_results_file_itself(folder, tmp_path):
    """Also where an earlier version wrote it, without a field that has come since."""
    content = json.loads((folder / "results.json").read_text())
    for finding in content["findings"]:
        del finding["measured_rate"]
    write_json(folder / "results.json", content)
    write_manifest(folder, inputs={}, seeds={})
    run(folder, "--out", tmp_path / "out")
    digest = sha256_file(folder / "results.json")
    for name in ("junit.xml", "results.sarif", "bom.cdx.json", "MODEL_CARD.md"):
        assert digest in (tmp_path / "out" / name).read_text(encoding="utf-8"), name


def test_equal_results_give_equal_bytes(results, tmp_path):
    write_results(tmp_path, results)
    again = read_results(tmp_path)
    for kind in FILES:
        assert rendered_files(kind, results) == rendered_files(kind, again), kind


def test_ten_thousand_findings_are_all_in_the_table(ten_thousand):
    table = pd.read_csv(io.BytesIO(rendered_files("csv", ten_thousand)["findings.csv"]))
    assert len(table) == len(ten_thousand.findings) == 10_000
