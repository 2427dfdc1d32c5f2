"""Public tables with a plain classifier's decisions, for tests of group metrics."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

DATA = Path(__file__).parents[2] / "shared" / "data" / "tabular"

Source = Callable[[], tuple[pd.DataFrame, pd.Series, pd.DataFrame, pd.Series]]
"""Features of the classifier, outcome, sensitive features, control feature."""


def adult() -> tuple[pd.DataFrame, pd.Series, pd.DataFrame, pd.Series]:
    table = pd.read_csv(DATA / "raw" / "adult.csv.gz")
    features = table[["age", "education-num", "capital-gain", "capital-loss", "hours-per-week"]]
    return (
        features,
        table["income-per-year"].str.contains(">50K"),
        table[["sex", "race"]],
        table["workclass"] == "Private",
    )


def german() -> tuple[pd.DataFrame, pd.Series, pd.DataFrame, pd.Series]:
    table = pd.read_csv(DATA / "raw" / "german.csv")
    # personal_status A92 and A95 are women; credit 1 is good
    people = pd.DataFrame({"sex": table["personal_status"].isin(["A92", "A95"]), "age": table["age"] <= 25})
    return table[["month", "credit_amount", "age"]], table["credit"] == 1, people, table["credit_amount"] > 2300


def compas() -> tuple[pd.DataFrame, pd.Series, pd.DataFrame, pd.Series]:
    table = pd.read_csv(DATA / "preprocessed" / "propublica-recidivism_original.csv")
    race = table["race"].where(table["race"].isin(["African-American", "Caucasian", "Hispanic"]), "Other")
    people = pd.DataFrame({"race": race, "sex": table["sex"]})
    return (
        table[["age", "priors_count", "juv_fel_count"]],
        table["two_year_recid"] == 1,
        people,
        table["c_charge_degree"],
    )


def predictions(features: pd.DataFrame, y: pd.Series) -> np.ndarray:
    """A least-squares score cut at the base rate: a real, imperfect classifier without a random number."""
    x = np.column_stack([np.ones(len(features)), features.to_numpy(dtype=float)])
    score = x @ np.linalg.lstsq(x, y.to_numpy(dtype=float), rcond=None)[0]
    return (score > np.quantile(score, 1 - y.mean())).astype(int)
