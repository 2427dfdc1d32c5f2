"""The report and verify commands: what they print, and how they end."""

from __future__ import annotations

import json

import pytest
import typer
from typer.testing import CliRunner

from rlhf_fair.artifacts import write_manifest, write_results
from rlhf_fair.cli.report import report
from rlhf_fair.cli.verify import verify
from rlhf_fair.errors import IntegrityError, MissingFileError, SettingsError
from rlhf_fair.records import Results

app = typer.Typer()
app.command()(report)
app.command()(verify)


@pytest.fixture
def folder(tmp_path):
    write_results(tmp_path, Results(audit={"title": "T"}))
    return tmp_path


def run(*arguments: object):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_report_writes_the_page_and_says_where(folder):
    result = run("report", folder)
    assert result.exit_code == 0
    assert str(folder / "index.html") in result.output
    assert (folder / "summary.md").read_text().startswith("# T\n")


def test_json_output_is_one_object(folder):
    answer = json.loads(run("report", folder, "--json").output)
    assert answer["bytes"] == (folder / "index.html").stat().st_size


def test_quiet_prints_nothing(folder):
    assert run("report", folder, "--quiet").output == ""


def test_verify_passes_then_fails_with_exit_code_4(folder):
    run("report", folder)
    write_manifest(folder, inputs={}, seeds={})
    told = json.loads(run("verify", folder, "--json").output)
    assert (told["folder"], told["files"], told["matches"]) == (str(folder), 3, True)
    (folder / "index.html").write_text("changed")
    result = run("verify", folder)
    assert isinstance(result.exception, IntegrityError)
    assert result.exception.exit_code == 4


def test_missing_results_and_broken_results_are_input_errors(tmp_path):
    assert isinstance(run("report", tmp_path).exception, MissingFileError)
    (tmp_path / "results.json").write_text('{"audit": 3}')
    result = run("report", tmp_path)
    assert isinstance(result.exception, SettingsError)
    assert result.exception.exit_code == 2


@pytest.mark.parametrize("command", ["report", "verify"])
def test_help_has_an_example(command):
    assert f"Example: rlhf-fair {command}" in run(command, "--help").output
