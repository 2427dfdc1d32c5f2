"""What the rounds leave behind: rounds.csv, drift.csv, results.json, the report and the manifest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rlhf_fair.artifacts import sha256_file, write_json
from rlhf_fair.audit.findings import build_findings
from rlhf_fair.audit.generation_account import counts, exclusions
from rlhf_fair.demo.run import LIMITS, finish, panel_table
from rlhf_fair.records import Results, Verdict
from rlhf_fair.rounds.run import AllRounds
from rlhf_fair.rounds.tables import drift_on_page, drift_table, feedback_table, levels_on_page, plain, rounds_table
from rlhf_fair.tables import write_table

ROUNDS_NAME, DRIFT_NAME = "rounds.csv", "drift.csv"
ROUNDS_TABLE, DRIFT_TABLE = "Where did each round end?", "Did anything drift between rounds?"
FEEDBACK_TABLE = "What did each round ask, and whom?"
LIMITS_OF_ROUNDS = (
    "Drift is judged on one run of training: the intervals speak of other names and scenarios for these very models, "
    "not of what another seed would have given.",
    "Accuracy on old pairs is agreement with the first round's panel on answers of the SFT policy; a reward model may "
    "lose some of it and be better where the policy is now.",
    "The training scorer is the first round's in all rounds.",
    "Reward is what each round's own reward model gives: its levels do not compare between rounds.",
    "Reward models' own gaps have no limit and ring no alarm: they stand in the ledger.",
)


def write_rounds(out: Path, found: AllRounds) -> Results:
    """Write everything a finished run leaves behind below ``out``."""
    results = results_of(found)
    write_table(out / ROUNDS_NAME, rounds_table(found))
    write_table(out / DRIFT_NAME, drift_table(found))
    write_json(out / "truth.json", found.world.truth())
    seed = found.config.pipeline.seed
    finish(out, results, found.audited.records, {"plan": sha256_file(found.plan_file)}, seed)
    return results


def verdict_of(found: AllRounds) -> Verdict:
    """Of all changes together: the worst; within where there was nothing to compare."""
    met = {alarm.verdict for alarm in found.alarms}
    if Verdict.EXCEEDS in met:
        return Verdict.EXCEEDS
    return Verdict.INCONCLUSIVE if met - {Verdict.WITHIN} else Verdict.WITHIN


def results_of(found: AllRounds) -> Results:
    """The content of results.json: findings of the last policy, one block of ledger rows per round, and what drifted.

    Further rounds' stages are named after the first's, such as ``fair_ppo_round_2``.
    """
    plan, audited, config = found.plan, found.audited, found.config
    tables: dict[str, Any] = {ROUNDS_TABLE: levels_on_page(found), FEEDBACK_TABLE: plain(feedback_table(found))}
    if found.alarms:
        tables[DRIFT_TABLE] = drift_on_page(found)
    tables["Who annotates"] = panel_table(found.trained)
    return Results(
        audit={
            "title": f"A hiring assistant over {len(found.rounds)} rounds of feedback: does the bias stay away?",
            "question": plan.question,
            "plan": plan.model_dump(mode="json"),
            "rounds": {**config.rounds.model_dump(mode="json"), "made": len(found.rounds), "stopped": found.stopped},
            "seed": config.pipeline.seed,
            "alpha": plan.policy.alpha,
            "models": {"base": "Llama-style causal language model, trained from scratch on the embedded world"},
            "data": {"prompts": "names and templates that no fine-tuning of any round saw"},
            "limits": [*plan.limits, *LIMITS, *LIMITS_OF_ROUNDS],
            "counts": counts(audited.records, plan.columns),
            "exclusions": exclusions(audited.records, plan.columns),
            "truth": found.world.truth(),
            "tables": tables,
        },
        findings=build_findings(audited.measurements, plan.policy),
        ledger=audited.ledger,
        training=audited.training,
    )
