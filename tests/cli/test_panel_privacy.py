"""`rlhf-fair panel pseudonymise` and `privacy`."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner, Result

from rlhf_fair.annotators.privacy_budget import balance
from rlhf_fair.cli.panel import app
from rlhf_fair.errors import ColumnError, OutputError, SettingsError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    people = [(f"00{i}", "man" if i < 20 else "woman" if i < 27 else "other") for i in range(29)]
    pd.DataFrame(people, columns=["annotator_id", "attr.gender"]).to_csv(tmp_path / "panel.csv", index=False)
    (tmp_path / "adults.toml").write_text("[margins.gender]\nwoman = 0.5\nman = 0.5\n")
    return tmp_path


def run(folder: Path, command: str) -> Result:
    arguments = [str(folder / word[1:]) if word.startswith("@") else word for word in command.split()]
    return CliRunner().invoke(app, arguments, catch_exceptions=False)


def test_pseudonyms_join_and_hide(folder: Path) -> None:
    result = run(folder, "pseudonymise @panel.csv --key-file @key --new-key --out @one.csv")
    assert "29 different ids" in result.stdout
    run(folder, "pseudonymise @panel.csv --key-file @key --out @two.csv")
    assert (folder / "one.csv").read_bytes() == (folder / "two.csv").read_bytes()
    key = (folder / "key").read_text().strip()
    assert key not in (folder / "one.csv").read_text() + result.output
    with pytest.raises(OutputError, match="there is a file already"):
        run(folder, "pseudonymise @panel.csv --key-file @key --new-key --out @one.csv")
    with pytest.raises(SettingsError, match="one place"):
        run(folder, "pseudonymise @panel.csv --out @one.csv")
    with pytest.raises(ColumnError, match="lacks column 'worker'"):
        run(folder, "pseudonymise @panel.csv --key-file @key --column worker --out @one.csv")


def test_counts_leave_small_cells_and_their_companions_out(folder: Path) -> None:
    told = json.loads(run(folder, "privacy --panel @panel.csv --by gender --k 5 --out @counts.csv --json").stdout)
    assert (told["below_k"], told["unique"], told["small"], told["companions"]) == (2, 0, 1, 1)
    counts = pd.read_csv(folder / "counts.csv").set_index("attr.gender")["count"]
    assert counts.dropna().to_dict() == {"man": 20, "(all)": 29}


def test_where_no_cell_can_be_shown(folder: Path) -> None:
    result = run(folder, "privacy --panel @panel.csv --k 30 --out @counts.csv")
    assert result.exit_code == 1
    assert pd.read_csv(folder / "counts.csv")["count"].isna().all()


def test_the_exit_code_does_not_hang_on_a_file(folder: Path) -> None:
    assert run(folder, "privacy --panel @panel.csv --k 30").exit_code == 1
    assert run(folder, "privacy --panel @panel.csv --k 5").exit_code == 0
    wide = pd.read_csv(folder / "panel.csv", dtype=str)
    wide["attr.city"] = wide["attr.street"] = wide["attr.house"] = wide["annotator_id"]
    wide.to_csv(folder / "wide.csv", index=False)
    result = run(folder, "privacy --panel @wide.csv --by city --by street --by house --k 5")
    assert (result.exit_code, "more than 5,000 cells" in result.stdout) == (3, True)
    with pytest.raises(SettingsError, match="more than 5,000 cells"):
        run(folder, "privacy --panel @wide.csv --by city --by street --by house --k 5 --out @c.csv")


def test_no_ledger_is_started_for_an_answer_that_cannot_be_given(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ImportError(name)

    noisy = "privacy --panel @panel.csv --by gender --epsilon 0.5 --ledger @l.jsonl --population @adults.toml --budget"
    monkeypatch.setattr("rlhf_fair.annotators.privacy_noise.import_module", missing)
    for _ in range(2):
        with pytest.raises(SettingsError, match="need OpenDP"):
            run(folder, f"{noisy} 1")
    assert not (folder / "l.jsonl").exists()
    monkeypatch.setattr("rlhf_fair.annotators.privacy_noise._laplace", lambda epsilon: list)
    with pytest.raises(SettingsError, match=r"exceeds --budget 0\.3; no ledger was started"):
        run(folder, f"{noisy} 0.3")
    assert not (folder / "l.jsonl").exists()


def test_noisy_counts_are_paid_for(folder: Path) -> None:
    with pytest.raises(SettingsError, match="--epsilon needs --ledger"):
        run(folder, "privacy --panel @panel.csv --epsilon 1")
    pytest.importorskip("opendp", reason="OpenDP is an optional extra")
    noisy = "privacy --panel @panel.csv --by gender --epsilon 0.5 --ledger @l.jsonl --population @adults.toml --json"
    told = json.loads(run(folder, f"{noisy} --budget 0.9").stdout)
    assert told["half_width"] == pytest.approx(5.9915, abs=1e-4)  # ln 20 / 0.5
    assert [cell["attr.gender"] for cell in told["cells"]] == ["woman", "man", "(other)", "(unknown)"]
    with pytest.raises(SettingsError, match="exceeds what is left"):
        run(folder, noisy)
    assert balance(folder / "l.jsonl").entries == 1


@pytest.mark.parametrize("command", ["pseudonymise", "privacy"])
def test_help_has_an_example(command: str) -> None:
    result = CliRunner().invoke(app, [command, "--help"])
    assert f"Example: rlhf-fair panel {command}" in " ".join(result.stdout.split())
