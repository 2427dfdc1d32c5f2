"""Read the sources of a reward-model config into items; whatever cannot be used is listed with a reason."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from rlhf_fair.errors import RowError, about_file
from rlhf_fair.tables import (
    ATTRIBUTE_PREFIX,
    REJECT_COLUMNS,
    Column,
    Contract,
    Quarantined,
    Rule,
    as_numbers,
    read_jsonl_with_rejects,
    read_table,
    require_columns,
    validate,
)
from rlhf_fair.training.reward.config import PairSource, Panel, RatingSource
from rlhf_fair.training.reward.panel import levels, rater_weights

HH_PAIRS = Contract("hh-rlhf pairs", {"chosen": Column(), "rejected": Column()}, key=("chosen", "rejected"))
PAIRS = Contract(
    "pairs",
    {
        "prompt": Column(),
        "response_a": Column(),
        "response_b": Column(),
        "p_a": Column("number", low=0, high=1),
        "weight": Column("number", required=False, nullable=True, low=0),
        "margin": Column("number", required=False, nullable=True, low=0),
    },
    key=("prompt", "response_a", "response_b"),
)
PAIR_COLUMNS = (
    *("source", "virtue", "item_id", "key", "prompt", "response_a", "response_b"),
    *("text_a", "text_b", "p_a", "weight", "margin"),
)
_LAST_TURN = "\n\nAssistant:"


@dataclass(frozen=True)
class Source:
    """What was read: ``items`` (one row per text or pair), the ``ratings`` behind them, ``rejects``, and notes.

    Rated items have source, virtue, item_id, key, text, rating (weighted mean in [0, 1], 1 = best), plain_rating (the
    same unweighted), n_ratings, weight.
    Pairs have the columns of `PAIR_COLUMNS`. ``key`` is equal for equal texts or prompts.
    ``ratings``: item_id, rater_id, value (in [0, 1]; of pairs 1 for a, 1/2 for a tie), weight, and ``attr.*`` as
    levels; empty where single judgements are not known.
    """

    name: str
    items: pd.DataFrame
    rejects: pd.DataFrame
    n_rows: int
    ratings: pd.DataFrame = field(default_factory=pd.DataFrame)
    panel: dict[str, object] = field(default_factory=dict)


def text_key(text: str) -> str:
    """Letters and digits only, lower case: texts that differ in spacing or punctuation alone are the same text."""
    return re.sub(r"[\W_]+", "", text.lower()) or text.strip()


def read_ratings(source: RatingSource, data_dir: Path, panel: Panel | None) -> Source:
    """One item per text, its rating the mean over raters, weighted to the census where a panel is asked for."""
    raw = read_table(data_dir / source.path, missing_values=source.missing)
    with about_file(source.path):
        checked = _check_ratings(raw, source)
    ratings = checked.table.drop(columns="text", errors="ignore")
    texts, text_rejects = _texts(source, data_dir, checked.table)
    with_text = ratings["item_id"].isin(texts.index)
    rejects = [checked.rejects, text_rejects, _without_text(ratings[~with_text], source)]
    ratings = ratings[with_text].reset_index(drop=True)
    if ratings.empty:
        raise RowError(f"source {source.name!r}: no usable rating in {source.path}")
    ratings["value"] = unit_rating(ratings["rating"], source)
    ratings["weight"] = 1.0
    summary: dict[str, object] = {}
    if panel is not None and source.attributes:
        weights, summary = rater_weights(ratings, source.attributes, data_dir / panel.census, panel.trim)
        ratings["weight"] = ratings["rater_id"].map(weights)
    for name, attribute in source.attributes.items():
        ratings[ATTRIBUTE_PREFIX + name] = levels(ratings[ATTRIBUTE_PREFIX + name], attribute)
    items = _rated_items(ratings, texts, source)
    return Source(source.name, items, listed(rejects, source.name), len(raw), ratings, summary)


def unit_rating(rating: pd.Series, source: RatingSource) -> pd.Series:
    """The rating's place between the ends of its scale; range [0, 1], 1 = the better end."""
    low, high = source.scale
    share = (rating - low) / (high - low)
    return share if source.better == "high" else 1 - share


def read_pairs(source: PairSource, data_dir: Path) -> Source:
    """Pairs as full texts, prompt included; the first occurrence of a repeated pair is kept."""
    path = data_dir / source.path
    if source.format == "hh_rlhf":
        read = read_jsonl_with_rejects(path, missing_values=source.missing)
        with about_file(path):
            checked = validate(read.table, HH_PAIRS)
        table = checked.table.rename(columns={"chosen": "text_a", "rejected": "text_b"})
        table["p_a"] = 1.0
        for side in ("a", "b"):
            table[f"response_{side}"] = table[f"text_{side}"].str.rsplit(_LAST_TURN, n=1).str[-1]
        table["prompt"] = table["text_a"].str.rsplit(_LAST_TURN, n=1).str[0]
        prompts = table["prompt"].str.split(_LAST_TURN, n=1).str[0]  # dialogues that open alike are one cluster
    else:
        raw = read_table(path, missing_values=source.missing)
        read = Quarantined(raw, pd.DataFrame(columns=list(REJECT_COLUMNS)))
        with about_file(path):
            checked = validate(raw, PAIRS)
        table, prompts = checked.table.copy(), checked.table["prompt"]
        table["text_a"] = prompts + source.separator + table["response_a"]
        table["text_b"] = prompts + source.separator + table["response_b"]
    if table.empty:
        raise RowError(f"source {source.name!r}: no usable pair in {source.path}")
    own = table["weight"].fillna(1.0) if "weight" in table else 1.0
    table["weight"] = source.weight * own
    table["margin"] = table["margin"].fillna(0.0) if "margin" in table else 0.0
    table["source"], table["key"] = source.name, prompts.map(text_key)
    table["item_id"] = [str(number) for number in range(1, len(table) + 1)]
    table["virtue"] = source.virtue
    n_rows = len(checked.table) + len(checked.rejects) + len(read.rejects)
    return Source(source.name, table[list(PAIR_COLUMNS)], listed([read.rejects, checked.rejects], source.name), n_rows)


def _check_ratings(raw: pd.DataFrame, source: RatingSource) -> Quarantined:
    columns = {source.item: "item_id", source.rater: "rater_id", source.rating: "rating"}
    if source.texts is None:
        columns[source.text] = "text"
    require_columns(raw, [*columns, *(a.column for a in source.attributes.values())], f"source {source.name!r}")
    table = raw[list(columns)].rename(columns=columns)
    for name, attribute in source.attributes.items():
        table[ATTRIBUTE_PREFIX + name] = raw[attribute.column]
    if source.no_answer:
        numbers = as_numbers(table["rating"])
        table["rating"] = table["rating"].mask(numbers.isin(source.no_answer))
    low, high = source.scale
    allowed = source.allowed
    rules = (Rule("rating", lambda t: ~t["rating"].isin(allowed), f"allowed: {list(allowed)}"),) if allowed else ()
    contract = Contract(
        f"source {source.name!r}",
        {"item_id": Column(), "rater_id": Column(), "rating": Column("number", low=low, high=high)},
        key=("item_id", "rater_id"),
        rules=rules,
    )
    return validate(table, contract)


def _texts(source: RatingSource, data_dir: Path, ratings: pd.DataFrame) -> tuple[pd.Series, pd.DataFrame]:
    """Text by item id, and the text table's rejected rows."""
    empty = pd.DataFrame(columns=list(REJECT_COLUMNS))
    if source.texts is None:
        texts = ratings.dropna(subset="text").groupby("item_id")["text"].first()
        return texts[texts.str.strip() != ""], empty
    raw = read_table(data_dir / source.texts.path, missing_values=source.missing)
    name = f"texts of source {source.name!r}"
    require_columns(raw, [source.texts.item, source.texts.text], f"{name} ({source.texts.path})")
    table = raw[[source.texts.item, source.texts.text]].set_axis(["item_id", "text"], axis=1)
    checked = validate(table, Contract(name, {"item_id": Column(), "text": Column()}, key=("item_id",)))
    return checked.table.set_index("item_id")["text"], checked.rejects


def _without_text(ratings: pd.DataFrame, source: RatingSource) -> pd.DataFrame:
    """Rejects for ratings of items that have no text; their row number is no longer known, so it is 0."""
    message = f"source {source.name!r}: the item has no text"
    rows = {"row": 0, "column": source.item, "value": ratings["item_id"], "code": "no_text", "message": message}
    return pd.DataFrame(rows, columns=list(REJECT_COLUMNS))


def _rated_items(ratings: pd.DataFrame, texts: pd.Series, source: RatingSource) -> pd.DataFrame:
    weighted = ratings.assign(product=ratings["value"] * ratings["weight"])
    sums = weighted.groupby("item_id", sort=True)[["product", "weight", "value"]].sum()
    counts = ratings.groupby("item_id", sort=True).size()
    # An item all of whose raters weigh 0 is one nobody of the population has rated: its plain mean stands in.
    rating = (sums["product"] / sums["weight"]).where(sums["weight"] > 0, sums["value"] / counts)
    items = pd.DataFrame({"source": source.name, "item_id": sums.index, "text": texts.reindex(sums.index).to_numpy()})
    items["key"] = items["text"].map(text_key)
    items["rating"], items["plain_rating"] = rating.to_numpy(), (sums["value"] / counts).to_numpy()
    items["n_ratings"], items["weight"] = counts.to_numpy(), source.weight
    items["virtue"] = source.virtue
    return items


def listed(rejects: list[pd.DataFrame], name: str) -> pd.DataFrame:
    """All rejected rows of a source in one table, with its name."""
    parts = [part for part in rejects if len(part)]
    table = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=list(REJECT_COLUMNS))
    table.insert(0, "source", name)
    return table
