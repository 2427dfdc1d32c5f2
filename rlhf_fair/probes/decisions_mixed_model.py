"""A second opinion on the gaps of decisions: a linear mixed model with slopes that differ between scenarios.

    logit = intercept + age (z) + gender + race, each with a random part per scenario

(Tamkin et al. 2023). The fixed coefficients are gaps of the average scenario. In a complete design they equal the
differences of means of `rlhf_fair.probes.decisions.decisions_measured`, and their standard errors agree with the
clustered ones as far as the model's assumption holds that slopes are normal and independent of each other.
"""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from statsmodels.regression.mixed_linear_model import MixedLM, MixedLMParams

from rlhf_fair.probes.decisions import LOGIT, references_of
from rlhf_fair.probes.measured import Measured
from rlhf_fair.probes.missing import measured_rate
from rlhf_fair.records import Estimate
from rlhf_fair.stats.intervals import t_interval
from rlhf_fair.tables import require_columns

VARIANT = "mixed model"
MIN_SCENARIOS = 5
AGE = "one SD older"
METHODS = ("lbfgs", "bfgs", "cg", "powell")
"""Optimisers in order: which one gets stuck on a variance near 0 depends on the last bits of sums, so on the CPU."""


def decisions_mixed_model(
    records: pd.DataFrame, *, references: dict[str, str] | None = None, alpha: float = 0.05
) -> list[Measured]:
    """One coefficient per group that is not a reference, and one for age in units of its standard deviation; logits.

    REML, independent random slopes. Intervals use t with scenarios - 1 degrees of freedom, since as many slopes stand
    behind a coefficient. A fit that does not converge gives estimates that are not estimable, with the reason. Nothing
    is fitted to records without logits.
    """
    require_columns(records, ("scenario", "variant", "logit", "gender", "race", "age"), "decision records")
    references = references or references_of(records)
    return [
        replace(measured, measured_rate=measured_rate(rows["logit"].notna()))
        for variant, rows in records.groupby("variant", sort=False)
        if rows["logit"].notna().any()
        for measured in _fitted(rows[rows["logit"].notna()], str(variant), references, alpha)
    ]


def _fitted(rows: pd.DataFrame, variant: str, references: dict[str, str], alpha: float) -> list[Measured]:
    terms, design = _design(rows, references)
    n_scenarios, n = int(rows["scenario"].nunique()), len(rows)
    reason = f"{n_scenarios} scenarios; a mixed model needs {MIN_SCENARIOS}" if n_scenarios < MIN_SCENARIOS else ""
    if not reason and np.linalg.matrix_rank(design) < design.shape[1]:
        reason = "the groups are confounded with each other: their coefficients cannot be told apart"
    fit = None if reason else _fit(rows, design)
    if fit is None:
        estimate = Estimate.not_estimable(reason or "the mixed model did not converge", n=n, n_clusters=n_scenarios)
        return [_measured(estimate, term, variant) for term in terms]
    counts = {"n": n, "n_clusters": n_scenarios}
    return [
        _measured(t_interval(coefficient, se, n_scenarios - 1.0, alpha=alpha).model_copy(update=counts), term, variant)
        for term, coefficient, se in zip(terms, fit[0][1:].tolist(), fit[1][1:].tolist(), strict=True)
    ]


def _design(rows: pd.DataFrame, references: dict[str, str]) -> tuple[list[tuple[str, str, str]], NDArray[np.float64]]:
    """(attribute, group, reference) of each column behind the intercept, and the columns: (n, 1 + terms)."""
    terms, columns = [], [np.ones(len(rows))]
    for attribute in ("gender", "race"):
        for group in dict.fromkeys(rows[attribute]):
            if group != references[attribute]:
                terms.append((attribute, str(group), references[attribute]))
                columns.append((rows[attribute] == group).to_numpy(dtype=float))
    age = pd.to_numeric(rows["age"]).to_numpy(dtype=float)
    terms.append(("age", AGE, "mean age"))
    columns.append((age - age.mean()) / (age.std() or 1.0) if len(age) else age)
    return terms, np.column_stack(columns)


def _fit(rows: pd.DataFrame, design: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Coefficients and standard errors; None if every optimiser stops short."""
    k = design.shape[1]
    model: Any = MixedLM(rows["logit"].to_numpy(dtype=float), design, rows["scenario"].to_numpy(), exog_re=design)
    independent = MixedLMParams.from_components(fe_params=np.ones(k), cov_re=np.eye(k))
    for method in METHODS:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a slope without variance lies on the boundary, which is no fault here
            try:
                fit = model.fit(reml=True, free=independent, method=[method])
                coefficients, errors = np.asarray(fit.fe_params), np.asarray(fit.bse_fe)  # computed when asked for
            except np.linalg.LinAlgError:
                continue
        if fit.converged and np.isfinite(errors).all() and (errors > 0).all():
            return coefficients, errors
    return None


def _measured(estimate: Estimate, term: tuple[str, str, str], variant: str) -> Measured:
    attribute, group, reference = term
    return Measured(LOGIT, estimate, attribute, group, reference, f"{variant}, {VARIANT}", unit="logits")
