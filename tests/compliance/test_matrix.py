"""Evidence bound to results made by hand: present, partial or absent, and where it stands; never more than is there."""

from __future__ import annotations

import csv
import io
from datetime import date

import pytest

from rlhf_fair.artifacts import canonical_json, sha256_bytes
from rlhf_fair.compliance.context import Context
from rlhf_fair.compliance.evidence import Case, State, overall
from rlhf_fair.compliance.kinds import KINDS
from rlhf_fair.compliance.loading import find_frameworks, frameworks
from rlhf_fair.compliance.matrix import CSV_COLUMNS, matrix, matrix_csv, reference_date
from rlhf_fair.records import NAN, Estimate, Finding, LedgerRow, Results, Training, Verdict

DAY = date(2026, 7, 5)
PRESENT, PARTIAL, ABSENT = State.PRESENT, State.PARTIAL, State.ABSENT
POLICY = {"threshold": 0.1, "margin": 0.1, "rationale": "a fifth of a step"}
FULL = Context.model_validate(
    {
        "system": {"name": "n", "version": "1", "description": "d", "operation_logs": "o", "feedback_loops": "f"},
        "purpose": {"intended_use": "i", "out_of_scope": "o", "affected_people": "a"},
        "deployer": {"name": "n", "role": "r", "contact": "c", "notice": "n"},
        "data": {"sources": ["s"], "period": "p", "collection": "c"},
        "oversight": {"responsible": "r", "measures": "m", "automation_bias": "a"},
        "sign_off": {"name": "n", "role": "r", "date": "2026-07-01", "independent": True, "independence": "i"},
    }
)


def finding(**changes: object) -> Finding:
    base: dict[str, object] = {
        "id": "f", "stage": "policy", "probe": "generation", "metric": "gap", "attribute": "gender", "group": "woman",
        "reference": "man", "estimate": -0.3, "ci_low": -0.4, "ci_high": -0.2, "p_value": 0.01, "p_adjusted": 0.02,
        "threshold": 0.1, "margin": 0.1, "mde": 0.05, "n": 100, "n_clusters": 20, "verdict": Verdict.EXCEEDS,
    }  # fmt: skip
    return Finding.model_validate({**base, **changes})


NOT_MEASURED = finding(
    estimate=NAN, ci_low=NAN, ci_high=NAN, mde=NAN, verdict=Verdict.NOT_MEASURED, reason="too few", id="none"
)


def found(kind: str, *findings: Finding, context: Context | None = None, **results: object) -> State:
    case = Case(Results(findings=findings, **{"audit": {}, **results}), context or Context())
    return KINDS[kind](case).state


def test_nothing_is_no_evidence_of_anything() -> None:
    empty = Case(Results(audit={}), Context())
    assert {look(empty).state for look in KINDS.values()} == {ABSENT}


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_present_says_where_and_absent_says_what_is_missing(kind) -> None:
    for case in (Case(Results(audit={}), Context()), Case(Results(audit={}), FULL)):
        state, said, where = KINDS[kind](case)
        assert said
        assert bool(where) == (state != ABSENT)


@pytest.mark.parametrize("verdict", [Verdict.EXCEEDS, Verdict.WITHIN, Verdict.INCONCLUSIVE])
def test_a_gap_is_evidence_whatever_its_verdict(verdict) -> None:
    assert found("per_group_measurement", finding(verdict=verdict)) == PRESENT
    assert found("claims_with_threshold", finding(verdict=verdict)) == PRESENT


def test_what_was_not_measured_is_partial_evidence_at_most() -> None:
    assert found("per_group_measurement", finding(), NOT_MEASURED) == PARTIAL
    assert found("per_group_measurement", NOT_MEASURED) == ABSENT
    assert found("detectable_effect", finding(), NOT_MEASURED) == PARTIAL


def test_controls_are_no_measurement_of_groups() -> None:
    assert found("per_group_measurement", finding(role="control")) == ABSENT
    assert found("controls", finding(role="control")) == PRESENT


def test_intersections_want_attributes_taken_together() -> None:
    assert found("intersections", finding()) == ABSENT
    assert found("intersections", finding(attribute="gender × ethnicity")) == PRESENT


def test_impact_ratios_want_single_and_crossed_categories() -> None:
    one, both = (finding(metric="impact_ratio", better="one", attribute=a) for a in ("sex", "sex × race"))
    assert found("impact_ratios", finding()) == ABSENT
    assert found("impact_ratios", one) == found("impact_ratios", both) == PARTIAL
    assert found("impact_ratios", one, both) == PRESENT


def test_a_policy_counts_as_fixed_only_by_the_hash_of_that_policy() -> None:
    fixed = {"policy_sha256": sha256_bytes(canonical_json(POLICY))}
    assert found("policy_fixed_before_run", audit={"plan": {"policy": POLICY}, "policy_fixed": fixed}) == PRESENT
    assert found("policy_fixed_before_run", audit={"plan": {"policy": POLICY}}) == PARTIAL
    loosened = POLICY | {"threshold": 0.5}
    assert found("policy_fixed_before_run", audit={"plan": {"policy": loosened}, "policy_fixed": fixed}) == PARTIAL


@pytest.mark.parametrize(
    ("audit", "state"),
    [
        ({"counts": {"input": 10, "reported": 7, "excluded": 2, "unknown": 1}, "exclusions": [{"n": 2}]}, PRESENT),
        ({"counts": {"input": 10, "reported": 9, "excluded": 0, "unknown": 1}}, PRESENT),
        ({"counts": {"input": 10, "reported": 7, "excluded": 2, "unknown": 1}}, PARTIAL),  # no reasons
        ({"counts": {"input": 10, "reported": 7, "excluded": 2, "unknown": 0}, "exclusions": [{"n": 2}]}, PARTIAL),
        ({"counts": {"input": 10, "reported": 7}}, ABSENT),
        ({"counts": "many"}, ABSENT),
    ],
)
def test_an_account_of_data_must_add_up(audit, state) -> None:
    assert found("data_account", audit=audit) == state


def change(stage: str, **changes: object) -> LedgerRow:
    base: dict[str, object] = {
        "stage": stage, "attribute": "gender", "metric": "gap", "reference": "man", "estimate": 0.1, "ci_low": 0.0,
        "ci_high": 0.2, "n": 10, "n_clusters": 5, "change_from": "ppo", "change": -0.1, "change_ci_low": -0.2,
        "change_ci_high": 0.0,
    }  # fmt: skip
    return LedgerRow.model_validate({**base, **changes})


@pytest.mark.parametrize("stage", ["fair_ppo", "fair_ppo_round_2"])
def test_before_and_after_a_mitigation_wants_intervals(stage) -> None:
    known, unknown = change(stage), change(stage, change=NAN, change_ci_low=NAN, change_ci_high=NAN)
    assert found("mitigation_before_after", ledger=(known,)) == PRESENT
    assert found("mitigation_before_after", ledger=(known, unknown)) == PARTIAL
    assert found("mitigation_before_after", ledger=(unknown,)) == ABSENT
    assert found("mitigation_before_after", ledger=(change(stage, change_from=""),)) == ABSENT


def test_training_that_is_no_mitigation_is_no_evidence_of_one() -> None:
    gains = Training(comparisons={"reward gain kept": Estimate(estimate=0.9, ci_low=0.8, ci_high=1.0)})
    plain = tuple(change(stage, change=0.3, change_ci_low=0.2) for stage in ("sft", "reward_model", "ppo"))
    assert found("mitigation_before_after", ledger=plain, training=gains) == ABSENT


def test_measures_against_bias_rest_on_the_examination_of_data() -> None:
    """Article 10(2)(g) is about the biases found under (f): however much is there, it is no more than for (f)."""
    (act,) = find_frameworks(["eu-ai-act"])
    mitigated: dict[str, object] = {"audit": {}, "findings": (finding(),), "ledger": (change("fair_ppo"),)}
    counts = {"counts": {"input": 10, "reported": 10, "excluded": 0, "unknown": 0}}
    rated = mitigated | {"audit": counts, "findings": (finding(stage="feedback"),)}
    for content, context, state in (
        (mitigated, Context(), ABSENT),
        (rated, Context(), PARTIAL),
        (rated, FULL, PRESENT),
    ):
        rows = {r.clause.id: r.state for r in matrix(act, Case(Results.model_validate(content), context), DAY).rows}
        assert (rows["Article 10(2)(f)"], rows["Article 10(2)(g)"]) == (state, state)


def test_what_is_only_stated_is_never_more_than_partial() -> None:
    for kind in ("human_oversight", "automation_bias", "notice", "sign_off", "operation_logs", "independent_auditor"):
        assert found(kind, context=FULL) == PARTIAL
    for kind in ("system", "purpose", "deployer", "data_sources"):
        assert found(kind, context=FULL) == PRESENT
    half = Context.model_validate({"purpose": {"intended_use": "i"}})
    assert found("purpose", context=half) == PARTIAL


@pytest.mark.parametrize(
    ("stated", "state"),
    [
        ({"independence": "employed by the deployer"}, ABSENT),
        ({"independence": "employed by the deployer", "independent": False}, ABSENT),
        ({"independent": True}, PARTIAL),
        ({"independence": "paid by the city", "independent": True}, PARTIAL),
    ],
)
def test_an_auditor_is_independent_by_a_yes_alone(stated, state) -> None:
    assert found("independent_auditor", context=Context.model_validate({"sign_off": {"name": "n", **stated}})) == state


def test_the_unknown_are_told_table_by_table() -> None:
    counts = {"input": 100, "reported": 32, "excluded": 0, "unknown": 68}
    by_table = {"sex": 35, "race": 33, "sex × race": 68}
    looked = KINDS["unknown_counted"](Case(Results(audit={"counts": counts, "unknown_by_table": by_table}), Context()))
    assert looked.said == "rows of unknown group counted: 33 in race, 35 in sex, 68 in sex × race"
    assert found("unknown_counted", audit={"counts": counts}) == PRESENT


def test_a_clause_has_all_of_its_evidence_or_is_partial() -> None:
    assert overall([PRESENT, PRESENT]) == PRESENT
    assert overall([ABSENT, ABSENT]) == ABSENT
    assert overall([PRESENT, ABSENT]) == overall([PARTIAL, PARTIAL]) == overall([PRESENT, PARTIAL]) == PARTIAL


def test_a_clause_that_was_replaced_has_no_state() -> None:
    for framework in frameworks().values():
        for row in matrix(framework, Case(Results(audit={}), FULL), DAY).rows:
            assert (row.state is None) == row.clause.ended


def test_the_day_is_given_or_that_of_the_newest_entry_never_the_clock() -> None:
    pair = find_frameworks(["eeoc", "uk"])
    assert reference_date(pair, DAY).day == DAY
    assert reference_date(pair, None).day == max(c.as_of for f in pair for c in f.clauses)
    assert "No date was given" in reference_date(pair, None).said


def test_the_csv_has_every_clause_and_kind_and_no_formula() -> None:
    found_ = [matrix(framework, Case(Results(audit={}), FULL), DAY) for framework in frameworks().values()]
    rows = list(csv.DictReader(io.StringIO(matrix_csv(found_).decode())))
    assert tuple(rows[0]) == CSV_COLUMNS
    expected = sum(max(1, len(clause.evidence)) for f in frameworks().values() for clause in f.clauses)
    assert len(rows) == expected
    assert not [cell for row in rows for cell in row.values() if cell[:1] in ("=", "+", "-", "@", "\t", "\r")]
    assert matrix_csv(found_) == matrix_csv(found_)
    ended = [row for row in rows if row["status"] in ("replaced", "repealed")]
    assert ended
    assert not any(row["evidence"] or row["kind"] for row in ended)
