from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from scipy import stats as distributions

from rlhf_fair.audit.findings import Measurement, build_findings
from rlhf_fair.audit.plan import Limits, Policy
from rlhf_fair.errors import SettingsError
from rlhf_fair.records import Better, Estimate, Finding, Role, Verdict
from rlhf_fair.stats.contrasts import contrast_estimate, mean_estimate
from rlhf_fair.stats.intervals import t_interval, wilson

POLICY = Policy(threshold=0.1, margin=0.05)


def measurement(p_value: float, role: Role = "claim", group: str = "woman") -> Measurement:
    """A gap wholly beyond the threshold, so that the verdict hangs on the corrected p-value."""
    e = Estimate(estimate=0.3, ci_low=0.2, ci_high=0.4, p_value=p_value, mde=0.05, n=100, n_clusters=10)
    return Measurement(e, "policy", "hiring", "gap", "gender", group, "man", role=role)


def adjusted(*measurements: Measurement) -> list[float]:
    distinct = [dataclasses.replace(m, group=f"group {index}") for index, m in enumerate(measurements)]
    return [finding.p_adjusted for finding in build_findings(distinct, POLICY)]


def test_claims_are_corrected_with_holm() -> None:
    # sorted .01 .02 .04, times 3 2 1: .03 .04 .04
    assert adjusted(*map(measurement, (0.04, 0.01, 0.02))) == pytest.approx([0.04, 0.03, 0.04])


def test_slices_are_corrected_with_benjamini_hochberg() -> None:
    # sorted .01 .02 .04, times 3/1 3/2 3/3: .03 .03 .04
    slices = [measurement(p, "exploratory") for p in (0.04, 0.01, 0.02)]
    assert adjusted(*slices) == pytest.approx([0.04, 0.03, 0.03])


def test_slices_and_controls_cost_the_claims_nothing() -> None:
    slices = [measurement(p, "exploratory") for p in (0.5, 0.6, 0.7)]
    mixed = [slices[0], measurement(0.02), slices[1], measurement(0.04), measurement(0.03, "control"), slices[2]]
    found = adjusted(*mixed)
    assert [found[1], found[3]] == pytest.approx([0.04, 0.04])  # .02 * 2, .04
    assert found[4] == pytest.approx(0.03)  # a family of one


def test_a_claim_that_could_not_be_measured_is_no_test_and_stays() -> None:
    missing = dataclasses.replace(measurement(0.0), estimate=Estimate.not_estimable("no measured rows", n=4))
    first, second = build_findings([missing, measurement(0.04, group="nonbinary")], POLICY)
    assert first.verdict == Verdict.NOT_MEASURED
    assert first.reason == "no measured rows"
    assert math.isnan(first.p_adjusted)
    assert first.n == 4
    assert second.p_adjusted == pytest.approx(0.04)
    assert second.verdict == Verdict.EXCEEDS


def test_more_claims_ask_for_more_evidence() -> None:
    assert build_findings([measurement(0.03)], POLICY)[0].verdict == Verdict.EXCEEDS
    three = build_findings([measurement(0.03, group=group) for group in "abc"], POLICY)  # .09 each
    assert {finding.verdict for finding in three} == {Verdict.INCONCLUSIVE}
    assert all("correction" in finding.reason for finding in three)


def test_a_finding_says_what_was_measured_and_by_which_rule() -> None:
    m = dataclasses.replace(
        measurement(0.01), variant="held-out names", unit="points", parse_rate=0.9, refusal_rate=0.1
    )
    finding = build_findings([m], POLICY)[0]
    assert finding.id == "policy/hiring/gap/held-out-names/gender/woman/man"
    for name in ("stage", "probe", "metric", "variant", "attribute", "group", "reference", "role", "unit", "better"):
        assert getattr(finding, name) == getattr(m, name)
    for name in ("estimate", "ci_low", "ci_high", "p_value", "mde", "n", "n_clusters"):
        assert getattr(finding, name) == getattr(m.estimate, name)
    assert (finding.threshold, finding.margin) == (0.1, 0.05)
    assert (finding.parse_rate, finding.refusal_rate) == (0.9, 0.1)


def test_an_id_is_one_path_whatever_the_labels() -> None:
    parts = build_findings([measurement(0.01, group="n/a or other")], POLICY)[0].id.split("/")
    assert parts == ["policy", "hiring", "gap", "gender", "n_a-or-other", "man"]


def test_order_is_kept_and_nothing_is_no_finding() -> None:
    groups = ["c", "a", "b"]
    found = build_findings([measurement(0.01, group=group) for group in groups], POLICY)
    assert [finding.group for finding in found] == groups
    assert build_findings([], POLICY) == ()


@pytest.mark.parametrize(
    "groups",
    [("woman", "woman"), ("n/a", "n_a"), ("prefer not", "prefer-not")],  # labels that differ, ids that would not
)
def test_two_measurements_never_share_an_id(groups: tuple[str, str]) -> None:
    with pytest.raises(SettingsError, match=r"2 measurements share the finding id 'policy/hiring/gap/gender/"):
        build_findings([measurement(0.01, group=group) for group in groups], POLICY)


def on_the_threshold(rng: np.random.Generator, index: int) -> Measurement:
    values = np.r_[rng.normal(5, 10, 60), rng.normal(0, 10, 60)]
    e = contrast_estimate(values, np.repeat(["a", "b"], 60), {"a": 1.0, "b": -1.0})
    return Measurement(e, "policy", "hiring", "gap", "gender", f"group {index}", "man")


def test_twenty_gaps_on_the_threshold_rarely_exceed_it_anywhere() -> None:
    rng, simulations, policy = np.random.default_rng(4), 120, Policy(threshold=5, margin=5)
    found = [build_findings([on_the_threshold(rng, k) for k in range(20)], policy) for _ in range(simulations)]
    exceeding = sum(any(f.verdict == Verdict.EXCEEDS for f in findings) for findings in found)
    # by Holm's inequality at most 5 %; without the correction each of 20 exceeds with probability .025: .40
    assert exceeding <= distributions.binom(simulations, 0.05).ppf(0.999)
    uncorrected = sum(any(f.ci_low > 5 for f in findings) for findings in found)
    assert uncorrected >= distributions.binom(simulations, 1 - 0.975**20).ppf(0.001)


def test_what_a_finding_shows_is_the_test_of_no_difference() -> None:
    # (.3 - 0)/.05 = 6 and (.3 - .1)/.05 = 4 standard errors
    e = t_interval(0.3, 0.05, math.inf)
    finding = build_findings([dataclasses.replace(measurement(0), estimate=e)], POLICY)[0]
    assert finding.p_value == finding.p_adjusted == pytest.approx(2 * distributions.norm.sf(6))


def test_a_p_value_of_the_threshold_that_is_brought_along_decides() -> None:
    for p, verdict in ((0.02, Verdict.EXCEEDS), (0.03, Verdict.INCONCLUSIVE)):  # two claims: .04 and .06
        pair = [dataclasses.replace(measurement(0.0, group=g), p_threshold=p) for g in "ab"]
        assert {f.verdict for f in build_findings(pair, POLICY)} == {verdict}
    high = dataclasses.replace(level("accuracy", "high", 0.68, 0.01), p_threshold=0.01)
    assert build_findings([high], RATIOS)[0].p_value == 0.01


@pytest.mark.parametrize("correct", [0, 1])
def test_a_rate_at_the_floor_is_judged_like_its_neighbour(correct: int) -> None:
    e = mean_estimate(np.repeat([1.0, 0.0], [correct, 1000 - correct]))
    measured = Measurement(e, "policy", "qa", "accuracy", "gender", "woman", "man", better="high")
    finding = build_findings([measured], RATIOS)[0]
    assert finding.verdict == Verdict.EXCEEDS
    assert finding.p_value == pytest.approx(wilson(correct, 1000, null=0.7).p_value)


RATIOS = Policy(
    threshold=0.1,
    margin=0.05,
    metrics={
        "impact_ratio": Limits(threshold=0.8, margin=0.9, better="one"),
        "accuracy": Limits(threshold=0.7, margin=0.75, better="high"),
        "calibration_error": Limits(threshold=0.2, margin=0.1, better="low"),
    },
)


def level(metric: str, better: Better, value: float, se: float) -> Measurement:
    half = 1.959964 * se
    e = Estimate(estimate=value, ci_low=value - half, ci_high=value + half, standard_error=se, df=math.inf, p_value=0.0)
    return Measurement(e, "policy", "hiring", metric, "gender", f"group {value}", "man", better=better)


@pytest.mark.parametrize(
    ("metric", "better", "good", "bad", "between"),
    [
        ("impact_ratio", "one", 0.97, 0.5, 0.85),
        ("accuracy", "high", 0.9, 0.5, 0.72),
        ("calibration_error", "low", 0.02, 0.3, 0.15),
    ],
)
def test_each_metric_is_judged_by_its_own_limits_and_direction(
    metric: str, better: Better, good: float, bad: float, between: float
) -> None:
    measured = [level(metric, better, value, 0.01) for value in (good, bad, between)]
    found = build_findings(measured, RATIOS)
    assert [f.verdict for f in found] == [Verdict.WITHIN, Verdict.EXCEEDS, Verdict.INCONCLUSIVE]
    limits = RATIOS.limits(metric)
    assert {(f.threshold, f.margin, f.better) for f in found} == {(limits.threshold, limits.margin, better)}


def test_the_p_value_of_a_level_is_about_the_threshold_and_not_about_zero() -> None:
    # (.7 - .68)/.01 = 2 standard errors on the wrong side, .9 on the right one; the estimates' own p-values say 0
    wrong, right = build_findings([level("accuracy", "high", v, 0.01) for v in (0.68, 0.9)], RATIOS)
    assert wrong.p_value == pytest.approx(0.0455, abs=5e-5)
    assert wrong.p_adjusted == pytest.approx(0.0910, abs=5e-5)
    assert wrong.verdict == Verdict.INCONCLUSIVE  # beyond, but not after correction
    assert right.p_value == right.p_adjusted == 1


def test_limits_of_one_direction_do_not_judge_another() -> None:
    with pytest.raises(SettingsError, match=r"metric 'gap' are for better = 'zero', but .* \[policy\.metrics\.gap\]"):
        build_findings([dataclasses.replace(measurement(0.01), better="one")], POLICY)
    with pytest.raises(SettingsError, match="metric 'accuracy' are for better = 'high'"):
        build_findings([dataclasses.replace(measurement(0.01), metric="accuracy")], RATIOS)


def test_a_usable_estimate_keeps_its_warning_beside_the_verdict() -> None:
    warned = "a group has only 3 clusters: the interval may be too narrow"
    plain = t_interval(0.0, 0.1, 4.0)
    policy = Policy(threshold=1.0, margin=1.0)
    (first, second) = (
        build_findings([dataclasses.replace(measurement(0.5), estimate=estimate)], policy)[0]
        for estimate in (plain, plain.model_copy(update={"reason": warned}))
    )
    assert second.note == warned
    assert second.model_copy(update={"note": ""}) == first  # it moves neither the verdict nor the reason for it
    nothing = dataclasses.replace(measurement(0.5), estimate=Estimate.not_estimable("too few"))
    (third,) = build_findings([nothing], policy)
    assert (third.verdict, third.reason, third.note) == (Verdict.NOT_MEASURED, "too few", "")


def test_a_number_of_half_of_the_answers_is_not_within_but_can_exceed() -> None:
    within = Estimate(estimate=0.0, ci_low=-0.01, ci_high=0.01, standard_error=0.005, df=50, p_value=1.0, n=50)
    beyond = Estimate(estimate=0.5, ci_low=0.49, ci_high=0.51, standard_error=0.005, df=50, p_value=0.0, n=50)
    plan = Policy(threshold=0.1, margin=0.1)

    def judged(e: Estimate, rate: float, policy: Policy = plan) -> Finding:
        m = Measurement(e, "policy", "probe", "gap", "gender", "woman", "man", measured_rate=rate)
        return build_findings([m], policy)[0]

    half = judged(within, 0.5)
    assert half.verdict == "inconclusive"
    assert half.reason == (
        "only 50 % of the answers about woman, or of those about man, could be measured: what the others say is unknown"
    )
    assert half.measured_rate == 0.5
    assert judged(beyond, 0.5).verdict == "exceeds_threshold"
    assert judged(beyond, 0.5).note == half.reason
    assert [judged(within, rate).verdict for rate in (0.9, math.nan)] == ["within_threshold"] * 2
    assert judged(within, 0.8999).reason.startswith("only 89.9 %")
    assert judged(within, 0.5, plan.model_copy(update={"min_measured": 0.5})).verdict == "within_threshold"
