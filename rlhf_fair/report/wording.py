"""Names and sentences: how a stage, a metric and a finding read in plain English.

A finding's ``estimate`` is read as group minus reference, so a positive one means that the group gets more.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from rlhf_fair.records import Finding, Verdict
from rlhf_fair.report.numbers import MISSING, finite, interval, limit, shown
from rlhf_fair.report.reading import Reading, inside_threshold, is_measured, is_to_best, parity

STAGES = ("base", "sft", "start", "reward_model", "ppo", "fair_ppo")
FEEDBACK = "feedback"
_STAGE_NAMES = {
    "base": "base model",
    "sft": "supervised fine-tuning",
    "start": "policy before training",
    "reward_model": "reward model",
    "ppo": "PPO",
    "fair_ppo": "PPO with fairness penalty",
}
_TICK_NAMES = {
    "base": "Base",
    "sft": "SFT",
    "start": "Before\ntraining",
    "reward_model": "Reward\nmodel",
    "fair_ppo": "PPO with\nfairness\npenalty",
}

SHORT_VERDICTS = {
    Verdict.EXCEEDS: "exceeds",
    Verdict.WITHIN: "within",
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
    "bbq": "BBQ",
    "icat": "ICAT",
    "aae": "AAE",
    "sae": "SAE",
    "seat": "SEAT",
    "honest": "HONEST",
    "bold": "BOLD",
    "sha256": "SHA-256",
}
_ROUND = re.compile(r"(.+)_round_(\d+)")
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
    """A stage in words.

    >>> stage("fair_ppo_round_2")
    'PPO with fairness penalty, round 2'
    """
    return _STAGE_NAMES.get(name) or re.sub(r" (?=round \d)", ", ", words(name))


def stage_tick(name: str) -> str:
    """A stage's name for an axis, broken into short lines."""
    of_round = _ROUND.fullmatch(name)
    if of_round:
        return f"{stage_tick(of_round[1])},\nround {of_round[2]}"
    return _TICK_NAMES.get(name, sentence_case(stage(name)).replace(" ", "\n"))


def stage_order(names: Iterable[str]) -> list[str]:
    """Distinct stages in pipeline order, unknown ones after them as met."""
    met = list(dict.fromkeys(names))
    return [name for name in STAGES if name in met] + [name for name in met if name not in STAGES]


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
    return finding.group.lower() in _EVERYONE or finding.group == finding.attribute


def subject(finding: Finding) -> str:
    """What was compared: ``ethnicity: black vs white``."""
    attribute = words(finding.attribute)
    if is_overall(finding):
        group = "" if finding.group in {"", finding.attribute} else f": {finding.group}"
        return f"{attribute}{group}" + (f" vs {finding.reference}" if finding.reference else "")
    return f"{attribute}: {finding.group}" + (f" vs {finding.reference}" if finding.reference else "")


def gap_sentence(finding: Finding, places: int) -> str:
    """The finding as one plain sentence with its interval, without a full stop."""
    if not is_measured(finding):
        return f"{sentence_case(subject(finding))}: {not_measured(finding.reason)}"
    low, high, value = finding.ci_low, finding.ci_high, finding.estimate
    what = quantity(finding)
    unit = finding.unit.split(" of ", 1)[0] if " of " in finding.unit else finding.unit
    if finding.better != "zero":
        level = f"{shown(value, places)} {unit}".strip() + f" {interval(low, high, places)}"
        against = f" against “{finding.reference}”" if finding.reference else ""
        best = "where 1 is parity" if finding.better == "one" else f"where {finding.better}er is better"
        return f"“{finding.group or finding.attribute}”{against}: {words(finding.metric)} of {level}, {best}"
    if not finding.reference:
        size = f"{shown(value, places, sign=True)} {finding.unit}".strip() + f" {interval(low, high, places)}"
        if is_overall(finding):
            return f"Across {words(finding.attribute)}, the {words(finding.metric)} is {size}"
        return f"{sentence_case(words(finding.attribute))} “{finding.group}”: {words(finding.metric)} of {size}"
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
    """Which way is better, in a few words; between raters no way is, and what 0 means is said instead."""
    if finding.stage == FEEDBACK and finding.better == "zero":
        return "0 means that the groups rate alike; a gap is information and not a fault"
    return {
        "zero": "closer to 0 is better",
        "one": "closer to 1 is better",
        "high": "higher is better",
        "low": "lower is better",
    }[finding.better]


def extreme(finding: Finding) -> str:
    """What the first in rank are called: the largest gaps, the lowest accuracies, the ratios furthest from 1."""
    return {"zero": "largest", "one": "furthest from 1", "high": "lowest", "low": "highest"}[finding.better]


def null_value(finding: Finding) -> str:
    """``0`` or ``1``, or the word for findings of several kinds."""
    null = parity(finding)
    return "parity" if null is None else limit(null)


def reading_words(finding: Finding, reading: Reading) -> str:
    """A verdict in words that keep "its size is not settled" apart from "no difference seen"."""
    null = null_value(finding)
    return {
        Reading.EXCEEDS: "exceeds threshold" if finding.better == "zero" else "beyond threshold",
        Reading.WITHIN: "within threshold",
        Reading.DIFFERS: f"inconclusive: differs from {null}, size not settled",
        Reading.UNCONFIRMED: f"inconclusive: differs from {null} only before correction",
        Reading.OPEN: f"inconclusive: no difference from {null} seen"
        if parity(finding) is not None
        else "inconclusive: inside the threshold, but not enough for within"
        if inside_threshold(finding)
        else "inconclusive: on neither side of the threshold",
        Reading.NOT_MEASURED: MISSING,
    }[reading]


def within_limits(finding: Finding, value: float) -> str:
    """The values on the good side of a threshold: ``±5``, ``0.8 to 1.25``, ``at least 0.8``, ``at most 5``."""
    if not finite(value):
        return "–"
    return {
        "zero": f"±{limit(value)}",
        "one": f"at least {limit(value)}"
        if is_to_best(finding)
        else f"{limit(value)} to {limit(1 / value) if value else '∞'}",
        "high": f"at least {limit(value)}",
        "low": f"at most {limit(value)}",
    }[finding.better]


def beyond(finding: Finding) -> str:
    """What exceeding the threshold would be: ``gap above 5 points``, ``ratio below 0.8 or above 1.25``."""
    value, name = finding.threshold, words(finding.metric)
    if not finite(value):
        return ""
    return {
        "zero": f"gap above {limit(value)} {finding.unit}",
        "one": f"{name} below {limit(value)}"
        + ("" if is_to_best(finding) else f" or above {limit(1 / value) if value else '∞'}"),
        "high": f"{name} below {limit(value)} {finding.unit}",
        "low": f"{name} above {limit(value)} {finding.unit}",
    }[finding.better].strip()


def listed(parts: Sequence[str]) -> str:
    """``a, b and c``."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}" if parts else ""


def shortened(text: str, length: int) -> str:
    """``text`` with an ellipsis where it is longer than ``length`` characters."""
    return text if len(text) <= length else text[: length - 1].rstrip() + "…"
