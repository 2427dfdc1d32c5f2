"""What each metric of an audit is, in words for the reader of its report, by its name or by that of its family."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from rlhf_fair.audit.scorers import KINDS, ScorerPlan
from rlhf_fair.probes.missing import REFUSALS
from rlhf_fair.probes.missing import UNMEASURED as UNMEASURED_GAP

STAR, FILLED = "*", "{}"

REFUSAL = (
    "Share of the answers about the group that open like a refusal, less that share for the reference. Range -1 to 1; "
    "0 = both are refused as often, above 0 = the group more often."
)

UNMEASURED = (
    "Share of the rows about the group that did not enter the score (no answer came, it could not be read, or it was "
    "left out as a refusal), less that share for the reference. Range -1 to 1; 0 = both are measured as often, above 0 "
    "= less is known of the group."
)

ANSWERS: Mapping[str, str] = {REFUSALS: REFUSAL, UNMEASURED_GAP: UNMEASURED}
"""Of the gaps in answers that stand beside those in scores."""

SHIFTS: Mapping[str, str] = {
    "*_scorer_shift": (
        "How far the ruler of {} itself moves when, in the same sentences, only the words for the group stand in place "
        "of those for the reference: mean score with the one less that with the other, in the ruler's unit. 0 = it "
        "holds still; above 0 = it scores the group's words higher (Kiritchenko & Mohammad 2018; Dixon et al. 2018)."
    ),
    "*_scorer_absolute_shift": (
        "Mean size of that shift of the ruler of {}, whatever its direction, in the ruler's unit. 0 = it holds still "
        "in every sentence; never below 0."
    ),
    "*_scorer_share_above_0.5_shift": (
        "Share of the check's sentences that the ruler of {} scores above 0.5 with the words for the group, less that "
        "share with those for the reference. Range -1 to 1; 0 = both alike (Dixon et al. 2018)."
    ),
}
"""Of the check of text scorers, which every audit that uses some makes."""


def defined(metrics: Iterable[str], definitions: Mapping[str, str]) -> dict[str, str]:
    """Metric -> definition, in the order of ``metrics``; one that ``definitions`` does not know is left out.

    A name in ``definitions`` with a star stands for all names that differ from it only there, and ``{}`` in its text
    for what the star is, in words. A name that stands as it is goes before patterns, a longer pattern before a shorter.

    >>> defined(["mean_regard_other"], {"mean_*": "Mean {}.", "mean_regard_*": "Mean probability of {}."})
    {'mean_regard_other': 'Mean probability of other.'}
    """
    patterns = sorted((name for name in definitions if STAR in name), key=len, reverse=True)
    found: dict[str, str] = {}
    for metric in dict.fromkeys(metrics):
        if metric in definitions:
            found[metric] = definitions[metric]
            continue
        for pattern in patterns:
            start, _, end = pattern.partition(STAR)
            if len(metric) > len(start + end) and metric.startswith(start) and metric.endswith(end):
                rest = metric[len(start) : len(metric) - len(end)]
                found[metric] = definitions[pattern].replace(FILLED, rest.replace("_", " "))
                break
    return found


def gap_between_groups(scorers: Iterable[ScorerPlan], *, paired: bool = False) -> str:
    """The gap of one quantity between groups, by the rulers that measure it.

    ``paired``: answers to versions of the same prompt are compared, else the means of all answers about either group.
    """
    rulers = list(scorers)
    how = (
        "Mean change of {} from the answer to the reference's version of a prompt to that to the group's version"
        if paired
        else "Mean {} of the answers about the group less that of the answers about the reference"
    )
    said = how.replace(FILLED, rulers[0].quantity.replace("_", " "))
    return f"{said}. {_unit(rulers)}; 0 = parity, above 0 = the group scores higher. {measured_by(rulers)}"


def level_of_group(scorers: Iterable[ScorerPlan]) -> str:
    """The mean of one quantity in a group."""
    rulers = list(scorers)
    quantity = rulers[0].quantity.replace("_", " ")
    return f"Mean {quantity} of the answers about the group, the level that gaps are made of. {measured_by(rulers)}"


def label_definitions(quantity: str, scorers: Iterable[ScorerPlan]) -> dict[str, str]:
    """Of classifiers each of whose labels is a quantity: gap and level of a label's probability."""
    readers = " or ".join(dict.fromkeys(scorer.name for scorer in scorers))
    label = f"probability that {readers} gives to {quantity.replace('_', ' ')} {FILLED}"
    return {
        f"{quantity}_{STAR}_gap": (
            f"Mean {label} for the answers about the group less that for the answers about the reference. Range -1 to "
            "1; 0 = parity, above 0 = the label fits the group's answers more."
        ),
        f"mean_{quantity}_{STAR}": f"Mean {label} for the answers about the group. Range 0 to 1.",
    }


def measured_by(scorers: Iterable[ScorerPlan]) -> str:
    """A sentence about the rulers: what each reads a text by."""
    return f"Measured by {'; by '.join(f'{scorer.name} ({KINDS[scorer.kind]})' for scorer in scorers)}."


def _unit(scorers: Iterable[ScorerPlan]) -> str:
    return f"Unit: {' or '.join(dict.fromkeys(scorer.unit for scorer in scorers))}"
