"""A verdict and what is written beside it agree: in words, in printed digits, and in what a plot shows."""

from __future__ import annotations

import math
import re

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from kinds import make_finding

from rlhf_fair.records import NAN, Estimate, Results, Verdict
from rlhf_fair.report import numbers as num
from rlhf_fair.report import wording as say
from rlhf_fair.report.data import page
from rlhf_fair.report.figures import figure
from rlhf_fair.report.findings_table import findings_table
from rlhf_fair.report.headline import claim_lines, sensitivity, verdict_sentence
from rlhf_fair.report.markdown import summarize
from rlhf_fair.report.reading import Reading, Terms, inside_threshold, terms_of
from rlhf_fair.stats.equivalence import verdict

TERMS = Terms(0.05, {})
NUMBERS = st.floats(-40, 40).map(lambda x: round(x, 6))


def read(text: str) -> float:
    return float(text.replace(num.MINUS, "-").replace(",", ""))


@given(NUMBERS, st.lists(st.sampled_from([-5.0, 0.0, 5.0, 0.8, 1.25, 0.1]), min_size=1), st.integers(0, 2))
def test_rounding_leaves_a_value_on_its_side_of_every_mark(value, marks, at_least):
    places = num.places_apart([value], marks, at_least=at_least)
    printed = read(num.shown(value, places))
    assert places >= at_least
    for mark in marks:
        assert (printed > mark, printed < mark) == (value > mark, value < mark)


def test_no_more_digits_than_needed():
    # [4.7, 12.1] against 5: 5 would be on the line; [3.2, 9.4]: 3 and 9 are not
    assert (num.places_apart([4.7, 12.1], [5]), num.places_apart([3.2, 9.4], [5])) == (1, 0)
    assert num.places_apart([5.0], [5.0]) == 0  # equal in truth, equal in print
    assert num.places_apart([0.8], [0.8]) == 1  # and not "1"


@pytest.mark.parametrize(
    ("better", "threshold", "margin"), [("zero", 5, 5), ("zero", 6, 4), ("high", 5, 6), ("low", 5, 4)]
)
@given(low=NUMBERS, width=st.floats(0.001, 20).map(lambda x: round(x, 6)))
def test_the_printed_interval_supports_the_same_verdict(better, threshold, margin, low, width):
    """Oracle: the rule for verdicts itself, applied to the printed numbers."""
    high = low + width
    middle = (low + high) / 2
    found = make_finding(
        estimate=middle,
        ci_low=low,
        ci_high=high,
        threshold=threshold,
        margin=margin,
        better=better,
        verdict="inconclusive",
    )
    places = terms_of(Results(audit={}, findings=(found,))).places(found)
    printed = [read(num.shown(x, places)) for x in (middle, low, high)]
    limits = {"threshold": threshold, "margin": margin, "better": better}
    assert (
        verdict(Estimate(estimate=printed[0], ci_low=printed[1], ci_high=printed[2]), **limits)[0]
        == verdict(Estimate(estimate=middle, ci_low=low, ci_high=high), **limits)[0]
    )


@given(low=st.floats(0.05, 3).map(lambda x: round(x, 6)), ratio=st.floats(1.0001, 3))
def test_the_printed_interval_of_a_ratio_supports_the_same_verdict(low, ratio):
    high = round(low * ratio, 6)
    assume(high > low)
    middle = math.sqrt(low * high)
    found = make_finding(estimate=middle, ci_low=low, ci_high=high, threshold=0.8, margin=0.9, better="one")
    places = terms_of(Results(audit={}, findings=(found,))).places(found)
    limits = {"threshold": 0.8, "margin": 0.9, "better": "one"}
    printed = Estimate(
        **{k: read(num.shown(v, places)) for k, v in (("estimate", middle), ("ci_low", low), ("ci_high", high))}
    )
    assert verdict(printed, **limits)[0] == verdict(Estimate(estimate=middle, ci_low=low, ci_high=high), **limits)[0]


def test_an_inconclusive_gap_that_is_no_zero_is_told_as_a_difference(finding):
    gap = finding(
        estimate=7.1, ci_low=3.8, ci_high=10.4, threshold=5, margin=5, verdict="inconclusive", p_adjusted=0.0005
    )
    assert TERMS.reading(gap) == Reading.DIFFERS
    sentence = verdict_sentence([gap] * 4, [], TERMS)
    assert sentence.startswith("4 of 4 claims differ from 0, by an amount not settled against the threshold of 5.")
    assert "No gap" not in sentence


def test_an_inconclusive_gap_around_zero_shows_no_difference_and_rules_none_out(finding):
    gap = finding(estimate=1, ci_low=-6, ci_high=8, threshold=5, margin=5, verdict="inconclusive", p_adjusted=0.8)
    assert TERMS.reading(gap) == Reading.OPEN
    sentence = verdict_sentence([gap], [], TERMS)
    assert sentence.startswith("Nothing is settled: no gap above 5 detected, and none ruled out.")
    assert sentence.endswith("It shows no difference from 0 and does not rule out one beyond the threshold.")


@pytest.mark.parametrize("p", [0.06, NAN])
def test_what_the_correction_does_not_confirm_is_no_difference_yet(finding, p):
    gap = finding(estimate=3, ci_low=0.5, ci_high=5.5, threshold=5, margin=5, verdict="inconclusive", p_adjusted=p)
    assert TERMS.reading(gap) == Reading.UNCONFIRMED
    sentence = verdict_sentence([gap], [], TERMS)
    assert sentence.startswith("Nothing is settled: no gap above 5 established, and none ruled out.")
    assert "does not confirm" in sentence
    # ... and at a laxer level, if there is a p-value at all, it is
    assert Terms(0.1, {}).reading(gap) == (Reading.DIFFERS if p == p else Reading.UNCONFIRMED)


NOT_YET = "not meet the policy's conditions for within."


def test_an_interval_inside_the_threshold_rules_out_what_lies_beyond_it(finding):
    """Inconclusive by a margin narrower than the threshold, by too few answers measured or too few rows."""
    flat = finding(estimate=1, ci_low=-2, ci_high=4, threshold=5, margin=3, verdict="inconclusive", p_adjusted=0.8)
    sentence = verdict_sentence([flat], [], TERMS)
    assert sentence.startswith("No gap above 5 detected. Of 1 claim")
    assert sentence.endswith(f"It shows no difference from 0, its interval inside the threshold, but does {NOT_YET}")
    apart = finding(estimate=3, ci_low=2, ci_high=4, threshold=5, margin=3, verdict="inconclusive", p_adjusted=0.01)
    sentence = verdict_sentence([apart], [], TERMS)
    assert sentence.startswith("No gap above 5 detected. Of 1 claim")
    assert sentence.endswith(f"It differs from 0 with its interval inside the threshold but does {NOT_YET}")
    wide = finding(estimate=1, ci_low=-6, ci_high=8, threshold=5, margin=3, verdict="inconclusive", p_adjusted=0.8)
    sentence = verdict_sentence([flat, wide, wide], [], TERMS)
    assert sentence.startswith("No gap above 5 detected. Of 3 claims")
    assert "2 show no difference from 0 and do not rule out one beyond the threshold; 1 shows no" in sentence


@pytest.mark.parametrize(
    ("better", "ends", "inside"),
    [
        ("high", (81, 90), True),
        ("high", (80, 90), False),
        ("low", (60, 79), True),
        ("low", (60, 80), False),
    ],
)
def test_a_value_without_parity_inside_its_threshold_does_not_reach_across_it(finding, better, ends, inside):
    value = finding(
        estimate=sum(ends) / 2,
        ci_low=ends[0],
        ci_high=ends[1],
        threshold=80,
        margin=85 if better == "high" else 75,
        better=better,
        verdict="inconclusive",
    )
    sentence = verdict_sentence([value], [], TERMS)
    assert sentence.startswith("Nothing is settled") != inside
    assert ("across the threshold" in sentence) != inside
    assert sentence.endswith(f"It lies inside the threshold but does {NOT_YET}") == inside
    assert ("on neither side" in say.reading_words(value, TERMS.reading(value))) != inside


@pytest.mark.parametrize(("ends", "inside"), [((0.85, 1.2), True), ((0.85, 1.25), False), ((0.79, 0.99), False)])
def test_a_ratio_lies_inside_between_its_threshold_and_the_inverse(finding, ends, inside):
    ratio = finding(
        estimate=0.95, ci_low=ends[0], ci_high=ends[1], threshold=0.8, margin=0.9, better="one", verdict="inconclusive"
    )
    assert inside_threshold(ratio) == inside
    best = finding(
        estimate=0.95, ci_low=0.85, ci_high=2, threshold=0.8, better="one", reference="highest", verdict="inconclusive"
    )
    assert inside_threshold(best)  # the best is 1 at most, so there is no limit above


def test_nothing_measured_is_not_nothing_detected(finding):
    gap = finding(estimate=NAN, ci_low=NAN, ci_high=NAN, verdict="not_measured", reason="one rater")
    sentence = verdict_sentence([gap], [], TERMS)
    assert sentence.startswith("No claim was measured.")
    assert "detected" not in sentence


def test_the_two_kinds_of_inconclusive_are_apart_wherever_they_stand(feedback):
    content = page(feedback)
    differing, open_ = "differs from 0, size not settled", "no difference"
    tally = next(tally for tally in content.summary.tallies if tally.verdict == Verdict.INCONCLUSIVE)
    assert tally.word == "inconclusive, 2 different from 0"
    # first the one established, then the two that differ, the claim around 0 not before them
    assert ["8.1 points" in content.summary.gaps[0].sentence, content.summary.gaps[1].word] == [
        True,
        f"inconclusive: {differing}",
    ]
    rows = {row[1].text: row for s in content.sections if s.id == "all" for t in s.tables for row in t.rows}
    assert rows["south vs home"][0].detail == differing
    assert open_ in rows["east vs home"][0].detail
    markdown, lines = summarize(content).replace("\\", ""), claim_lines(feedback)
    assert f"inconclusive ({differing})" in markdown
    assert (
        lines[1]
        == f"inconclusive       country: south against home: +7.1 [3.8, 10.4] points of hate rate ({differing})"
    )
    assert lines[2].endswith("(no difference from 0 seen)")
    assert lines[3] == "not_measured       country: west against home: west: 7 raters, the plan asks for 10"


def test_a_line_names_the_variant_where_claims_of_one_metric_differ_in_it(finding):
    ways = [finding(id=way, metric="decision_logit", variant=way) for way in ("said outright", "by name")]
    alone = finding(id="other", metric="decision_yes_rate", variant="by name")
    lines = claim_lines(Results(audit={}, findings=(*ways, alone)))
    assert "against white (said outright): " in lines[0]
    assert "against white (by name): " in lines[1]
    assert "against white: " in lines[2]  # the only variant of its metric


def test_a_smallest_detectable_effect_is_said_to_be_from_parity(finding):
    assert "a difference from 0 of ≥ 0.2 favourability" in sensitivity([finding(mde=0.2)])
    ratio = finding(metric="impact_ratio", better="one", threshold=0.8, mde=0.12, estimate=0.7, ci_low=0.6, ci_high=0.9)
    assert "a departure of 0.12 from 1 in impact ratio at 80 % power" in sensitivity([ratio])
    assert sensitivity([finding(mde=0.2), finding(mde=NAN)]).startswith("For 1 of 2 claims measured")


def test_an_audit_that_stopped_says_so_and_offers_no_detectable_effect(stopped):
    content = page(stopped)
    assert "it stopped after 192 of at most 3,072 answers" in content.summary.sensitivity
    assert "98.75 % intervals for the claims" in content.summary.sensitivity  # 1 - .05/4
    assert all("stopped after 192 of at most 3,072 answers" in gap.detail for gap in content.summary.gaps)
    tables = [
        t for s in content.sections if s.id in ("findings", "all") for t in (*s.tables, *(c.table for c in s.charts))
    ]
    assert tables
    for table in tables:
        assert "stopped after 192 of at most 3,072 answers" in table.note
        assert "MDE" not in [column.label for column in table.columns]
    assert not re.search(r"could detect|80 % power|0\.0625|\(MDE\)", summarize(content))


def test_ratios_are_drawn_around_one_on_a_log_axis(ratios):
    plots = {p.title.split(":")[0]: p for s in page(ratios).sections for c in s.charts for p in c.plots}
    plot = plots["Impact ratio"]
    assert (plot.log, plot.parity, plot.thresholds) == (True, 1.0, (0.8, 1.25))
    drawn = figure(plot)
    axis = drawn["layout"]["xaxis"]
    assert axis["type"] == "log"
    assert axis["range"] == pytest.approx([math.log10(end) for end in plot.value_range])
    assert plot.value_range[0] < 0.4 < 2.7 < plot.value_range[1]
    assert {0.8, 1, 1.25} <= set(axis["tickvals"])
    lines = [trace["x"][0] for trace in drawn["data"] if trace["name"] in ("threshold", "parity")]
    assert lines == [0.8, 1.25, 1.0]
    assert (plots["Accuracy"].parity, plots["Accuracy"].thresholds, plots["Accuracy"].log) == (None, (0.8,), False)
    assert plots["Error rate"].thresholds == (0.06,)
    assert plots["Error rate"].value_title.startswith("← better")
    assert plots["Accuracy"].value_title.endswith("better →")


def test_ratios_and_levels_in_words(ratios):
    content = page(ratios)
    rows = {row[1].text: row for s in content.sections if s.id == "all" for t in s.tables for row in t.rows}
    labels = [c.label for s in content.sections if s.id == "all" for c in s.tables[0].columns]
    assert rows["b"][labels.index("MDE")].text == "0.12 from 1"
    assert rows["h0"][labels.index("MDE")].text == "0.12 from 0.8"
    assert "differs from 1" in rows["b"][0].detail
    for group, threshold in (("a", "0.8 to 1.25"), ("h0", "at least 0.8"), ("l0", "at most 0.06")):
        assert f"threshold {threshold}" in rows[group][1].detail
    within = [f.model_copy(update={"verdict": Verdict.WITHIN}) for f in ratios.findings if f.group in ("c", "h3", "l0")]
    assert verdict_sentence(within, within, TERMS).startswith(
        "No impact ratio below 0.8 or above 1.25 and no accuracy below 0.8 and no error rate above 0.06 detected."
    )


def test_a_ratio_of_nothing_falls_back_to_a_plain_axis(finding, ratios):
    nothing = ratios.findings[0].model_copy(update={"id": "zero", "estimate": 0.0, "ci_low": 0.0})
    results = ratios.model_copy(update={"findings": (nothing, *ratios.findings[:4])})
    (plot,) = [p for s in page(results).sections for c in s.charts for p in c.plots]
    assert not plot.log
    assert figure(plot)["layout"]["xaxis"].get("type") != "log"


def test_without_an_interval_there_is_no_mark(finding):
    rows = [finding(id=str(i), estimate=i / 10, ci_low=i / 10 - 0.1, ci_high=i / 10 + 0.1) for i in range(4)]
    bare = finding(
        id="bare", group="bare", estimate=0.9, ci_low=NAN, ci_high=NAN, verdict="not_measured", reason="few raters"
    )
    content = page(Results(audit={}, findings=(*rows, bare)))
    (plot,) = [p for s in content.sections for c in s.charts for p in c.plots if p.kind == "forest"]
    assert max(point.value for s in plot.series for point in s.points) == pytest.approx(0.3)
    row = next(row for s in content.sections if s.id == "all" for row in s.tables[0].rows if row[1].text == "bare")
    assert "not measured: few raters" in [cell.text for cell in row]
    assert "0.9" not in " ".join(cell.text for cell in row)


def test_differences_between_raters_are_no_fault(finding, feedback):
    assert say.better(finding()) == "closer to 0 is better"
    assert "closer to 0 is better" not in repr(page(feedback)).lower()
    assert "information" in say.better(feedback.findings[0])


def test_a_warning_about_an_estimate_stands_beside_it(finding):
    warned = finding(note="a group has only 3 clusters: the interval may be too narrow")
    tables = [
        findings_table([f], terms_of(Results(audit={}, findings=(f,))), id="t", caption="c")
        for f in (finding(), warned)
    ]
    texts = [[(cell.text, cell.detail) for cell in table.rows[0]] for table in tables]
    assert [text for text, _ in texts[0]] == [text for text, _ in texts[1]]
    assert sum("only 3 clusters" in detail for _, detail in texts[1]) == 1
