"""What a failing command prints is kept in logs: no identifier is in it, whatever file or cell was at fault."""

from __future__ import annotations

import sys

import pytest

from rlhf_fair.cli.app import main

from .test_results import PLANTED


@pytest.mark.parametrize("text", PLANTED[::4])
def test_errors_name_no_one(text, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["rlhf-fair", "report", f"reports/{text}"])
    with pytest.raises(SystemExit) as stop:
        main()
    told = capsys.readouterr()
    assert stop.value.code == 2
    assert text not in told.err + told.out
    assert "audit folder not found" in told.err
