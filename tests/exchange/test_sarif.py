"""SARIF by the standard's rules, by what GitHub code scanning asks for, and as sarif-pydantic reads it."""

from __future__ import annotations

import json
import re

import jsonschema
import pytest
from pydantic import BaseModel
from sarif_pydantic import Sarif

from rlhf_fair.exchange import sarif
from rlhf_fair.exchange.sarif import PlanFile, kind_and_level, to_sarif
from rlhf_fair.records import Results, Verdict

UNMODELLED = {"$schema", "columnKind", "automationDetails", "exitCode", "decoratedName"}
"""Properties of the standard that sarif-pydantic 0.6 has no field for."""


def run_of(results: Results, *given, **options) -> dict:
    log = json.loads(to_sarif(results, *given, **options))
    assert log["version"] == "2.1.0"
    (run,) = log["runs"]
    return run


def unknown_names(model: BaseModel) -> set[str]:
    found = set(model.model_extra or ())
    for value in dict(model).values():
        for item in value if isinstance(value, list) else [value]:
            found |= unknown_names(item) if isinstance(item, BaseModel) else set()
    return found


def test_sarif_pydantic_knows_every_property_and_its_type(results):
    assert unknown_names(Sarif.model_validate_json(to_sarif(results))) <= UNMODELLED


def test_verdicts_become_kinds_and_levels(pipeline):
    told = {f.group: kind_and_level(f) for f in pipeline.findings}
    assert told == {
        "black": ("fail", "error"),
        "asian": ("pass", "none"),
        "latino": ("open", "none"),
        "roma": ("open", "none"),
        "other": ("fail", "note"),
        "tall": ("fail", "warning"),
    }


def test_a_level_stands_beside_fail_alone(results):
    for result in run_of(results)["results"]:  # SARIF 2.1.0, 3.27.10
        assert (result["kind"] == "fail") == (result["level"] != "none")


def test_what_github_asks_for(results):
    run = run_of(results)
    rules = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
    assert len(set(rules)) == len(rules)
    for result in run["results"]:
        (place,) = result["locations"]
        physical = place["physicalLocation"]
        assert physical["artifactLocation"]["uri"] == "plan.toml"
        assert physical["region"]["startLine"] >= 1
        assert result["message"]["text"]
        assert rules[result["ruleIndex"]] == result["ruleId"]
        assert re.fullmatch(r"[0-9a-f]{16}:1", result["partialFingerprints"]["primaryLocationLineHash"])
    prints = [result["partialFingerprints"]["primaryLocationLineHash"] for result in run["results"]]
    assert len(set(prints)) == len(results.findings) == len(prints)


def test_fingerprints_do_not_hang_on_the_numbers(pipeline):
    moved = [f.model_copy(update={"estimate": 0.5, "ci_high": 0.9, "reason": "x"}) for f in pipeline.findings]
    before, after = run_of(pipeline), run_of(pipeline.model_copy(update={"findings": tuple(moved)}))
    assert [r["partialFingerprints"] for r in before["results"]] == [r["partialFingerprints"] for r in after["results"]]


def test_numbers_stand_in_the_properties_and_nan_is_null(pipeline):
    held = {r["properties"].get("reason", r["message"]["text"]): r["properties"] for r in run_of(pipeline)["results"]}
    missing = held["3 names; 10 needed"]
    assert missing["estimate"] is None
    assert missing["verdict"] == "not_measured"
    assert all(p["estimate"] is not None for p in held.values() if p["verdict"] != "not_measured")


def test_a_result_stands_at_the_line_of_the_plan_that_names_its_metric(pipeline):
    text = "[policy]\nfavourability_gap_x = 1\n[policy.metrics.favourability_gap]\nthreshold = 0.1\n"
    run = run_of(pipeline, PlanFile("audits/my plan/plan.toml", text))
    place = run["results"][0]["locations"][0]["physicalLocation"]
    assert place == {"artifactLocation": {"uri": "audits/my%20plan/plan.toml"}, "region": {"startLine": 3}}


def test_problems_only_leaves_out_what_would_be_a_false_alert_and_says_so(pipeline):
    run = run_of(pipeline, problems_only=True)
    assert {r["kind"] for r in run["results"]} == {"fail", "open"}
    assert run["properties"]["findings"] == len(pipeline.findings)
    assert run["properties"]["leftOut"] == 1
    assert "pass" in {r["kind"] for r in run_of(pipeline)["results"]}


def test_a_run_too_large_for_github_keeps_what_fails(pipeline, monkeypatch):
    monkeypatch.setattr(sarif, "MOST_RESULTS", 2)
    run = run_of(pipeline)
    assert [r["level"] for r in run["results"]] == ["error", "warning"]
    assert run["properties"]["leftOut"] == 4


def test_hostile_text_is_no_link_and_no_placeholder(hostile):
    for result in run_of(hostile)["results"]:
        text = result["message"]["text"]
        assert "](" not in text
        assert not re.search(r"(?<!\{)(\{\{)*\{\d+\}(?!\})", text)
    for rule in run_of(hostile)["tool"]["driver"]["rules"]:
        assert not re.search(r"<\w|(?<!\\)\]\(", rule["help"]["markdown"])


def test_verdict_counts_are_those_of_the_results(ten_thousand):
    kinds = [r["kind"] for r in run_of(ten_thousand)["results"]]
    assert kinds.count("pass") == sum(f.verdict == Verdict.WITHIN for f in ten_thousand.findings)
    assert kinds.count("fail") == sum(f.verdict == Verdict.EXCEEDS for f in ten_thousand.findings)


@pytest.mark.parametrize("problems_only", [False, True])
def test_valid_by_the_schema_of_oasis(official, results, problems_only):
    schema = json.loads((official / "sarif-schema-2.1.0.json").read_text(encoding="utf-8"))
    checker = jsonschema.Draft4Validator(schema, format_checker=jsonschema.FormatChecker())
    checker.validate(json.loads(to_sarif(results, problems_only=problems_only)))
