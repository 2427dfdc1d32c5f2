"""What the rounds leave behind: rounds.csv, drift.csv, results.json, the report and the manifest."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from rlhf_fair.artifacts import sha256_file, write_json
from rlhf_fair.audit.findings import build_findings
from rlhf_fair.audit.generation_account import counts, exclusions
from rlhf_fair.demo.run import LIMITS, finish, panel_table
from rlhf_fair.pipeline_stages.feedback import ANNOTATORS_NAME, ITEMS_NAME
from rlhf_fair.records import Results, Verdict
from rlhf_fair.rounds.drift import levels
from rlhf_fair.rounds.loop import Round
from rlhf_fair.rounds.run import AllRounds
from rlhf_fair.tables import read_table, write_table

ROUNDS_NAME, DRIFT_NAME = "rounds.csv", "drift.csv"
ROUNDS_TABLE, DRIFT_TABLE = "Where did each round end?", "Did anything drift between rounds?"
FEEDBACK_TABLE = "What did each round ask, and whom?"
LIMITS_OF_ROUNDS = (
    "Drift is judged on one run of training: the intervals speak of other names and scenarios for these very models, "
    "not of what another seed would have given.",
    "Accuracy on old pairs is agreement with the first round's panel on answers of the SFT policy; a reward model may "
    "lose some of it and be better where the policy is now.",
    "The training scorer is the first round's in all rounds.",
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


def rounds_table(found: AllRounds) -> pd.DataFrame:
    """One row per round and quantity: round, quantity, attribute, reference, unit, estimate, its interval, n, …"""
    return pd.DataFrame([row for made in found.records for row in levels(made, found.watch)])


DRIFT_COLUMNS = (
    *("round", "since", "quantity", "attribute", "reference", "unit", "change", "ci_low", "ci_high", "level", "limit"),
    *("p_value", "p_adjusted", "verdict", "reason", "n", "n_clusters"),
)


def drift_table(found: AllRounds) -> pd.DataFrame:
    """One row per change that was judged; none after a single round."""
    return pd.DataFrame([alarm.row() for alarm in found.alarms], columns=list(DRIFT_COLUMNS))


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
    tables: dict[str, Any] = {ROUNDS_TABLE: _plain(rounds_table(found)), FEEDBACK_TABLE: _plain(feedback_table(found))}
    if found.alarms:
        tables[DRIFT_TABLE] = _plain(drift_table(found))
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


def feedback_table(found: AllRounds) -> pd.DataFrame:
    """Per round: pairs judged, people asked, how many of them the first round asked too."""
    people = [set(read_table(one.panel / ANNOTATORS_NAME)["annotator_id"]) for one in found.rounds]
    rows = [_asked(one, mine, people[0]) for one, mine in zip(found.rounds, people, strict=True)]
    return pd.DataFrame(rows)


def _asked(one: Round, people: set[str], first: set[str]) -> dict[str, Any]:
    items = read_table(one.items / ITEMS_NAME)
    return {
        "round": one.number,
        "pairs": len(items),
        "people": len(people),
        "of the first round's": len(people & first),
    }


def _plain(table: pd.DataFrame) -> dict[str, Any]:
    rows = [[_cell(value) for value in row] for row in table.itertuples(index=False)]
    return {"columns": [_title(str(name)) for name in table.columns], "rows": rows}


def _title(name: str) -> str:
    return name.replace("ci_", "CI ").replace("p_value", "p").replace("_", " ")


def _cell(value: Any) -> Any:
    plain = value.item() if hasattr(value, "item") else value
    return None if isinstance(plain, float) and not math.isfinite(plain) else plain


def drift_lines(found: AllRounds) -> Sequence[str]:
    """One line for each change, the worst verdicts first."""
    order = list(Verdict)
    lines = []
    for alarm in sorted(found.alarms, key=lambda a: (a.change.round, order.index(a.verdict))):
        c, e = alarm.change, alarm.change.estimate
        what = f"{c.quantity} {c.attribute}".strip()
        lines.append(
            f"round {c.round} since {c.since}: {what} {e.estimate:+.3f} [{e.ci_low:+.3f}, {e.ci_high:+.3f}] "
            f"{c.unit}, limit {c.limit:g}: {alarm.verdict.value.replace('_', ' ')}"
        )
    return lines
