"""The privacy budget: exact sums, no overspending by processes at once, changes found; and the noise it pays for."""

from __future__ import annotations

import math
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from rlhf_fair.annotators.privacy_budget import BudgetError, balance, open_ledger, spend
from rlhf_fair.annotators.privacy_cells import UNKNOWN
from rlhf_fair.annotators.privacy_noise import OTHER, laplace_half_width, private_counts
from rlhf_fair.errors import IntegrityError, MissingFileError, OutputError, SettingsError


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    open_ledger(tmp_path / "budget.jsonl", 1)
    return tmp_path / "budget.jsonl"


def test_ten_tenths_are_one(ledger: Path) -> None:
    for i in range(10):
        spend(ledger, 0.1, f"answer {i}")
    found = balance(ledger)
    assert (found.spent, found.left, found.entries) == (1, 0, 10)
    with pytest.raises(BudgetError, match=r"epsilon 0\.001 exceeds what is left, 0 of 1 after 10 answers"):
        spend(ledger, 0.001, "one too many")
    assert balance(ledger).entries == 10


def test_the_file_only_grows(ledger: Path) -> None:
    spend(ledger, "1/3", "a third")
    before = ledger.read_bytes()
    assert spend(ledger, "1/3", "another").left == Fraction(1, 3)
    assert ledger.read_bytes().startswith(before)
    with pytest.raises(OutputError, match="a budget is set once"):
        open_ledger(ledger, 100)


def test_processes_that_spend_at_once_do_not_overspend(ledger: Path) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from rlhf_fair.annotators.privacy_budget import BudgetError, spend\n"
        "paid = 0\n"
        "for _ in range(20):\n"
        "    try: spend(Path(sys.argv[1]), '0.05', 'x'); paid += 1\n"
        "    except BudgetError: pass\n"
        "print(paid)\n"
    )
    runs = [
        subprocess.Popen([sys.executable, "-c", code, str(ledger)], stdout=subprocess.PIPE, text=True) for _ in range(3)
    ]
    paid = [int(run.communicate()[0]) for run in runs]
    assert sum(paid) == 20  # 60 tries of 0.05 each, and a budget of 1
    assert balance(ledger).left == 0


def test_a_torn_line_was_never_paid_with(ledger: Path) -> None:
    spend(ledger, 0.5, "whole")
    with ledger.open("ab") as stream:
        stream.write(b'{"epsilon":"1/2","purp')
    assert balance(ledger).left == Fraction(1, 2)
    assert spend(ledger, 0.25, "next").entries == 2


@pytest.mark.parametrize("change", ["less", "drop", "swap", "negative", "nonsense"])
def test_changes_are_found(ledger: Path, change: str) -> None:
    for cost in ("0.5", "0.25", "0.125"):
        spend(ledger, cost, "x")
    lines = ledger.read_bytes().splitlines(keepends=True)
    match change:
        case "less":
            lines[1] = lines[1].replace(b'"1/2"', b'"1/9"')
        case "drop":
            del lines[2]
        case "swap":
            lines[1], lines[2] = lines[2], lines[1]
        case "negative":
            lines[3] = lines[3].replace(b'"1/8"', b'"-5"')
        case _:
            lines[2] = b"[]\n"
    ledger.write_bytes(b"".join(lines))
    with pytest.raises(IntegrityError, match="line"):
        spend(ledger, 0.01, "x")


def test_faults_are_named(tmp_path: Path, ledger: Path) -> None:
    with pytest.raises(MissingFileError, match="privacy budget"):
        balance(tmp_path / "none")
    for wrong in (0, -1, "nan", "much"):
        with pytest.raises(SettingsError, match="a number above 0"):
            spend(ledger, wrong, "x")
    (tmp_path / "empty").write_text("")
    with pytest.raises(IntegrityError, match="no whole line"):
        balance(tmp_path / "empty")


def test_the_half_width_by_hand() -> None:
    # ln 20 = 2.995732; twice the sensitivity at half the epsilon is four times as wide
    assert laplace_half_width(1) == pytest.approx(2.995732, abs=1e-6)
    assert laplace_half_width(0.5, sensitivity=2) == pytest.approx(4 * 2.995732, abs=1e-5)
    assert laplace_half_width(0.1) == pytest.approx(math.log(20) / 0.1)


PEOPLE = pd.DataFrame({"a": pd.Series(["x"] * 30 + ["y"] * 10 + ["w"] * 2 + [None] * 3, dtype="str")})


def test_no_opendp_is_one_clear_error(ledger: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opendp", None)
    monkeypatch.setitem(sys.modules, "opendp.prelude", None)
    with pytest.raises(SettingsError, match=r"private counts need OpenDP: pip install 'rlhf-fair\[privacy\]'"):
        private_counts(PEOPLE, {"a": ["x"]}, epsilon=0.1, ledger=ledger)
    assert balance(ledger).entries == 0


def test_noise_has_the_width_it_claims(tmp_path: Path) -> None:
    pytest.importorskip("opendp", reason="OpenDP is an optional extra")
    open_ledger(tmp_path / "b", 1000)
    truth = np.array([30, 10, 0, 2, 3])
    inside, distances = [], []
    for _ in range(300):
        table, _ = private_counts(PEOPLE, {"a": ["x", "y", "never"]}, epsilon=0.7, ledger=tmp_path / "b")
        inside.append((table["ci_low"] <= truth) & (truth <= table["ci_high"]))
        distances.append(abs(table["count"] - truth))
    assert table["a"].tolist() == ["x", "y", "never", OTHER, UNKNOWN]
    # 1,500 draws: the coverage has a standard error of 0.006, the mean distance (1 / epsilon) one of 0.037
    assert np.mean(inside) == pytest.approx(0.95, abs=0.025)
    assert np.mean(distances) == pytest.approx(1 / 0.7, abs=0.15)
    assert balance(tmp_path / "b").spent == 210


def test_an_answer_that_is_not_paid_for_is_not_given(ledger: Path) -> None:
    pytest.importorskip("opendp", reason="OpenDP is an optional extra")
    private_counts(PEOPLE, {"a": ["x"]}, epsilon=0.9, ledger=ledger)
    with pytest.raises(BudgetError):
        private_counts(PEOPLE, {"a": ["x"]}, epsilon=0.2, ledger=ledger)
    with pytest.raises(SettingsError, match="repeat one"):
        private_counts(PEOPLE, {"a": ["x", "x"]}, epsilon=0.01, ledger=ledger)
