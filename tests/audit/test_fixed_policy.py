"""The policy's hash is on disk before anything is asked, and a run that was stopped goes on under no other plan."""

from __future__ import annotations

import hashlib
import json

import pytest

from rlhf_fair.audit.findings import Measurement, build_findings
from rlhf_fair.audit.fixed_policy import BEGUN_NAME, FIXED, begin, finish, read_begun
from rlhf_fair.audit.plan import Judging, Plan, Policy
from rlhf_fair.errors import SettingsError
from rlhf_fair.records import Estimate, Results, Verdict
from rlhf_fair.settings import read_toml

PLAN = """title = "t"
question = "q"
probe = "generation"
[policy]
threshold = 0.1
margin = 0.05
owner = "policy board"
expires = 2027-01-31
minimum_n = 30
correction = "holm"
"""


@pytest.fixture
def plan_file(tmp_path):
    path = tmp_path / "plan.toml"
    path.write_text(PLAN)
    return path


def results(plan_file, **audit: object) -> Results:
    plan = read_toml(plan_file, Plan, "plan")
    return Results(audit={"plan": plan.model_dump(mode="json"), **audit})


def test_the_hash_is_that_of_the_policy_in_the_results(plan_file, tmp_path) -> None:
    out = tmp_path / "out"
    begin(plan_file, out)
    assert read_begun(out / BEGUN_NAME).state == "begun"
    done = finish(out, results(plan_file))
    # sorted keys, no spaces: what anybody can make of results.json with a JSON library
    written = json.loads((out / "results.json").read_text())["audit"]
    policy = json.dumps(written["plan"]["policy"], sort_keys=True, separators=(",", ":"))
    assert hashlib.sha256(policy.encode()).hexdigest() == written[FIXED]["policy_sha256"]
    assert hashlib.sha256(plan_file.read_bytes()).hexdigest() == done.audit[FIXED]["plan_sha256"]
    assert read_begun(out / BEGUN_NAME).state == "finished"


def test_a_stopped_run_goes_on_under_its_own_plan_only(plan_file, tmp_path) -> None:
    out = tmp_path / "out"
    begin(plan_file, out)
    plan_file.write_text("# a comment\n" + PLAN)
    begin(plan_file, out)
    plan_file.write_text(PLAN.replace("threshold = 0.1", "threshold = 0.4"))
    with pytest.raises(SettingsError, match=r"begun\.json: this audit was begun under another policy"):
        begin(plan_file, out)
    plan_file.write_text(PLAN.replace('question = "q"', 'question = "other"'))
    with pytest.raises(SettingsError, match=r"another plan and is not finished; .* or give another --out"):
        begin(plan_file, out)


def test_a_finished_folder_may_hold_a_new_audit_and_a_partial_one_may_not(plan_file, tmp_path) -> None:
    out = tmp_path / "out"
    begin(plan_file, out)
    finish(out, results(plan_file, partial="3 of 9 answers"))
    plan_file.write_text(PLAN.replace("margin = 0.05", "margin = 0.1"))
    with pytest.raises(SettingsError, match="another policy"):
        begin(plan_file, out)
    plan_file.write_text(PLAN)
    begin(plan_file, out)
    finish(out, results(plan_file))
    plan_file.write_text(PLAN.replace("margin = 0.05", "margin = 0.1"))
    begin(plan_file, out)


@pytest.mark.parametrize("content", ["[]", '{"plan_sha256": 3}', "{", '{"state": "begun"}'])
def test_a_damaged_record_is_one_clear_error(plan_file, tmp_path, content) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / BEGUN_NAME).write_text(content)
    with pytest.raises(SettingsError, match=BEGUN_NAME):
        begin(plan_file, out)


def test_policies_expire_after_their_day(plan_file) -> None:
    policy = read_toml(plan_file, Plan, "plan").policy
    assert policy.owner == "policy board"
    assert not policy.expired(policy.expires)
    assert policy.expired(policy.expires.replace(month=2, day=1))
    assert not Judging().expired(policy.expires)


def test_a_policy_names_no_correction_that_there_is_not(plan_file) -> None:
    plan_file.write_text(PLAN.replace('"holm"', '"none"'))
    with pytest.raises(SettingsError, match=r"policy\.correction = 'none'"):
        read_toml(plan_file, Plan, "plan")


@pytest.mark.parametrize(("low", "decided"), [(-0.01, Verdict.WITHIN), (0.3, Verdict.EXCEEDS)])
@pytest.mark.parametrize(("n", "enough"), [(29, False), (30, True)])
def test_fewer_rows_than_the_policy_asks_for_decide_nothing(low, decided, n, enough) -> None:
    estimate = Estimate(
        estimate=low + 0.01, ci_low=low, ci_high=low + 0.02, standard_error=0.005, p_value=1e-9, n=n, n_clusters=n
    )
    measurement = Measurement(estimate, "s", "p", "gap", "gender", "woman", "man")
    policy = Policy(threshold=0.1, margin=0.05, minimum_n=30)
    (finding,) = build_findings([measurement], policy)
    assert finding.verdict == (decided if enough else Verdict.INCONCLUSIVE)
    assert (finding.reason == "from 29 rows, where the policy asks for 30") != enough
    assert finding.estimate == estimate.estimate
