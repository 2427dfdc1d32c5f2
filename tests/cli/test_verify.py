"""verify, sign and keys at the command line: what they print, ask for, and end with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from rlhf_fair.artifacts import write_results
from rlhf_fair.attestation.sealing import seal
from rlhf_fair.cli.app import app
from rlhf_fair.errors import IntegrityError, MissingFileError, OutputError, SettingsError
from rlhf_fair.records import Results
from rlhf_fair.report import write_report


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    results = Results(audit={"title": "T"})
    out = tmp_path / "audit"
    write_report(out, results)
    write_results(out, results)
    seal(out, inputs={}, seeds={})
    return out


def run(*arguments: object, passphrase: str = ""):
    env = {"RLHF_FAIR_KEY_PASSPHRASE": passphrase}
    return CliRunner().invoke(app, [str(argument) for argument in arguments], env=env)


def test_keys_sign_verify(folder: Path, tmp_path: Path) -> None:
    made = json.loads(run("keys", "new", "--out", tmp_path / "keys", "--json", passphrase="sesame").output)
    signed = run("sign", folder, "--key", made["private"], "--json", passphrase="sesame")
    assert json.loads(signed.output)["key_id"] == made["key_id"]
    told = json.loads(run("verify", folder, "--public-key", made["public"], "--json").output)
    assert (told["matches"], told["signer"]) == (True, made["key_id"])
    assert "by a key that nobody named" in run("verify", folder).output
    (folder / "summary.md").write_text("other")
    result = run("verify", folder, "--json")
    assert isinstance(result.exception, IntegrityError)
    assert result.exception.exit_code == 4
    assert json.loads(result.output)["matches"] is False


def test_verify_says_what_it_did_not_do(folder: Path) -> None:
    assert "not recomputed: there are no findings" in run("verify", folder).output
    checks = json.loads(run("verify", folder, "--json", "--no-recompute").output)["checks"]
    assert "findings, measured again" not in {check["check"] for check in checks}
    assert run("verify", folder, "--quiet").output == ""


@pytest.mark.parametrize("wrong", ["", "other"])
def test_a_passphrase_that_is_missing_or_wrong_is_bad_usage(folder: Path, tmp_path: Path, wrong: str) -> None:
    run("keys", "new", "--out", tmp_path / "keys", passphrase="sesame")
    result = run("sign", folder, "--key", tmp_path / "keys" / "signing-key.pem", passphrase=wrong)
    assert isinstance(result.exception, SettingsError)
    assert not (folder / "attestation.dsse.json").exists()


def test_keys_are_never_replaced_and_need_a_passphrase_or_the_word_that_they_do_not(tmp_path: Path) -> None:
    assert isinstance(run("keys", "new", "--out", tmp_path).exception, SettingsError)
    assert run("keys", "new", "--out", tmp_path, "--no-passphrase", "--quiet").output == ""
    assert isinstance(run("keys", "new", "--out", tmp_path, "--no-passphrase").exception, OutputError)


def test_another_page_loses_the_signature_and_says_so(folder: Path, tmp_path: Path) -> None:
    run("keys", "new", "--out", tmp_path / "keys", "--no-passphrase")
    run("sign", folder, "--key", tmp_path / "keys" / "signing-key.pem")
    assert "sign the folder again" not in run("report", folder).output  # the same bytes keep it
    assert "sign the folder again" in run("report", folder, "--framework", "eeoc", "--as-of", "2026-07-05").output
    assert "sign the folder again" not in run("report", folder).output  # it was not signed any more


def test_what_does_not_verify_is_not_signed(folder: Path, tmp_path: Path) -> None:
    run("keys", "new", "--out", tmp_path / "keys", "--no-passphrase")
    (folder / "summary.md").write_text("other")
    result = run("sign", folder, "--key", tmp_path / "keys" / "signing-key.pem")
    assert isinstance(result.exception, IntegrityError)
    assert not (folder / "attestation.dsse.json").exists()


def test_usage(folder: Path, tmp_path: Path) -> None:
    for arguments in (("verify", tmp_path / "none"), ("verify", folder, "--public-key", tmp_path / "none")):
        assert isinstance(run(*arguments).exception, MissingFileError)
    assert isinstance(run("verify", folder, "--require-signature").exception, IntegrityError)
    for command in (["verify"], ["sign"], ["keys", "new"]):
        assert f"Example: rlhf-fair {' '.join(command)}" in run(*command, "--help").output


def test_a_disagreement_is_told_in_full_once(folder: Path) -> None:
    (folder / "summary.md").write_text("other")
    result = run("verify", folder)
    assert "changed: summary.md" in result.output
    assert str(result.exception) == f"{folder} does not verify: files"
    assert "changed: summary.md" in str(run("verify", folder, "--quiet").exception)
