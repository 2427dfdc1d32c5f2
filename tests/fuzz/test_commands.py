"""Damaged files on the command line: exit code 2 (or 4 of a seal), a message that names the file, never a traceback."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fuzz import catalogue_saved, catalogue_settings, catalogue_tables, upstream_files
from fuzz.reader import put
from rlhf_fair.cli.app import main

BROKEN = {
    "not UTF-8": b"\xff\xfe\x00a\x00b",
    "empty": b"",
    "zeros": b"\x00" * 100,
    "nested": b"[" * 50_000,
    "half": None,
    "a web page": b"<html><body>404</body></html>\n",
}
"""What is wrong -> content; None: the first half of the sound file."""


ALL_HAVE_DEFAULTS = ("pipeline", "mitigations", "audit --server")
"""An empty config is a sound one, and runs."""


@pytest.fixture(autouse=True)
def _signals_as_before() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    monkeypatch.setattr(sys, "argv", ["rlhf-fair", *arguments])
    with pytest.raises(SystemExit) as stop:
        main()
    return int(stop.value.code or 0), capsys.readouterr().err


T, S = catalogue_tables, catalogue_settings
FEEDBACK = {"feedback.jsonl": T.as_file(T.JUDGED, ".jsonl")}
PANEL = {"panel.csv": T.as_file(T.PEOPLE, ".csv")}
ITEMS = {"items.csv": T.as_file(T.PAIRS, ".csv")}
SLOTS = {"assignments.csv": T.as_file(T.SLOTS, ".csv")}
PLAN = dict(S._folder(S.AUDITS / "hiring/plan.toml").items())
SFT = {"config.toml": (S.AUDITS / "train-ppo/sft.toml").read_bytes()}
PPO = {"config.toml": (S.AUDITS / "train-ppo/fair.toml").read_bytes()}
REWARD = {"config.toml": (S.AUDITS / "reward-identity/train-harmlessness.toml").read_bytes()}

COMMANDS: dict[str, tuple[dict[str, bytes], str, str]] = {
    "audit PLAN": (PLAN, "plan.toml", "audit in --predictions none.jsonl --out out"),
    "audit's prompts": (PLAN, "prompts.csv", "audit in --predictions none.jsonl --out out"),
    "audit --predictions": (
        {"p.jsonl": b'{"prompt_id": "a", "text": "x"}\n'},
        "p.jsonl",
        "audit hiring --predictions in/p.jsonl --out out",
    ),
    "audit --data-dir": (
        upstream_files.crows_pairs(),
        "crows_pairs_anonymized.csv",
        "audit crows-pairs --data-dir in --predictions in/crows_pairs_anonymized.csv --out out",
    ),
    "audit --feedback": (FEEDBACK, "feedback.jsonl", "audit panel-feedback --feedback in/feedback.jsonl --out out"),
    "audit ll144": (
        {"people.csv": (S.AUDITS / "ll144/example.csv").read_bytes()},
        "people.csv",
        "audit ll144 --predictions in/people.csv --out out",
    ),
    "audit --server": (
        {"server.toml": S.SERVER},
        "server.toml",
        "audit hiring --endpoint http://127.0.0.1:9/v1 --endpoint-model m --server in/server.toml --out out",
    ),
    "train sft": (SFT, "config.toml", "train sft in/config.toml --data-dir in --out out"),
    "train reward": (REWARD, "config.toml", "train reward in/config.toml --data-dir in --out out"),
    "train ppo": (PPO, "config.toml", "train ppo in/config.toml --data-dir in --out out"),
    "pipeline": ({"config.toml": S.ROUNDS}, "config.toml", "pipeline in/config.toml --out out"),
    "mitigations": ({"config.toml": S.MITIGATIONS}, "config.toml", "mitigations in/config.toml --out out"),
    "feedback validate": (FEEDBACK, "feedback.jsonl", "feedback validate in/feedback.jsonl"),
    "feedback import": (
        {"e.json": b"[{}]"},
        "e.json",
        "feedback import in/e.json --format label-studio --out out.jsonl",
    ),
    "feedback aggregate": (FEEDBACK, "feedback.jsonl", "feedback aggregate in/feedback.jsonl --out out.csv"),
    "feedback quality": (FEEDBACK, "feedback.jsonl", "feedback quality in/feedback.jsonl --out out"),
    "panel plan": (
        {**PANEL, "population.toml": S.POPULATION},
        "population.toml",
        "panel plan --pool in/panel.csv --population in/population.toml --size 3 --out out",
    ),
    "panel plan's pool": (
        {**PANEL, "population.toml": S.POPULATION},
        "panel.csv",
        "panel plan --pool in/panel.csv --population in/population.toml --size 3 --out out",
    ),
    "panel assign": (
        {**PANEL, **ITEMS},
        "items.csv",
        "panel assign --panel in/panel.csv --items in/items.csv --out out.csv",
    ),
    "panel check": (
        {**PANEL, **ITEMS, **SLOTS},
        "assignments.csv",
        "panel check --assignments in/assignments.csv --panel in/panel.csv --items in/items.csv",
    ),
    "panel agree": ({**FEEDBACK, **PANEL}, "feedback.jsonl", "panel agree --feedback in/feedback.jsonl --out out"),
    "report": ({"results.json": b"{}"}, "results.json", "report in"),
    "export": ({"results.json": b"{}"}, "results.json", "export in --out out"),
    "verify": ({"manifest.json": b'{"files": {}}'}, "manifest.json", "verify in"),
    "monitor --dates": ({"d.csv": b"folder,date\na,2026-11-21\n"}, "d.csv", "monitor in --dates in/d.csv"),
    "monitor --store": (dict(catalogue_saved._store()), "store.parquet", "monitor --store in/store.parquet"),
    "verify --public-key": (
        dict(catalogue_saved._keys()),
        "signing-key.pub.pem",
        "verify in --public-key in/signing-key.pub.pem",
    ),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_says_in_one_sentence_what_is_wrong(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    files, damaged, line = COMMANDS[command]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for what, content in BROKEN.items():
        if what in ("empty", "half") and command in ALL_HAVE_DEFAULTS:
            continue
        broken = files[damaged][: len(files[damaged]) // 2] if content is None else content
        put(tmp_path / "in", {**files, damaged: broken})
        code, said = run(monkeypatch, capsys, *line.split())
        if what == "half" and code in (0, 1, 3):
            continue  # half a file may be a whole one
        assert code in (2, 4), (what, code, said)
        assert "Usage:" not in said, (what, said)
        assert "Traceback" not in said
        assert len(said.splitlines()) <= 9, (what, said)
        assert Path(damaged).name in said or code == 4 or what == "half", (what, said)
