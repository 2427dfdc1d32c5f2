"""The page, the Markdown and the JSON of a comparison hold the same numbers, and nothing from outside runs in them."""

from __future__ import annotations

import json
import re
import shutil

import pytest
from visits import Visit

from rlhf_fair.artifacts import canonical_json, verify_manifest
from rlhf_fair.attestation.sealing import seal
from rlhf_fair.changes import AuditDiff, Change, ChangeStatus, ComparedAudit, ComparedItems, Side
from rlhf_fair.errors import IntegrityError
from rlhf_fair.integrity.verify import verify_folder
from rlhf_fair.records import NAN, Verdict
from rlhf_fair.report.diff import claim_lines, diff_markdown, diff_page, verdict_sentence, write_diff
from rlhf_fair.report.embed import unpack_results
from rlhf_fair.report.html import render

NASTY = "</td><script>alert(1)</script>|**x**"


def change(group: str, a: float, b: float, half: float, status: ChangeStatus, **options) -> Change:
    options = {"role": "claim", "threshold": 0.1, "margin": 0.1, "tolerance": 0.1, "worse_by_margin": "no"} | options
    size = abs(b) - abs(a)
    verdict = None if options["role"] == "other" else Verdict.INCONCLUSIVE
    return Change(
        id=f"model/bbq/bias/{group}",
        metric="bias",
        attribute="category",
        group=group,
        reference="",
        better="zero",
        a=Side(estimate=a, ci_low=a - 0.05, ci_high=a + 0.05, verdict=verdict),
        b=Side(estimate=b, ci_low=b - 0.05, ci_high=b + 0.05, verdict=verdict),
        change=b - a,
        ci_low=b - a - half,
        ci_high=b - a + half,
        worsening=size,
        worsening_low=size - half,
        worsening_high=size + half,
        p_value=0.01,
        p_adjusted=0.02,
        n=480,
        n_clusters=25,
        status=status,
        reason="because",
        **options,
    )


@pytest.fixture
def diff() -> AuditDiff:
    side = {"n_records": 500, "measured": 490, "problems": {"no answer": 10}, "digests": {"results.json": "ab" * 32}}
    return AuditDiff(
        title="Does it?",
        question="Does it so?",
        probe="bbq",
        a=ComparedAudit(name="old", folder="before", **side),
        b=ComparedAudit(name=NASTY, folder="after", **side),
        alpha=0.05,
        clusters=("template",),
        n_groups=50,
        seed=0,
        items=ComparedItems(in_both=500, only_a=3, only_b=4, compared=480, unmeasured=20),
        changes=(
            change("age", 0.05, 0.02, 0.02, ChangeStatus.BETTER),
            change(NASTY, 0.04, 0.26, 0.03, ChangeStatus.NEW, worse_by_margin="yes"),
            change("religion", 0.04, 0.05, 0.02, ChangeStatus.UNCHANGED),
            change("gender", NAN, NAN, NAN, ChangeStatus.NOT_MEASURED, worse_by_margin="open"),
            change("nation", 0.1, -0.1, 0.02, ChangeStatus.UNDECIDED, role="exploratory"),
            change("level", 0.5, 0.6, 0.02, ChangeStatus.WORSE, role="exploratory", threshold=NAN, tolerance=NAN),
        ),
        limits=("It does not show all.",),
    )


def test_the_worst_change_stands_first_and_numbers_are_those_of_the_json(diff):
    page = diff_page(diff)
    (table,) = page.sections[0].tables
    columns = [column.label for column in table.columns]
    rows = [dict(zip(columns, (cell.text for cell in row), strict=True)) for row in table.rows]
    assert [row["Comparison"] for row in rows] == [NASTY, "religion", "age", "gender"]
    assert (rows[0]["A"], rows[0]["B"], rows[0]["B less A"], rows[0]["Interval"]) == (
        "0.04",
        "0.26",
        "+0.22",
        "[0.19, 0.25]",
    )
    assert (rows[2]["B less A"], rows[2]["Interval"]) == ("−0.03", "[−0.05, −0.01]")
    assert rows[3]["B less A"] == "not measured"


def test_every_mark_of_a_figure_is_in_the_table_beside_it(diff):
    for section in diff_page(diff).sections:
        for chart in section.charts:
            shown = {cell.text.lstrip("+") for row in chart.table.rows for cell in row}
            points = [point for plot in chart.plots for series in plot.series for point in series.points]
            assert points
            assert {point.hover.rpartition(": ")[2].split(" ")[0] for point in points} <= shown


def test_sections_keep_claims_slices_and_unjudged_numbers_apart(diff):
    page = diff_page(diff)
    assert [section.id for section in page.sections] == ["claims", "slices", "levels", "items", "method"]
    assert [len(section.tables[0].rows) for section in page.sections[:3]] == [4, 1, 1]
    assert page.sections[3].answer[0].startswith("Of 507 items in either audit, 480 were compared: 3 only in A")


def test_the_verdict_says_what_became_of_the_claims(diff):
    assert verdict_sentence(diff) == "Of 4 claims, 1 newly exceeds its threshold in B."
    calm = diff.model_copy(update={"changes": diff.changes[:1] + diff.changes[2:3]})
    assert verdict_sentence(calm).startswith("None of 2 claims is worse by more than the margin in B")
    open_ = diff.model_copy(update={"changes": diff.changes[2:4]})
    assert verdict_sentence(open_).startswith("For 1 of 2 claims it is open whether it is worse")
    assert [d.exit_code for d in (diff, calm, open_)] == [1, 0, 3]


def test_strings_from_outside_stay_text(diff):
    html = render(diff_page(diff), "diff.html.j2")
    assert "<script>alert" not in html
    assert html.count("&lt;script&gt;alert(1)") > 2
    assert "<script>" not in diff_markdown(diff)
    assert len({line.replace("\\|", "").count("|") for line in table_rows(diff)}) == 1


def table_rows(diff: AuditDiff) -> list[str]:
    return [line for line in diff_markdown(diff).splitlines() if line.startswith("|")]


def test_markdown_lists_claims_by_what_became_of_them_and_folds_none_that_matters(diff):
    text = diff_markdown(diff)
    headings = [line.removeprefix("## ") for line in text.replace("\\", "").splitlines() if line.startswith("## ")]
    assert headings == [
        "Claims: newly exceeds (1 of 4)",
        "Claims: not measured (1 of 4)",
        "Claims: better (1 of 4)",
        "Claims: unchanged (1 of 4)",
        "Exploratory slices: undecided (1 of 1)",
        "Also measured",
        "What does this comparison not show?",
    ]
    many = [change(f"g{i}", 0.04, 0.05, 0.02, ChangeStatus.UNCHANGED) for i in range(40)]
    long = diff_markdown(diff.model_copy(update={"changes": (*diff.changes[:2], *many)}))
    assert "<summary>Claims: unchanged (40 of 42)</summary>" in long
    assert "\n## Claims: newly exceeds" in long


def test_markdown_fits_a_comment(diff):
    many = [
        change(f"group {i} " + "x" * 80, 0.04, 0.26, 0.03, ChangeStatus(s), worse_by_margin="yes", role=role)
        for i in range(55)
        for s in ("new", "worse", "better", "unchanged")
        for role in ("claim", "exploratory")
    ]
    text = diff_markdown(diff.model_copy(update={"changes": tuple(many)}))
    assert len(text) < 65_536  # of GitHub, for one comment
    assert text.count("Too long for here") >= 1
    assert "\n## Claims: newly exceeds" in text


def test_numbers_of_the_change_stand_in_the_markdown(diff):
    assert re.search(r"\| newly exceeds .* \| 0.04 \| 0.26 \| \+0\.22", diff_markdown(diff).replace("\\", ""))


def test_the_terminal_gets_one_line_for_each_claim(diff):
    lines = claim_lines(diff)
    assert len(lines) == 4
    assert lines[0].startswith("newly exceeds")
    assert "A 0.04, B 0.26, B less A +0.22 [0.19, 0.25]" in lines[0]


def test_the_folder_is_complete_and_the_page_holds_its_data(diff, tmp_path):
    page = write_diff(tmp_path, diff)
    assert verify_manifest(tmp_path) == 3
    expected = canonical_json(json.loads((tmp_path / "diff.json").read_text()))
    assert unpack_results(page.read_text(), most_bytes=10**7) == expected
    read = AuditDiff.model_validate(json.loads(expected))
    assert read.model_dump_json() == diff.model_dump_json()
    assert write_diff(tmp_path / "again", read).read_bytes() == page.read_bytes()


def test_verify_reads_a_comparison_and_notices_other_data_in_its_page(diff, tmp_path):
    write_diff(tmp_path, diff)
    assert verify_folder(tmp_path).files == 3
    other = diff.model_copy(update={"seed": 1})
    write_diff(tmp_path / "other", other)
    (tmp_path / "index.html").write_bytes((tmp_path / "other" / "index.html").read_bytes())
    shutil.rmtree(tmp_path / "other")
    seal(tmp_path, inputs={}, seeds={})
    with pytest.raises(IntegrityError, match=r"differ from diff\.json"):
        verify_folder(tmp_path)


@pytest.mark.browser
@pytest.mark.parametrize("width", [320, 1280])
def test_it_draws_in_a_browser_without_noise_and_fits(browser, diff, tmp_path, width):
    path = write_diff(tmp_path, diff)
    visit = Visit(browser, path, width=width)
    assert visit.drawn() == 4
    assert visit.page.evaluate("document.documentElement.scrollWidth") == width
    still = browser.new_context(viewport={"width": width, "height": 900}, java_script_enabled=False).new_page()
    still.goto(path.as_uri())
    assert still.locator("#claims-table tbody tr").count() == 4
    assert still.locator("#claims-table").is_visible()
    assert visit.noise == []
