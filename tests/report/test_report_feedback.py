"""The page of a feedback audit: who rated what comes first, then gaps by attribute, then agreement with its limits."""

from __future__ import annotations

import pytest

from rlhf_fair.report.data import page
from rlhf_fair.report.feedback import raters_by_group


@pytest.fixture
def sections(feedback):
    return {section.id: section for section in page(feedback).sections}


def test_it_opens_with_who_rated_what(sections):
    assert list(sections)[:3] == ["data", "findings", "groups"]
    answer = " ".join(sections["data"].answer)
    assert "150 raters gave 1,400 ratings of 500 items." in answer
    # 1500 = 1390 + 100 + 10
    assert (
        "Of 1,500 ratings in the files, 1,390 are reported, 100 were excluded and 10 are by raters of no known"
        in answer
    )
    cells = [cell.text for table in sections["data"].tables for row in table.rows for cell in row]
    assert "the rater did not decide" in cells


def test_each_attribute_has_its_plot_and_each_group_its_raters(sections, feedback):
    as_rated, same, differences = sections["findings"].charts
    assert [plot.title for plot in as_rated.plots] == ["Country, claim", "Age"]
    assert (as_rated.title, same.title, differences.title) == (
        "Mean rating gap",
        "Mean rating gap, same items",
        "Difference of gaps",
    )
    country = as_rated.plots[0]
    assert country.subtitle == "against home, 90 raters"
    assert [text for _, text in country.ticks] == ["north\n41 raters", "south", "east", "west\nnot measured, 7 raters"]
    # the row of the group that was not measured is there, and empty
    assert {point.at for series in country.series for point in series.points} == {0.0, 1.0, 2.0}
    assert len({plot.value_range for plot in as_rated.plots}) == 1
    assert differences.plots[0].ticks[0][1] == "north\non local posts"
    assert raters_by_group(feedback.audit)["country", "home"] == "90"


def test_agreement_comes_with_what_small_groups_cannot_show(sections):
    answer = " ".join(sections["agreement"].answer)
    assert "0.1 in the group where it is steadiest, 0.24 where it is least" in answer  # twice .05 and twice .12
    assert "Little power: 1 of 2 groups have few raters (country: north)." in answer


def test_every_table_is_on_the_page_once(feedback):
    captions = [t.caption for s in page(feedback).sections for t in s.tables]
    for name in feedback.audit["tables"]:
        assert sum(caption.lower() == name.lower() for caption in captions) == 1


def test_counts_that_were_withheld_are_not_shown_as_none(feedback):
    """Where a small group could be worked out, a companion keeps its gap and loses its counts: n = 0 in the file."""
    kept = [f.model_copy(update={"n": 0, "n_clusters": 0}) if f.attribute == "age" else f for f in feedback.findings]
    shown = {s.id: s for s in page(feedback.model_copy(update={"findings": tuple(kept)})).sections}
    cells = [[cell.text for cell in row] for table in shown["all"].tables for row in table.rows]
    measured = [row for row, f in zip(cells, kept, strict=True) if f.attribute == "age" and f.estimate == f.estimate]
    assert measured
    assert all(row[-2:] == ["withheld", "withheld"] for row in measured)


def test_a_file_that_names_no_raters_says_so_first(feedback):
    data = {key: value for key, value in feedback.audit["data"].items() if key != "raters"}
    first = page(feedback.model_copy(update={"audit": {**feedback.audit, "data": data}})).sections[0]
    assert "every interval below is too narrow" in first.answer[1]


@pytest.mark.parametrize(
    "tables", [None, [], {"mean rating of every group": "text"}, {"mean rating of every group": {}}]
)
def test_tables_of_another_shape_leave_their_part_out(feedback, tables):
    content = page(feedback.model_copy(update={"audit": {**feedback.audit, "tables": tables}}))
    assert "findings" in [section.id for section in content.sections]
