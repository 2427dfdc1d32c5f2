"""Names and sentences: how a stage, a metric and a finding read in plain English.

A finding's ``estimate`` is read as group minus reference, so a positive one means that the group gets more.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence

from rlhf_fair.records import Finding, Verdict
from rlhf_fair.report.numbers import MISSING, finite, interval, shown, significant

STAGES = ("base", "sft", "reward_model", "ppo", "fair_ppo")
FEEDBACK = "feedback"
_STAGE_NAMES = {
    "base": "base model",
    "sft": "supervised fine-tuning",
    "reward_model": "reward model",
    "ppo": "PPO",
    "fair_ppo": "PPO with fairness penalty",
}
_TICK_NAMES = {"base": "Base", "sft": "SFT", "reward_model": "Reward\nmodel", "fair_ppo": "PPO with\nfairness\npenalty"}

SHORT_VERDICTS = {
    Verdict.EXCEEDS: "exceeds",
    Verdict.WITHIN: "within",
    Verdict.INCONCLUSIVE: "inconclusive",
    Verdict.NOT_MEASURED: "not measured",
}
VERDICT_WORDS = {
    Verdict.EXCEEDS: "exceeds threshold",
    Verdict.WITHIN: "within threshold",
    Verdict.INCONCLUSIVE: "inconclusive",
    Verdict.NOT_MEASURED: "not measured",
}

_EVERYONE = {"", "all", "all groups", "any", "overall", "*", "-", "largest gap"}
_ACRONYMS = {
    "ppo": "PPO",
    "sft": "SFT",
    "kl": "KL",
    "rm": "RM",
    "mde": "MDE",
    "ci": "CI",
    "id": "ID",
    "auc": "AUC",
    "sha256": "SHA-256",
}
_TAIL = re.compile(r"[ _](gap|difference|disparity|diff|distance|ratio)$")


def words(name: str) -> str:
    """A snake_case name in words.

    >>> words("fair_ppo_vs_ppo"), words("kl_change")
    ('PPO with fairness penalty vs PPO', 'KL change')
    """
    text = re.sub(r"\bfair[ _-]ppo\b", "PPO with fairness penalty", re.sub(r"[_\s]+", " ", str(name)).strip())
    return " ".join(_ACRONYMS.get(word, word) for word in text.split(" "))


def sentence_case(text: str) -> str:
    """First letter raised, the rest left alone."""
    return text[:1].upper() + text[1:]


def stage(name: str) -> str:
    """A stage in words."""
    return _STAGE_NAMES.get(name, words(name))


def stage_tick(name: str) -> str:
    """A stage's name for an axis, broken into short lines."""
    return _TICK_NAMES.get(name, sentence_case(stage(name)).replace(" ", "\n"))


def stage_order(names: Iterable[str]) -> list[str]:
    """Distinct stages in pipeline order, unknown ones after them as met."""
    met = list(dict.fromkeys(names))
    return [name for name in STAGES if name in met] + [name for name in met if name not in STAGES]


def is_measured(finding: Finding) -> bool:
    """True where there is an estimate that the audit stands behind."""
    return finding.verdict != Verdict.NOT_MEASURED and finite(finding.estimate)


def not_measured(reason: str) -> str:
    """``not measured: <reason>``."""
    return f"{MISSING}: {reason}" if reason else MISSING


def quantity(finding: Finding) -> str:
    """What the metric is a gap in.

    >>> from types import SimpleNamespace as F
    >>> quantity(F(metric="counterfactual_reward_gap", unit="SD of reward"))
    'reward'
    """
    if " of " in finding.unit:
        return finding.unit.split(" of ", 1)[1]
    name = words(finding.metric)
    return _TAIL.sub("", name.removeprefix("counterfactual ")) or name


def with_unit(value: float, places: int, unit: str) -> str:
    """``0.31 SD of reward``; a bare number where there is no unit."""
    return f"{shown(value, places)} {unit}".strip()


def is_overall(finding: Finding) -> bool:
    """True for a finding about an attribute as a whole and not about one group against another."""
    return finding.group.lower() in _EVERYONE or finding.group == finding.attribute or finding.reference == ""


def subject(finding: Finding) -> str:
    """What was compared: ``ethnicity: black vs white``."""
    attribute = words(finding.attribute)
    if is_overall(finding):
        group = "" if finding.group in {"", finding.attribute} else f": {finding.group}"
        return f"{attribute}{group}" + (f" vs {finding.reference}" if finding.reference else "")
    return f"{attribute}: {finding.group} vs {finding.reference}"


def gap_sentence(finding: Finding, places: int) -> str:
    """The finding as one plain sentence with its interval, without a full stop."""
    if not is_measured(finding):
        return f"{sentence_case(subject(finding))}: {not_measured(finding.reason)}"
    low, high, value = finding.ci_low, finding.ci_high, finding.estimate
    what = quantity(finding)
    unit = finding.unit.split(" of ", 1)[0] if " of " in finding.unit else finding.unit
    if finding.better != "zero":
        level = f"{shown(value, places)} {unit}".strip()
        against = f" against “{finding.reference}”" if finding.reference else ""
        parity = ", where 1 is parity" if finding.better == "one" else f", where {finding.better}er is better"
        return f"“{finding.group or finding.attribute}” has a {words(finding.metric)} of {level}{against}{parity} " + (
            interval(low, high, places)
        )
    if is_overall(finding) and not finding.reference:
        spread = f"{with_unit(value, places, finding.unit)} {interval(low, high, places)}"
        return f"Across {words(finding.attribute)}, the {words(finding.metric)} is {spread}"
    if finding.metric == "difference_of_gaps":
        sizes = f"{with_unit(value, places, finding.unit)} {interval(low, high, places)}"
        return f"The gap differs with the item: “{finding.group}” against “{finding.reference}” by {sizes}"
    direction = "lower" if value < 0 else "higher"
    if value < 0:
        low, high = -high, -low
    amount = f"{shown(abs(value), places)} {unit}".strip()
    each = f"“{finding.group}” {verb(finding)}s"
    if finding.stage == FEEDBACK:  # groups of raters are words like "high": they need their attribute
        each = f"{sentence_case(words(finding.attribute))}: {each}"
    who = f"Across {words(finding.attribute)}, groups {verb(finding)}" if is_overall(finding) else each
    return f"{who} {amount} {direction} {what} than “{finding.reference}” {interval(low, high, places)}"


def verb(finding: Finding) -> str:
    """What a group does with the quantity: people get a reward or an answer, raters give a rating."""
    return "give" if finding.stage == FEEDBACK else "get"


def better(finding: Finding) -> str:
    """Which way is better, in a few words."""
    return {
        "zero": "closer to 0 is better",
        "one": "closer to 1 is better",
        "high": "higher is better",
        "low": "lower is better",
    }[finding.better]


def parity(finding: Finding) -> float | None:
    """The value that means no disparity, where the metric has one."""
    return {"zero": 0.0, "one": 1.0}.get(finding.better)


def distance_from_parity(finding: Finding) -> float:
    """|estimate - parity| in the metric's unit; |estimate| for metrics without a parity value. NaN if not measured."""
    return abs(finding.estimate - (parity(finding) or 0.0)) if is_measured(finding) else math.nan


def sensitivity(claims: Sequence[Finding]) -> str:
    """The largest gap that could have gone unseen, for each unit, as one sentence; empty if none is known."""
    largest: dict[str, float] = {}
    for finding in claims:
        if finite(finding.mde) and is_measured(finding):
            unit = finding.unit or quantity(finding)
            largest[unit] = max(largest.get(unit, 0.0), finding.mde)
    parts = [f"{significant(mde, 2)} {unit}" for unit, mde in largest.items()]
    if not parts:
        return ""
    scope = "this audit" if len(claims) == 1 else "for every claim measured, this audit"
    return f"{sentence_case(scope)} could detect ≥ {listed(parts)} at 80 % power."


def listed(parts: Sequence[str]) -> str:
    """``a, b and c``."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}" if parts else ""


def shortened(text: str, length: int) -> str:
    """``text`` with an ellipsis where it is longer than ``length`` characters."""
    return text if len(text) <= length else text[: length - 1].rstrip() + "…"
