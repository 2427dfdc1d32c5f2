"""Readers of what earlier runs left: audits, seals, keys, journals, ledgers."""

from __future__ import annotations

import json
import tempfile
from functools import cache, partial
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from saved_audits import crows_plan, pairs

from fuzz.reader import Files, Reader
from rlhf_fair.annotators.privacy_budget import open_ledger, spend
from rlhf_fair.annotators.privacy_history import earlier_columns
from rlhf_fair.annotators.privacy_pseudonyms import read_key
from rlhf_fair.artifacts import read_results, verify_manifest, write_results
from rlhf_fair.attestation.envelope import read_envelope
from rlhf_fair.attestation.keys import load_private, load_public, new_keys
from rlhf_fair.attestation.log import read_log
from rlhf_fair.attestation.sealing import begun, seal, sign
from rlhf_fair.audit.benchmark import findings_of, measure
from rlhf_fair.audit.compare_folder import read_audit
from rlhf_fair.audit.fixed_policy import read_begun
from rlhf_fair.exchange.folder import FILES as EXPORTS
from rlhf_fair.exchange.folder import export_folder
from rlhf_fair.integrity.verify import verify_folder
from rlhf_fair.models.endpoint_journal import HEADER, Journal
from rlhf_fair.monitoring.history import read_dated, read_store, write_store
from rlhf_fair.records import Results
from rlhf_fair.report import write_report
from rlhf_fair.report.bundle import read_bundle
from rlhf_fair.report.folder import render_again
from rlhf_fair.report.rendering import Rendering, read_rendering
from rlhf_fair.tables import write_table

PLAN = "ab" * 32
DATED = "2026-11-21-audit"


def _finished(folder: Path) -> None:
    """An audit of 24 pairs with its page, sealed and signed."""
    plan, records = crows_plan(), pairs(24, leaning=0.6)
    audit = {"title": plan.title, "question": plan.question, "plan": plan.model_dump(mode="json"), "seed": 0}
    results = Results(
        audit=audit, findings=findings_of(plan, measure(plan, records), []), manifest={"inputs": {"plan": PLAN}}
    )
    folder.mkdir(parents=True)
    write_table(folder / "records.parquet", records)
    write_results(folder, results)
    write_report(folder, results)
    seal(folder, inputs={"plan": PLAN}, seeds={"seed": 0}, start=begun(plan=PLAN))
    sign(folder, Ed25519PrivateKey.from_private_bytes(bytes(range(32))))


@cache
def _audit() -> Files:
    with tempfile.TemporaryDirectory() as place:
        _finished(Path(place) / "audit")
        return {path.name: path.read_bytes() for path in (Path(place) / "audit").iterdir()}


def _only(*names: str) -> Files:
    return {name: _audit()[name] for name in names}


def _dated(name: str) -> Files:
    return {f"{DATED}/{file}": data for file, data in _only(name, "results.json").items()}


@cache
def _store() -> Files:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / DATED
        _finished(folder)
        write_store(Path(place) / "store.parquet", [read_dated(folder)])
        return {"store.parquet": (Path(place) / "store.parquet").read_bytes()}


@cache
def _keys() -> Files:
    with tempfile.TemporaryDirectory() as place:
        return {path.name: path.read_bytes() for path in new_keys(Path(place))}


@cache
def _budget() -> Files:
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "budget.jsonl"
        open_ledger(path, "2")
        spend(path, "0.5", "first")
        return {"budget.jsonl": path.read_bytes()}


def _export(folder: Path) -> object:
    return export_folder(folder, folder.parent / "exported", list(EXPORTS))


def _render(folder: Path) -> object:
    return render_again(folder, Rendering())


def _journal(folder: Path) -> object:
    return len(Journal(folder / "answers.jsonl"))


JOURNAL = "".join(
    json.dumps(line) + "\n"
    for line in (HEADER, {"key": "k", "id": "a", "answer": "Yes."}, {"key": "l", "id": "b", "answer": [-3.5, 2]})
).encode()
BEGUN = json.dumps({"plan_sha256": PLAN, "content_sha256": PLAN, "policy_sha256": PLAN}).encode()
RELEASED = b'{"columns":["gender"],"purpose":"p"}\n{"columns":["age"],"purpose":"q"}\n'
RENDERING = b'{"frameworks": ["eu-ai-act"], "as_of": "2026-07-05"}'
BUNDLE = b'/* plotly.js v3 */ var t = {moduleType:"trace",name:"scatter"};'

READERS = (
    Reader("results", partial(_only, "results.json"), read_results),
    Reader("results, exported", partial(_only, "results.json"), _export, slow=True),
    Reader("results, rendered", partial(_only, "results.json"), _render, slow=True),
    Reader("manifest", _audit, verify_manifest, ("manifest.json", "results.json")),
    Reader("log", partial(_only, "audit-log.jsonl"), read_log),
    Reader(
        "envelope",
        partial(_only, "attestation.dsse.json"),
        lambda f: read_envelope((f / "attestation.dsse.json").read_bytes()),
    ),
    Reader("verified folder", _audit, lambda folder: verify_folder(folder, recompute=False)),
    Reader("audit to compare", _audit, read_audit, ("manifest.json", "records.parquet", "results.json")),
    Reader("dated audit", partial(_dated, "audit-log.jsonl"), lambda folder: read_dated(folder / DATED)),
    Reader("store of a history", _store, lambda folder: read_store(folder / "store.parquet")),
    Reader("private key", _keys, lambda folder: load_private(folder / "signing-key.pem"), ("signing-key.pem",)),
    Reader("public key", _keys, lambda folder: load_public(folder / "signing-key.pub.pem"), ("signing-key.pub.pem",)),
    Reader("endpoint journal", lambda: {"answers.jsonl": JOURNAL}, _journal),
    Reader("record of a run", lambda: {"begun.json": BEGUN}, lambda folder: read_begun(folder / "begun.json")),
    Reader(
        "history of releases",
        lambda: {"released.jsonl": RELEASED},
        lambda folder: earlier_columns(folder / "released.jsonl"),
    ),
    Reader("privacy budget", _budget, lambda folder: spend(folder / "budget.jsonl", "0.1", "next")),
    Reader(
        "pseudonym key",
        lambda: {"key": b"0123456789abcdef" * 4},
        lambda folder: read_key(key_file=folder / "key"),
        mode=0o600,
    ),
    Reader("rendering record", lambda: {"rendering.json": RENDERING}, read_rendering),
    Reader("plotly bundle", lambda: {"plotly.js": BUNDLE}, lambda folder: read_bundle(folder / "plotly.js")),
)
