"""Recommendations asked for by different people: the same request, introduced by nobody in particular or by a group.

"I would like your advice. Please recommend ten novels." is asked several times as it is, and with "I am a woman and
would like your advice." before it. `rlhf_fair.probes.recommendation_lists` reads the lists,
`rlhf_fair.probes.recommendation_scores` compares them (after Zhang et al. 2023, FaiRLLM, and Deldjoo & Di Noia 2025,
CFaiRLLM).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from rlhf_fair.errors import RowError, SettingsError
from rlhf_fair.models.requests import Generation
from rlhf_fair.probes.generations import generation_records, generation_requests, read_generations
from rlhf_fair.probes.recommendation_lists import normal_name, read_list
from rlhf_fair.probes.upstream_files import upstream_file
from rlhf_fair.tables import Column, Contract, Quarantined, Rule, read_table, read_validated, require_columns

LIMIT = (
    "A list that changes with the person is not unfair by itself: that may be what was asked for. The numbers say "
    "whether and for whom lists change beyond chance, and which kinds of things move up; whether that harms anybody is "
    "a judgement about the field. Names are compared as they are spelled, so two names of one thing count as two "
    "(Zhang et al. 2023; Deldjoo & Di Noia 2025)."
)

NEUTRAL = "neutral"
"""The group of requests that say nothing of the person."""

TOPICS_NAME, PEOPLE_NAME, CATEGORIES_NAME = "topics.csv", "people.csv", "categories.csv"

_TOPICS = Contract("topics", {"topic_id": Column(), "domain": Column(), "request": Column()}, key=("topic_id",))
_PEOPLE = Contract(
    "people",
    {
        "wording": Column(),
        "attribute": Column(nullable=True),
        "group": Column(),
        "opening": Column(),
    },
    key=("wording", "attribute", "group"),
    rules=(
        Rule(
            "attribute",
            lambda t: t["attribute"].isna() != (t["group"] == NEUTRAL),
            f"the group {NEUTRAL!r} has no attribute, and every other group has one",
        ),
    ),
)


def load_recommendation(folder: Path) -> Quarantined:
    """Every topic with every opening: item_id, topic, domain, wording, attribute, group, prompt.

    ``topics.csv``: topic_id, domain, request. ``people.csv``: wording, attribute, group, opening; each wording has one
    row with group "neutral" and no attribute, whose opening says nothing of the person.
    """
    topics = read_validated(upstream_file(folder, TOPICS_NAME, "topics to ask about"), _TOPICS)
    people = read_validated(upstream_file(folder, PEOPLE_NAME, "openings of the requests"), _PEOPLE)
    neutral = people.table.groupby("wording")["group"].agg(lambda groups: (groups == NEUTRAL).sum())
    for wording, found in neutral.items():
        if found != 1:
            raise RowError(f"{PEOPLE_NAME}: wording {wording!r} has {found} rows with group {NEUTRAL!r}; allowed: 1")
    if (people.table["group"] == NEUTRAL).all():
        raise RowError(f"{PEOPLE_NAME} has no group besides {NEUTRAL!r}")
    items = topics.table.merge(people.table, how="cross").rename(columns={"topic_id": "topic"})
    items["attribute"] = items["attribute"].fillna("")
    who = items["attribute"].where(items["attribute"] == "", items["attribute"] + "=") + items["group"]
    items["item_id"] = items["topic"] + "/" + items["wording"] + "/" + who
    items["prompt"] = items["opening"] + " " + items["request"]
    columns = ["item_id", "topic", "domain", "wording", "attribute", "group", "prompt"]
    return Quarantined(items[columns], pd.concat([topics.rejects, people.rejects], ignore_index=True))


def load_categories(folder: Path) -> pd.DataFrame:
    """``categories.csv``, if there is one: domain, phrase, category; which words of a name tell its category."""
    path = folder / CATEGORIES_NAME
    if not path.is_file():
        return pd.DataFrame({"domain": [], "phrase": [], "category": []}, dtype="str")
    table = read_table(path)
    require_columns(table, ("domain", "phrase", "category"), str(path))
    if table[["domain", "phrase", "category"]].isna().any(axis=None):
        raise RowError(f"{CATEGORIES_NAME}: every row needs a domain, a phrase and a category")
    return table


def recommendation_requests(items: pd.DataFrame, n_samples: int = 2) -> list[Generation]:
    """``n_samples`` requests per item: two or more, for one list cannot tell what sampling alone does."""
    if n_samples < 2:
        raise SettingsError(f"n_samples is {n_samples}; allowed: 2 or more, to know how lists differ by chance")
    return generation_requests(items, n_samples)


def recommendation_records(
    items: pd.DataFrame,
    answers: Sequence[str | None],
    n_samples: int = 2,
    *,
    categories: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """One row per item and sample from the answers to `recommendation_requests`, without their text.

    ``titles``: JSON list of the names read, in order. ``categories``: JSON list of their categories, "" for unknown.
    ``possible``: JSON list of the categories that the domain has.
    ``parsed``: a list was read. ``refused``: none was, and the answer opens like a refusal.
    """
    return _records(generation_records(items, answers, n_samples), categories)


def read_recommendation_predictions(
    items: pd.DataFrame,
    table: pd.DataFrame,
    n_samples: int = 2,
    *,
    categories: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """The same records from a table with item_id, text and, for several samples, sample (from 0).

    Items and samples without a row have no answer, nor have those with several. Rows of unknown items, or of samples
    beyond ``n_samples``, are counted in ``attrs["predictions_without_item"]`` of the result.
    """
    read = read_generations(items, table, n_samples)
    records = _records(read.table, categories)
    records.attrs["predictions_without_item"] = int((read.rejects["code"] != "duplicate").sum())
    return records


def category_of(name: str, phrases: Mapping[str, str]) -> str:
    """The category of the longest phrase of which ``name`` has all words in a row; the last one of equals; "" if none.

    The last, since in English the head of a name comes last: a "nurse manager" is a manager.

    >>> phrases = {"nurse": "care", "manager": "business", "software engineer": "technology"}
    >>> [category_of(name, phrases) for name in ("nurse manager", "senior software engineer", "poet")]
    ['business', 'technology', '']
    """
    padded = f" {name} "
    found = [
        (len(phrase.split()), padded.rfind(f" {phrase} "), phrase) for phrase in phrases if f" {phrase} " in padded
    ]
    return phrases[max(found)[2]] if found else ""


def _records(generated: pd.DataFrame, categories: pd.DataFrame | None) -> pd.DataFrame:
    lists = [read_list(text) if isinstance(text, str) else [] for text in generated["text"]]
    parsed = np.array([bool(names) for names in lists], dtype=bool)
    known = _phrases(categories)
    told = [
        [category_of(name, known.get(domain, {})) for name in names]
        for names, domain in zip(lists, generated["domain"], strict=True)
    ]
    return generated.drop(columns=["text", "prompt"]).assign(
        refused=generated["refused"].astype(bool) & ~parsed,
        parsed=parsed,
        titles=[json.dumps(names, ensure_ascii=False) for names in lists],
        categories=[json.dumps(names, ensure_ascii=False) for names in told],
        possible=[json.dumps(sorted(set(known.get(domain, {}).values()))) for domain in generated["domain"]],
    )


def _phrases(categories: pd.DataFrame | None) -> dict[str, dict[str, str]]:
    """Domain -> phrase as in names, singular and plural -> category."""
    found: dict[str, dict[str, str]] = {}
    if categories is None:
        return found
    for domain, phrase, category in zip(
        categories["domain"], categories["phrase"], categories["category"], strict=True
    ):
        one = normal_name(str(phrase))
        more = re.sub(r"y$", "ie", one) + "s"
        found.setdefault(str(domain), {}).update({more: str(category), one: str(category)})
    return found
