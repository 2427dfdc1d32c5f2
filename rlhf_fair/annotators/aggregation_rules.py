"""The rules by name: what each makes of pairs, ratings and scalar rewards, and what it needs to be told.

Texts (edits of an answer, revised instructions) have no mean and no majority: they are collected and counted, and no
rule applies to them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from rlhf_fair.annotators.aggregation import aggregate_pairs, aggregate_ratings, require_finite_sums
from rlhf_fair.annotators.bradley_terry import bradley_terry
from rlhf_fair.annotators.jury import equal_seats, jury_pairs, jury_ratings
from rlhf_fair.annotators.latent_classes import LATENT_CLASS, latent_class_table
from rlhf_fair.annotators.max_min import max_min_pairs, max_min_ratings
from rlhf_fair.errors import SettingsError
from rlhf_fair.tables import TEXT_KINDS

NUMBERS = ("rating", "scalar")
ANY = ("pair", *NUMBERS)


@dataclass(frozen=True)
class Rule:
    """``kinds`` it can aggregate; ``needs``: ``groups`` or ``weights`` or nothing; ``takes``: what it can use.

    ``on_request``: left out of comparisons that do not name it, since it needs an optional package and minutes.
    """

    kinds: tuple[str, ...]
    needs: str
    says: str
    takes: tuple[str, ...] = ()
    on_request: bool = False


RULES: Mapping[str, Rule] = {
    "mean": Rule(
        ANY,
        "",
        "every judgement counts the same (or by --weights, or every group the same with --by)",
        ("weights", "groups"),
    ),
    "median": Rule(NUMBERS, "", "lowest value with half of the judgements at or below it", ("weights", "groups")),
    "majority": Rule(ANY, "", "what most judgements say; a tie of a and b stays undecided", ("weights", "groups")),
    "group-balanced": Rule(
        ANY, "groups", "mean of the group means: every group on an item counts the same", ("groups",)
    ),
    "population-weighted": Rule(
        ANY, "weights", "mean weighted so that the panel stands for the population", ("weights",)
    ),
    "max-min": Rule(ANY, "groups", "what is best for the group worst off on the item", ("groups",)),
    "jury": Rule(ANY, "groups", "verdict of juries drawn with given seats for each group", ("groups", "seats")),
    "dawid-skene": Rule(("pair", "rating"), "", "most likely true class, if disagreement is error (it need not be)"),
    "mace": Rule(
        ("pair", "rating"),
        "",
        "most likely true class, if raters know it or answer by habit (needs rlhf-fair[crowd])",
        on_request=True,
    ),
    "glad": Rule(
        ("pair", "rating"),
        "",
        "most likely true class, if raters differ in ability and items in difficulty (needs rlhf-fair[crowd])",
        on_request=True,
    ),
    "bradley-terry": Rule(
        ("pair",), "", "strength of responses, freed of raters' leaning to what is shown first", ("weights",)
    ),
}


@dataclass(frozen=True)
class RuleInputs:
    """What rules may need: ``weights`` and ``groups`` by annotator_id, ``seats`` (group -> seats of a jury).

    A rater whose group is missing is of none, and not of one with others like that: `aggregation_groups` says who is.
    """

    weights: pd.Series | None = None
    groups: pd.Series | None = None
    seats: Mapping[str, int] | None = None

    def lacks(self, rule: str) -> str:
        """What ``rule`` needs and is not here; "" if nothing."""
        needed = RULES[rule].needs
        return needed if needed and getattr(self, needed) is None else ""


def compare_rules(feedback: pd.DataFrame, rules: Sequence[str], inputs: RuleInputs) -> dict[str, pd.DataFrame]:
    """Each rule's table, for `flips.flip_report`: a rule is given what it needs and nothing else."""
    needed = {rule: inputs if check_rule(rule).needs else RuleInputs() for rule in rules}
    return {rule: aggregate(feedback, rule, needed[rule]) for rule in rules}


def check_rule(name: str) -> Rule:
    """The rule of that name; an unknown one is an error naming those there are."""
    if name not in RULES:
        raise SettingsError(f"rule = {name!r}; allowed: {', '.join(RULES)}")
    return RULES[name]


def aggregate(feedback: pd.DataFrame, rule: str, inputs: RuleInputs | None = None) -> pd.DataFrame:
    """Judgements of one kind, made one for each item.

    Parameters
    ----------
    feedback
        item_id, annotator_id, kind (one of the rule's kinds, the same in every row), choice or value.

    Returns
    -------
    DataFrame
        item_id (in order of appearance); p_a in [0, 1] for pairs, else value, NaN where the rule says nothing; n
        (judgements used). Single rules add columns: see `max_min_pairs`, `jury.jury_pairs`, `latent_class_table`; those
        fitted in rounds have ``converged``, and where it is False the values are not what the rule stands for.
    """
    known, given = check_rule(rule), inputs or RuleInputs()
    kinds = list(feedback["kind"].unique())
    if len(kinds) != 1 or kinds[0] not in known.kinds:
        raise SettingsError(f"rule {rule!r} on feedback of kinds {kinds}; allowed: one of {', '.join(known.kinds)}")
    if lacking := given.lacks(rule):
        raise SettingsError(f"rule {rule!r} needs {lacking} by annotator")
    pairs = kinds[0] == "pair"
    rows = feedback if pairs else feedback.assign(kind="rating")
    if not pairs:
        require_finite_sums(rows["value"].astype(float))
    if rule == "max-min":
        assert given.groups is not None
        return max_min_pairs(rows, given.groups) if pairs else max_min_ratings(rows, given.groups)
    if rule == "jury":
        assert given.groups is not None
        seats = given.seats or equal_seats(given.groups)
        return jury_pairs(rows, given.groups, seats) if pairs else jury_ratings(rows, given.groups, seats)
    if rule in LATENT_CLASS:
        return latent_class_table(rows, rule)
    if rule == "bradley-terry":
        strengths = bradley_terry(rows, given.weights, groups=None)
        return strengths.items.assign(converged=strengths.converged)
    return _weighted(rows, rule, given, pairs)


def collected_only(feedback: pd.DataFrame) -> dict[str, int]:
    """Rows that no rule aggregates, by kind."""
    texts = feedback["kind"][feedback["kind"].isin(TEXT_KINDS)]
    return {str(kind): int(count) for kind, count in texts.value_counts(sort=False).items()}


def default_rules() -> list[str]:
    """What is compared where no rule is named: all but those on request."""
    return [name for name, rule in RULES.items() if not rule.on_request]


def usable_rules(kind: str, inputs: RuleInputs, names: Sequence[str] = ()) -> tuple[list[str], dict[str, str]]:
    """Of ``names`` (default all), those that can aggregate ``kind`` with ``inputs``, and why the others cannot."""
    usable, skipped = [], {}
    for name in names or RULES:
        if kind not in check_rule(name).kinds:
            skipped[name] = f"does not apply to feedback of kind {kind}"
        elif lacking := inputs.lacks(name):
            skipped[name] = f"needs {lacking} by annotator"
        elif name not in names and RULES[name].on_request:
            skipped[name] = "compared where it is named"
        else:
            usable.append(name)
    return usable, skipped


def _weighted(rows: pd.DataFrame, rule: str, inputs: RuleInputs, pairs: bool) -> pd.DataFrame:
    """The rules that are a weighted mean, median or mode."""
    takes = RULES[rule].takes
    weights = inputs.weights if "weights" in takes else None
    groups = inputs.groups if "groups" in takes else None
    shape: Any = rule if rule in ("median", "majority") else "mean"
    if pairs:
        return aggregate_pairs(rows, weights, groups=groups, rule=shape)
    return aggregate_ratings(rows, weights, groups=groups, rule=shape)
