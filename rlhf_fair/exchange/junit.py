"""JUnit XML, which every CI system shows: one suite for each stage and probe, one test for each finding.

Only a claim can fail a suite, and only when it exceeds its threshold:

==================  =======================  ==================================================
role                verdict                  test
==================  =======================  ==================================================
claim               within_threshold         passed
claim               exceeds_threshold        ``failure``
claim               inconclusive             ``skipped``: never shown as passed
claim               not_measured             ``skipped``: never shown as passed
exploratory         any but within           ``skipped``: shown, and decides nothing
control             any but within           ``skipped``: shown, and decides nothing
==================  =======================  ==================================================

``error`` is not used: to a CI system it says that the test program broke. A skipped test does not fail a job, so a job
that must fail on an open claim too asks the exit code of ``rlhf-fair audit`` (3), which is also a property of each
suite. There are no times: the results have none of single findings, and the clock is not read.

The dialect is that of Jenkins' xUnit plugin (its ``junit-10.xsd``), which GitLab, GitHub reporters and Azure read as
well. Each ``classname`` is ``stage.probe``, and each ``system-out`` holds the finding's sentence, sample and id.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from xml.etree import ElementTree

from rlhf_fair.exchange.identity import TOOL, in_file_order, results_sha256, tool_version
from rlhf_fair.exchange.wording import basis_of, clean, name_of, one_line, sentence_of, verdict_of
from rlhf_fair.records import Finding, Results, Verdict, exit_code
from rlhf_fair.report.reading import Terms, terms_of

Element = ElementTree.Element
SubElement = ElementTree.SubElement

DECIDES_NOTHING = "{}, which decides nothing: "


def to_junit(results: Results, *, digest: str = "") -> bytes:
    """The results as one ``testsuites`` document, UTF-8. ``digest``: SHA-256 of the results' file, if there is one."""
    results = in_file_order(results)
    terms = terms_of(results)
    title = one_line(results.audit.get("title") or "Bias audit")
    properties = {
        "audit": title,
        "tool": f"{TOOL} {tool_version()}",
        "alpha": f"{terms.alpha:g}",
        "exit code": str(exit_code(results.findings)),
        "results SHA-256": digest or results_sha256(results),
    }
    root = Element("testsuites", {"name": title, **_counts(results.findings)})
    for suite_name, findings in _suites(results.findings).items():
        suite = SubElement(root, "testsuite", {"name": suite_name, **_counts(findings)})
        suite.set("skipped", str(sum(outcome(finding) == "skipped" for finding in findings)))
        held = SubElement(suite, "properties")
        for name, value in properties.items():
            SubElement(held, "property", {"name": name, "value": value})
        for name, finding in zip(_distinct_names(findings), findings, strict=True):
            _case(suite, name, finding, terms)
    ElementTree.indent(root)
    document: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return document + b"\n"


def outcome(finding: Finding) -> str:
    """``passed``, ``failure`` or ``skipped``; see the table above."""
    if finding.verdict == Verdict.WITHIN:
        return "passed"
    return "failure" if finding.role == "claim" and finding.verdict == Verdict.EXCEEDS else "skipped"


def _case(suite: Element, name: str, finding: Finding, terms: Terms) -> None:
    case = SubElement(suite, "testcase", {"name": name, "classname": _classname(finding)})
    sentence, verdict = sentence_of(finding, terms), verdict_of(finding, terms)
    if (end := outcome(finding)) != "passed":
        why = "" if finding.role == "claim" else DECIDES_NOTHING.format(finding.role)
        told = SubElement(case, end, {"message": f"{why}{verdict}", "type": finding.verdict.value})
        told.text = f"{sentence}. {basis_of(finding)}"
    SubElement(case, "system-out").text = f"{sentence}\n{verdict}\n{basis_of(finding)}\n{clean(finding.id)}"


def _suites(findings: Iterable[Finding]) -> dict[str, list[Finding]]:
    suites: dict[str, list[Finding]] = {}
    for finding in findings:
        suites.setdefault(one_line(f"{finding.stage} / {finding.probe}"), []).append(finding)
    return suites


def _distinct_names(findings: list[Finding]) -> list[str]:
    """A test's name must tell it apart in its suite; the id joins where two findings read alike."""
    names = [name_of(finding) for finding in findings]
    times = Counter(names)
    return [
        name if times[name] == 1 else f"{name} · {one_line(finding.id)}"
        for name, finding in zip(names, findings, strict=True)
    ]


def _classname(finding: Finding) -> str:
    """``stage.probe``; a dot inside either would open another level in the tree that CI systems draw."""
    return ".".join(one_line(part).replace(".", "·") for part in (finding.stage, finding.probe))


def _counts(findings: Iterable[Finding]) -> dict[str, str]:
    outcomes = [outcome(finding) for finding in findings]
    return {"tests": str(len(outcomes)), "failures": str(outcomes.count("failure")), "errors": "0"}
