"""What a report says about the asking: how prompts reached the model and, of a partial report, what is still open."""

from __future__ import annotations

from typing import Any

from rlhf_fair.audit.source import Source
from rlhf_fair.errors import SettingsError
from rlhf_fair.records import Finding, Results, Verdict

NOT_YET = "not asked yet, or asked without success"
WITHOUT_ANSWER = "no answer was given"


def as_asked(results: Results, source: Source) -> Results:
    """``results`` with how ``source`` was asked; without verdicts where it is partial and questions are open.

    Raises
    ------
    SettingsError
        A partial report of no answers at all.
    """
    if source.prompts_sent:
        data = results.audit.get("data", {}) | {"prompts sent": source.prompts_sent}
        results = results.model_copy(update={"audit": results.audit | {"data": data}})
    tally = source.tally
    if not source.partial or tally.answered == tally.questions:
        return results
    if not tally.answered:
        raise SettingsError(
            f"--partial: of {tally.questions:,} questions none has an answer that is kept; run the audit first "
            "(a server's answers are kept, for one --endpoint-model and --out, until the report is written)"
        )
    open_questions = f"{tally.questions - tally.answered:,} of {tally.questions:,} questions are not answered yet"
    return results.model_copy(
        update={
            "audit": results.audit | _account(results.audit, open_questions),
            "findings": tuple(_without_verdict(finding, open_questions) for finding in results.findings),
        }
    )


def _account(audit: dict[str, Any], open_questions: str) -> dict[str, Any]:
    limit = (
        f"A partial report: {open_questions}. The answered ones come in the order of asking and may not be a random "
        "part, so no number here stands for the whole."
    )
    exclusions = [row | {"reason": NOT_YET} if row["reason"] == WITHOUT_ANSWER else row for row in audit["exclusions"]]
    return {"partial": open_questions, "limits": [limit, *audit["limits"]], "exclusions": exclusions}


def _without_verdict(finding: Finding, open_questions: str) -> Finding:
    if finding.verdict == Verdict.NOT_MEASURED:
        return finding
    return finding.model_copy(
        update={"verdict": Verdict.INCONCLUSIVE, "reason": f"no verdict on a partial report: {open_questions}"}
    )
