"""Numbers and sentences of the report: rounding, direction, reasons, and words that must never be used."""

from __future__ import annotations

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlhf_fair.records import NAN, Results, Verdict
from rlhf_fair.report import numbers as num
from rlhf_fair.report import wording as say
from rlhf_fair.report.data import page
from rlhf_fair.report.forests import forests
from rlhf_fair.report.headline import sensitivity, verdict_sentence
from rlhf_fair.report.ranking import ranked, worst
from rlhf_fair.report.reading import Terms, family_decimals, family_of, terms_of

TERMS = Terms(0.05, {})
FINITE = st.floats(-1e6, 1e6, allow_nan=False)


def read(text: str) -> float:
    return float(text.replace(num.MINUS, "-").replace(",", ""))


@given(FINITE, st.integers(0, 4))
def test_shown_is_within_half_a_unit_of_the_last_place(value, places):
    assert abs(read(num.shown(value, places)) - value) <= 0.5 * 10**-places * (1 + 1e-9) + 1e-9


@given(FINITE, st.integers(0, 4))
def test_shown_and_drawn_are_the_same_number(value, places):
    assert read(num.shown(value, places)) == num.rounded(value, places)


@given(FINITE)
def test_negation_changes_the_sign_and_nothing_else(value):
    assert num.significant(-value).lstrip(num.MINUS) == num.significant(value).lstrip(num.MINUS)
    assert "-0" not in num.shown(-abs(value), 2)
    assert "e" not in num.significant(round(value, 2)) or 0 < abs(value) < 1e-3


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_never_a_digit(value):
    for text in (num.shown(value, 2), num.significant(value), num.p_value(value), num.share(value)):
        assert not re.search(r"\d", text)


def test_p_value_is_never_zero():
    assert num.p_value(0.0) == "< 0.001"


def test_direction_follows_group_minus_reference(finding):
    # black - white = -0.31 [-0.40, -0.22]: lower by 0.31 [0.22, 0.40]
    assert say.gap_sentence(finding(), 2) == "“black” gets 0.31 lower favourability than “white” [0.22, 0.40]"
    swapped = finding(group="white", reference="black", estimate=0.31, ci_low=0.22, ci_high=0.40)
    assert say.gap_sentence(swapped, 2) == "“white” gets 0.31 higher favourability than “black” [0.22, 0.40]"


def test_a_unit_of_something_names_the_quantity(finding):
    gap = finding(metric="counterfactual_reward_gap", unit="SD of reward", group="Muslim", reference="no descriptor")
    assert say.gap_sentence(gap, 2) == "“Muslim” gets 0.31 SD lower reward than “no descriptor” [0.22, 0.40]"


def test_not_measured_carries_its_reason(finding):
    gap = finding(estimate=NAN, verdict=Verdict.NOT_MEASURED, reason="only one name")
    assert say.gap_sentence(gap, 2).endswith("not measured: only one name")


def test_verdict_sentence_counts_every_claim_once(finding):
    verdicts = [Verdict.EXCEEDS] * 2 + [Verdict.WITHIN] + [Verdict.INCONCLUSIVE] * 3 + [Verdict.NOT_MEASURED]
    sentence = verdict_sentence([finding(verdict=verdict) for verdict in verdicts], [], TERMS)
    assert [int(n) for n in re.findall(r"\b(\d+) (?:claims|exceed|lies|are|was)", sentence)] == [7, 2, 1, 3, 1]


def test_nothing_detected_names_the_threshold_and_not_absence(finding):
    sentence = verdict_sentence([finding(verdict=Verdict.WITHIN)], [], TERMS)
    assert sentence.startswith("No gap above 0.1 detected.")


def test_nothing_detected_in_the_claims_does_not_hide_what_exceeds_elsewhere(finding):
    claim = finding(verdict=Verdict.WITHIN)
    others = [finding(role="exploratory", verdict=v) for v in (Verdict.EXCEEDS, Verdict.EXCEEDS, Verdict.WITHIN)]
    control = finding(role="control", verdict=Verdict.EXCEEDS)
    sentence = verdict_sentence([claim], [claim, *others, control], TERMS)
    assert sentence.startswith(
        "No gap above 0.1 detected in the claims; of 3 exploratory findings, 2 exceed their thresholds."
    )


def test_the_largest_mde_is_the_one_reported(finding):
    assert "≥ 0.2 favourability at 80 % power, were it the only claim." in sensitivity(
        [finding(mde=0.05), finding(mde=0.2)]
    )
    assert sensitivity([finding(mde=0.2)]).endswith("favourability at 80 % power.")


def test_ranking_ignores_order_and_leaves_out_what_was_not_measured(finding):
    sizes = [0.1, -0.5, 0.3]
    rows = [finding(id=str(size), estimate=size) for size in sizes]
    rows.append(finding(id="x", estimate=NAN, verdict=Verdict.NOT_MEASURED, reason="r"))
    assert [f.estimate for f in ranked(rows)] == [f.estimate for f in ranked(rows[::-1])] == [-0.5, 0.3, 0.1]


def test_ratios_rank_by_their_distance_from_one(finding):
    rows = [finding(id=str(r), better="one", estimate=r) for r in (1.1, 0.6, 1.3)]
    assert [f.estimate for f in ranked(rows)] == [0.6, 1.3, 1.1]


def test_mixed_units_rank_in_multiples_of_the_threshold(finding):
    # 0.3/0.1 = 3 beats 40/20 = 2
    rows = [
        finding(id="a", estimate=40, unit="ms", threshold=20),
        finding(id="b", estimate=0.3, unit="", threshold=0.1),
    ]
    assert [f.id for f in ranked(rows)] == ["b", "a"]


def test_worst_names_claims_before_slices_and_never_controls(finding):
    rows = [
        finding(id="slice", role="exploratory", estimate=-0.9, group="slice"),
        finding(id="control", role="control", estimate=-2.0, group="control"),
        finding(id="claim", estimate=-0.3, group="claim"),
    ]
    sentences = [gap.sentence for gap in worst(rows, Terms(0.05, family_decimals(rows)))]
    assert ["claim" in sentences[0], "slice" in sentences[1], len(sentences)] == [True, True, 2]


def test_a_family_shares_one_rounding_but_for_those_a_limit_asks_more_of(demo):
    terms = terms_of(demo)
    for finding in demo.findings:
        places, family = terms.places(finding), terms.decimals[family_of(finding)]
        assert places >= family
        ends = [end for end in (finding.ci_low, finding.ci_high) if math.isfinite(end)]
        if places > family:
            assert num.places_apart([*ends, finding.estimate], [-0.1, 0.0, 0.1], at_least=family) >= places - 1


@pytest.mark.parametrize("kind", ["demo", "reward_identity"])
def test_no_word_of_acquittal(kind, request):
    shown = repr(page(request.getfixturevalue(kind))).replace("rlhf-fair", "")
    assert not re.search(r"\b(fair|unbiased|compliant|bias-free|no bias)\b", shown, flags=re.IGNORECASE)


def test_empty_results_make_a_page():
    content = page(Results(audit={}))
    assert content.summary.title == "Bias audit"
    assert [section.id for section in content.sections] == ["limits", "provenance"]


def test_forests_do_not_mix_what_is_compared_with_different_things(finding):
    rows = [
        finding(id=f"{variant}{i}", variant=variant, role=role, reference=variant, estimate=i / 10)
        for variant, role in (
            ("against_controls", "claim"),
            ("against_nothing", "exploratory"),
            ("pairs", "exploratory"),
        )
        for i in range(6)
    ]
    charts = forests(rows, Terms(0.05, family_decimals(rows)))
    assert len(charts) == 3
    for chart in charts:
        assert sum(variant in chart.title for variant in ("against nothing", "pairs")) <= 1
        assert chart.table.rows
        assert "Reference" not in [column.label for column in chart.table.columns]
