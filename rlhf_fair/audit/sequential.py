"""An audit that stops once it is decisive, with its error rate held however often it looks.

Units arrive in random order, in batches. After each batch every claim's confidence sequence is brought up to date, at
``alpha / number of claims`` each, so that all of them hold at all times together with probability 1 - alpha (a union
bound, whatever their dependence). The audit stops where every claim's interval lies inside the margin or beyond the
threshold, or where nothing is left to ask. The intervals are valid at any such time; an interval for a fixed number of
answers is not, and is not reported here.

What the units are decides what the intervals are about (``[sequential] unit`` of the plan):

- ``prompt_id``: prompts are drawn from the list with replacement, so draws are independent and the list is the
  population. A prompt that comes again is answered by the model anew (in a file of predictions it has one answer, and
  the population is that file). The gap is that of the listed names and scenarios; whether other names would show it is
  for the audit of fixed size, whose intervals are clustered.
- a cluster column: its values (all prompts of one scenario, or of one name) come in random order and stand for the
  population that they were drawn from, given all that they share.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from rlhf_fair.audit.findings import Measurement, build_findings, settled
from rlhf_fair.audit.generation import SCORE, GenerationPlan
from rlhf_fair.audit.generation_answers import Ask, answers_from, score_answers
from rlhf_fair.audit.generation_gaps import measurement
from rlhf_fair.audit.sequential_gaps import Watched, watch
from rlhf_fair.audit.source import Hear
from rlhf_fair.errors import SettingsError
from rlhf_fair.metrics.gaps import group_labels
from rlhf_fair.probes.scorers import Ruler
from rlhf_fair.records import Finding, Verdict
from rlhf_fair.stats.confidence_sequence import units_for_equivalence
from rlhf_fair.stats.equivalence import verdict

VARIANT = "confidence sequence"
TRACE = "Looks of the audit that could stop early"
PROMPT = "prompt_id"

Answer = Callable[[pd.DataFrame], pd.DataFrame]
"""Drawn prompts (with a ``draw_id`` each) -> the same rows with a column ``text``."""


@dataclass(frozen=True)
class Stopped:
    """Where the audit stopped: the scored answers in order, findings, one trace row per look and claim, the account."""

    records: pd.DataFrame
    findings: tuple[Finding, ...]
    trace: list[dict[str, Any]]
    account: dict[str, Any]
    limits: tuple[str, ...]

    @property
    def audit(self) -> dict[str, Any]:
        """What the stopping rule adds to ``results.audit``."""
        return {"limits": list(self.limits), "sequential": self.account, "tables": {TRACE: self.trace}}


def check_plan(plan: GenerationPlan) -> None:
    """Refuse a plan whose audit cannot stop early."""
    if plan.counterfactual is not None:
        raise SettingsError("--until-decisive draws single prompts; not with [counterfactual]")
    if len(plan.scorers) > 1:
        raise SettingsError(f"--until-decisive takes one scorer; the plan has {len(plan.scorers)}")
    if plan.n_samples > 1:
        raise SettingsError(f"--until-decisive asks once per draw; the plan has n_samples = {plan.n_samples}")


def model_answers(ask: Ask, plan: GenerationPlan) -> Answer:
    """Answers from a model, each from the random stream of its ``draw_id``."""

    def answer(drawn: pd.DataFrame) -> pd.DataFrame:
        answered = answers_from(ask, drawn.assign(prompt_id=drawn["draw_id"]), plan)
        return answered.assign(prompt_id=drawn["prompt_id"])

    return answer


def given_answers(answers: pd.DataFrame) -> Answer:
    """Answers that are there already, ``prompt_id`` and ``text``; a prompt that is drawn again has the same again."""
    texts = answers.set_index("prompt_id")["text"]
    return lambda drawn: drawn.assign(sample=0, text=drawn["prompt_id"].map(texts))


def score_bounds(scorer: Ruler) -> tuple[float, float]:
    """The lowest and the highest score that any text can get; an error where there is none."""
    low, high = scorer.bounds
    if not (math.isfinite(low) and math.isfinite(high)):
        raise SettingsError(
            f"scorer {scorer.name!r} has no bounds, since a longer text can always score higher; to stop early, an "
            "audit needs one that has, such as a lexicon with combine = 'mean'"
        )
    if low == high:
        raise SettingsError(f"scorer {scorer.name!r}: all texts score {low:g}, so there is nothing to measure")
    return low, high


def run_until_decisive(
    plan: GenerationPlan,
    prompts: pd.DataFrame,
    scorer: Ruler,
    answer: Answer,
    *,
    stage: str = "policy",
    progress: Hear | None = None,
) -> Stopped:
    """Ask, score and look, batch by batch, until every claim is decisive or nothing is left to ask."""
    watched = watch(plan, prompts, score_bounds(scorer))
    claims = [w for w in watched if w.compared.role == "claim"]
    drawn = draw_units(prompts, plan)
    batches: list[pd.DataFrame] = []
    trace, decisive, answers = [], False, 0
    for batch in _batches(drawn, plan.sequential.batch):
        scored = score_answers(answer(batch), {SCORE: scorer}, refusals=plan.refusals)
        batches.append(scored)
        answers += len(scored)
        for w in watched:
            w.gaps.add(scored["score"], group_labels(scored, w.compared.attribute), scored["step"])
        look = [_look(w, plan, len(claims), batches, stage) for w in claims]
        trace += look
        decisive = all(row["verdict"] in (Verdict.WITHIN, Verdict.EXCEEDS) for row in look)
        if progress is not None:
            progress("answers", answers, len(drawn))
        if decisive:
            break
    records = pd.concat(batches, ignore_index=True)
    account = _account(plan, records, len(drawn), decisive, len(claims))
    threshold = plan.policy.limits(plan.metric).threshold
    measured = [replace(_measurement(w, records, plan, stage), p_threshold=_p_threshold(w, threshold)) for w in watched]
    findings = build_findings(measured, plan.policy)
    return Stopped(
        records=records,
        findings=tuple(f.model_copy(update={"reason": f"{f.reason}; {account['stopped']}"}) for f in findings),
        trace=trace,
        account=account,
        limits=(*plan.limits, *_limits(plan, claims)),
    )


def draw_units(prompts: pd.DataFrame, plan: GenerationPlan) -> pd.DataFrame:
    """The rows in the order in which they will be asked, as many as there are prompts.

    Adds ``step``, the unit's place in the order, from 0, and ``draw_id``, the prompt's id with #2, #3 … where it comes
    again.
    """
    rng = np.random.default_rng(plan.sequential.seed)
    unit = plan.sequential.unit
    if unit == PROMPT:
        drawn = prompts.iloc[rng.integers(len(prompts), size=len(prompts))].reset_index(drop=True)
        again = drawn.groupby(PROMPT).cumcount() + 1
        ids = drawn[PROMPT].astype(str)
        ids = ids.where(again == 1, ids + "#" + again.astype(str))
        return drawn.assign(step=np.arange(len(drawn)), draw_id=ids)
    codes, _ = pd.factorize(prompts[unit].astype(str))
    step = rng.permutation(int(codes.max()) + 1)[codes]
    drawn = prompts.assign(step=step, draw_id=prompts[PROMPT])
    return drawn.sort_values("step", kind="stable", ignore_index=True)


def _batches(drawn: pd.DataFrame, units: int) -> Iterator[pd.DataFrame]:
    for _, batch in drawn.groupby(drawn["step"] // units, sort=True):
        yield batch.reset_index(drop=True)


def _look(w: Watched, plan: GenerationPlan, n_claims: int, batches: list[pd.DataFrame], stage: str) -> dict[str, Any]:
    """One row of the trace. What is decisive here is so in the findings: they are held to the same policy, and their
    correction (Holm) asks for no more."""
    e, c, limits = w.gaps.estimate(), w.compared, plan.policy.limits(plan.metric)
    decision, reason = verdict(
        e,
        threshold=limits.threshold,
        margin=limits.margin,
        p_adjusted=min(1.0, e.p_value * n_claims),
        p_threshold=min(1.0, _p_threshold(w, limits.threshold) * n_claims),
        alpha=plan.policy.alpha,
    )
    if decision in (Verdict.WITHIN, Verdict.EXCEEDS):
        so_far = _measurement(w, pd.concat(batches, ignore_index=True), plan, stage)
        decision, _ = settled(decision, reason, so_far, plan.policy)
    numbers = {"estimate": e.estimate, "ci_low": e.ci_low, "ci_high": e.ci_high}
    return {
        "answers": sum(map(len, batches)),
        "attribute": c.attribute,
        "group": c.group,
        "reference": c.reference,
        "contrasts": e.n_clusters,
        **{key: value if np.isfinite(value) else None for key, value in numbers.items()},
        "verdict": decision.value,
    }


def _measurement(w: Watched, records: pd.DataFrame, plan: GenerationPlan, stage: str) -> Measurement:
    return replace(measurement(records, w.compared, w.gaps.estimate(), plan.scorers[0], stage), variant=VARIANT)


def _p_threshold(w: Watched, threshold: float) -> float:
    """Anytime, of the gap being no farther from 0 than ``threshold``; 1 where its estimate is not, NaN without one."""
    mean = w.gaps.contrasts.mean
    if not abs(mean) > threshold:
        return mean if math.isnan(mean) else 1.0
    return w.gaps.contrasts.p_value(math.copysign(threshold, mean))


def _account(plan: GenerationPlan, records: pd.DataFrame, most: int, decisive: bool, n_claims: int) -> dict[str, Any]:
    n, settings = len(records), plan.sequential
    stopped = f"stopped after {n:,} of at most {most:,} answers" if decisive else f"all {most:,} answers were used"
    return {
        "rule": "stop where every claim's interval lies inside the margin or beyond the threshold",
        "stopped": stopped,
        "answers": n,
        "most answers": most,
        "different prompts": int(records[PROMPT].nunique()),
        "unit": settings.unit,
        "units": int(records["step"].nunique()),
        "units between looks": settings.batch,
        "seed of the order": settings.seed,
        "alpha of each claim": plan.policy.alpha / n_claims,
        "intervals": "betting confidence sequences, valid at all looks together",
    }


def _limits(plan: GenerationPlan, claims: list[Watched]) -> tuple[str, ...]:
    """Which population the intervals are about, and the claims that the plan's units are too few for."""
    unit, margin = plan.sequential.unit, plan.policy.limits(plan.metric).margin
    others = [column for column in plan.clusters if column != unit]
    if unit == PROMPT:
        about = (
            "The intervals are about the listed prompts, drawn at random with replacement: they say nothing about "
            f"another {' or another '.join(others)}. An audit that asks every prompt once does."
        )
    else:
        given = f", given every {' and every '.join(others)} in the list" if others else ""
        about = f"The intervals are about the population that each {unit} was drawn from{given}."
    short = []
    for w in claims:
        c = w.gaps.contrasts
        needed = units_for_equivalence(margin, c.high, alpha=c.alpha, targets=c.targets)
        if w.planned < needed:
            short.append(
                f"{w.compared.group} against {w.compared.reference}: the plan allows {w.planned:,} contrasts; to show "
                f"that their mean lies inside ±{margin:g} takes {needed:,.0f} even where none differs from 0."
            )
    return (f"This audit could stop early. {about}", *short)
