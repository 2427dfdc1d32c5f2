"""Readers of tables: people, items, assignments, feedback, prompts, and what other tools export."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from fuzz import upstream_files as made
from fuzz.reader import Files, Reader
from rlhf_fair.annotators.exchange.formats import import_feedback
from rlhf_fair.annotators.population import Population
from rlhf_fair.audit.generation import GenerationPlan, load_prompts
from rlhf_fair.audit.panel_feedback_plan import load_feedback_plan
from rlhf_fair.audit.panel_feedback_table import read_ratings
from rlhf_fair.audit.plan import load_plan
from rlhf_fair.audit.selection_rates_plan import load_selection_rates_plan
from rlhf_fair.audit.selection_rates_table import read_people
from rlhf_fair.cli.feedback_aggregate import read_weights
from rlhf_fair.cli.panel_assign import read_assignments, read_ids, read_items
from rlhf_fair.cli.panel_select_features import Source, read_features, read_scores
from rlhf_fair.cli.panel_tables import read_groups
from rlhf_fair.monitoring.dates import read_dates
from rlhf_fair.probes.counterfactual_text_prompts import make_counterfactuals, read_prompts, to_ask
from rlhf_fair.probes.reward_feedback import read_feedback_file
from rlhf_fair.probes.reward_pairs import read_prompt_pairs
from rlhf_fair.probes.reward_preferences import read_feedback as read_choices
from rlhf_fair.probes.reward_selection import read_candidates, read_templates
from rlhf_fair.tables import ANNOTATORS, ASSIGNMENTS, FEEDBACK, FORMATS, ITEMS, Contract, read_validated
from rlhf_fair.training.reward.config import FeedbackSource, PairSource, RatingSource
from rlhf_fair.training.reward.feedback import read_feedback
from rlhf_fair.training.reward.rater_choice import read_members
from rlhf_fair.training.reward.sources import read_pairs
from rlhf_fair.training.reward.sources import read_ratings as read_rating_source

AUDITS = Path(__file__).parents[2] / "audits"

PEOPLE = pd.DataFrame(
    {
        "annotator_id": [f"r{n}" for n in range(6)],
        "attr.gender": ["woman", "man"] * 3,
        "attr.age": ["young", "old", None] * 2,
        "cost": [1.0, 2.5, 0, 3, 1, 1],
        "capacity": [3, 4, 5, 6, 7, 8],
        "languages": ["en", "en;es", "es", "en", "en", None],
    }
)
PAIRS = pd.DataFrame(
    {
        "item_id": [f"i{n}" for n in range(4)],
        "prompt": [f"What is {n}?" for n in range(4)],
        "response_a": [f"It is {n}." for n in range(4)],
        "response_b": [f"No idea about {n}." for n in range(4)],
    }
)
SLOTS = pd.DataFrame(
    {"item_id": ["i0", "i0", "i1"], "annotator_id": ["r0", "r1", "r0"], "slot": [0, 1, 0], "order": ["ab", "ba", "ab"]}
)
JUDGED = pd.DataFrame(
    {
        "item_id": ["i0", "i0", "i1", "i2", "i3", "i3"],
        "annotator_id": ["r0", "r1", "r0", "r2", "r3", "r4"],
        "kind": ["pair", "pair", "pair", "rating", "scalar", "edit"],
        "choice": ["a", "b", "tie", None, None, None],
        "value": [None, None, None, 4.0, -1.5, None],
        "text": [None, None, None, None, None, "Better."],
        "seconds": [3.5, 2, 8, 1, 4, 9],
        "simulated": [False, False, True, False, False, False],
        "attr.gender": ["woman", "man", "woman", "woman", "man", "woman"],
    }
)
RATED = JUDGED.assign(kind="rating", value=[1.0, 2, 3, 4, 5, 1], choice=None, text=None)
CHOICES = JUDGED[JUDGED["kind"] == "pair"].merge(PAIRS, on="item_id").drop(columns=["value", "text"])
RATINGS = pd.DataFrame(
    {
        "item_id": ["i0", "i0", "i1", "i1"],
        "annotator_id": ["r0", "r1", "r0", "r1"],
        "value": [1, 4, 5, 2],
        "text": ["one", "one", "two", "two"],
        "gender": ["woman", "man", "woman", "man"],
    }
)


def as_file(table: pd.DataFrame, name: str) -> bytes:
    """The table as its users might have written it, without our own writer."""
    kind = name.removesuffix(".gz").rpartition(".")[2]
    if kind == "parquet":
        stream = io.BytesIO()
        table.to_parquet(stream, index=False)
        return stream.getvalue()
    if kind in ("csv", "tsv"):
        text = table.to_csv(index=False, sep="," if kind == "csv" else "\t")
    else:
        rows = [{key: value for key, value in row.items() if pd.notna(value)} for row in table.to_dict("records")]
        text = (
            json.dumps(rows, default=float)
            if kind == "json"
            else "".join(json.dumps(r, default=float) + "\n" for r in rows)
        )
    return gzip.compress(text.encode(), 1) if name.endswith(".gz") else text.encode()


def _table(
    name: str,
    table: pd.DataFrame,
    file: str,
    read: Callable[[Path], object],
    *,
    rows: bool = False,
    called: tuple[str, ...] = (),
) -> Reader:
    content = as_file(table, file)
    return Reader(
        name, lambda: {file: content}, lambda folder: read(folder / file), rows=file if rows else "", called=called
    )


def _contract(contract: Contract, table: pd.DataFrame, suffix: str) -> Reader:
    file = f"{contract.name}{suffix}"
    rows = ".json" not in suffix.replace(".jsonl", "")
    return _table(f"{contract.name} {suffix}", table, file, lambda path: read_validated(path, contract), rows=rows)


def _prompts(folder: Path) -> object:
    return load_prompts(load_plan(folder / "plan.toml", GenerationPlan), folder)


def _beside(audit: str, *names: str) -> Files:
    return {name: (AUDITS / audit / name).read_bytes() for name in names}


def _own_prompts(folder: Path, name: str) -> object:
    return to_ask(make_counterfactuals(read_prompts(folder / name), ["gender", "age"]))


def _people(folder: Path) -> object:
    return read_people(load_selection_rates_plan(AUDITS / "ll144"), folder / "people.csv")


FEEDBACK_PLAN = b"""
title = "t"
question = "q"
probe = "panel_feedback"
policy = { threshold = 5.0, margin = 5.0 }
ratings = { item = "item_id", annotator = "annotator_id", value = "value", low = 1, high = 5 }
attributes = [{ name = "gender", column = "gender", reference = "man" }]
"""


def _ratings(folder: Path) -> object:
    return read_ratings(load_feedback_plan(folder / "plan.toml"), [folder / "ratings.csv"])


def _kinds(folder: Path) -> object:
    return read_ratings(load_feedback_plan(AUDITS / "panel-feedback"), [folder / "feedback.csv"])


def _archive() -> Files:
    stream = io.BytesIO()
    np.savez(stream, item_id=np.array(PAIRS["item_id"].tolist()), differences=np.arange(12.0).reshape(4, 3))
    return {"features.npz": stream.getvalue()}


def _quiet(what: str, done: int, total: int) -> None: ...


FEATURES = pd.DataFrame({"item_id": PAIRS["item_id"], "x": [0.5, 1, 2, 3], "y": [1.0, 2, 3, -1]})
PREFERENCE_SOURCE = FeedbackSource(
    name="f", format="feedback", path="feedback.jsonl", items="items.csv", annotators="people.csv"
)
RATING_SOURCE = RatingSource.model_validate(
    {
        "name": "r",
        "format": "ratings",
        "path": "ratings.csv",
        "item": "item_id",
        "rater": "annotator_id",
        "rating": "value",
        "text": "text",
    }
    | {"scale": [1, 5], "better": "high", "attributes": {"gender": {"column": "gender"}}}
)
PAIR_SOURCE = PairSource(name="p", path="pairs.csv", format="pairs")
HH_SOURCE = PairSource(name="p", path="test.jsonl", format="hh_rlhf")
SOURCES = {
    "feedback.jsonl": as_file(JUDGED, ".jsonl"),
    "items.csv": as_file(PAIRS, ".csv"),
    "people.csv": as_file(PEOPLE, ".csv"),
}
TOLD_PAIRS = PAIRS.drop(columns="item_id").assign(p_a=[0.5, 1, 0, 0.2])

LABEL_STUDIO = [
    {
        "id": n,
        "data": {"item_id": f"i{n}", "prompt": "What?", "response_a": "x", "response_b": "y", "order": "ab"},
        "annotations": [
            {
                "completed_by": {"email": f"r{n}"},
                "lead_time": 3.5,
                "result": [{"from_name": "choice", "to_name": "a", "type": "pairwise", "value": {"selected": "left"}}],
            },
            {
                "completed_by": 5,
                "lead_time": None,
                "result": [{"from_name": "rating", "to_name": "a", "type": "rating", "value": {"rating": 4}}],
            },
        ],
    }
    for n in range(3)
]
ARGILLA = [
    {
        "id": f"i{n}",
        "fields": {"prompt": "What?", "response_a": "x", "response_b": "y"},
        "metadata": {"item_id": f"i{n}", "annotators": "{}"},
        "responses": {"choice": [{"user_id": "u1", "value": "a"}], "rating": [{"user_id": "u2", "value": 4}]},
    }
    for n in range(3)
]


def _exchange(name: str, content: object, form: str) -> Reader:
    data = json.dumps(content).encode()
    return Reader(name, lambda: {"export.json": data}, lambda folder: import_feedback(folder / "export.json", form))  # type: ignore[arg-type]


CONTRACTS = tuple(
    _contract(contract, table, suffix)
    for contract, table, suffixes in (
        (FEEDBACK, JUDGED, FORMATS),
        (ANNOTATORS, PEOPLE, (".csv", ".jsonl", ".parquet")),
        (ITEMS, PAIRS, (".csv", ".jsonl", ".parquet")),
        (ASSIGNMENTS, SLOTS, (".csv", ".jsonl", ".parquet")),
    )
    for suffix in suffixes
)
PROMPTS = (
    *(
        Reader(f"prompts of {audit}", partial(_beside, audit, "plan.toml", "prompts.csv"), _prompts, ("prompts.csv",))
        for audit in ("hiring", "customer-service", "own-prompts")
    ),
    Reader(
        "own prompts, a text",
        lambda: {"p.txt": b"The boy is 12.\nMy mother left.\n\nHello.\n"},
        partial(_own_prompts, name="p.txt"),
    ),
    _table("own prompts, a table", PAIRS[["prompt"]], "p.jsonl", lambda path: _own_prompts(path.parent, path.name)),
    Reader(
        "reward prompts",
        partial(_beside, "reward", "prompts.csv"),
        lambda folder: read_prompt_pairs(folder / "prompts.csv"),
    ),
    Reader(
        "reward templates",
        partial(_beside, "reward", "candidates.csv"),
        lambda folder: read_templates(folder / "candidates.csv"),
    ),
    _table(
        "candidates",
        CHOICES.rename(columns={"item_id": "prompt_id", "attr.gender": "group", "response_a": "text"}),
        "c.csv",
        lambda p: read_candidates(p, "{prompt} {answer}"),
    ),
)
READERS = (
    *CONTRACTS,
    *PROMPTS,
    _table("panel members", PEOPLE.assign(weight=1.5), "m.csv", read_members),
    _table("weights", PEOPLE[["annotator_id"]].assign(weight=1.0), "w.csv", read_weights),
    _table("groups of a panel", PEOPLE, "panel.csv", lambda path: read_groups(path, ["gender"]), called=("panel",)),
    _table("items to assign", PAIRS[["item_id"]].assign(languages="en"), "i.csv", read_items),
    _table("assignments to check", SLOTS, "a.csv", read_assignments),
    _table("ids", PEOPLE[["annotator_id"]], "ids.csv", lambda path: read_ids(str(path), "--left ids.csv")),
    _table("scores of an ensemble", FEATURES, "s.csv", lambda path: read_scores(path, PAIRS["item_id"].tolist())),
    _table("features", FEATURES, "f.parquet", lambda path: read_features(Source(features=path), PAIRS, _quiet)),
    Reader(
        "features, npz", _archive, lambda folder: read_features(Source(features=folder / "features.npz"), PAIRS, _quiet)
    ),
    _table(
        "population table", pd.DataFrame({"gender": ["woman", "man"], "share": [0.5, 0.5]}), "p.csv", Population.read
    ),
    _table(
        "dates", pd.DataFrame({"folder": ["a", "b"], "date": ["2026-11-21", "2026-11-22T10:00"]}), "d.csv", read_dates
    ),
    Reader(
        "people of ll144",
        lambda: {"people.csv": (AUDITS / "ll144/example.csv").read_bytes()[:4000].rpartition(b"\n")[0]},
        _people,
    ),
    Reader(
        "ratings of a plan",
        lambda: {"plan.toml": FEEDBACK_PLAN, "ratings.csv": as_file(RATINGS, ".csv")},
        _ratings,
        ("ratings.csv",),
    ),
    _table("ratings, our own format", RATED, "feedback.csv", lambda path: _kinds(path.parent)),
    _table("feedback of the reward audit", CHOICES, "f.jsonl", read_feedback_file),
    _table("choices of the reward audit", CHOICES, "f.csv", lambda path: read_choices(path, "{prompt} {answer}")),
    Reader("training: feedback", lambda: SOURCES, lambda folder: read_feedback(PREFERENCE_SOURCE, folder)),
    _table(
        "training: ratings", RATINGS, "ratings.csv", lambda path: read_rating_source(RATING_SOURCE, path.parent, None)
    ),
    _table("training: pairs", TOLD_PAIRS, "pairs.csv", lambda path: read_pairs(PAIR_SOURCE, path.parent)),
    Reader("training: hh-rlhf", made.hh_rlhf, lambda folder: read_pairs(HH_SOURCE, folder)),
    _exchange("label studio", LABEL_STUDIO, "label-studio"),
    _exchange("argilla", ARGILLA, "argilla"),
)
