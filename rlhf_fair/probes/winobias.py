"""WinoBias: a pronoun that a stereotype helps to resolve, and the same with the other gender (Zhao et al. 2018).

Line k of a ``pro`` file and line k of its ``anti`` file are the same scenario: two occupations, one held mostly by men
and one mostly by women, and a pronoun that stands for one of them. In type 1 world knowledge says which, in type 2
syntax does. The gap is accuracy on pro less accuracy on anti, scenario by scenario.

Scenarios share their occupations, and each occupation brings its stereotype along: rows are clustered by both, in two
ways, which leaves 20 units.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from rlhf_fair.metrics.counterfactual import mean_change
from rlhf_fair.models.requests import LogLikelihood
from rlhf_fair.probes.likelihoods import DUPLICATE, MISSING, Answers
from rlhf_fair.probes.measured import Measured
from rlhf_fair.probes.missing import REFUSALS, UNMEASURED, measured_rate, unmeasured_gap
from rlhf_fair.probes.referents import (
    Choices,
    Question,
    choices_from_likelihoods,
    read_choices,
    referent_requests,
    with_answer_rates,
)
from rlhf_fair.probes.upstream_files import read_lines, upstream_file
from rlhf_fair.records import Estimate
from rlhf_fair.stats.contrasts import contrast_estimate, mean_estimate
from rlhf_fair.stats.rate_differences import signed_mean
from rlhf_fair.tables import Column, Contract, Quarantined, validate

SIDES, TYPES, SPLITS = ("pro", "anti"), ("1", "2"), ("dev", "test")
ENTITY, OTHER = "entity", "other"
ASKED = ("item_id", "sentence", "pronoun", "entity", "other")
CLUSTERS = ("male_occupation", "female_occupation")

PRONOUNS = {"he": "male", "him": "male", "his": "male", "himself": "male"} | {
    "she": "female",
    "her": "female",
    "hers": "female",
    "herself": "female",
}

LIMIT = (
    "WinoBias takes gender as binary and stereotypes from US labour statistics; sentences are simple and some are "
    "ungrammatical. In 61 of 1,584 scenarios the two sides differ in more than one word, in 18 not in pronouns alone; "
    "in two the entity changes instead of the pronoun. Reported is accuracy of the choice between two occupations, not "
    "the F1 of coreference that the paper has."
)

CONTRACT = Contract(
    "WinoBias",
    {
        "item_id": Column(),
        "scenario": Column(),
        "side": Column(allowed=SIDES),
        "type": Column(allowed=TYPES),
        "split": Column(allowed=SPLITS),
        "sentence": Column(),
        "entity": Column(),
        "other": Column(),
        "pronoun": Column(),
        "gender": Column(allowed=("male", "female")),
        "male_occupation": Column(),
        "female_occupation": Column(),
    },
    key=("item_id",),
)

_BRACKETS = re.compile(r"\[\s*([^\[\]]+?)\s*\]")


def load_winobias(folder: Path) -> Quarantined:
    """The 3,168 sentences of both sides, types and splits, 396 for each, without brackets.

    ``entity``: the occupation that the pronoun stands for; ``other``: the one of the other gender, its distractor.
    ``scenario`` joins the two sides. A line without exactly one bracketed occupation and a bracketed pronoun, or
    without an occupation of each list, is rejected.
    """
    lists = [read_lines(upstream_file(folder / "data", f"{g}_occupations.txt", "WinoBias")) for g in ("male", "female")]
    men, women = ([name.strip().lower() for name in names] for names in lists)
    rows = []
    for split in SPLITS:
        for kind in TYPES:
            for side in SIDES:
                name = f"{side}_stereotyped_type{kind}.txt.{split}"
                for line in read_lines(upstream_file(folder / "data", name, "WinoBias")):
                    number, _, text = line.partition(" ")
                    scenario = f"type{kind}.{split}.{number}"
                    where = {"item_id": f"{side}.{scenario}", "scenario": scenario, "side": side}
                    rows.append({**where, "type": kind, "split": split, **parse(text, men, women)})
    return validate(pd.DataFrame(rows), CONTRACT)


def parse(line: str, men: Sequence[str], women: Sequence[str]) -> dict[str, str | None]:
    """What a sentence with brackets says; None for what it does not.

    The first bracketed pronoun counts; brackets that hold the article or leave it outside mean the same.

    >>> found = parse("[The nurse] met the chief and [her] or [ his] dog.", ["chief"], ["nurse"])
    >>> found["sentence"], found["entity"], found["other"], found["pronoun"], found["gender"]
    ('The nurse met the chief and her or his dog.', 'nurse', 'chief', 'her', 'female')
    """
    marked = [text.lower() for text in _BRACKETS.findall(line)]
    pronouns = [text for text in marked if text in PRONOUNS]
    entities = [re.sub(r"^(the|an?) ", "", text) for text in marked if text not in PRONOUNS]
    sentence = _BRACKETS.sub(r"\1", line).strip()
    found = [_mentioned(sentence, names) for names in (men, women)]
    entity = entities[0] if len(entities) == 1 else None
    other: str | None = None
    for own, opposite in (found, found[::-1]):
        if entity in own and opposite:
            other = opposite[0]
            break
    male, female = (entity, other) if entity in found[0] else (other, entity)
    return {
        "sentence": re.sub(r"\b(the) \1\b", r"\1", sentence, flags=re.IGNORECASE),
        "entity": entity,
        "other": other,
        "pronoun": pronouns[0] if pronouns else None,
        "gender": PRONOUNS[pronouns[0]] if pronouns else None,
        "male_occupation": male,
        "female_occupation": female,
    }


def winobias_requests(items: pd.DataFrame) -> list[LogLikelihood]:
    """Two requests for each sentence: the pronoun stands for the entity, or for the other occupation."""
    return referent_requests(
        [
            Question(f"winobias/{item_id}", sentence, pronoun, f"the {entity}", f"the {other}")
            for item_id, sentence, pronoun, entity, other in zip(*(items[column] for column in ASKED), strict=True)
        ]
    )


def winobias_records(items: pd.DataFrame, answers: Answers, problems: Sequence[str] | None = None) -> pd.DataFrame:
    """One row for each sentence; see `winobias_choice_records`."""
    return winobias_choice_records(items, choices_from_likelihoods(answers, len(items), problems))


def read_winobias_predictions(items: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
    """The records from a file of choices (item_id, choice: entity or other), of whatever system."""
    return winobias_choice_records(items, read_choices(items["item_id"].tolist(), table, (ENTITY, OTHER)))


def winobias_choice_records(items: pd.DataFrame, choices: Choices) -> pd.DataFrame:
    """``value``: 1 where the pronoun was resolved rightly, 0 where to the other occupation, 1/2 for a tie."""
    kept = items[["item_id", "scenario", "side", "type", "split", "gender", *CLUSTERS]].reset_index(drop=True)
    return pd.concat([kept, choices.columns()], axis=1)


def paired_scenarios(records: pd.DataFrame, column: str = "value") -> pd.DataFrame:
    """One row for each scenario: ``pro`` and ``anti``, NaN without an answer; its type, split and occupations."""
    index = ["scenario", "type", "split"]
    wide = records.pivot(index=index, columns="side", values=column).reindex(columns=list(SIDES))
    occupations = records.drop_duplicates("scenario").set_index(index)[list(CLUSTERS)]
    return wide.join(occupations).reset_index()


def winobias_measured(records: pd.DataFrame, *, alpha: float = 0.05) -> list[Measured]:
    """Pro less anti for each type in each split and in both: of accuracies, and of the log odds if there are any.

    0 = stereotypes do not matter. Accuracy on both sides together stands beside it: a model that guesses has no gap.
    """
    measured = []
    for group, rows in _parts(records):
        found = []
        ways = [rows[column] for column in CLUSTERS]
        for metric, column in (("pro_less_anti_accuracy", "value"), ("pro_less_anti_log_odds", "log_odds")):
            if column == "value" or records[column].notna().any():
                e = pro_less_anti(rows, column, alpha=alpha)
                unit = "nats" if column == "log_odds" else ""
                pairs = paired_scenarios(rows, column)[list(SIDES)].notna().all(axis=1)
                rate = measured_rate(pairs)
                found.append(Measured(metric, e, "stereotype", "pro", "anti", group, unit=unit, measured_rate=rate))
        accuracy = mean_estimate(rows["value"], clusters=ways, rates=True, null=0.5, alpha=alpha)
        rate = measured_rate(rows["value"].notna())
        found.append(
            Measured("accuracy", accuracy, "stereotype", "both", variant=group, better="high", measured_rate=rate)
        )
        measured += with_answer_rates([*found, *_answer_gaps(rows, group, alpha)], rows)
    return measured


def _answer_gaps(rows: pd.DataFrame, group: str, alpha: float) -> list[Measured]:
    """Pro less anti in refusals and in sentences without a measured answer, where there are some."""
    sides, ways, found = {"pro": 1.0, "anti": -1.0}, [rows[column] for column in CLUSTERS], []
    refused, measured = rows["refused"].astype(float), rows["value"].notna()
    if refused.any():
        came = ~rows["problem"].isin([MISSING, DUPLICATE])
        e = contrast_estimate(refused.where(came), rows["side"], sides, clusters=ways, rates=True, alpha=alpha)
        found.append((REFUSALS, e, measured_rate(came, rows["side"], sides)))
    if not measured.all():
        found.append((UNMEASURED, unmeasured_gap(measured, rows["side"], sides, clusters=ways, alpha=alpha), 1.0))
    return [Measured(metric, e, "stereotype", "pro", "anti", group, measured_rate=rate) for metric, e, rate in found]


def pro_less_anti(rows: pd.DataFrame, column: str = "value", *, alpha: float = 0.05) -> Estimate:
    """Mean of pro less anti over the scenarios answered on both sides; 0 = stereotypes do not matter.

    Of accuracies it is the rate of scenarios that only the stereotype's help gets right, less that of those that only
    its opposite does; `rlhf_fair.stats.rate_differences` has limits for few and for none of them.
    """
    pairs = paired_scenarios(rows, column)
    clusters = [pairs[name] for name in CLUSTERS]
    if column == "value":
        return signed_mean(pairs["pro"] - pairs["anti"], clusters=clusters, alpha=alpha)
    return mean_change(pairs["anti"], pairs["pro"], clusters=clusters, alpha=alpha)


def _parts(records: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    parts = []
    for kind in sorted(records["type"].unique()):
        of_type = records[records["type"] == kind]
        splits = sorted(of_type["split"].unique())
        parts += [(f"type{kind}_{split}", of_type[of_type["split"] == split]) for split in splits]
        if len(splits) > 1:
            parts.append((f"type{kind}", of_type))
    return parts


def _mentioned(sentence: str, names: Sequence[str]) -> list[str]:
    """The occupations in a sentence in the order in which they occur."""
    found = ((re.search(rf"\b{re.escape(name)}\b", sentence, re.IGNORECASE), name) for name in names)
    return [name for _, name in sorted((match.start(), name) for match, name in found if match)]
