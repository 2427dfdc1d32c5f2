"""Large tables with known shape: feedback with its panel, people who applied, and answers to prompts."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pandas as pd

from rlhf_fair.models.lexicon import LexiconScorer
from rlhf_fair.tables import write_table

RATINGS_PER_RATER, RATINGS_PER_ITEM = 200, 10
TEMPLATES, NAMES_PER_GROUP = 50, 25
GENDERS, RACES = ("woman", "man"), ("Asian", "Black", "Hispanic", "White")
PHRASES = ("an excellent choice", "I recommend", "reliable", "has some experience", "I cannot recommend", "careless")
PLAN = """title = "Many answers"
question = "Does the favourability of an answer change with the name?"
probe = "generation"
prompts = "prompts.csv"
clusters = ["name", "scenario"]
attributes = [{ column = "gender", reference = "man" }, { column = "ethnicity", reference = "White" }]
n_samples = %d
seed = 1
limits = []
[[scorers]]
quantity = "favourability"
kind = "lexicon"
file = "favourability.json"
[policy]
alpha = 0.05
power = 0.8
threshold = 0.1
margin = 0.1
rationale = "A size to compare with, no opinion."
"""


def make_feedback(folder: Path, rows: int, *, seed: int = 0) -> None:
    """``feedback`` as JSONL, CSV and Parquet, ``panel.csv``, ``population.toml`` and ``gold.csv``.

    Ratings from 1 to 5: 200 a rater, 10 an item, with seconds and two attributes of the rater.
    """
    if (folder / "gold.csv").exists():
        return
    rng = np.random.default_rng(seed)
    raters, items = max(rows // RATINGS_PER_RATER, 20), max(rows // RATINGS_PER_ITEM, 20)
    panel = pd.DataFrame(
        {
            "annotator_id": [f"rater-{k:06d}" for k in range(raters)],
            "attr.gender": rng.choice(GENDERS, raters),
            "attr.race": rng.choice(RACES, raters),
        }
    )
    row = np.arange(rows)
    rater, item = row % raters, (row // raters * 7919 + row * 31) % items
    quality, leaning = rng.normal(3, 1, items), rng.normal(0, 0.4, raters)
    table = pd.DataFrame(
        {"item_id": [f"item-{k:07d}" for k in item], "annotator_id": panel["annotator_id"].to_numpy()[rater]}
    )
    table["kind"] = "rating"
    table["value"] = np.clip(np.rint(quality[item] + leaning[rater] + rng.normal(0, 0.7, rows)), 1, 5)
    table["seconds"] = np.round(rng.lognormal(2.5, 0.5, rows), 1)
    for name in ("attr.gender", "attr.race"):
        table[name] = panel[name].to_numpy()[rater]
    table = table.drop_duplicates(["item_id", "annotator_id"])
    for kind in ("jsonl", "csv", "parquet"):
        write_table(folder / f"feedback.{kind}", table)
    write_table(folder / "panel.csv", panel)
    genders, races = (", ".join(f'"{level}" = {1 / len(levels)}' for level in levels) for levels in (GENDERS, RACES))
    (folder / "population.toml").write_text(f"[margins.gender]\n{genders}\n".replace(", ", "\n"))
    with (folder / "population.toml").open("a") as stream:
        stream.write(f"[margins.race]\n{races}\n".replace(", ", "\n"))
    known = pd.DataFrame({"item_id": [f"item-{k:07d}" for k in range(0, items, 50)]})
    write_table(folder / "gold.csv", known.assign(value=np.clip(np.rint(quality[::50][: len(known)]), 1, 5)))


def make_people(folder: Path, rows: int, *, seed: int = 1) -> None:
    """``people.csv`` with the columns of the shipped audit ll144."""
    if (folder / "people.csv").exists():
        return
    rng = np.random.default_rng(seed)
    races = ("White", "Black or African American", "Asian", "Hispanic or Latino", "Two or More Races", "unknown")
    table = pd.DataFrame({"applicant_id": [f"a{k:07d}" for k in range(rows)]})
    table["sex"] = rng.choice(["Male", "Female", "unknown"], rows, p=[0.5, 0.49, 0.01])
    table["race_ethnicity"] = rng.choice(races, rows)
    table["selected"] = (rng.random(rows) < 0.3).astype(int)
    write_table(folder / "people.csv", table)


def make_answers(folder: Path, rows: int, *, seed: int = 2) -> None:
    """A generation audit, ``hiring/``, and ``answers.jsonl``: so many answers, several to each prompt."""
    if (folder / "answers.jsonl").exists():
        return
    rng = np.random.default_rng(seed)
    plan = folder / "hiring"
    plan.mkdir(exist_ok=True)
    people = itertools.product(GENDERS, RACES, range(NAMES_PER_GROUP))
    names = [(f"{gender}-{race}-{k}", gender, race) for gender, race, k in people]
    prompts = pd.DataFrame(
        [
            (f"{t}-{name}", f"Please write about {name} in case {t}.\nAnswer:", name, gender, race, f"case-{t}")
            for t in range(TEMPLATES)
            for name, gender, race in names
        ],
        columns=["prompt_id", "prompt", "name", "gender", "ethnicity", "scenario"],
    )
    samples = max(rows // len(prompts), 1)
    write_table(plan / "prompts.csv", prompts)
    (plan / "plan.toml").write_text(PLAN % samples)
    scores = {phrase: 1.0 if k < 3 else 0.0 if k == 3 else -1.0 for k, phrase in enumerate(PHRASES)}
    LexiconScorer("favourability", scores, source="made for this measurement").save(plan / "favourability.json")
    ids = np.repeat(prompts["prompt_id"].to_numpy(), samples)
    said, other = (rng.choice(PHRASES, len(ids)) for _ in range(2))
    text = [
        f"The candidate is {a}; in short, {b}, as far as one can say from here."
        for a, b in zip(said, other, strict=True)
    ]
    table = pd.DataFrame({"prompt_id": ids, "sample": np.tile(np.arange(samples), len(prompts)), "text": text})
    write_table(folder / "answers.jsonl", table)
