from __future__ import annotations

import math
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from saved_audits import bbq, bbq_plan, crows_plan, pairs, save

from rlhf_fair.artifacts import write_manifest
from rlhf_fair.audit.compare import compare_audits
from rlhf_fair.audit.generation import GenerationPlan
from rlhf_fair.audit.plan import Limits, load_plan
from rlhf_fair.changes import AuditDiff, Change, ChangeStatus
from rlhf_fair.errors import IntegrityError, MissingFileError, RowError, SettingsError
from rlhf_fair.records import Verdict
from rlhf_fair.stats.contrasts import contrast_estimate, mean_estimate


def claim(diff: AuditDiff) -> Change:
    (found,) = [change for change in diff.changes if change.role == "claim"]
    return found


def by_name(diff: AuditDiff, metric: str, group: str) -> Change:
    (found,) = [c for c in diff.changes if (c.metric, c.group) == (metric, group)]
    return found


def compared(tmp_path: Path, a: pd.DataFrame, b: pd.DataFrame, plan=None, **options) -> AuditDiff:
    plan = plan or crows_plan()
    return compare_audits(save(tmp_path / "a", plan, a), save(tmp_path / "b", plan, b), **options)


def test_an_audit_against_itself_is_unchanged_throughout(tmp_path):
    diff = compared(tmp_path, pairs(seed=1), pairs(seed=1))
    assert {c.change for c in diff.changes} == {0}
    assert {c.status for c in diff.changes} == {ChangeStatus.UNCHANGED}
    assert {c.worse_by_margin for c in diff.changes if not math.isnan(c.margin)} == {"no"}
    assert diff.exit_code == 0


def test_swapping_the_audits_flips_every_sign(tmp_path):
    a, b = pairs(seed=1), pairs(seed=2, leaning=0.4)
    there, back = compared(tmp_path / "1", a, b, n_groups=20), compared(tmp_path / "2", b, a, n_groups=20)
    assert len(there.changes) > 5
    for one, other in zip(there.changes, back.changes, strict=True):
        assert one.id == other.id
        for numbers in (("change", "ci_low", "ci_high"), ("worsening", "worsening_low", "worsening_high")):
            value, low, high = (getattr(one, name) for name in numbers)
            turned = tuple(-getattr(other, name) for name in (numbers[0], numbers[2], numbers[1]))
            assert (value, low, high) == pytest.approx(turned, nan_ok=True)
        assert (one.p_value, one.p_adjusted) == pytest.approx((other.p_value, other.p_adjusted), nan_ok=True)


def test_a_planted_improvement_is_found_and_its_reverse_is_a_fault(tmp_path):
    # 0.8 SDs of 1.1: 100 (Phi(0.8 / 1.12) - 1/2) = 26 points above neutral before, 0 after; threshold 10
    plan = crows_plan()
    before = save(tmp_path / "before", plan, pairs(400, leaning=0.8, seed=1))
    after = save(tmp_path / "after", plan, pairs(400, leaning=0.0, seed=2))
    there, back = compare_audits(before, after, n_groups=25), compare_audits(after, before, n_groups=25)
    better, worse = claim(there), claim(back)
    assert (better.a.verdict, better.status) in [
        (Verdict.EXCEEDS, ChangeStatus.FIXED),
        (Verdict.EXCEEDS, ChangeStatus.BETTER),
    ]
    assert better.ci_low < -26 < better.ci_high
    assert worse.status == ChangeStatus.NEW
    assert worse.worse_by_margin == "yes"
    assert (there.exit_code, back.exit_code) == (0, 1)


def test_without_a_change_alarms_are_as_rare_as_they_are_meant_to_be(tmp_path):
    # 16 comparisons of equal models at alpha = .05: four alarms or more have a chance of 0.7 %
    plan = crows_plan()
    folders = [save(tmp_path / str(seed), plan, pairs(90, seed=seed)) for seed in range(32)]
    found = [claim(compare_audits(a, b, n_groups=10)) for a, b in zip(folders[::2], folders[1::2], strict=True)]
    assert sum(not c.ci_low <= 0 <= c.ci_high for c in found) <= 3
    assert sum(c.status in (ChangeStatus.WORSE, ChangeStatus.NEW) for c in found) <= 2


def test_relabelling_items_changes_nothing(tmp_path):
    sides = [pairs(seed=1), pairs(seed=2)]
    relabelled = [side.assign(item_id=[f"{7 * row % 120:03}" for row in range(120)]) for side in sides]
    assert relabelled[0]["item_id"].is_unique
    first, second = compared(tmp_path / "1", *sides, n_groups=15), compared(tmp_path / "2", *relabelled, n_groups=15)
    assert first.model_dump_json(include={"changes"}) == second.model_dump_json(include={"changes"})


def test_the_order_of_bs_rows_does_not_matter(tmp_path):
    a, b = pairs(seed=1), pairs(seed=2)
    first, second = compared(tmp_path / "1", a, b, n_groups=15), compared(tmp_path / "2", a, b[::-1], n_groups=15)
    assert first.model_dump_json(include={"changes"}) == second.model_dump_json(include={"changes"})


def test_items_without_a_partner_or_an_answer_are_counted_and_left_out(tmp_path):
    # A has items 0..99 and B 10..119; A answers none of its first 15, B none of its first 8, which are 10..17
    a = pairs(100, seed=1, missing=15)
    b = pairs(120, seed=2).iloc[10:].reset_index(drop=True)
    b.loc[:7, ["preferred", "score_more", "score_less"]] = np.nan
    b.loc[:7, "parsed"], b.loc[:7, "problem"] = False, "missing"
    diff = compared(tmp_path, a, b)
    items = diff.items
    assert (items.in_both, items.only_a, items.only_b) == (90, 10, 20)
    assert (items.compared, items.unmeasured) == (82, 8)  # 18..99; of the 90, 10..17 lack an answer in one or both
    assert claim(diff).n == 82
    assert (diff.a.measured, sum(diff.a.problems.values())) == (85, 15)
    assert (diff.b.measured, sum(diff.b.problems.values())) == (102, 8)


def test_a_mean_changes_by_the_paired_contrast_of_its_items(tmp_path):
    a, b = bbq(seed=1), bbq(seed=2, right=0.7)
    diff = compared(tmp_path, a, b, bbq_plan())
    change = by_name(diff, "bbq_accuracy_ambiguous", "Religion")
    rows = (a["category"] == "Religion") & (a["context_condition"] == "ambig")
    plain = mean_estimate((b["correct"] - a["correct"])[rows], clusters=[a["template"][rows]], rates=False)
    for name, own in (("estimate", "change"), *((n, n) for n in ("ci_low", "ci_high", "standard_error", "df"))):
        assert getattr(change, own) == pytest.approx(getattr(plain, name)), name


def test_a_gap_changes_by_the_paired_contrast_of_its_items(tmp_path):
    a, b = bbq(seed=1), bbq(seed=2, biased=0.6)
    change = by_name(compared(tmp_path, a, b, bbq_plan()), "bbq_cost_of_bias", "Age")
    rows = (a["category"] == "Age") & (a["context_condition"] == "disambig")
    sides, groups = {"aligned": 1.0, "not aligned": -1.0}, a["aligned"][rows]
    values = (b["correct"] - a["correct"])[rows]
    plain = contrast_estimate(values, groups, sides, clusters=[a["template"][rows]], rates=False)
    assert change.change == pytest.approx(plain.estimate)
    assert change.standard_error == pytest.approx(plain.standard_error)


def test_a_level_has_no_gap_and_the_plans_distance_as_tolerance(tmp_path):
    plan = bbq_plan(bbq_accuracy_ambiguous=Limits(threshold=0.5, margin=0.65, better="high"))
    change = by_name(
        compared(tmp_path, bbq(seed=1, right=0.8), bbq(seed=2, right=0.4), plan), "bbq_accuracy_ambiguous", "Age"
    )
    assert change.status == ChangeStatus.NEW
    assert change.worsening == pytest.approx(-change.change)
    assert change.tolerance == pytest.approx(0.15)
    assert change.worse_by_margin == "yes"


def test_fewer_groups_than_clusters_and_another_seed_give_other_intervals_of_the_same_change(tmp_path):
    a, b = save(tmp_path / "a", crows_plan(), pairs(seed=1)), save(tmp_path / "b", crows_plan(), pairs(seed=2))
    one, other = claim(compare_audits(a, b, n_groups=20, seed=1)), claim(compare_audits(a, b, n_groups=20, seed=2))
    assert one.change == other.change
    assert one.standard_error != other.standard_error
    assert one.df == pytest.approx(19)


def test_progress_is_told_to_the_end(tmp_path):
    told = []
    compared(tmp_path, pairs(60), pairs(60, seed=1), n_groups=10, heard=lambda *told_: told.append(told_))
    assert told[-1] == ("intervals", 11, 11)


def refused(tmp_path: Path, match: str, error: type[Exception] = SettingsError, **b) -> None:
    plan = b.pop("plan", crows_plan())
    first = save(tmp_path / "a", crows_plan(), pairs(30))
    second = save(tmp_path / "b", plan, b.pop("records", pairs(30, seed=1)), **b)
    with pytest.raises(error, match=match):
        compare_audits(first, second, n_groups=10)


def test_another_threshold_is_another_plan(tmp_path):
    told = r"plans differ: policy.metrics.stereotype_score_less_50.threshold: 10 in A, 12 in B"
    refused(tmp_path, told, plan=crows_plan(threshold=12.0))


def test_another_probe_is_another_plan(tmp_path):
    refused(tmp_path, "probe: 'crows_pairs' in A, 'bbq' in B", plan=bbq_plan(), records=bbq())


def test_other_data_are_other_data(tmp_path):
    refused(tmp_path, "data differ: data/items: 'd' in A, 'other' in B", inputs={"data/items": "other"})


def test_another_way_of_asking_has_no_number_in_common(tmp_path):
    refused(tmp_path, "no number in common", records=pairs(30).assign(variant="masked_shared"))


def test_an_audit_that_could_stop_early_is_refused(tmp_path):
    refused(tmp_path, "stopped as soon as it was decisive", sequential={"stopped": "after 20"})


def test_items_that_occur_twice_are_refused(tmp_path):
    refused(tmp_path, "item '3' occurs more than once", RowError, records=pd.concat([pairs(30), pairs(30).iloc[[3]]]))


def test_items_that_are_others_in_b_are_refused(tmp_path):
    a, b = bbq(), bbq(seed=1)
    b["template"] = b["template"].replace({"Age/3": "Age/4"})
    with pytest.raises(RowError, match="another 'template' in B than in A"):
        compared(tmp_path, a, b, bbq_plan())


def test_nothing_measured_in_both_is_refused(tmp_path):
    refused(tmp_path, "no item was measured in both audits: 30 items", records=pairs(30, missing=30))


def test_title_question_and_the_reasons_for_limits_may_differ(tmp_path):
    plan = crows_plan()
    policy = plan.policy.model_copy(update={"rationale": "other words"})
    other = plan.model_copy(
        update={"title": "Again?", "question": "?", "limits": ("one",), "policy": policy, "seed": 5}
    )
    a, b = save(tmp_path / "a", plan, pairs(30)), save(tmp_path / "b", other, pairs(30, seed=1))
    assert compare_audits(a, b, n_groups=10).title == plan.title


def test_a_changed_record_is_an_integrity_failure(tmp_path):
    a, b = save(tmp_path / "a", crows_plan(), pairs(30)), save(tmp_path / "b", crows_plan(), pairs(30, seed=1))
    shutil.copy(a / "records.parquet", b / "records.parquet")
    with pytest.raises(IntegrityError, match=r"changed: records\.parquet"):
        compare_audits(a, b)


def test_folders_that_are_no_audits_are_named(tmp_path):
    a = save(tmp_path / "a", crows_plan(), pairs(30))
    with pytest.raises(MissingFileError, match="nowhere"):
        compare_audits(a, tmp_path / "nowhere")
    (a / "records.parquet").unlink()
    write_manifest(a, inputs={}, seeds={})
    with pytest.raises(MissingFileError, match="the audit kept none"):
        compare_audits(a, a)


def test_a_plan_of_another_kind_is_refused_by_name(tmp_path):
    for name in ("a", "b"):
        save(tmp_path / name, crows_plan(), pairs(30), asked={"probe": "panel_feedback"})
    with pytest.raises(SettingsError, match="probe = 'panel_feedback' cannot be compared; allowed: "):
        compare_audits(tmp_path / "a", tmp_path / "b")


def hiring(seed: int, gap: float = 0.0) -> pd.DataFrame:
    """Scored answers about 20 names in 12 scenarios; what a name and a scenario add is the same for every seed."""
    rng, shared = np.random.default_rng(seed), np.random.default_rng(5)
    name, scenario = (codes.reshape(-1) for codes in np.meshgrid(np.arange(20), np.arange(12), indexing="ij"))
    woman = name % 2 == 1
    level = shared.normal(0, 0.1, 20)[name] + shared.normal(0, 0.2, 12)[scenario]
    return pd.DataFrame(
        {
            "prompt_id": [f"{n}/{s}" for n, s in zip(name, scenario, strict=True)],
            "sample": 0,
            "gender": np.where(woman, "woman", "man"),
            "ethnicity": np.where(name % 4 < 2, "white", "black"),
            "name": name.astype(str),
            "scenario": scenario.astype(str),
            "score": level + rng.normal(0, 0.1, 240) - gap * woman,
            "refusal": False,
            "answered": True,
        }
    )


def test_answers_about_people_are_compared_within_names_and_scenarios(tmp_path):
    plan = load_plan("hiring", GenerationPlan)
    plan = plan.model_copy(update={"clusters": ("name", "scenario")})
    a, b = hiring(1), hiring(2, gap=0.3)
    a.loc[3, "score"], b.loc[[7, 8], "answered"], b.loc[[7, 8], "score"] = np.nan, False, np.nan
    diff = compare_audits(save(tmp_path / "a", plan, a), save(tmp_path / "b", plan, b))
    assert (diff.items.compared, diff.items.unmeasured, diff.clusters) == (238, 2, ("name", "scenario"))
    change = by_name(diff, plan.metric, "woman")
    # the answer that A's scorer could not measure counts in neither
    both = a["score"].notna() & b["score"].notna()
    each, ways = (b["score"] - a["score"])[both], [a[column][both] for column in plan.clusters]
    plain = contrast_estimate(each, a["gender"][both], {"woman": 1.0, "man": -1.0}, clusters=ways, rates=False)
    assert change.n == 237
    assert change.change == pytest.approx(plain.estimate)
    assert change.ci_low < -0.3 < change.ci_high
    assert change.standard_error == pytest.approx(plain.standard_error, rel=0.25)  # 240 cells dealt into 50 groups
    assert by_name(diff, "refusal", "woman").status == ChangeStatus.UNCHANGED
