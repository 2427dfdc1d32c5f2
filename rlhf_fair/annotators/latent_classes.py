"""Models of one true class for each item, as rules: most likely class, how sure, and whether the fit came to rest."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
import pandas as pd

from rlhf_fair.annotators.aggregation import CHOICE_VALUES
from rlhf_fair.annotators.crowd_models import glad, mace
from rlhf_fair.annotators.dawid_skene import dawid_skene


class LatentClassFit(Protocol):
    """``posterior``: (items, classes), rows sum to 1. ``converged``: whether more rounds would change it no more."""

    @property
    def posterior(self) -> pd.DataFrame: ...

    @property
    def converged(self) -> bool: ...


LATENT_CLASS: dict[str, Callable[[pd.DataFrame], LatentClassFit]] = {
    "dawid-skene": lambda t: dawid_skene(t["item"], t["rater"], t["answer"]),
    "mace": mace,
    "glad": glad,
}
"""Fitted to columns item, rater, answer."""


def latent_class_table(feedback: pd.DataFrame, rule: str) -> pd.DataFrame:
    """The model's posterior by item: p_a = P(a) + P(tie) / 2, or the most likely rating.

    Further columns: n, confidence (the posterior of the most likely class), converged (the same in every row, so that
    the mark goes wherever the table goes).
    """
    pairs = feedback["kind"].iloc[0] == "pair"
    columns = {"item_id": "item", "annotator_id": "rater", "choice" if pairs else "value": "answer"}
    fit = LATENT_CLASS[rule](feedback[list(columns)].rename(columns=columns))
    posterior = fit.posterior
    if pairs:
        a = np.array([CHOICE_VALUES[str(name)] for name in posterior.columns])
        answer = pd.Series(posterior.to_numpy() @ a, index=posterior.index)
    else:
        answer = posterior.idxmax(axis=1).astype(float)
    n = feedback.groupby("item_id", sort=False).size()
    found = {"p_a" if pairs else "value": answer, "n": n, "confidence": posterior.max(axis=1)}
    table = pd.DataFrame(found).reindex(n.index).rename_axis("item_id").reset_index()
    return table.assign(converged=fit.converged)
