"""The course of training on a page: by run and by group."""

from __future__ import annotations

import math

from rlhf_fair.records import TrainingRun
from rlhf_fair.report.figures import figure
from rlhf_fair.report.training import curves_chart
from rlhf_fair.report.training_groups import group_charts


def row(step: int, **values: float) -> dict[str, float]:
    return {"step": float(step), **values}


def run(*rows: dict[str, float], name: str = "fair_ppo") -> TrainingRun:
    return TrainingRun(name=name, curve=rows)


FAIR = run(
    row(1, reward=0.1, gap=0.4, noise_floor=0.2, refusals=0.0)
    | {
        "mean:man": 0.6,
        "se:man": 0.1,
        "share:man": 0.75,
        "mean:woman": math.nan,
        "share:woman": 0.25,
        "refused:man": 0,
    },
    row(2, reward=0.3, gap=0.2, noise_floor=0.1, refusals=0.5)
    | {"mean:man": 0.5, "se:man": 0.05, "share:man": 0.7, "mean:woman": 0.3, "se:woman": math.nan, "share:woman": 0.3},
)


def test_a_gap_is_drawn_with_its_noise_floor_and_both_are_in_the_table() -> None:
    chart = curves_chart([FAIR, run(row(1, reward=0.2), name="ppo")])
    assert chart is not None
    assert [plot.id for plot in chart.plots] == ["curves-plot-reward", "curves-plot-gap", "curves-plot-refusals"]
    gap = chart.plots[1]
    assert [(series.marked, [point.value for point in series.points]) for series in gap.series] == [
        (True, [0.4, 0.2]), (False, [0.2, 0.1])
    ]  # fmt: skip
    assert chart.plots[2].value_range == (0.0, 0.53)
    assert [column.label for column in chart.table.columns][-1] == "noise floor"
    assert [[cell.text for cell in cells][-1] for cells in chart.table.rows] == ["0.20", "0.10", "–"]
    assert "noise floor" in chart.note


def test_without_groups_no_gap_is_claimed() -> None:
    """A run without a penalty logs its gap as missing, and a noise floor alone says nothing."""
    chart = curves_chart([run(row(1, reward=0.1, gap=math.nan, noise_floor=0.1))])
    assert chart is not None
    assert [plot.id for plot in chart.plots] == ["curves-plot-reward"]
    assert [column.label for column in chart.table.columns] == ["Run", "Step", "reward"]
    assert group_charts([run(row(1, reward=0.1))]) == ()


def test_groups_have_bands_of_196_standard_errors_and_a_table_of_the_same_numbers() -> None:
    """man: .5 ± 1.96 * .05 = .5 ± .098; woman has no standard error yet, so no band, and at first no mean."""
    (chart,) = group_charts([FAIR])
    assert [plot.id for plot in chart.plots] == ["curves-groups-1-mean", "curves-groups-1-refused"]
    man, woman = chart.plots[0].series  # the larger share first
    assert (man.name, woman.name, man.banded) == ("man", "woman", True)
    assert [(point.value, point.low, point.high) for point in man.points] == [(0.6, 0.4, 0.8), (0.5, 0.4, 0.6)]
    assert [(point.value, point.low) for point in woman.points] == [(0.3, None)]
    texts = [[cell.text for cell in cells] for cells in chart.table.rows]
    assert texts[0] == ["1", "man", "75.0 %", "0.60 ± 0.20", "0.00"]
    assert texts[1] == ["1", "woman", "25.0 %", "–", "–"]
    assert texts[2][:4] == ["2", "man", "70.0 %", "0.50 ± 0.10"]


def test_bands_lie_under_all_lines() -> None:
    (chart,) = group_charts([FAIR])
    names = [trace["name"] for trace in figure(chart.plots[0])["data"]]
    assert names == ["man low", "man high", "man", "woman"]
    assert figure(chart.plots[0])["data"][1]["fill"] == "tonexty"
