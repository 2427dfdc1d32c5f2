"""HONEST: how often a model completes a neutral sentence about a person with a hurtful word (Nozza et al. 2021, 2022).

HONEST score = hurtful completions / (K · N), for K completions of each of N templates; range [0, 1], 0 = none is
hurtful. A completion is hurtful if a word *or a phrase* of a lexicon occurs in it, whichever place it has: upstream
goes word by word, so that phrases never match, and takes the first completion's length for that of all.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Literal, TypedDict, get_args

import pandas as pd

from rlhf_fair.errors import SettingsError
from rlhf_fair.models.requests import ScoresQuality
from rlhf_fair.models.toxicity_terms import ToxicTerms
from rlhf_fair.probes.generation_scores import ScoreColumn, Scoring, parse_rate, score_columns
from rlhf_fair.probes.generations import refusal_rate
from rlhf_fair.probes.measured import Measured
from rlhf_fair.probes.missing import UNMEASURED, measured_rate, unmeasured_gap
from rlhf_fair.probes.score_gaps import OTHERS, Comparison
from rlhf_fair.probes.upstream_files import upstream_file
from rlhf_fair.stats.contrasts import contrast_estimate, mean_estimate
from rlhf_fair.tables import Column, Contract, Quarantined, Rule, read_table, require_columns, validate

LIMIT = (
    "HONEST counts lexicon words, not hurt: words with a harmless sense count, hurtful sentences without them do not. "
    "The English binary set repeats 42 of its 810 rows and has three identities (child, young, youngs) under both "
    "genders; some queer categories have a single identity (Nozza et al. 2021, 2022; counts from the files)."
)

Subset = Literal["binary", "queer_nonqueer"]
BLANK = "[M]"
HURTFUL = "hurtful"

CONTRACT = Contract(
    "HONEST",
    {
        "item_id": Column(),
        "template": Column(),
        "identity": Column(),
        "number": Column(),
        "category": Column(),
        "type": Column(),
        "masked": Column(),
        "prompt": Column(),
    },
    key=("item_id",),
    rules=(Rule("masked", lambda t: t["masked"].str.count(r"\[M\]") != 1, f"it must hold one {BLANK}"),),
)


def load_honest(folder: Path, subset: Subset) -> Quarantined:
    """Templates with their identity, category and type; ``prompt`` is the sentence up to the blank.

    English has 810 (binary) and 705 (queer_nonqueer). ``template`` is the sentence with the identity left open.
    """
    if subset not in get_args(Subset):
        raise SettingsError(f"HONEST subset is {subset!r}; allowed: {', '.join(get_args(Subset))}")
    path = upstream_file(folder / subset, "en_template.tsv", "HONEST")
    raw = read_table(path)
    require_columns(raw, ("template_masked", "raw", "identity", "number", "category", "type"), f"HONEST {path}")
    items = raw.rename(columns={"template_masked": "masked", "raw": "template"})
    items["item_id"] = [f"honest/{subset}/{row}" for row in range(len(items))]
    items["prompt"] = items["masked"].str.partition(BLANK)[0].str.rstrip()
    return validate(items, CONTRACT)


def load_hurtlex(path: Path, *, level: str = "conservative", categories: Collection[str] = ()) -> ToxicTerms:
    """HurtLex as a scorer of 0 and 1: the lemmas of a level (upstream's default), of some of its categories if given.

    Reads upstream's ``hurtlex_EN.tsv`` (Bassignana, Basile & Patti 2018); the file is not shipped.
    """
    table = read_table(path)
    require_columns(table, ("lemma", "level", "category"), f"HurtLex {path}")
    for column, wanted in (("level", {level}), ("category", set(categories))):
        unknown = sorted(wanted - set(table[column]))
        if unknown:
            there = sorted(set(map(str, table[column])))
            raise SettingsError(f"{path}: HurtLex has no {column} {unknown[0]!r}; has {there}")
        table = table[table[column].isin(wanted)] if wanted else table
    lemmas = [str(lemma).strip() for lemma in table["lemma"].dropna()]
    name = " ".join(["hurtlex", level, *sorted(categories)])
    return ToxicTerms(dict.fromkeys(filter(None, lemmas), 1.0), name=name)


def honest_scoring(lexicon: ScoresQuality) -> Scoring:
    """The first sentence of each completion; a refusal is a completion, as K · N counts all of them."""
    return Scoring({HURTFUL: lexicon}, part="first sentence", refusals="scored")


def honest_measured(records: pd.DataFrame, reference: str = "", *, alpha: float = 0.05) -> list[Measured]:
    """``honest_score`` overall and by category, and ``honest_gap`` of each category to ``reference``.

    Without a reference a category is compared with the mean of the others, or, of two, with the first. Clusters:
    templates, and identities wherever each category in question has two or more; where one has a single identity, the
    interval is over its templates and says nothing of other identities.
    """
    categories = [str(category) for category in records["category"].unique()]
    columns = [score for score in score_columns(records) if score.quantity == HURTFUL]
    slices = {"all": records} | {name: records[records["category"] == name] for name in categories}
    measured = [_score(rows, name, column, alpha) for column in columns for name, rows in slices.items()]
    if len(categories) < 2 and not reference:
        return measured
    comparison = Comparison("category", "category", ("template", "identity"), reference).among(categories)
    compared = [name for name in categories if name != comparison.reference]
    return measured + [
        gap
        for column in columns
        for name in compared
        for gap in _gaps(records, name, comparison, comparison.coefficients(categories, name), column, alpha)
    ]


def _score(rows: pd.DataFrame, group: str, score: ScoreColumn, alpha: float) -> Measured:
    e = mean_estimate(rows[score.column], clusters=_clusters(rows), rates=True, alpha=alpha)
    answers, rate = _answers(rows, score), measured_rate(rows[score.column].notna())
    variant = score.variant
    return Measured("honest_score", e, "category", group, "", variant, "low", measured_rate=rate, **answers)


def _gaps(
    records: pd.DataFrame,
    group: str,
    comparison: Comparison,
    coefficients: dict[str, float],
    score: ScoreColumn,
    alpha: float,
) -> list[Measured]:
    """Of the score, and where completions have none, of those that do not."""
    rows = records[records["category"].isin(list(coefficients))]
    values, scored, names = rows[score.column], rows[score.column].notna(), rows["category"]
    clusters, answers = _clusters(rows), _answers(rows, score)
    e = contrast_estimate(values, names, coefficients, clusters=clusters, rates=True, alpha=alpha)
    who = ("category", group, comparison.reference or OTHERS, score.variant)
    rate = measured_rate(scored, names, coefficients)
    found = [Measured("honest_gap", e, *who, measured_rate=rate, **answers)]
    if not scored.all():
        lost = unmeasured_gap(scored, names, coefficients, clusters=clusters, alpha=alpha)
        found.append(Measured(UNMEASURED, lost, *who, measured_rate=1.0, **answers))
    return found


class _Answers(TypedDict):
    parse_rate: float
    refusal_rate: float


def _answers(rows: pd.DataFrame, score: ScoreColumn) -> _Answers:
    return {"parse_rate": parse_rate(rows, score.column), "refusal_rate": refusal_rate(rows)}


def _clusters(rows: pd.DataFrame) -> list[pd.Series]:
    fewest = rows.groupby("category")["identity"].nunique().min()
    return [rows["template"], rows["identity"]] if fewest >= 2 else [rows["template"]]
