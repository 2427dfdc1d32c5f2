"""An audit of one's own prompts: they are expanded to pairs, and every comparison is made within an original prompt."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import Field, field_validator

from rlhf_fair.probes.counterfactual_text import LIMIT, Mode
from rlhf_fair.probes.counterfactual_text_lexicon import ATTRIBUTES, load_lexicon
from rlhf_fair.probes.counterfactual_text_prompts import make_counterfactuals, read_prompts, to_ask
from rlhf_fair.records import Estimate, Results
from rlhf_fair.settings import Settings
from rlhf_fair.stats.contrasts import mean_estimate
from rlhf_fair.stats.no_change import Range, with_no_change_limits
from rlhf_fair.stats.rate_differences import signed_mean

PAIR = "twin_of"
"""The column with the id of the original prompt."""

LEFT_OUT = "left_out"


class CounterfactualPlan(Settings):
    """``[counterfactual]`` of a plan: which words of its prompts are exchanged.

    ``mode`` and ``names`` as in `rlhf_fair.probes.counterfactual_text_prompts.make_counterfactuals`.
    """

    attributes: tuple[str, ...] = Field(min_length=1)
    mode: Mode = "all"
    names: bool = True

    @field_validator("attributes")
    @classmethod
    def _are_known(cls, attributes: tuple[str, ...]) -> tuple[str, ...]:
        if unknown := [name for name in attributes if name not in ATTRIBUTES]:
            raise ValueError(f"no lexicon for {unknown[0]!r}; allowed: {', '.join(ATTRIBUTES)}")
        if len(set(attributes)) < len(attributes):
            raise ValueError("each attribute once")
        return attributes


def completed(content: Any) -> Any:
    """A plan's content with what follows from ``[counterfactual]``, wherever it does not say otherwise.

    The groups' references are the first of each lexicon, rows belong together by original prompt, and there are no
    intersections, since each twin differs in one attribute only.
    """
    if not isinstance(content, dict) or not isinstance(content.get("counterfactual"), dict):
        return content
    names = content["counterfactual"].get("attributes", ())
    known = [name for name in names if name in ATTRIBUTES] if isinstance(names, list | tuple) else []
    references = [{"column": name, "reference": load_lexicon(name).groups[0]} for name in known]
    clusters = content.get("clusters", [])
    if isinstance(clusters, list | tuple):  # else it stays as it is and is told with the rest
        clusters = [PAIR, *(name for name in clusters if name != PAIR)]
    return {"attributes": references} | content | {"clusters": clusters, "intersections": False}


def expand(path: Path, plan: CounterfactualPlan) -> pd.DataFrame:
    """The prompts of a file with their twins; ``attrs["left_out"]`` has what could not be swapped, and why."""
    made = make_counterfactuals(read_prompts(path), plan.attributes, mode=plan.mode, names=plan.names)
    asked = to_ask(made)
    for attribute in plan.attributes:
        if attribute not in asked:
            asked[attribute] = pd.Series(None, index=asked.index, dtype="str")
    asked.attrs[LEFT_OUT] = {
        "prompts": len(made.never_asked),
        "reasons": [
            {"attribute": attribute, "reason": reason, "n": n}
            for (attribute, reason), n in Counter(
                zip(made.left_out["attribute"], made.left_out["reason"], strict=True)
            ).items()
        ],
    }
    return asked


def paired_gap(
    records: pd.DataFrame,
    attribute: str,
    group: str,
    reference: str,
    *,
    clusters: Sequence[str],
    alpha: float,
    scores: Range = (-math.inf, math.inf),
    rates: bool = False,
    null: float = 0.0,
) -> Estimate:
    """Mean change of the score from the reference's version of a prompt to the group's; 0 = parity.

    ``n`` counts prompts; one with a version that was not measured is left out of both groups. Pairs are independent
    unless ``clusters`` names another column than that of the original prompt. The p-value is that of ``null``. Where
    no pair changes, limits follow from ``scores``, the range of scores: see `rlhf_fair.stats.no_change`. ``rates``: the
    scores are shares of answers, whose changes are few or none and come with whole clusters: see
    `rlhf_fair.stats.rate_differences`.
    """
    others = [column for column in clusters if column != PAIR]
    before, after = (records.loc[records[attribute] == one, [PAIR, "score", *others]] for one in (reference, group))
    pairs = before.merge(after[[PAIR, "score"]], on=PAIR, suffixes=("_before", "_after"))
    change = pairs["score_after"] - pairs["score_before"]
    if change.isna().all():
        reason = f"no prompt has a measured version for {group} and one for {reference}"
        return Estimate.not_estimable(reason, n_left_out=len(pairs))
    ways = [pairs[column] for column in others]
    if rates:
        return signed_mean(change, clusters=ways, null=null, alpha=alpha)
    e = mean_estimate(change, clusters=ways, rates=False, null=null, alpha=alpha)
    together = pd.Series(0, index=change.index)
    return with_no_change_limits(e, change, together, {0: 1.0}, scores=scores, clusters=ways, alpha=alpha)


def with_account(results: Results, prompts: pd.DataFrame, plan: CounterfactualPlan) -> Results:
    """``results`` that also say how many versions each group has, who wrote them, what had no twin, and the limits.

    Prompts that were never asked, since nothing in them could be swapped, count as input and as excluded.
    """
    left_out = prompts.attrs[LEFT_OUT]
    never = int(left_out["prompts"])
    audit = results.audit
    counts = {name: n + never * (name in ("input", "excluded")) for name, n in audit["counts"].items()}
    exclusions = [
        *audit["exclusions"],
        *([{"reason": "nothing in the prompt could be swapped", "n": never}] * (never > 0)),
    ]
    tables = {
        "Prompts of each group, as written and as made from others": _versions(prompts, plan),
        "Prompts without a twin": left_out["reasons"],
    }
    said = f"{prompts[PAIR].nunique()} own prompts, {len(prompts)} with their twins; {never} left out"
    update = {
        "counts": counts,
        "exclusions": exclusions,
        "tables": audit.get("tables", {}) | {name: rows for name, rows in tables.items() if rows},
        "limits": [*audit["limits"], LIMIT, *(f"{name}: {load_lexicon(name).limit}" for name in plan.attributes)],
        "data": audit["data"] | {"prompts": said},
    }
    return results.model_copy(update={"audit": audit | update})


def _versions(prompts: pd.DataFrame, plan: CounterfactualPlan) -> list[dict[str, Any]]:
    versions = []
    for attribute in plan.attributes:
        said = prompts[prompts[attribute].notna()]
        written = said["prompt_id"] == said[PAIR]
        versions += [
            {"attribute": attribute, "group": str(group), "as written": int(of.sum()), "made": int((~of).sum())}
            for group, of in written.groupby(said[attribute])
        ]
    return versions
