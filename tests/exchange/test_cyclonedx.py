"""CycloneDX by the validator of its own Python library, and what a reader finds in the model card."""

from __future__ import annotations

import json
import re

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from rlhf_fair.exchange.cyclonedx import to_cyclonedx
from rlhf_fair.records import Results


def card_of(results: Results) -> dict:
    return json.loads(to_cyclonedx(results))["metadata"]["component"]["modelCard"]


def test_valid_by_the_schema_of_1_6(results):
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(to_cyclonedx(results).decode()) is None


def test_every_finding_is_a_metric_on_a_slice(results):
    metrics = card_of(results)["quantitativeAnalysis"]["performanceMetrics"]
    assert len(metrics) == len(results.findings)
    for metric, finding in zip(metrics, results.findings, strict=True):
        if "value" in metric:
            assert float(metric["value"]) == finding.estimate
            assert float(metric["confidenceInterval"]["lowerBound"]) == finding.ci_low
        else:
            assert finding.verdict == "not_measured"
            assert "not measured" in metric["slice"]


def test_claims_that_do_not_lie_within_name_the_group_at_risk(pipeline):
    told = {a["groupAtRisk"]: a["harms"] for a in card_of(pipeline)["considerations"]["fairnessAssessments"]}
    assert list(told) == ["ethnicity: black", "ethnicity: latino", "ethnicity: roma"]
    assert "exceeds threshold" in told["ethnicity: black"]
    assert "[0.22, 0.40]" in told["ethnicity: black"]
    assert "3 names; 10 needed" in told["ethnicity: roma"]


def test_limits_and_slices_beyond_the_threshold_are_told(pipeline):
    considerations = card_of(pipeline)["considerations"]
    assert "English only." in considerations["technicalLimitations"]
    assert len(considerations["ethicalConsiderations"]) == 2


def test_the_model_is_the_subject_and_data_are_components(pipeline):
    bom = json.loads(to_cyclonedx(pipeline, model_id="me/tiny"))
    assert bom["metadata"]["component"]["type"] == "machine-learning-model"
    assert bom["metadata"]["component"]["name"] == "me/tiny"
    assert [component["name"] for component in bom["components"]] == ["Names", "Prompts"]
    assert "timestamp" not in bom["metadata"]
    assert re.fullmatch(
        r"urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-5[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", bom["serialNumber"]
    )


def test_the_serial_number_follows_from_the_results(pipeline):
    other = pipeline.model_copy(update={"audit": {**pipeline.audit, "alpha": 0.01}})
    numbers = [json.loads(to_cyclonedx(one))["serialNumber"] for one in (pipeline, pipeline, other)]
    assert numbers[0] == numbers[1] != numbers[2]
