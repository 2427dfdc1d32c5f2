"""SARIF 2.1.0 (OASIS), which code scanning shows beside the plan: a rule for each metric, a result for each finding.

==================  ====================  ========  =========
verdict             role                  kind      level
==================  ====================  ========  =========
exceeds_threshold   claim                 fail      error
exceeds_threshold   control               fail      warning
exceeds_threshold   exploratory           fail      note
within_threshold    any                   pass      none
inconclusive        any                   open      none
not_measured        any                   open      none
==================  ====================  ========  =========

A level other than none is not allowed beside another kind than fail (section 3.27.10). ``open`` is the standard's word
for "not enough information to decide", which holds for a claim that was not measured too; ``notApplicable`` would say
that nobody needed to ask. The verdict itself stands in ``properties``, with estimate, interval, threshold and sample.

GitHub code scanning ignores ``kind`` and opens an alert for every result, passed ones too. `to_sarif` with
``problems_only`` leaves out what passed, and what is open in a role that decides nothing; how many is told in the
run's properties. GitHub also needs a location in a file of the repository: the plan (`PlanFile`), at the line that
names the metric where the plan's text is given. It tells results apart by ``primaryLocationLineHash``, which is made
of the finding's id here, since many findings share a line.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from urllib.parse import quote

from rlhf_fair.artifacts import sha256_bytes
from rlhf_fair.exchange.identity import TOOL, in_file_order, results_sha256, stable_uuid, tool_version
from rlhf_fair.exchange.wording import clean, name_of, one_line, told
from rlhf_fair.records import Finding, Results, Verdict, exit_code
from rlhf_fair.report import wording as say
from rlhf_fair.report.context import definitions
from rlhf_fair.report.markdown import escape
from rlhf_fair.report.reading import Terms, terms_of

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
MOST_RESULTS = 25_000
"""GitHub refuses a run with more results than that."""

NUMBERS = ("estimate", "ci_low", "ci_high", "p_value", "p_adjusted", "threshold", "margin", "mde", "n", "n_clusters")
WORDS = ("role", "unit", "better", "verdict", "variant", "reason", "note")
HELP = (
    "A result fails where the whole interval lies beyond the threshold that the plan fixed before the run, after "
    "correction for the number of claims. It is open where the interval lies on neither side, or nothing was measured."
)
FAIL_LEVELS = {"claim": "error", "control": "warning", "exploratory": "note"}

Json = dict[str, Any]


@dataclass(frozen=True)
class PlanFile:
    """The file that results are shown beside: ``uri`` relative to the repository's root, and its text if at hand."""

    uri: str = "plan.toml"
    text: str = ""

    @cached_property
    def lines(self) -> tuple[str, ...]:
        """The lines of the text."""
        return tuple(self.text.splitlines())

    def line_of(self, metric: str) -> int:
        """The first line that names the metric, from 1; 1 where none does."""
        named = re.compile(rf"(?<!\w){re.escape(metric)}(?!\w)")
        return next((number for number, line in enumerate(self.lines, 1) if named.search(line)), 1)


def to_sarif(results: Results, plan: PlanFile | None = None, *, problems_only: bool = False, digest: str = "") -> bytes:
    """The results as one SARIF log with one run, UTF-8 JSON. ``digest``: SHA-256 of the results' file, if any."""
    results = in_file_order(results)
    plan, terms, digest = plan or PlanFile(), terms_of(results), digest or results_sha256(results)
    shown = _shown(results.findings, problems_only=problems_only)
    metrics = list(dict.fromkeys(finding.metric for finding in results.findings))
    lines = {metric: plan.line_of(metric) for metric in metrics}
    title = one_line(results.audit.get("title") or "Bias audit")
    run = {
        "tool": {"driver": _driver(metrics, definitions(results.audit))},
        "automationDetails": {"id": _run_id(title), "guid": str(stable_uuid(digest, "sarif"))},
        "invocations": [{"executionSuccessful": True, "exitCode": exit_code(results.findings)}],
        "columnKind": "unicodeCodePoints",
        "results": [_result(f, metrics.index(f.metric), _place(f, plan, lines), terms) for f in shown],
        "properties": {
            "audit": title,
            "alpha": terms.alpha,
            "resultsSha256": digest,
            "findings": len(results.findings),
            "leftOut": len(results.findings) - len(shown),
        },
    }
    log = {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}
    return json.dumps(log, ensure_ascii=False, indent=1, allow_nan=False).encode() + b"\n"


def kind_and_level(finding: Finding) -> tuple[str, str]:
    """See the table above."""
    if finding.verdict == Verdict.EXCEEDS:
        return "fail", FAIL_LEVELS[finding.role]
    return ("pass" if finding.verdict == Verdict.WITHIN else "open"), "none"


def _shown(findings: Iterable[Finding], *, problems_only: bool) -> list[Finding]:
    """Those that fail first, then open claims, then the rest, each in the order of the results; at most so many."""

    def place(finding: Finding) -> int:
        kind, level = kind_and_level(finding)
        if kind == "fail":
            return ("error", "warning", "note").index(level)
        return 3 if kind == "open" and finding.role == "claim" else 4

    order = sorted(findings, key=place)
    return [finding for finding in order if not problems_only or place(finding) < 4][:MOST_RESULTS]


def _driver(metrics: Iterable[str], said: dict[str, str]) -> Json:
    return {
        "name": TOOL,
        "version": tool_version(),
        "rules": [_rule(metric, said.get(metric, "")) for metric in metrics],
    }


def _rule(metric: str, definition: str) -> Json:
    name = one_line(say.sentence_case(say.words(metric)))
    meaning = one_line(definition) or f"{name}, measured by group and held against the plan's threshold."
    return {
        "id": clean(metric),
        "name": name,
        "shortDescription": {"text": _plain(name)},
        "fullDescription": {"text": _plain(meaning)},
        "help": {"text": _plain(f"{meaning} {HELP}"), "markdown": _plain(f"{escape(meaning)}\n\n{HELP}")},
        "defaultConfiguration": {"level": "error"},
        "properties": {"tags": ["bias", "group-disparity"]},
    }


def _result(finding: Finding, rule: int, place: Json, terms: Terms) -> Json:
    kind, level = kind_and_level(finding)
    known = finding.model_dump(mode="json")
    identity = sha256_bytes(json.dumps([finding.id, name_of(finding)]).encode())
    return {
        "ruleId": clean(finding.metric),
        "ruleIndex": rule,
        "kind": kind,
        "level": level,
        "message": {"text": _plain(told(finding, terms))},
        "locations": [place],
        "partialFingerprints": {"findingId/v1": identity, "primaryLocationLineHash": f"{identity[:16]}:1"},
        "properties": {
            **{name: known[name] for name in NUMBERS},
            **{name: clean(known[name]) for name in WORDS if known[name]},
        },
    }


def _place(finding: Finding, plan: PlanFile, lines: dict[str, int]) -> Json:
    parts = (finding.stage, finding.probe, finding.attribute, finding.group)
    line = lines[finding.metric]
    return {
        "physicalLocation": {"artifactLocation": {"uri": _uri(plan.uri)}, "region": {"startLine": line}},
        "logicalLocations": [
            {
                "name": one_line(say.subject(finding)),
                "fullyQualifiedName": "/".join(quote(one_line(part), safe=" ") for part in parts if part),
                "decoratedName": one_line(finding.id),
            }
        ],
    }


def _uri(path: str) -> str:
    """A relative reference (RFC 3986): a colon before the first slash would read as a scheme."""
    return quote(clean(path).replace("\\", "/"), safe="/@~")


def _run_id(title: str) -> str:
    """GitHub takes all before the last slash as the category, which tells the audits of a repository apart."""
    slug = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")
    return f"{TOOL}/{slug or 'audit'}/"


def _plain(text: str) -> str:
    """A message in which nothing reads as an embedded link (section 3.11.6) or a placeholder (3.11.5).

    >>> _plain("[here](https://example.org) {0}")
    '[here] (https://example.org) {{0}}'
    """
    return text.replace("{", "{{").replace("}", "}}").replace("](", "] (")
