"""Findings measured again: whoever changes a number and makes every hash anew is still found out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from saved_audits import bbq, bbq_plan

from rlhf_fair.artifacts import read_results, write_results
from rlhf_fair.attestation.sealing import seal
from rlhf_fair.audit.benchmark import findings_of, measure
from rlhf_fair.errors import IntegrityError
from rlhf_fair.integrity.recompute import check_size
from rlhf_fair.integrity.verify import examine_folder, verify_folder
from rlhf_fair.records import Finding, Results, Verdict
from rlhf_fair.report import write_report
from rlhf_fair.tables import read_table, write_table


def forged(folder: Path, change: Callable[[tuple[Finding, ...]], tuple[Finding, ...]]) -> Path:
    """The findings changed, and page, manifest, log and statement made to match."""
    results = read_results(folder)
    results = results.model_copy(update={"findings": change(results.findings)})
    write_results(folder, results)
    write_report(folder, results)
    seal(folder, inputs={}, seeds={})
    return folder


def first(**update: Any) -> Callable[[tuple[Finding, ...]], tuple[Finding, ...]]:
    return lambda found: (found[0].model_copy(update=update), *found[1:])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (first(estimate=0.0), "estimate is 0, the records give"),
        (first(ci_high=1.0), "ci_high is 1"),
        (first(verdict=Verdict.WITHIN), "verdict is <Verdict.WITHIN"),
        (first(threshold=1e6), "threshold is 1000000, the records give"),
        (first(n=10**6), "n is 1000000"),
        (first(role="exploratory"), "role is 'exploratory'"),
        (first(p_adjusted=float("nan")), "p_adjusted is nan"),
        (lambda found: found[1:], "follows from the records and is not among the findings"),
        (lambda found: (*found, found[0].model_copy(update={"id": "x"})), "x does not follow from the records"),
    ],
)
def test_a_forged_finding_is_found(unsigned: Path, change: Any, message: str) -> None:
    with pytest.raises(IntegrityError, match=message):
        verify_folder(forged(unsigned, change))
    assert not examine_folder(unsigned, recompute=False).problems  # nothing else could have told


def test_rounding_is_forgiven_and_nothing_more(unsigned: Path) -> None:
    (estimate,) = (f.estimate for f in read_results(unsigned).findings[:1])
    verify_folder(forged(unsigned, first(estimate=estimate * (1 + 1e-13))))
    with pytest.raises(IntegrityError, match="estimate"):
        verify_folder(forged(unsigned, first(estimate=estimate * (1 + 1e-8))))


@pytest.mark.parametrize(
    "change",
    [
        lambda records: records.iloc[:-1],
        lambda records: records.iloc[:0],
        lambda records: records.drop(columns="bias_type"),
        lambda records: records.rename(columns=lambda name: f"{name}?"),
        lambda records: records.assign(**dict.fromkeys(records.columns, "word")),
        lambda records: records.assign(**dict.fromkeys(records.columns, np.inf)),
    ],
)
def test_other_records_are_found_without_a_traceback(unsigned: Path, change: Any) -> None:
    write_table(unsigned / "records.parquet", change(read_table(unsigned / "records.parquet")))
    with pytest.raises(IntegrityError, match="findings, measured again"):
        verify_folder(forged(unsigned, lambda found: found))


def test_records_that_are_no_table_are_found(unsigned: Path) -> None:
    (unsigned / "records.parquet").write_bytes(b"PAR1" + bytes(100) + b"PAR1")
    with pytest.raises(IntegrityError, match="is not a Parquet file"):
        verify_folder(forged(unsigned, lambda found: found))


def test_a_small_file_of_very_many_rows_is_not_unpacked(tmp_path: Path) -> None:
    zeros = pd.DataFrame({"a": np.zeros(10**6, dtype=np.int8)})
    wide = pd.concat([zeros.rename(columns={"a": f"c{k}"}) for k in range(101)], axis=1)
    wide.to_parquet(tmp_path / "records.parquet")
    assert (tmp_path / "records.parquet").stat().st_size < 10**6
    with pytest.raises(IntegrityError, match="too large"):
        check_size(tmp_path / "records.parquet")


def test_what_is_not_measured_again_is_said(unsigned: Path) -> None:
    results = read_results(unsigned)
    plan = {**results.audit["plan"], "probe": "own"}
    write_results(unsigned, results.model_copy(update={"audit": results.audit | {"plan": plan}}))
    write_report(unsigned, read_results(unsigned))
    seal(unsigned, inputs={}, seeds={})
    told = [check for check in verify_folder(unsigned).checks if check.outcome == "not done"]
    assert any(check.detail.startswith("not recomputed: audits with probe = 'own'") for check in told)


def test_bbq_follows_from_its_records(tmp_path: Path) -> None:
    plan, records = bbq_plan(), bbq()
    findings = findings_of(plan, measure(plan, records), [])
    results = Results(audit={"title": plan.title, "plan": plan.model_dump(mode="json")}, findings=findings)
    write_results(tmp_path, results)
    write_table(tmp_path / "records.parquet", records)
    seal(tmp_path, inputs={}, seeds={})
    (check,) = (c for c in verify_folder(tmp_path).checks if c.name == "findings, measured again")
    assert check.detail == f"{len(findings)} of {len(findings)} findings follow from records.parquet"
