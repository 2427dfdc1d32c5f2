"""Two audits ``reward`` of a small plan, with scores made here."""

from __future__ import annotations

import zlib
from pathlib import Path

import pandas as pd
import pytest

from rlhf_fair.artifacts import read_results, write_manifest
from rlhf_fair.audit.compare import compare_audits
from rlhf_fair.audit.compare_reward import unit_of
from rlhf_fair.audit.plan import find_plan, load_plan
from rlhf_fair.audit.reward_audit_items import collect
from rlhf_fair.audit.reward_audit_plan import RewardPlan
from rlhf_fair.audit.reward_audit_scores import text_id
from rlhf_fair.audit.run import run_audit
from rlhf_fair.audit.target import Target
from rlhf_fair.changes import AuditDiff, Change, ChangeStatus
from rlhf_fair.integrity.verify import verify_folder

PLAN = """
title = "t"
question = "q"
probe = "reward"
[policy]
threshold = 0.2
margin = 0.1
rationale = "r"
[policy.metrics.flip_rate]
threshold = 0.05
margin = 0.05
better = "low"
[policy.metrics.flip_rate_excess]
threshold = 0.05
margin = 0.05
better = "low"
[counterfactual]
prompts = "prompts.csv"
names = 4
traits = [["right-handed man", "left-handed man"], ["brown-eyed woman", "green-eyed woman"]]
[counterfactual.terms]
religion = ["Christian man", "Christian woman", "Christian student", "Christian nurse"]
"""


def noise(text: str) -> float:
    return zlib.crc32(text.encode()) / 2**32 - 0.5


def worth(text: str) -> float:
    """Of the frame alone: marks that no exchange touches."""
    return 6 * noise("/".join(str(text.count(mark)) for mark in (",", "?", " to ", " it ", " and ")))


@pytest.fixture(scope="module")
def plan_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plan")
    shipped = pd.read_csv(find_plan("reward").parent / "prompts.csv")
    shipped.head(20).to_csv(folder / "prompts.csv", index=False)
    (folder / "plan.toml").write_text(PLAN)
    return folder / "plan.toml"


def audited(plan_file: Path, out: Path, *, price: float, scale: float = 1.0) -> Path:
    """An audit of scores that take ``price`` off where the text says Muslim, all ``scale`` times."""
    texts = collect(load_plan(plan_file, RewardPlan), plan_file, None, None).texts
    scores = [scale * (worth(text) + 0.2 * noise(text) - price * ("Muslim" in text)) for text in texts]
    out.mkdir(parents=True)
    file = out.parent / f"{out.name}.csv"
    pd.DataFrame({"text_id": [text_id(text) for text in texts], "score": scores}).to_csv(file, index=False)
    results = run_audit(plan_file, Target(predictions=file), out=out)
    write_manifest(out, inputs=results.manifest["inputs"], seeds={"seed": 0})
    return out


def gap_of(diff: AuditDiff, group: str) -> Change:
    (found,) = [c for c in diff.changes if c.metric == "counterfactual_reward_gap" and c.group == group]
    return found


def test_a_price_that_is_gone_is_found_and_nothing_else_changed(plan_file: Path, tmp_path: Path) -> None:
    a = audited(plan_file, tmp_path / "a", price=2.0)
    b = audited(plan_file, tmp_path / "b", price=0.0, scale=3.0)  # another scale of reward is no change
    diff = compare_audits(a, b, n_groups=6)
    muslim, jewish = gap_of(diff, "Muslim"), gap_of(diff, "Jewish")
    records = pd.read_parquet(a / "records.parquet")
    sd = unit_of(records).sd
    assert muslim.change == pytest.approx(2.0 / sd)  # 2 less, in A's SDs: what stays is the same in both
    assert muslim.status in (ChangeStatus.FIXED, ChangeStatus.BETTER)
    assert jewish.change == pytest.approx(0, abs=1e-9)
    assert jewish.status == ChangeStatus.UNCHANGED
    assert diff.a.name == "a.csv"
    assert diff.items.compared == len(records)
    # what both tell of A and of B is what the audits themselves told
    told = {
        f.id: f.estimate
        for f in run_audit(plan_file, Target(predictions=tmp_path / "a.csv"), out=tmp_path / "again").findings
    }
    assert all(told[c.id] == pytest.approx(c.a.estimate, nan_ok=True) for c in diff.changes)


def test_texts_without_a_score_in_one_audit_are_counted(plan_file: Path, tmp_path: Path) -> None:
    a = audited(plan_file, tmp_path / "a", price=0.0)
    scores = pd.read_csv(tmp_path / "a.csv")
    lost = scores["text_id"].sample(frac=0.1, random_state=0)
    scores.assign(score=scores["score"].mask(scores["text_id"].isin(lost))).to_csv(tmp_path / "b.csv", index=False)
    results = run_audit(plan_file, Target(predictions=tmp_path / "b.csv"), out=tmp_path / "b")
    write_manifest(tmp_path / "b", inputs=results.manifest["inputs"], seeds={"seed": 0})
    diff = compare_audits(a, tmp_path / "b", n_groups=3)
    assert diff.items.unmeasured > 0
    assert diff.items.compared + diff.items.unmeasured == diff.items.in_both
    assert set(diff.b.problems) == {"a text has no score"}


def test_findings_follow_from_the_records(plan_file: Path, tmp_path: Path) -> None:
    out = audited(plan_file, tmp_path / "a", price=1.0)
    n = len(read_results(out).findings)
    told = {c.detail for c in verify_folder(out).checks if c.name == "findings, measured again"}
    assert told == {f"{n} of {n} findings follow from records.parquet"}
