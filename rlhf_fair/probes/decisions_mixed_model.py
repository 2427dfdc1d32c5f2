"""A second opinion on the gaps of decisions: a linear mixed model with slopes that differ between scenarios.

    logit = intercept + age (z) + gender + race, each with a random part per scenario

(Tamkin et al. 2023). The fixed coefficients are gaps of the average scenario. In a complete design they equal the
differences of means of `rlhf_fair.probes.decisions.decisions_measured`, and their standard errors agree with the
clustered ones as far as the model's assumption holds that slopes are normal and independent of each other.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from statsmodels.regression.mixed_linear_model import MixedLM, MixedLMParams, VCSpec

from rlhf_fair.probes.decisions import LOGIT, references_of
from rlhf_fair.probes.measured import Measured
from rlhf_fair.probes.missing import measured_rate
from rlhf_fair.records import Estimate
from rlhf_fair.stats.intervals import t_interval
from rlhf_fair.tables import require_columns

VARIANT = "mixed model"
MIN_SCENARIOS = 5
AGE = "one SD older"
TOLERANCES = {"xtol": 1e-4, "ftol": 1e-9}
"""Of Powell's search: relative steps of the standard deviations, relative change of the likelihood."""


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
    """Coefficients and standard errors; None if the search ends nowhere.

    Each random part is a variance component, so none is correlated with another. The search is Powell's, without
    gradients: where a variance is near 0, as is common here, those with gradients stop in their line search short of
    the maximum, some of them calling it converged with standard errors several times too large.
    """
    logits = rows["logit"].to_numpy(dtype=float)
    scenarios = rows["scenario"].to_numpy()
    members = [np.flatnonzero(scenarios == each) for each in sorted(set(scenarios))]  # MixedLM sorts its groups so
    names = [str(column) for column in range(design.shape[1])]
    parts = VCSpec(
        names,
        [[[name]] * len(members) for name in names],
        [[design[at][:, [column]] for at in members] for column in range(len(names))],
    )
    model: Any = MixedLM(logits, design, scenarios, exog_vc=parts)
    for start in (_start(logits, design, members), None):  # then statsmodels' own
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a slope without variance lies on the boundary, which is no fault here
            try:
                fit = model.fit(reml=True, start_params=start, method=["powell"], **TOLERANCES)
                coefficients, errors = np.asarray(fit.fe_params), np.asarray(fit.bse_fe)  # computed when asked for
            except np.linalg.LinAlgError:
                continue
        if fit.converged and np.isfinite(errors).all() and (errors > 0).all():
            return coefficients, errors
    return None


def _start(
    logits: NDArray[np.float64], design: NDArray[np.float64], members: Sequence[NDArray[np.intp]]
) -> MixedLMParams | None:
    """Where to start: mean and variance of the scenarios' own coefficients, less what residuals alone make them vary.

    Variances relative to the residual one, at least .01. None where fewer than two scenarios have coefficients.
    """
    k = design.shape[1]
    slopes, noise, spread = [], [], []
    for at in members:
        if len(at) > k and np.linalg.matrix_rank(design[at]) == k:
            slopes.append(np.linalg.lstsq(design[at], logits[at], rcond=None)[0])
            noise.append(((logits[at] - design[at] @ slopes[-1]) ** 2).sum() / (len(at) - k))
            spread.append(np.diag(np.linalg.inv(design[at].T @ design[at])))
    if len(slopes) < 2 or not np.mean(noise) > 0:
        return None
    variances = np.var(slopes, axis=0, ddof=1) / np.mean(noise) - np.mean(spread, axis=0)
    return MixedLMParams.from_components(
        fe_params=np.mean(slopes, axis=0), cov_re=np.zeros((0, 0)), vcomp=np.maximum(variances, 0.01)
    )


def _measured(estimate: Estimate, term: tuple[str, str, str], variant: str) -> Measured:
    attribute, group, reference = term
    return Measured(LOGIT, estimate, attribute, group, reference, f"{variant}, {VARIANT}", unit="logits")
