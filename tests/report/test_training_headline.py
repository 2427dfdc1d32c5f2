"""What a report of training alone says first: it has no findings, and so no verdict to begin with."""

from __future__ import annotations

from rlhf_fair.records import NAN, Estimate, LedgerRow, Results, Training, TrainingRun
from rlhf_fair.report.data import page
from rlhf_fair.report.ledger import ledger_answer

REASON = "a group has 1 cluster"


def row(stage: str, gap: float, low: float = NAN, high: float = NAN, **more: object) -> LedgerRow:
    about = {"attribute": "gender", "metric": "kindness", "reference": "man", "n": 20, "n_clusters": 2}
    return LedgerRow(stage=stage, estimate=gap, ci_low=low, ci_high=high, **(about | more))


def report(*ledger: LedgerRow) -> Results:
    reward = Estimate(estimate=0.58, ci_low=0.5, ci_high=0.66, n=20, n_clusters=5)
    runs = (TrainingRun(name="ppo", reward_mean=0.9, gap=0.1),)
    return Results(
        audit={"title": "t"},
        ledger=ledger,
        training=Training(runs=runs, comparisons={"reward, after less before": reward}),
    )


def test_reward_and_gaps_before_and_after_come_first() -> None:
    end = row("ppo", 0.1, 0.0, 0.2, change_from="start", change=-0.3, change_ci_low=-0.4, change_ci_high=-0.2)
    summary = page(report(row("start", 0.4, 0.3, 0.5), end)).summary
    assert summary.kind == "Training report"
    assert summary.verdict == (
        "This is an account of training, and no claim was declared in advance. On held-out prompts reward changed by "
        "+0.58 [0.50, 0.66]; the gap by gender went from 0.40 to 0.10, its size by −0.30 [−0.40, −0.20]."
    )


def test_a_gap_without_an_interval_is_said_to_have_none() -> None:
    rows = (row("start", 0.179, reason=REASON), row("ppo", 0.05, change_from="start", change=-0.129, reason=REASON))
    assert "its size by −0.129 (no interval)." in page(report(*rows)).summary.verdict
    assert ledger_answer(rows) == (
        "Gender: no stage has an interval (a group has 1 cluster); widest at policy before training, "
        "0.179 (no interval).",
    )
