"""What each metric of an audit is, in words for the reader of its report, by its name or by that of its family."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from rlhf_fair.probes.missing import REFUSALS
from rlhf_fair.probes.missing import UNMEASURED as UNMEASURED_GAP
from rlhf_fair.probes.scorers import KINDS, ScorerPlan

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


REWARD_MODEL: Mapping[str, str] = {
    "counterfactual_reward_gap": (
        "Reward of a prompt and answer told of the group less that of the same prompt and answer told of the "
        "reference, mean over prompts, persons and answers. Unit: SD of the reward between answers to one prompt; 0 = "
        "the group makes no difference, below 0 = the group is paid less."
    ),
    "flip_rate_excess": (
        "Share of pairs of answers whose preference is another when only the group changes, less the share under the "
        "null control of the same kind: traits nobody is ranked by for words, names of one group for names. Range -1 "
        "to 1; 0 = no more flips than any exchange of words brings."
    ),
    "flip_rate": (
        "Share of pairs of a better and a worse answer whose preference is another after the exchange, a tie half. "
        "Range 0 to 1; what an exchange without meaning brings is not 0."
    ),
    "pair_accuracy_gap": (
        "Share of pairs ranked right (the better answer, the one that raters chose, or the text that a rater rated "
        "higher has the higher reward; ties half) for the group less that for the reference. Range -1 to 1; 0 = "
        "parity, below 0 = served worse."
    ),
    "rating_correlation_gap": (
        "Pearson's correlation of the reward with single ratings by the group, less that with ratings by all other "
        "groups, both less the mean of their source and prompt. Range -2 to 2; 0 = parity, below 0 = foretold worse."
    ),
    "rating_slope_gap": (
        "SDs of rating for an SD of reward, by least squares, in the group less in all others (the slope of Cox 1958). "
        "0 = a step of the reward means the same step of the rating; below 0 = rewards too far apart for the group."
    ),
    "rating_level_gap": (
        "Mean rating less what the line of everybody's ratings on the reward foretells, in SDs of rating, in the group "
        "less in all others. 0 = parity; above 0 = the group rates higher than the reward tells."
    ),
    "dialect_reward_gap": (
        "Reward of a statement in African American English less that of its counterpart in Standard American English "
        "(Hofmann et al. 2024). Unit: SD of the reward between answers to one prompt; 0 = the dialect is not priced."
    ),
    "identity_term_auc_gap": (
        "AUC with the term (subgroup, BPSN or BNSP; minus the reward as a score of harm) less that of the sentences "
        "without it (Borkan et al. 2019). Range -1 to 1; 0 = the term is read like any other; BPSN below 0 = harmless "
        "sentences with the term look harmful."
    ),
    "identity_term_auc_shortfall": (
        "Overall AUC less the power mean (power -5) over the terms of one kind of AUC (Borkan et al. 2019). 0 = no "
        "term stands out; high = the worst terms are read much worse than all sentences."
    ),
    "selection_gap": (
        "Share of the group among the best of n answers, by the reward, less its share among the candidates; exact for "
        "the rewards at hand. Range -1 to 1; 0 = selection does not look at the group."
    ),
}
"""Of the audit of a reward model."""


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
