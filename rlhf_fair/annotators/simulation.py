"""Simulated annotators: Bradley-Terry choices from given utilities, and careless clicking."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.special import expit

from rlhf_fair.errors import SettingsError
from rlhf_fair.tables import require_columns


def simulate_pair_feedback(
    utilities_a: ArrayLike,
    utilities_b: ArrayLike,
    assignments: pd.DataFrame,
    annotators: pd.DataFrame,
    *,
    temperature: float = 1.0,
    careless_first: float = 0.5,
    rng: np.random.Generator,
) -> pd.DataFrame:
    """Turn utilities into choices.

    An attentive annotator prefers a with probability σ((u_a - u_b) / temperature) (Bradley and Terry 1952), whichever
    is shown first. A careless one does not read and takes what is shown first with probability ``careless_first``.

    Parameters
    ----------
    utilities_a, utilities_b
        (n,) what this row's annotator thinks of this row's responses; aligned with the rows of ``assignments``.
    assignments
        item_id, annotator_id, order (``ab`` or ``ba``; without the column a is always first).
    annotators
        annotator_id and optionally careless_share in [0, 1]: how often that person does not read (default 0).
    temperature
        > 0; small means decided.

    Returns
    -------
    DataFrame
        The assignments' item_id and annotator_id, kind (``pair``), choice (``a`` or ``b``, the canonical names, not
        the positions on screen), and order and slot where given.
    """
    require_columns(assignments, ["item_id", "annotator_id"], "assignments")
    require_columns(annotators, ["annotator_id"], "annotators")
    if not temperature > 0 or not 0 <= careless_first <= 1:
        raise SettingsError(
            f"temperature = {temperature}, careless_first = {careless_first}; allowed: above 0, and 0 to 1"
        )
    a, b = np.asarray(utilities_a, dtype=float), np.asarray(utilities_b, dtype=float)
    if not a.shape == b.shape == (len(assignments),):
        raise SettingsError(
            f"utilities of shapes {a.shape} and {b.shape}; needed: ({len(assignments)},) like assignments"
        )
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise SettingsError("utilities must be finite numbers")
    a_first = assignments["order"].to_numpy() == "ab" if "order" in assignments else np.ones(len(a), dtype=bool)
    careless = rng.random(len(a)) < _careless_share(assignments, annotators)
    p_a = np.where(careless, np.where(a_first, careless_first, 1 - careless_first), expit((a - b) / temperature))
    kept = [column for column in ("item_id", "annotator_id", "slot", "order") if column in assignments]
    choice = pd.Series(np.where(rng.random(len(a)) < p_a, "a", "b"), index=assignments.index, dtype="str")
    return assignments[kept].assign(kind="pair", choice=choice).reset_index(drop=True)


def _careless_share(assignments: pd.DataFrame, annotators: pd.DataFrame) -> np.ndarray:
    """Of each assignment's annotator, in [0, 1]."""
    share = annotators.get("careless_share", pd.Series(0.0, index=annotators.index)).to_numpy(float)
    if not np.all((share >= 0) & (share <= 1)):
        raise SettingsError("annotators: every 'careless_share' must lie in [0, 1]")
    of_person = assignments["annotator_id"].map(pd.Series(share, index=annotators["annotator_id"].to_numpy()))
    if of_person.isna().any():
        unknown = assignments["annotator_id"][of_person.isna()].iloc[0]
        raise SettingsError(
            f"assignments name annotator {unknown!r}, who is not among the {len(annotators)} annotators"
        )
    return of_person.to_numpy(float)
