"""Histories on disk: dates, what is refused, the store, paired changes, and the command."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pytest
from saved_audits import crows_plan, pairs, save
from typer.testing import CliRunner

from rlhf_fair.artifacts import read_results, write_manifest, write_results
from rlhf_fair.attestation.sealing import seal
from rlhf_fair.audit.compare import compare_audits
from rlhf_fair.changes import AuditDiff
from rlhf_fair.cli.app import app
from rlhf_fair.errors import IntegrityError, SettingsError
from rlhf_fair.monitoring.dates import date_of, read_dates
from rlhf_fair.monitoring.drift import State, Watch, drift_of
from rlhf_fair.monitoring.history import in_order, read_dated, read_store, write_store
from rlhf_fair.records import Finding, Results, Verdict

from .histories import audit, claim


def saved(folder: Path, *findings: Finding, **changes: object) -> Path:
    folder.mkdir(parents=True)
    content = {"title": "Names", "alpha": 0.05, "plan": {"probe": "names", "policy": {"owner": folder.name}}}
    write_results(folder, Results(audit=content | changes, findings=findings))
    write_manifest(folder, inputs={}, seeds={})
    return folder


def run(*args: object) -> object:
    return CliRunner().invoke(app, ["monitor", *map(str, args)])


def test_where_a_date_comes_from(tmp_path, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1767225600")  # 2026-01-01 UTC
    named, logged = saved(tmp_path / "2026-11-21T0930-weekly"), saved(tmp_path / "weekly")
    assert date_of(named).moment == datetime(2026, 11, 21, 9, 30, tzinfo=UTC)
    with pytest.raises(SettingsError, match="nothing says when"):
        date_of(logged)
    seal(logged, inputs={}, seeds={})
    assert (date_of(logged).moment, date_of(logged).source) == (datetime(2026, 1, 1, tzinfo=UTC), "audit log")
    table = tmp_path / "dates.csv"
    table.write_text("folder,date\nweekly,2026-02-03\n")
    assert date_of(logged, read_dates(table)).moment == datetime(2026, 2, 3, tzinfo=UTC)
    table.write_text("folder,date\nweekly,soon\n")
    with pytest.raises(SettingsError, match=r"row 1: date = 'soon'; allowed: as 2026-11-21"):
        read_dates(table)
    assert date_of(saved(tmp_path / "20260203_weekly")).moment == datetime(2026, 2, 3, tzinfo=UTC)
    with pytest.raises(SettingsError, match="nothing says when"):
        date_of(saved(tmp_path / "2026-13-40"))


def test_other_plans_claims_and_one_date_twice_are_refused():
    first = audit(0, [claim("a", 0.1)])
    with pytest.raises(SettingsError, match=r"their plans differ: n: 5 there, 6 here"):
        in_order([audit(0, [claim("a", 0.1)], plan='{"n":5}'), audit(1, [claim("a", 0.1)], plan='{"n":6}')])
    with pytest.raises(SettingsError, match=r"their claims differ: base/names/gap/a"):
        in_order([first, audit(1, [claim("a", 0.1, margin=0.2)])])
    with pytest.raises(SettingsError, match="which came first is not known"):
        in_order([first, audit(0, [claim("a", 0.1)], results_sha256="f" * 64)])
    with pytest.raises(SettingsError, match="at least, there is 1"):
        in_order([first, first])
    with pytest.raises(SettingsError, match="makes no claims"):
        in_order([audit(0, []), audit(1, [])])


def test_who_answers_for_a_policy_and_order_of_folders_play_no_part(tmp_path):
    folders = [saved(tmp_path / f"2026-0{month}-01", claim("a", 0.1)) for month in (3, 1, 2)]
    assert [one.date.month for one in in_order(map(read_dated, folders))] == [1, 2, 3]


def test_a_store_is_the_history_it_was_written_from(tmp_path):
    path = tmp_path / "history.parquet"
    missing = claim("b", float("nan"), verdict=Verdict.NOT_MEASURED, reason="no answers")
    audits = in_order([audit(at, [claim("a", 0.1 * at), missing]) for at in range(3)])
    write_store(path, audits)
    again = in_order(read_store(path))
    assert [one.key for one in again] == [one.key for one in audits]
    assert repr(again) == repr(audits)  # NaN is not equal to itself
    write_store(path, in_order([*read_store(path), *audits]))
    assert len(pd.read_parquet(path)) == 6
    pd.DataFrame({"date": ["2026"]}).to_parquet(path)
    with pytest.raises(Exception, match="lacks column"):
        read_store(path)


def test_a_changed_folder_is_an_integrity_failure(tmp_path):
    folder = saved(tmp_path / "2026-01-01", claim("a", 0.1))
    (folder / "results.json").write_text((folder / "results.json").read_text().replace("Names", "Names "))
    with pytest.raises(IntegrityError):
        read_dated(folder)


def judged_pair(tmp_path: Path, leaning: float) -> tuple[list[Path], AuditDiff]:
    """Two audits of the same pairs with the findings that their records give, and their difference."""
    plan = crows_plan()
    folders = [
        save(tmp_path / name, plan, pairs(90, leaning=lean, seed=seed, own=0.1), alpha=0.05)
        for seed, (name, lean) in enumerate([("2026-01-01", 0.0), ("2026-02-01", leaning)])
    ]
    diff = compare_audits(*folders)
    for side, folder in zip(("a", "b"), folders, strict=True):
        results = read_results(folder)
        findings = []
        for change in diff.changes:
            if change.role == "claim":
                own = getattr(change, side)
                shared = change.model_dump(
                    include={"id", "metric", "attribute", "group", "reference", "unit", "better"}
                )
                numbers = {"estimate": own.estimate, "ci_low": own.ci_low, "ci_high": own.ci_high, "n": change.n}
                limits = {"threshold": change.threshold, "margin": change.margin, "verdict": own.verdict}
                findings.append(claim("x", 0.0).model_copy(update=shared | numbers | limits | {"n_clusters": 90}))
        write_results(folder, results.model_copy(update={"findings": tuple(findings)}))
        write_manifest(folder, inputs=results.manifest["inputs"], seeds={})
    return folders, diff


def test_records_of_the_same_items_give_the_paired_interval_of_diff(tmp_path):
    folders, diff = judged_pair(tmp_path, leaning=0.4)
    audits = in_order(map(read_dated, folders))
    (move,), (alone,) = (drift_of(audits, Watch(pair=pair)).moves for pair in (True, False))
    change = next(change for change in diff.changes if change.id == move.claim.id)
    assert move.moved.paired
    assert not alone.moved.paired
    assert move.moved.worsening.ci_low == change.worsening_low
    assert alone.moved.change.estimate == pytest.approx(move.moved.change.estimate)
    widths = [m.moved.change.ci_high - m.moved.change.ci_low for m in (move, alone)]
    assert widths[0] < widths[1]  # what the items add to both cancels


def test_the_command(tmp_path):
    calm = [saved(tmp_path / f"2026-01-{day:02d}-a", claim("a", 0.1), claim("b", 0.05)) for day in (1, 8, 15)]
    store, out = tmp_path / "history.parquet", tmp_path / "out"
    result = run(*calm, "--store", store, "--out", out, "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["audits"] == 3
    first = {path.name: path.read_bytes() for path in out.iterdir() if path.name != "audit-log.jsonl"}
    assert {"index.html", "monitor.md", "monitor.json", "manifest.json"} <= set(first)
    assert run("--store", store, "--out", out, "-q").exit_code == 0
    again = json.loads((out / "monitor.json").read_text())  # from the store alone
    assert again["audits"] == json.loads(first["monitor.json"])["audits"]

    worse = saved(tmp_path / "2026-01-22-a", claim("a", 0.6, verdict=Verdict.EXCEEDS), claim("b", 0.05))
    result = run(worse, "--store", store, "--out", out)
    assert result.exit_code == 1
    assert "further from better by 0.50" in result.stdout
    content = json.loads((out / "monitor.json").read_text())
    assert [move["state"] for move in content["moves"] if move["at"] == 3].count(State.ALARM.value) == 2
    for wrong, said in (("2026-01-22", "there is 1"), ("soon", "allowed: a date as 2026-11-21")):
        error = run("--store", store, "--baseline", wrong).exception
        assert isinstance(error, SettingsError)
        assert said in str(error)
    assert "audit folder not found" in str(run(worse, tmp_path / "nowhere").exception)


def test_hostile_names_are_text(tmp_path):
    hostile = "<script>alert(1)</script>"
    folders = [saved(tmp_path / f"2026-01-0{d}", claim(hostile, 0.1), title=hostile) for d in (1, 2)]
    assert run(*folders, "--out", tmp_path / "out", "-q").exit_code == 0
    page = (tmp_path / "out" / "index.html").read_text()
    assert hostile not in page
    assert "<script>alert" not in (tmp_path / "out" / "monitor.md").read_text()
