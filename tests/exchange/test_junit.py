"""JUnit XML as others read it: junitparser, defusedxml, and the published schema of Jenkins' xUnit plugin."""

from __future__ import annotations

import pytest
from defusedxml import ElementTree
from junitparser import Failure, JUnitXml, Skipped

from rlhf_fair.exchange.junit import to_junit
from rlhf_fair.records import Results, Verdict, exit_code


def suites(results: Results) -> list:
    return list(JUnitXml.fromstring(to_junit(results)))


def test_only_a_claim_beyond_its_threshold_fails(pipeline):
    told = {case.name: case.result for suite in suites(pipeline) for case in suite}
    kinds = {name.split(": ", 1)[1].split(" vs ")[0]: [type(r) for r in result] for name, result in told.items()}
    assert kinds == {
        "ethnicity: black": [Failure],
        "ethnicity: asian": [],
        "ethnicity: latino": [Skipped],
        "ethnicity: roma": [Skipped],
        "ethnicity: other": [Skipped],
        "trait: tall": [Skipped],
    }


def test_messages_say_verdict_interval_sample_and_reason(pipeline):
    cases = {case.name.rpartition(": ")[2].partition(" ")[0]: case for suite in suites(pipeline) for case in suite}
    failure = cases["black"].result[0]
    assert failure.message.startswith("exceeds threshold (within would be ±0.1)")
    for part in ("0.31", "[0.22, 0.40]", "n = 1,200", "clusters = 240"):
        assert part in failure.text
    assert "3 names; 10 needed" in cases["roma"].result[0].text
    assert cases["other"].result[0].message.startswith("exploratory, which decides nothing")


def test_counts_add_up_to_the_findings_and_no_failure_hides(results):
    document = JUnitXml.fromstring(to_junit(results))
    found = list(document)
    claims = [finding for finding in results.findings if finding.role == "claim"]
    assert sum(suite.tests for suite in found) == len(results.findings) == sum(len(list(s)) for s in found)
    assert sum(suite.failures for suite in found) == sum(f.verdict == Verdict.EXCEEDS for f in claims)
    passed = sum(not case.result for suite in found for case in suite)
    assert passed == sum(f.verdict == Verdict.WITHIN for f in results.findings)
    assert (document.failures or 0) == sum(suite.failures for suite in found)


def test_the_exit_code_of_the_audit_stands_in_every_suite(pipeline):
    for suite in suites(pipeline):
        held = {one.name: one.value for one in suite.properties()}
        assert held["exit code"] == str(exit_code(pipeline.findings)) == "1"
        assert len(held["results SHA-256"]) == 64


def test_names_tell_tests_of_one_suite_apart(results):
    for suite in suites(results):
        names = [case.name for case in suite]
        assert len(set(names)) == len(names)


def test_findings_that_read_alike_are_told_apart_by_id(pipeline):
    twins = tuple(pipeline.findings[0].model_copy(update={"id": name}) for name in ("one", "two"))
    (suite,) = suites(pipeline.model_copy(update={"findings": twins}))
    assert [case.name.rpartition(" · ")[2] for case in suite] == ["one", "two"]


def test_hostile_text_adds_no_element(hostile, pipeline):
    allowed = {element.tag for element in ElementTree.fromstring(to_junit(pipeline)).iter()}
    assert {element.tag for element in ElementTree.fromstring(to_junit(hostile)).iter()} <= allowed
    assert b"CDATA" in to_junit(hostile)  # as text, which the parser above read as such


def test_valid_by_the_schema_of_jenkins(official, results):
    etree = pytest.importorskip("lxml.etree")
    schema = etree.XMLSchema(etree.parse(official / "junit-10.xsd"))
    schema.assertValid(etree.fromstring(to_junit(results)))
