"""Benchmark audits run in tests: tiny models on disk, the run itself, and what must hold of every run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from tiny import byte_pair_tokenizer, tiny_gpt2, tiny_masked_language_model
from tokenizers import processors
from upstream import DATA

from rlhf_fair.artifacts import read_results
from rlhf_fair.audit.benchmark import RECORDS_NAME, Answered, build_results, measure
from rlhf_fair.audit.benchmark_plan import BenchmarkPlan, load_benchmark_plan
from rlhf_fair.audit.plan import find_plan
from rlhf_fair.audit.run import run_audit
from rlhf_fair.audit.target import Access, Target
from rlhf_fair.models.causal_lm import CausalLM
from rlhf_fair.models.masked_lm import MaskedLM
from rlhf_fair.probes.likelihoods import Request
from rlhf_fair.records import Finding, Results
from rlhf_fair.tables import REJECT_COLUMNS, Quarantined

WIDE = {"initializer_range": 0.5}
"""Weights so wide that a random model has opinions."""


def save_causal(folder: Path) -> Path:
    """A random causal model that reads any text, byte by byte if it must."""
    tokenizer = byte_pair_tokenizer()
    tiny_gpt2(tokenizer, n_positions=1024, **WIDE).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def save_masked(folder: Path) -> Path:
    """A random masked model that reads any text."""
    tokenizer = byte_pair_tokenizer()
    names = ["[CLS]", "[SEP]", "[MASK]"]
    tokenizer.add_special_tokens(dict(zip(("cls_token", "sep_token", "mask_token"), names, strict=True)))
    frame = [(name, tokenizer.convert_tokens_to_ids(name)) for name in names[:2]]
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]", special_tokens=frame
    )
    tiny_masked_language_model(tokenizer, max_position_embeddings=512, **WIDE).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def run(
    plan: str | Path,
    out: Path,
    *,
    model: Path | None = None,
    endpoint: str | None = None,
    predictions: Path | None = None,
    data: Path = DATA,
) -> Results:
    """One audit as the command line runs it; what was written is what is returned."""
    name = "" if endpoint is None else "served"
    target = Target(
        model=None if model is None else str(model), endpoint=endpoint, endpoint_model=name, predictions=predictions
    )
    run_audit(find_plan(plan), target, data_dir=data, out=out, access=Access(cache=None))
    return read_results(out)


def records_of(out: Path) -> pd.DataFrame:
    return pd.read_parquet(out / RECORDS_NAME)


def check_run(plan: str | Path, out: Path) -> None:
    """The records alone give the findings and the table once more; every input row is accounted for."""
    results, records = read_results(out), records_of(out)
    again = rebuilt(load_benchmark_plan(plan), records)
    assert as_text(again.findings) == as_text(results.findings)
    assert again.audit["tables"].get("also measured") == results.audit["tables"].get("also measured")
    counts = results.audit["counts"]
    assert counts["input"] == counts["reported"] + counts["excluded"] + counts["unknown"]
    assert counts["excluded"] == sum(row["n"] for row in results.audit["exclusions"])


def rebuilt(plan: BenchmarkPlan, records: pd.DataFrame) -> Results:
    """Results from records alone."""
    nothing = Quarantined(pd.DataFrame(), pd.DataFrame(columns=list(REJECT_COLUMNS), dtype="str"))
    return build_results(plan, nothing, Answered(records, "records", {}, Counter()))


def check_no_answers(plan: str | Path, silent: pd.DataFrame) -> None:
    """Records without any answer, and no records at all, end in claims that were not measured, with a reason."""
    loaded = load_benchmark_plan(plan)
    for records in (silent, silent.iloc[:0]):
        claims = [finding for finding in rebuilt(loaded, records).findings if finding.role == "claim"]
        assert claims
        assert all(finding.verdict == "not_measured" and finding.reason for finding in claims)
    assert all(m.estimate.reason for m in measure(loaded, silent))


def write_likelihoods(path: Path, model: Path, requests: Sequence[Request]) -> pd.DataFrame:
    """A prediction file with the model's answers to ``requests``."""
    masked = (model / "config.json").read_text().find("ForMaskedLM") >= 0
    asked: Any = list(requests)
    if masked:
        answers = MaskedLM.load(model).pseudo_log_likelihoods(asked)
    else:
        answers = CausalLM.load(model).log_likelihoods(asked)
    rows = [(r.id, a.total, a.n_tokens) for r, a in zip(requests, answers, strict=True) if a is not None]
    table = pd.DataFrame(rows, columns=["id", "total", "n_tokens"])
    table.to_parquet(path)
    return table


def table_rows(results: Results, name: str) -> list[dict[str, Any]]:
    """A table of a report: rows with their columns' names, whichever way it is kept."""
    table = results.audit["tables"].get(name, [])
    if isinstance(table, list):
        return table
    return [dict(zip(table["columns"], row, strict=True)) for row in table["rows"]]


def as_text(findings: Sequence[Finding]) -> list[str]:
    """NaN is not equal to itself, its JSON is."""
    return [finding.model_dump_json() for finding in findings]


def numbers(results: Results, *names: str) -> dict[tuple[str, ...], tuple[float, float, float, int]]:
    """Estimate, limits and n of every finding, by the fields ``names``."""
    return {
        tuple(str(getattr(f, name)) for name in names): (f.estimate, f.ci_low, f.ci_high, f.n) for f in results.findings
    }


def exclusions(results: Results) -> dict[str, int]:
    return {row["reason"]: row["n"] for row in results.audit["exclusions"]}
