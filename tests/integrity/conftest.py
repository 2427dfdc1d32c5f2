"""A finished audit folder, made once and copied for every test that spoils it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from saved_audits import crows_plan, pairs

from rlhf_fair.artifacts import write_results
from rlhf_fair.attestation.sealing import begun, seal, sign
from rlhf_fair.audit.benchmark import findings_of, measure
from rlhf_fair.records import Results
from rlhf_fair.report import write_report
from rlhf_fair.tables import write_table

PLAN = "ab" * 32


def finished(folder: Path, *, leaning: float = 0.6) -> Path:
    """An audit of 60 pairs, with its page, sealed."""
    plan, records = crows_plan(), pairs(60, leaning=leaning)
    findings = findings_of(plan, measure(plan, records), [])
    audit = {"title": plan.title, "question": plan.question, "plan": plan.model_dump(mode="json"), "seed": 0}
    results = Results(audit=audit, findings=findings, manifest={"inputs": {"plan": PLAN}})
    folder.mkdir(parents=True)
    write_table(folder / "records.parquet", records)
    write_results(folder, results)
    write_report(folder, results)
    seal(folder, inputs={"plan": PLAN}, seeds={"seed": 0}, start=begun(plan=PLAN))
    return folder


@pytest.fixture(scope="session")
def key() -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(bytes(range(32)))


@pytest.fixture(scope="session")
def _finished(tmp_path_factory: pytest.TempPathFactory, key: Ed25519PrivateKey) -> Path:
    root = tmp_path_factory.mktemp("finished")
    finished(root / "unsigned")
    shutil.copytree(root / "unsigned", root / "signed")
    sign(root / "signed", key)
    return root


@pytest.fixture
def unsigned(_finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(_finished / "unsigned", tmp_path / "audit"))


@pytest.fixture
def audit(_finished: Path, tmp_path: Path) -> Path:
    """Signed by ``key``."""
    return Path(shutil.copytree(_finished / "signed", tmp_path / "audit"))
