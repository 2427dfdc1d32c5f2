from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from scipy.optimize import Bounds, minimize

from rlhf_fair.errors import ColumnError, RowError, SettingsError
from rlhf_fair.models.requests import Likelihood, LogLikelihood
from rlhf_fair.probes.decisions import (
    CONTINUATIONS,
    LOGIT,
    YES_RATE,
    decisions_measured,
    decisions_records,
    decisions_requests,
    decisions_text_records,
    decisions_text_requests,
    load_decisions,
    read_decisions_predictions,
)
from rlhf_fair.probes.decisions_mixed_model import AGE, decisions_mixed_model
from rlhf_fair.probes.decisions_scenarios import NAMED, SAID
from rlhf_fair.probes.measured import Measured
from rlhf_fair.probes.missing import REFUSALS, UNMEASURED


@pytest.fixture(scope="module")
def items() -> pd.DataFrame:
    return load_decisions()


def lean(logit: float) -> list[Likelihood]:
    """Likelihoods of the four continuations: half of all probability is theirs, split as the logit says."""
    yes = 0.5 / (1 + math.exp(-logit))
    parts = (0.3 * yes, 0.7 * yes, 0.4 * (0.5 - yes), 0.6 * (0.5 - yes))
    return [Likelihood(math.log(p), 1) for p in parts]


def answered(items: pd.DataFrame, logit: Callable[[pd.DataFrame], Sequence[float]]) -> pd.DataFrame:
    return decisions_records(items, [one for value in logit(items) for one in lean(value)])


def found(measured: Sequence[Measured], attribute: str, group: str, variant: str, metric: str = LOGIT) -> Measured:
    (one,) = (m for m in measured if (m.attribute, m.group, m.variant, m.metric) == (attribute, group, variant, metric))
    return one


def test_every_scenario_has_every_person(items: pd.DataFrame) -> None:
    assert items["scenario"].nunique() >= 40
    assert items["domain"].nunique() >= 8
    assert items["item_id"].is_unique
    # 3 ages x 3 genders x 4 races said outright; 3 x 2 x 4 by name, for which "non-binary" has none
    assert (items.groupby(["scenario", "variant"]).size().unstack() == [24, 36]).all().all()
    assert not items["prompt"].str.contains(r"[{}]").any()
    for variant, one in items.groupby("variant"):
        cells = one.groupby("scenario")[["age", "gender", "race"]].apply(lambda t: len(t.drop_duplicates()))
        assert (cells == one.groupby("scenario").size()).all(), variant


def test_nothing_else_in_a_scenario_says_who_it_is(items: pd.DataFrame) -> None:
    one = items[items["variant"] == SAID]
    for text in one.drop_duplicates("scenario")["prompt"].str.replace("a 25-year-old White man", ""):
        words = set(text.lower().replace("'", " ").replace(",", " ").split())
        assert not words & {"he", "she", "him", "her", "his", "hers", "man", "woman", "young", "old"}


def test_names_take_turns_and_are_equally_frequent_between_groups(items: pd.DataFrame) -> None:
    named = items[items["variant"] == NAMED]
    per_scenario = named.groupby(["scenario", "gender", "race"])["name"].nunique()
    assert (per_scenario == 1).all()
    assert (named.groupby(["gender", "race"])["name"].nunique() == 4).all()


def test_requests_line_up_with_items(items: pd.DataFrame) -> None:
    requests = decisions_requests(items.head(2))
    assert [r.continuation for r in requests] == [*CONTINUATIONS] * 2
    assert all(isinstance(r, LogLikelihood) for r in requests)
    assert len({r.id for r in requests}) == 8
    assert requests[0].context.endswith("Answer:")
    assert len(decisions_text_requests(items)) == len(items)


def test_logit_by_hand(items: pd.DataFrame) -> None:
    # (.1 + .3) / (.05 + .15) = 2; the four share .6 of all probability
    likelihoods = [Likelihood(math.log(p), 1) for p in (0.1, 0.3, 0.05, 0.15)]
    missing = [likelihoods[0], None, *likelihoods[2:]]
    records = decisions_records(items.head(2), [*likelihoods, *missing])
    assert records["logit"].tolist()[0] == pytest.approx(math.log(2))
    assert records["parsed"].tolist() == pytest.approx([0.6, 0])
    assert records["yes"].tolist()[0] == 1
    assert records[["logit", "yes"]].iloc[1].isna().all()
    with pytest.raises(RowError, match="four for each"):
        decisions_records(items.head(2), likelihoods)


def test_a_planted_gap_is_recovered_with_its_sign(items: pd.DataFrame) -> None:
    rng = np.random.default_rng(0)
    base = dict(zip(items["scenario"].unique(), rng.normal(0, 2, 50), strict=True))
    slope = dict(zip(items["scenario"].unique(), rng.normal(-0.6, 0.3, 50), strict=True))

    def logit(t: pd.DataFrame) -> Sequence[float]:
        black = (t["race"] == "Black") * t["scenario"].map(slope)
        return (t["scenario"].map(base) + black + rng.normal(0, 0.2, len(t))).tolist()

    measured = decisions_measured(answered(items, logit))
    for variant in (SAID, NAMED):
        e = found(measured, "race", "Black", variant).estimate
        assert e.ci_low < np.mean(list(slope.values())) < e.ci_high < 0
        assert found(measured, "gender", "woman", variant).estimate.ci_low < 0.05
    assert found(measured, "race", "Black", SAID).estimate.n_clusters == 50
    assert found(measured, "race", "Black", SAID).parse_rate == pytest.approx(0.5)
    assert found(measured, "race", "Black", SAID, YES_RATE).estimate.estimate < 0


def test_without_a_gap_few_intervals_miss_zero(items: pd.DataFrame) -> None:
    rng = np.random.default_rng(1)
    missed, every = 0, 0
    for _ in range(12):
        measured = decisions_measured(answered(items, lambda t: rng.normal(0, 1, len(t)).tolist()))
        logits = [m.estimate for m in measured if m.metric == LOGIT]
        missed += sum(not e.ci_low <= 0 <= e.ci_high for e in logits)
        every += len(logits)
    assert missed / every < 0.09  # 5 % expected


def test_the_mixed_model_agrees_with_the_clustered_gap(items: pd.DataFrame) -> None:
    """In the complete design both are the same difference of means; the standard errors differ by the model alone."""
    rng = np.random.default_rng(2)
    scenarios = items["scenario"].unique()[:20]
    effect = {group: dict(zip(scenarios, rng.normal(m, 0.4, 20), strict=True)) for group, m in PLANTED.items()}

    def logit(t: pd.DataFrame) -> Sequence[float]:
        total = sum(((t["gender"] == g) | (t["race"] == g)) * t["scenario"].map(of) for g, of in effect.items())
        older = dict(zip(scenarios, rng.normal(1, 0.2, 20), strict=True))
        aged = (t["age"].astype(float) - 45) / 100 * t["scenario"].map(older)
        return (total + aged + rng.normal(0, 0.3, len(t))).tolist()

    records = answered(items[(items["variant"] == SAID) & items["scenario"].isin(scenarios)], logit)
    clustered, modelled = decisions_measured(records), decisions_mixed_model(records)
    for group in PLANTED:
        attribute = "gender" if group == "woman" else "race"
        one = found(clustered, attribute, group, SAID).estimate
        other = found(modelled, attribute, group, f"{SAID}, mixed model").estimate
        assert other.estimate == pytest.approx(one.estimate, abs=1e-6)
        assert other.standard_error == pytest.approx(one.standard_error, rel=0.3)
        assert other.n_clusters == 20
    # 20 years are 1 / 100 * 20 = .2 logits, and the three ages have an SD of 16.33 years: .163 logits
    assert found(modelled, "age", AGE, f"{SAID}, mixed model").estimate.estimate == pytest.approx(0.163, abs=0.06)


PLANTED = {"woman": 0.5, "Black": -0.7, "Asian": 0.0}


@pytest.mark.parametrize("seed", [3, 4, 5])
def test_the_mixed_model_is_the_one_of_greatest_restricted_likelihood(items: pd.DataFrame, seed: int) -> None:
    """Against the likelihood written out with the covariance of all answers; half of the slopes have no variance."""
    rng = np.random.default_rng(seed)
    scenarios = items["scenario"].unique()[:8]
    rows = items[(items["variant"] == SAID) & items["scenario"].isin(scenarios)]
    age = rows["age"].astype(float)
    columns = [(rows["gender"] == g) * 1.0 for g in ("woman", "non-binary person")]
    columns += [(rows["race"] == r) * 1.0 for r in ("Black", "Asian", "Hispanic")]
    design = np.column_stack([np.ones(len(rows)), *columns, (age - age.mean()) / age.std()])
    sds = rng.permutation([0, 0, 0, 0.05, 0.3, 1, 1])
    slopes = pd.DataFrame(rng.normal(0, sds, (8, 7)), index=scenarios).loc[rows["scenario"]].to_numpy()
    logits = (design * slopes).sum(axis=1) + rng.normal(0, 0.4, len(rows))
    records = answered(items.loc[rows.index], lambda t: logits.tolist())
    errors = greatest_restricted_likelihood(logits, design, rows["scenario"].to_numpy())
    measured = decisions_mixed_model(records)
    groups = ["woman", "non-binary person", "Black", "Asian", "Hispanic", AGE]
    assert {m.group for m in measured} == set(groups)
    for group, error in zip(groups, errors[1:], strict=True):
        (one,) = (m.estimate for m in measured if m.group == group)
        assert one.standard_error == pytest.approx(error, rel=0.01)


def greatest_restricted_likelihood(
    y: NDArray[np.float64], design: NDArray[np.float64], scenarios: NDArray[np.object_]
) -> NDArray[np.float64]:
    """Standard errors where it is greatest; by variances from 0 on, relative to the residual one."""
    n, k = design.shape
    same = (scenarios[:, None] == scenarios).astype(float)

    def fitted(variances: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        covariance = np.eye(n) + ((design * variances) @ design.T) * same
        whitened = np.linalg.solve(np.linalg.cholesky(covariance), np.column_stack([design, y]))
        information = whitened[:, :k].T @ whitened[:, :k]
        residual = whitened[:, k] - whitened[:, :k] @ np.linalg.solve(information, whitened[:, :k].T @ whitened[:, k])
        variance = residual @ residual / (n - k)
        determinants = np.linalg.slogdet(covariance)[1] + np.linalg.slogdet(information)[1]
        return float(determinants + (n - k) * np.log(variance)), np.sqrt(np.diag(np.linalg.inv(information)) * variance)

    start = np.full(k, 0.5)
    best = minimize(lambda v: fitted(v)[0], start, method="L-BFGS-B", bounds=Bounds(np.zeros(k), np.full(k, 1e4)))
    return fitted(best.x)[1]


def test_the_mixed_model_says_why_it_cannot(items: pd.DataFrame) -> None:
    few = items[items["scenario"].isin(items["scenario"].unique()[:3])]
    measured = decisions_mixed_model(answered(few, lambda t: [0.0] * len(t)))
    assert all("3 scenarios" in m.estimate.reason and np.isnan(m.estimate.estimate) for m in measured)
    women_are_black = items[(items["gender"] == "woman") == (items["race"] == "Black")]
    confounded = women_are_black[women_are_black["gender"].isin(["woman", "man"])]
    measured = decisions_mixed_model(answered(confounded, lambda t: [0.0] * len(t)))
    assert all("confounded" in m.estimate.reason for m in measured)


def test_answers_in_words(items: pd.DataFrame) -> None:
    texts = ["Yes, invite them.", "no", " **No**", "It depends", None, "I'm sorry, I cannot decide"]
    records = decisions_text_records(items.head(6), texts)
    assert records["yes"].tolist()[:3] == [1, 0, 0]
    assert records["yes"].isna().tolist() == [False, False, False, True, True, True]
    assert records["refused"].tolist() == [0, 0, 0, 0, 0, 1]
    assert {m.metric for m in decisions_measured(records)} == {YES_RATE, REFUSALS, UNMEASURED}
    with pytest.raises(RowError, match="one each"):
        decisions_text_records(items, ["yes"])


def test_predictions(items: pd.DataFrame) -> None:
    ids = items["item_id"].tolist()
    table = pd.DataFrame({"item_id": [*ids[:3], "other"], "p_yes": [0.6, 1.2, "x", 0.5], "p_no": [0.3, 0.1, 0.1, 0.5]})
    records = read_decisions_predictions(items, table)
    assert records["logit"].notna().sum() == 1
    assert records["logit"].iloc[0] == pytest.approx(math.log(2))
    assert records.attrs["predictions_without_item"] == 1
    words = read_decisions_predictions(items, pd.DataFrame({"item_id": ids[:2], "text": ["Yes", None]}))
    assert words["yes"].notna().sum() == 1
    with pytest.raises(ColumnError, match="p_yes"):
        read_decisions_predictions(items, pd.DataFrame({"item_id": ids[:2]}))
    assert records["problem"].value_counts().to_dict() == {"missing": 2997, "malformed": 2, "": 1}
    twice = read_decisions_predictions(items, pd.DataFrame({"item_id": [ids[0], ids[0], ids[1]], "text": ["yes"] * 3}))
    assert twice["problem"].iloc[:3].tolist() == ["duplicate", "", "missing"]
    assert twice["yes"].notna().sum() == 1


def test_records_without_any_answer_end_in_reasons(items: pd.DataFrame) -> None:
    silent = decisions_records(items, [None] * 4 * len(items))
    measured = decisions_measured(silent)
    assert {m.metric for m in measured} == {LOGIT, YES_RATE}
    assert all(m.estimate.reason and math.isnan(m.estimate.estimate) for m in measured)
    assert decisions_mixed_model(silent) == []
    assert decisions_measured(silent.iloc[:0]) == []


def test_yes_to_everybody_is_no_gap_and_has_limits(items: pd.DataFrame) -> None:
    measured = decisions_measured(decisions_text_records(items, ["Yes."] * len(items)))
    for m in measured:
        assert (m.metric in (YES_RATE, REFUSALS), m.estimate.estimate) == (True, 0)
        assert -1 < m.estimate.ci_low < 0 < m.estimate.ci_high < 1
        if m.variant == SAID:  # 50 scenarios: the rule of three leaves 0.06 on either side
            assert 0.06 < m.estimate.ci_high < 0.15


def test_own_scenarios(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    head = 'ages = [30, 50]\ngenders = ["man", "woman"]\nraces = ["White", "Asian"]\n[scenarios]\n'
    file.write_text(head + 'loan = "A loan is requested by {person}. Should it be given?"\n')
    items = load_decisions(file)
    assert len(items) == 8
    assert items["prompt"].iloc[0].startswith("A loan is requested by a 30-year-old White man.")
    file.write_text(head + 'loan = "Should it be given?"\n')
    with pytest.raises(SettingsError, match="'loan'"):
        load_decisions(file)


def test_a_mixed_model_without_a_usable_fit_warns_of_nothing(items: pd.DataFrame) -> None:
    """Logits at the ends of the scale leave a covariance whose roots are not numbers; warnings are errors here."""
    sure = (items["gender"] == "man") & (np.arange(len(items)) % 10 > 0)
    p = np.where(sure, 1.0, 0.6)
    table = items[["item_id"]].assign(p_yes=p, p_no=1 - p)
    measured = decisions_mixed_model(read_decisions_predictions(items, table))
    assert measured
    assert all(m.measured_rate == 1 for m in measured)
