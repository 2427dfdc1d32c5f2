"""The plots that argue: steps of the ledger, pairs of means, power, bounds, calibration; numbers worked by hand."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kinds import make_finding

from rlhf_fair.records import NAN, LedgerRow, Results, Verdict
from rlhf_fair.report.calibration import calibration_section
from rlhf_fair.report.counterfactuals import counterfactual_section, pairs_of_means
from rlhf_fair.report.data import page
from rlhf_fair.report.display import Chart, Section
from rlhf_fair.report.figures import figure
from rlhf_fair.report.missing_bounds import UNKNOWN_CATEGORIES, bounds_section, share_bounds
from rlhf_fair.report.power_curve import clusters_needed, detectable, power_section
from rlhf_fair.report.steps import LARGER, OPEN, SMALLER, chains, steps_chart
from rlhf_fair.stats.power import minimum_detectable_effect


def row(stage: str, gap: float, panel: str = "", **changes: object) -> LedgerRow:
    base: dict[str, object] = {
        "stage": stage,
        "panel": panel,
        "attribute": "gender",
        "metric": "favourability",
        "reference": "man",
        "estimate": gap,
        "ci_low": gap - 0.05,
        "ci_high": gap + 0.05,
        "n": 400,
        "n_clusters": 40,
    }
    return LedgerRow.model_validate(base | changes)


def step(stage: str, gap: float, before: str, change: float, half: float, panel: str = "") -> LedgerRow:
    ends = {"change_ci_low": change - half, "change_ci_high": change + half}
    return row(stage, gap, panel, change_from=before, change=change, **ends)


LEDGER = [
    row("base", -0.30),  # the sign of a gap plays no part in its size
    step("sft", 0.10, "base", -0.20, 0.05),
    step("reward_model", 0.40, "sft", 0.30, 0.05, "narrow"),
    step("ppo", 0.60, "sft", 0.50, 0.10, "narrow"),
    step("fair_ppo", 0.55, "ppo (narrow)", -0.05, 0.10, "narrow"),
]


def only(section: Section | None) -> Chart:
    assert section is not None
    (chart,) = section.charts
    return chart


def cells(chart: Chart, column: str) -> list[str]:
    at = [c.label for c in chart.table.columns].index(column)
    return [row[at].text for row in chart.table.rows]


def test_a_waterfall_goes_from_stage_to_stage_by_the_paired_changes():
    chart = steps_chart(LEDGER)
    assert chart is not None
    (plot,) = chart.plots
    assert [label.replace("\n", " ") for _, label in plot.ticks] == ["Base", "SFT", "PPO", "PPO with penalty"]
    bars = sorted((p.at, p.low, p.high) for s in plot.series if s.blocks for p in s.points)
    # from 0 to |-.3|, then .3 to .1, .1 to .6, .6 to .55: each begins where the last ended
    assert bars == [(0, 0.0, 0.3), (1, 0.3, 0.1), (2, 0.1, 0.6), (3, 0.6, 0.55)]
    kinds = {p.at: s.name for s in plot.series if not s.blocks for p in s.points}
    assert (kinds[1.0], kinds[2.0], kinds[3.0]) == (SMALLER, LARGER, OPEN)
    ends = {p.at: (p.low, p.high) for s in plot.series if not s.blocks for p in s.points}
    # the change of +.5 lies in [.4, .6], from .1 on: [.5, .7]
    assert ends[2.0] == (0.5, 0.7)
    assert cells(chart, "Change") == ["–", "−0.20", "+0.50", "−0.05"]


def test_a_gap_before_is_never_below_nothing_where_stages_measured_other_items():
    # paired on the few items of both, the gap grew by .07; over all items it was 0 before and 0 after
    chart = steps_chart([row("base", 0.0), step("ppo", 0.0, "base", 0.07, 0.02)])
    assert chart is not None
    assert [float(text) for text in cells(chart, "|Gap| before")] == [0.0, 0.0]
    assert cells(chart, "Change") == ["–", "+0.07"]


def test_the_reward_model_is_no_step_and_a_broken_chain_ends_where_it_breaks():
    (chain,) = chains(LEDGER).values()
    assert [r.stage for r in chain] == ["base", "sft", "ppo", "fair_ppo"]
    broken = [*LEDGER[:1], row("sft", 0.1, change_from="base", reason="no shared items"), *LEDGER[2:]]
    (chain,) = chains(broken).values()
    assert [r.stage for r in chain] == ["sft", "ppo", "fair_ppo"]


@pytest.mark.parametrize(
    "rows",
    [
        [],
        LEDGER[:1],
        [row("base", NAN, reason="too few"), row("sft", NAN, change_from="base")],
        [step("sft", 0.1, "sft", 0.1, 0.1), step("ppo", 0.1, "nowhere", 0.1, 0.1)],  # a loop, and a name of nothing
    ],
)
def test_without_two_stages_there_is_no_waterfall(rows):
    assert steps_chart(rows) is None


def means(**changes: object) -> dict[str, object]:
    base = {"metric": "tone", "variant": "", "unit": "points", "attribute": "age", "reference": "young", "reason": ""}
    return base | {"group": "old", "mean": 0.2, "ci_low": 0.1, "ci_high": 0.3, "n": 50} | changes


def test_pairs_put_a_group_beside_its_own_reference():
    audit = {"group_means": [means(), means(group="young", mean=0.6, ci_low=0.5, ci_high=0.7)]}
    chart = only(counterfactual_section(Results(audit=audit)))
    (plot,) = chart.plots
    marks = {s.name: [(p.value, p.low, p.high) for p in s.points] for s in plot.series if s.marked}
    assert marks == {"the group": [(0.2, 0.1, 0.3)], "its reference": [(0.6, 0.5, 0.7)]}
    (link,) = [s for s in plot.series if not s.marked]
    assert [p.value for p in link.points] == [0.2, 0.6]
    assert plot.ticks == ((0.0, "old\nbeside young"),)


def test_a_group_without_a_mean_keeps_its_row_and_its_reason():
    rows = [means(mean=None, ci_low=None, ci_high=None, n=0, reason="nobody answered"), means(group="young")]
    chart = only(counterfactual_section(Results(audit={"group_means": rows})))
    assert len(chart.plots[0].ticks) == 1
    assert not [s for s in chart.plots[0].series if s.name == "the group"]
    assert cells(chart, "Mean") == ["not measured: nobody answered"]


@pytest.mark.parametrize("rows", [[], None, "text", [{"group": "old"}], [means(group="young")], [means()]])
def test_without_a_pair_there_are_no_pairs(rows):
    assert not any(pairs_of_means({"group_means": rows}).values())
    assert counterfactual_section(Results(audit={"group_means": rows})) is None


def test_the_power_curve_is_that_of_the_standard_error():
    """Oracle: Bloom's formula with a standard error that four times the clusters halve."""
    now = minimum_detectable_effect(0.1, math.inf)
    assert detectable(now, 4.0) == pytest.approx(minimum_detectable_effect(0.05, math.inf))
    finding = make_finding(mde=0.2, n_clusters=50, threshold=0.1)
    section = power_section(Results(audit={}, findings=(finding,)))
    chart = only(section)
    (series,) = chart.plots[0].series
    drawn = {p.at: p.value for p in series.points}
    assert (drawn[0.25], drawn[1.0], drawn[4.0]) == (0.4, 0.2, 0.1)
    assert chart.plots[0].thresholds == (0.1,)
    # half the gap takes four times the clusters
    assert cells(chart, "Clusters to see the threshold") == ["200"]
    assert section is not None
    assert "has 50 clusters and would need 200" in section.answer[0]


@given(st.floats(0.01, 10), st.integers(5, 10**5), st.floats(0.01, 10))
def test_so_many_clusters_detect_the_wish_and_one_fewer_do_not(now, clusters, wished):
    needed = clusters_needed(now, clusters, wished)
    assert detectable(now, needed / clusters) <= wished * (1 + 1e-6)
    if needed > 1:
        assert detectable(now, (needed - 1) / clusters) > wished * (1 - 1e-6)


@pytest.mark.parametrize(
    "changes",
    [
        {"mde": NAN},
        {"n_clusters": 4},
        {"better": "one"},
        {"role": "control"},
        {"variant": "confidence sequence"},
        {"estimate": NAN, "ci_low": NAN, "ci_high": NAN, "verdict": Verdict.NOT_MEASURED},
    ],
)
def test_without_a_design_to_extrapolate_there_is_no_power_curve(changes):
    assert power_section(Results(audit={}, findings=(make_finding(**changes),))) is None


@given(
    st.lists(st.tuples(st.floats(0, 1), st.booleans(), st.booleans()), min_size=2, max_size=30),
)
def test_bounds_of_shares_hold_the_gap_of_all_rows(rows):
    """Law: whatever the outcomes of the missing are, the gap of all rows lies in the bounds."""
    groups = [[(value, known) for value, known, mine in rows if mine is side] for side in (True, False)]
    if not all(any(known for _, known in group) for group in groups):
        return
    full = [sum(v for v, _ in group) / len(group) for group in groups]
    seen = [[v for v, known in group if known] for group in groups]
    measured = [sum(values) / len(values) for values in seen]
    least = min(len(values) / len(group) for values, group in zip(seen, groups, strict=True))
    low, high = share_bounds(measured[0] - measured[1], least)
    assert low - 1e-9 <= full[0] - full[1] <= high + 1e-9


def test_bounds_from_the_share_measured():
    # 80 % measured, a gap of .5: .8·.5 ± .2
    finding = make_finding(
        unit="share of answers", estimate=0.5, ci_low=0.4, ci_high=0.6, measured_rate=0.8, better="zero"
    )
    section = bounds_section(Results(audit={}, findings=(finding,)))
    chart = only(section)
    (block,) = [s for s in chart.plots[0].series if s.blocks]
    assert [(p.low, p.high) for p in block.points] == [(0.2, 0.6)]
    assert section is not None
    assert section.answer == (
        "1 estimate had something missing. Whatever the missing are, every one keeps its direction.",
    )
    assert cells(chart, "Missing") == ["20.0 % of the rows"]


@pytest.mark.parametrize("changes", [{"measured_rate": 1.0}, {"measured_rate": NAN}, {"unit": "points"}])
def test_nothing_missing_or_no_known_range_is_no_section(changes):
    finding = make_finding(**{"unit": "share of answers", "measured_rate": 0.8} | changes)
    assert bounds_section(Results(audit={}, findings=(finding,))) is None


def test_bounds_of_the_audit_and_of_ratios_are_drawn_as_they_are():
    names = {"metric": "tone", "variant": "", "attribute": "age", "group": "old", "reference": "young"}
    finding = make_finding(**names, estimate=0.1, ci_low=0.0, ci_high=0.2)
    rows = [names | {"unit": "points", "low": -0.2, "high": 0.3, "n": 40, "n_missing": 5, "n_unknown": 1}]
    chart = only(bounds_section(Results(audit={"missing_bounds": rows}, findings=(finding,))))
    assert (cells(chart, "Lowest possible"), cells(chart, "Highest possible")) == (["−0.20"], ["0.30"])
    assert cells(chart, "Missing") == ["5 of 40 scores, 1 groups"]
    columns = ["table", "category", "impact ratio", "lowest possible", "highest possible", "people of unknown category"]
    table = {"columns": columns, "rows": [["sex", "Female", 0.82, 0.76, 0.9, 35], ["sex", "Other", None, 0.1, 1.0, 35]]}
    ratio = make_finding(metric="impact_ratio", better="one", reference="highest rate", threshold=0.8)
    results = Results(audit={"tables": {UNKNOWN_CATEGORIES: table}}, findings=(ratio,))
    chart = only(bounds_section(results))
    assert cells(chart, "Lowest possible") == ["0.76"]
    assert (chart.plots[0].parity, chart.plots[0].thresholds) == (1.0, (0.8,))
    shown = [section.heading for section in page(results).sections]
    assert UNKNOWN_CATEGORIES not in shown  # its numbers stand beside the plot


def bin_of(group: str, predicted: float, observed: float | None, n: int = 40) -> dict[str, object]:
    half = None if observed is None else 0.1
    ends = {"ci_low": None if half is None else observed - half, "ci_high": None if half is None else observed + half}
    bounds = {"low": round(predicted - 0.1, 2), "high": round(predicted + 0.1, 2)}
    return {"attribute": "age", "group": group, "predicted": predicted, "observed": observed, "n": n} | ends | bounds


def binned(rows: object) -> Results:
    if isinstance(rows, list):
        columns = list(dict.fromkeys(name for row in rows for name in row))
        rows = {"columns": columns, "rows": [[row.get(name) for name in columns] for row in rows]}
    return Results(audit={"tables": {"observed against predicted choices": rows}})


def test_a_withheld_bin_is_no_mark():
    withheld = bin_of("old", 0.3, 0.5) | dict.fromkeys(("predicted", "observed", "ci_low", "ci_high", "n"), "withheld")
    chart = only(calibration_section(binned([withheld, bin_of("young", 0.3, 0.3)])))
    assert [s.name for s in chart.plots[0].series] == ["parity", "young"]
    assert "old" in cells(chart, "Group")


def test_calibration_draws_every_group_against_the_diagonal():
    rows = [bin_of("old", 0.3, 0.5), bin_of("old", 0.7, 0.6), bin_of("young", 0.3, 0.3), bin_of("young", 0.7, None, 0)]
    chart = only(calibration_section(binned([*rows, bin_of("young", 0.9, 0.9, 3)])))
    (plot,) = chart.plots
    lines = {s.name: [p.value for p in s.points] for s in plot.series}
    # the empty bin and the one with 3 choices are no marks, but rows
    assert lines == {"parity": [0.0, 1.0], "old": [0.5, 0.6], "young": [0.3]}
    assert cells(chart, "Observed") == ["0.50", "0.60", "0.30", "no choices", "0.90"]
    assert {trace["name"] for trace in figure(plot)["data"]} >= {"parity", "old", "young"}


@pytest.mark.parametrize("rows", [[], [bin_of("old", 0.5, None, 0)], [{"group": "old"}], "text"])
def test_without_choices_there_is_no_calibration(rows):
    assert calibration_section(binned(rows)) is None


def to_best(group: str, ratio: float, low: float, high: float = 1.0):
    return make_finding(
        id=group,
        metric="impact_ratio",
        better="one",
        reference="highest rate",
        group=group,
        estimate=ratio,
        ci_low=low,
        ci_high=high,
        threshold=0.8,
        margin=0.9,
        unit="",
        verdict=Verdict.INCONCLUSIVE,
    )


def test_a_ratio_to_the_best_ends_at_one_and_keeps_its_log_axis():
    findings = tuple(
        to_best(g, r, low) for g, r, low in (("a", 0.5, 0.0), ("b", 0.7, 0.4), ("c", 0.9, 0.6), ("d", 1, 1))
    )
    content = page(Results(audit={}, findings=findings))
    (chart,) = [c for s in content.sections if s.id == "findings" for c in s.charts]
    (plot,) = chart.plots
    assert (plot.thresholds, plot.log) == ((0.8,), True)  # and not 1.25, which no such ratio reaches
    assert "Right of 1" not in chart.note
    assert "1.25" not in repr(content)
    assert plot.value_range is not None
    drawn = {p.at: p.low for s in plot.series for p in s.points}
    assert drawn[0.0] == plot.value_range[0] > 0  # an end at 0 is drawn to the edge
    row = next(r for r in chart.table.rows if r[1].text == "a")
    assert "[0.0, 1.0]" in [cell.text for cell in row]  # and told as it is


def test_sections_come_in_the_order_of_the_argument(demo, reward_identity, feedback):
    ids = [s.id for s in page(demo).sections]
    order = ["findings", "data", "groups", "reward", "counterfactuals", "ledger", "moved", "mitigation", "training"]
    assert [id for id in ids if id in order] == order
    assert ids[-3:] == ["all", "limits", "provenance"]
    assert len(set(ids)) == len(ids)
    for results in (demo, reward_identity, feedback):
        (limits,) = [s for s in page(results).sections if s.id == "limits"]
        assert sum(said.startswith("Not part of this audit: ") for said in limits.bullets) == 1
    (limits,) = [s for s in page(reward_identity).sections if s.id == "limits"]
    assert "a bias ledger" in limits.bullets[-1]
    assert "a reward model" not in limits.bullets[-1]  # that is what it audits
