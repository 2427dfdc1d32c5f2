"""Every finding measured again from ``records.parquet``, by the code that measured it first."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rlhf_fair.artifacts import RESULTS_NAME, environment, read_results
from rlhf_fair.disclosure.results import protected
from rlhf_fair.errors import IntegrityError
from rlhf_fair.integrity.checks import Check
from rlhf_fair.integrity.measuring import NotRecomputed, measured_again
from rlhf_fair.records import Finding

FINDINGS = "findings, measured again"
RECORDS_NAME = "records.parquet"
RELATIVE, ABSOLUTE = 1e-9, 1e-12
"""Sums may be taken in another order; ``ABSOLUTE`` is for numbers that are 0 but for rounding."""
NUMBERS = (
    *("estimate", "ci_low", "ci_high", "p_value", "p_adjusted", "threshold", "margin", "mde", "n", "n_clusters"),
    *("parse_rate", "refusal_rate", "measured_rate"),
)
WORDS = ("stage", "probe", "metric", "variant", "attribute", "group", "reference", "role", "better", "verdict")
MOST_CELLS, MOST_BYTES = 10**8, 2**32
SHOWN = 3


def check_findings(folder: Path, manifest: Mapping[str, Any]) -> tuple[Check, ...]:
    """Recorded findings against those that the records give; says which kinds of audits it cannot do, and why."""
    if not (folder / RESULTS_NAME).is_file():
        return (Check(FINDINGS, "not done", f"not recomputed: the folder has no {RESULTS_NAME}"),)
    results = read_results(folder)
    if not results.findings:
        return (Check(FINDINGS, "not done", "not recomputed: there are no findings"),)
    if not (folder / RECORDS_NAME).is_file():
        return (Check(FINDINGS, "not done", f"not recomputed: the audit kept no {RECORDS_NAME}"),)
    check_size(folder / RECORDS_NAME)
    try:
        again = measured_again(folder, results)
    except NotRecomputed as reason:
        return (Check(FINDINGS, "not done", f"not recomputed: {reason}"),)
    shown = protected(results.model_copy(update={"findings": tuple(again.findings)})).findings
    problems = differences(results.findings, shown, again.left_out)
    if problems:
        more = f"; and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
        return (Check(FINDINGS, "disagrees", "; ".join(problems[:SHOWN]) + more + _versions(manifest)),)
    n = len(results.findings) - len(again.left_out)
    checks = [Check(FINDINGS, "agrees", f"{n} of {len(results.findings)} findings follow from {RECORDS_NAME}")]
    if again.left_out:
        checks.append(Check(FINDINGS, "not done", f"not recomputed: {len(again.left_out)} findings, {again.why}"))
    if results.ledger or results.training.runs or results.training.comparisons:
        checks.append(Check("ledger and training", "not done", "not recomputed: only findings are"))
    return tuple(checks)


def differences(recorded: Sequence[Finding], again: Sequence[Finding], left_out: frozenset[str]) -> list[str]:
    """What differs, one sentence per finding; ``left_out``: ids of those that were not measured again."""
    by_id = {finding.id: finding for finding in again}
    told = []
    for finding in recorded:
        if finding.id in left_out:
            continue
        if finding.id not in by_id:
            told.append(f"{finding.id} does not follow from the records")
            continue
        told += _difference(finding, by_id.pop(finding.id))
    return told + [f"{id} follows from the records and is not among the findings" for id in by_id]


def check_size(path: Path) -> None:
    """Refuse a table that unpacks to more than a verifier should hold; a small file can claim billions of rows."""
    import pyarrow as pa
    from pyarrow.parquet import ParquetFile

    try:
        with ParquetFile(path) as file:
            found = file.metadata
            cells = found.num_rows * found.num_columns
            unpacked = sum(found.row_group(k).total_byte_size for k in range(found.num_row_groups))
    except (pa.ArrowException, OSError, ValueError) as error:
        raise IntegrityError(f"{path.name} is not a Parquet file") from error
    if cells > MOST_CELLS or unpacked > MOST_BYTES:
        raise IntegrityError(f"{path.name} unpacks to {cells:,} cells, {unpacked:,} bytes: too large to be measured")


def _difference(one: Finding, other: Finding) -> list[str]:
    for name in WORDS:
        if getattr(one, name) != getattr(other, name):
            return [f"{one.id}: {name} is {getattr(one, name)!r}, the records give {getattr(other, name)!r}"]
    for name in NUMBERS:
        recorded, again = float(getattr(one, name)), float(getattr(other, name))
        if not _same(recorded, again):
            return [f"{one.id}: {name} is {recorded:.12g}, the records give {again:.12g}"]
    return []


def _same(a: float, b: float) -> bool:
    if not (math.isfinite(a) and math.isfinite(b)):
        return not math.isfinite(a) and not math.isfinite(b)  # JSON knows one word for NaN and for infinity
    return math.isclose(a, b, rel_tol=RELATIVE, abs_tol=ABSOLUTE)


def _versions(manifest: Mapping[str, Any]) -> str:
    """That other versions measured, where they did: a method may have changed since."""
    made, here = manifest.get("environment"), environment()
    names = [name for name in ("rlhf-fair", "numpy", "scipy", "pandas") if dict(made or {}).get(name) != here.get(name)]
    told = ", ".join(f"{name} {dict(made or {}).get(name)} there, {here.get(name)} here" for name in names)
    return f" (measured with other versions: {told})" if names else ""
