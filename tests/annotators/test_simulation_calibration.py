"""What was planted is found again, within the error that the estimator claims for itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats as distributions

from rlhf_fair.annotators.simulation_calibration import calibrate
from rlhf_fair.annotators.simulation_feedback import simulate_feedback
from rlhf_fair.annotators.simulation_model import AnnotatorModel
from rlhf_fair.errors import ColumnError, RowError, SettingsError
from rlhf_fair.stats.agreement import krippendorff_alpha
from tests.annotators.simulated_worlds import BY, design
from tests.upstream import DATA, needs

PLANTED: dict[str, Any] = {
    "preferences": {"item_sd": np.sqrt(0.4), "group_item_sd": np.sqrt(0.1)},
    "raters": {"leniency_sd": np.sqrt(0.15), "temperature": np.sqrt(0.35)},
    "groups": {"x": {"shift": 0.4}, "y": {"shift": -0.2}},  # one rater of three is in x: their mean is 0
}
FORMS: dict[str, dict[str, Any]] = {
    "five steps": {"link": "probit", "thresholds": [-1.0, -0.3, 0.5, 1.3]},
    "yes or no": {"link": "probit", "thresholds": [0.3]},
    "scalar": {"kind": "scalar", "link": "probit", "location": 3.0, "unit": 2.0},
    "pair": {"kind": "pair", "link": "probit", "tie": 0.25},
}


def planted(form: str) -> AnnotatorModel:
    content = PLANTED | {"answers": FORMS[form]}
    if form == "pair":
        rater = {"leniency_sd": 0, "temperature": np.sqrt(0.35), "first_shown": 0.2, "first_shown_sd": np.sqrt(0.15)}
        content |= {"raters": rater, "groups": {}}
    return AnnotatorModel.model_validate(content)


@pytest.mark.parametrize("form", FORMS)
def test_components_are_recovered_within_their_own_error(form: str) -> None:
    model, worlds = planted(form), 16
    errors: dict[str, list[float]] = {}
    covered: dict[str, list[bool]] = {}
    truth = {"item": 0.4, "group_item": 0.1, "rater": 0.15, "shift x": 0.4, "shift y": -0.2}
    for seed in range(worlds):
        assignments, annotators = design(100, 120, 20, seed)
        rng = np.random.default_rng([5, seed])
        feedback = simulate_feedback(model, assignments, annotators, by=BY, rng=rng).feedback
        groups = annotators.set_index("annotator_id")["attr.group"]
        for row in calibrate(feedback, groups, n_jackknife=12, rng=rng).components.itertuples():
            if np.isfinite(row.standard_error):
                errors.setdefault(row.component, []).append((row.latent - truth[row.component]) / row.standard_error)
                inside = row.ci_low <= truth[row.component] <= row.ci_high
                covered.setdefault(row.component, []).append(inside)
    assert set(errors) == (set(truth) if form != "pair" else {"item", "group_item", "rater"})
    for name, z in errors.items():
        # The groups' sizes vary by design and items are drawn for each world, so that z is about standard normal.
        assert abs(np.mean(z)) < 4 / np.sqrt(worlds), name
        assert sum(covered[name]) >= distributions.binom.ppf(0.0005, worlds, 0.95), name


def test_the_form_of_answers_is_recovered() -> None:
    assignments, annotators = design(300, 400, 40)
    for form, model in ((form, planted(form)) for form in FORMS):
        rng = np.random.default_rng(1)
        feedback = simulate_feedback(model, assignments, annotators, by=BY, rng=rng).feedback
        groups = annotators.set_index("annotator_id")["attr.group"]
        fitted = calibrate(feedback, groups, n_jackknife=2, rng=rng).model
        assert fitted.answers.kind == model.answers.kind
        # errors of means of 300 raters and 400 items: sqrt(.15 / 300 + .5 / 400) = .042
        if form == "scalar":
            assert fitted.answers.location == pytest.approx(3.0, abs=4 * 0.042 * 2)
            assert fitted.answers.unit == pytest.approx(2.0, abs=0.2)
        elif form == "pair":
            assert fitted.answers.tie == pytest.approx(0.25, abs=0.02)
            assert fitted.raters.first_shown == pytest.approx(0.2, abs=4 * np.sqrt(0.15 / 300))
        else:
            assert np.allclose(fitted.answers.thresholds, model.answers.thresholds, atol=4 * 0.042)


def test_behaviour_is_recovered() -> None:
    content = {
        "answers": FORMS["scalar"],
        "timing": {"median_seconds": 12.0, "between_sd": 0.5, "within_sd": 0.3},
        "leaving": {"hazard": 0.005},
        "drift": {"leniency": 0.6},
    }
    assignments, annotators = design(400, 300, 60)
    model = AnnotatorModel.model_validate(PLANTED | content)
    drawn = simulate_feedback(model, assignments, annotators, by=BY, rng=np.random.default_rng(2))
    groups = annotators.set_index("annotator_id")["attr.group"]
    rng = np.random.default_rng(0)
    found = calibrate(drawn.feedback, groups, assignments=assignments, n_jackknife=2, rng=rng)
    timing = found.model.timing
    assert np.log(timing.median_seconds / 12) == pytest.approx(0, abs=4 * 1.25 * 0.5 / np.sqrt(400))
    assert timing.between_sd == pytest.approx(0.5, abs=4 * 0.5 / np.sqrt(800))
    assert timing.within_sd == pytest.approx(0.3, abs=0.01)
    leavers = len(drawn.left)
    assert abs(found.model.leaving.hazard - 0.005) < 4 * 0.005 / np.sqrt(leavers)
    # variance of the slope: residual and item variance, 0.85, over the spread of positions, about 60²/12 a rater's task
    error = np.sqrt(0.85 / (len(drawn.feedback) * 45**2 / 12)) * 100
    assert abs(found.model.drift.leniency - 0.6) < 4 * error
    assert not any("drop-out" in text or "drift of leniency" in text for text in found.assumed)


def test_what_cannot_be_told_is_said_to_be_assumed() -> None:
    assignments, annotators = design(30, 40, 10)
    drawn = simulate_feedback(AnnotatorModel(), assignments, annotators, by=BY, rng=np.random.default_rng(0))
    bare = drawn.feedback[["item_id", "annotator_id", "kind", "value"]]
    found = calibrate(bare, rng=np.random.default_rng(0))
    text = "; ".join(found.assumed)
    for word in ("carelessness", "drop-out", "drift of leniency", "seconds", "group_item_sd is 0"):
        assert word in text
    row = found.components.set_index("component").loc["group_item"]
    assert np.isnan(row["latent"])
    assert row["reason"]
    assert found.model.preferences.group_item_sd == 0
    assert found.loads == {"raters": 30, "ratings": 300, "mean": 10, "sd": 0, "least": 10, "greatest": 10}


def test_raters_without_a_group_are_a_group() -> None:
    assignments, annotators = design(30, 40, 10)
    drawn = simulate_feedback(AnnotatorModel(), assignments, annotators, by=BY, rng=np.random.default_rng(0))
    groups = annotators.set_index("annotator_id")["attr.group"].iloc[:20]
    found = calibrate(drawn.feedback, groups, rng=np.random.default_rng(0))
    assert set(found.model.groups) == {"(unknown)", "x", "y"}


def test_faults_are_named() -> None:
    rng = np.random.default_rng(0)
    rows = pd.DataFrame({"item_id": ["a", "b"], "annotator_id": ["r", "r"], "kind": "rating", "value": [1.0, 1.0]})
    with pytest.raises(RowError, match="take two different values"):
        calibrate(rows, rng=rng)
    with pytest.raises(SettingsError, match=r"kinds \['edit'\]; allowed: one of pair, rating, scalar"):
        calibrate(rows.assign(kind="edit"), rng=rng)
    with pytest.raises(RowError, match="judged an item twice"):
        calibrate(rows.assign(item_id="a"), rng=rng)
    with pytest.raises(ColumnError, match="choice"):
        calibrate(rows.assign(kind="pair"), rng=rng)
    for values in ([1e308, -1e308], [5e-324, 0.0], [1e101, 0.0]):
        with pytest.raises(RowError, match=r"a calibration takes values up to 1e\+100 with a range of at least 1e-100"):
            calibrate(rows.assign(value=values), rng=rng)


@needs("popquorn")
def test_popquorn_is_simulated_with_its_published_agreement() -> None:
    table = pd.read_csv(DATA / "popquorn/offensiveness/raw_data.csv.gz", dtype={"user_id": str, "instance_id": str})
    names = {"instance_id": "item_id", "user_id": "annotator_id", "offensiveness": "value"}
    feedback = table.rename(columns=names).assign(kind="rating")
    people = feedback.groupby("annotator_id")["gender"].first().rename("attr.group").reset_index()
    fitted = calibrate(feedback, people.set_index("annotator_id")["attr.group"], rng=np.random.default_rng(0))
    assert fitted.loads["raters"] == 262
    alphas = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        drawn = simulate_feedback(fitted.model, feedback, people, by=BY, rng=rng).feedback
        alphas.append(krippendorff_alpha(drawn["item_id"], drawn["value"], level="ordinal").alpha)
    assert min(alphas) < 0.2865 < max(alphas)
