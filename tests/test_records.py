from __future__ import annotations

import json
import math
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

import rlhf_fair
from rlhf_fair.records import (
    Estimate,
    Finding,
    GroupMean,
    LedgerRow,
    Record,
    Results,
    Training,
    TrainingRun,
    Verdict,
    exit_code,
    results_schema,
)

SCHEMA_PATH = Path(rlhf_fair.__file__).parent / "results.schema.json"
NUMBERS = st.floats(allow_infinity=False)


def finding(verdict: Verdict = Verdict.WITHIN, **changes: object) -> Finding:
    content: dict[str, object] = {
        "id": "policy/hiring/gap/gender/woman/man",
        "stage": "policy",
        "probe": "hiring",
        "metric": "favourability",
        "attribute": "gender",
        "group": "woman",
        "reference": "man",
        "threshold": 0.1,
        "margin": 0.05,
        "n": 40,
        "n_clusters": 8,
        "verdict": verdict,
    }
    missing = dict.fromkeys(("estimate", "ci_low", "ci_high", "p_value", "p_adjusted", "mde"), math.nan)
    return Finding.model_validate(content | missing | changes)


def results() -> Results:
    row = LedgerRow(
        stage="PPO",
        attribute="gender",
        metric="favourability",
        reference="man",
        estimate=0.2,
        ci_low=0.1,
        ci_high=0.3,
        n=40,
        n_clusters=8,
        groups=(GroupMean(group="man", mean=math.nan, ci_low=math.nan, ci_high=math.nan, n=0, reason="no rows"),),
    )
    run = TrainingRun(name="fair PPO", kappa=(0.1, math.nan), curve=({"step": 1.0, "gap": math.nan},))
    return Results(
        audit={"title": "Hiring", "truth": {"gap": math.nan}, "tables": {"a": [{"x": math.inf}]}},
        findings=(finding(), finding(Verdict.NOT_MEASURED, reason="no rows")),
        ledger=(row,),
        training=Training(runs=(run,), comparisons={"fair - plain": Estimate.not_estimable("one run")}),
    )


def same(one: object, other: object) -> bool:
    """Equality in which NaN equals NaN."""
    if isinstance(one, float) and isinstance(other, float):
        return one == other or (math.isnan(one) and math.isnan(other))
    if isinstance(one, Record) and isinstance(other, Record):
        return type(one) is type(other) and same(dict(one), dict(other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, tuple | list) and isinstance(other, tuple | list):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


def test_nan_is_null_in_json_and_nan_again_in_memory() -> None:
    text = Estimate.not_estimable("no rows").model_dump_json()
    assert json.loads(text)["estimate"] is None
    assert "NaN" not in text
    assert math.isnan(Estimate.model_validate_json(text).estimate)


@given(NUMBERS, NUMBERS, NUMBERS)
def test_every_finding_survives_the_trip_through_json(estimate: float, low: float, high: float) -> None:
    before = finding(estimate=estimate, ci_low=low, ci_high=high)
    assert same(before, Finding.model_validate_json(before.model_dump_json()))


def test_results_survive_the_trip_through_json_but_for_free_content() -> None:
    before = results()
    after = Results.model_validate(json.loads(json.dumps(before.model_dump(mode="json"), allow_nan=False)))
    assert same(before.findings, after.findings)
    assert same(before.ledger, after.ledger)
    assert same(before.training, after.training)
    assert after.audit["truth"] == {"gap": None}  # free content has no types to say that null was a number
    assert after.audit["tables"] == {"a": [{"x": None}]}


def test_not_estimable_needs_a_reason() -> None:
    with pytest.raises(AssertionError):
        Estimate.not_estimable("")


def test_records_are_frozen_and_refuse_unknown_fields() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Estimate(estimate=1.0).estimate = 2.0  # type: ignore[misc]
    with pytest.raises(ValidationError, match="extra_forbidden"):
        Estimate.model_validate({"estimate": 1.0, "estimat": 2.0})


@pytest.mark.parametrize(
    ("verdicts", "code"),
    [
        ((), 3),  # nothing claimed is nothing shown
        ((Verdict.WITHIN,), 0),
        ((Verdict.WITHIN, Verdict.WITHIN), 0),
        ((Verdict.WITHIN, Verdict.INCONCLUSIVE), 3),
        ((Verdict.NOT_MEASURED, Verdict.WITHIN), 3),
        ((Verdict.INCONCLUSIVE, Verdict.EXCEEDS, Verdict.NOT_MEASURED), 1),
        ((Verdict.WITHIN, Verdict.EXCEEDS), 1),
    ],
)
def test_exit_code(verdicts: tuple[Verdict, ...], code: int) -> None:
    assert exit_code([finding(verdict) for verdict in verdicts]) == code


@pytest.mark.parametrize("role", ["exploratory", "control"])
def test_only_claims_decide_the_exit_code(role: str) -> None:
    slices = [finding(Verdict.EXCEEDS, role=role), finding(Verdict.NOT_MEASURED, role=role)]
    assert exit_code([finding(Verdict.WITHIN), *slices]) == 0
    assert exit_code(slices) == 3


def test_the_shipped_schema_is_current() -> None:
    """After a change of the records: write ``json.dumps(results_schema(), indent=2, ensure_ascii=False)`` there."""
    assert json.loads(SCHEMA_PATH.read_text(encoding="utf-8")) == results_schema()


def test_the_schema_accepts_what_is_written_nulls_included() -> None:
    schema = json.loads(SCHEMA_PATH.read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(results().model_dump(mode="json"), schema)


@pytest.mark.parametrize(
    ("key", "value"), [("estimate", "0.1"), ("verdict", "fair"), ("better", "up"), ("n", 1.5), ("unheard_of", 1)]
)
def test_the_schema_refuses_what_is_no_result(key: str, value: object) -> None:
    content = results().model_dump(mode="json")
    content["findings"][0][key] = value
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(content, json.loads(SCHEMA_PATH.read_text(encoding="utf-8")))


def test_a_finding_without_an_estimate_is_refused_by_schema_and_model() -> None:
    content = results().model_dump(mode="json")
    del content["findings"][0]["estimate"]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(content, json.loads(SCHEMA_PATH.read_text(encoding="utf-8")))
    with pytest.raises(ValidationError):
        Results.model_validate(content)
