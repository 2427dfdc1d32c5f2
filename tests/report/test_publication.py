"""What is published: one silent page that loads nothing, hostile names as text, and a CSV that runs nothing."""

from __future__ import annotations

import csv
import html
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rlhf_fair.errors import SettingsError
from rlhf_fair.records import Results
from rlhf_fair.report.publication import publication_files, publication_of, publication_page

HOSTILE = "<img src=x onerror=alert(1)>\"'--></style><script>alert(2)</script>"


def content(**changes: Any) -> dict[str, Any]:
    rows = [
        {"category": [name], "n": n, "chosen": chosen, "rate": rate, "impact_ratio": ratio, "reason": reason}
        for name, n, chosen, rate, ratio, reason in (
            ("Male", 1200, 600, "0.500", "1.00", ""),
            ("Female", 1000, 400, "0.400", "0.80", ""),
            (HOSTILE, 10, 10, "1.000", "left out", "left out of the ratio"),
            ('=HYPERLINK("x")', 3, 0, "0.000", "", "no category has a rate above 0"),
        )
    ]
    table = {
        "name": "sex",
        "attributes": ["sex"],
        "rows": rows,
        "unknown": 5,
        "no_outcome": 2,
        "justification": HOSTILE,
    }
    return {
        "title": HOSTILE,
        "particulars": [["Tool", HOSTILE], ["Auditor", ""]],
        "not_stated": ["Auditor"],
        "people": 2220,
        "count_heading": "Number of applicants",
        "chosen_heading": "Number selected",
        "rate_heading": "Selection rate",
        "tables": [table],
        "rejected": 1,
        "notes": ["Rounded."],
    } | changes


def results(**changes: Any) -> Results:
    return Results(audit={"publication": content(**changes)})


def test_the_page_has_every_digit_and_no_way_out() -> None:
    files = publication_files(results())
    page = files["publication.html"].decode()
    assert files == publication_files(results())
    assert "<script" not in page
    assert "<img" not in page
    assert "default-src 'none'" in html.unescape(page)
    assert "unsafe" not in page
    assert "not stated" in page
    for text in ("1,200", "0.400", "0.80", "left out", "5 people whose category is unknown", "2 without an outcome"):
        assert text in page
    for word in ("compliant", "unbiased", "is fair"):
        assert word not in page


def test_a_spreadsheet_runs_no_cell() -> None:
    rows = list(csv.reader(io.StringIO(publication_files(results())["publication.csv"].decode())))
    assert rows[0] == [
        *("Table", "sex", "Number of applicants", "Number selected", "Selection rate", "Impact ratio", "Note")
    ]
    assert rows[2] == ["sex", "Female", "1000", "400", "0.400", "0.80", ""]
    assert rows[4][1] == '\'=HYPERLINK("x")'
    assert rows[5][:3] == ["sex", "unknown", "5"]
    assert {len(row) for row in rows} == {7}


def test_other_audits_publish_nothing_and_broken_ones_say_where() -> None:
    assert publication_of(Results(audit={})) is None
    assert publication_files(Results(audit={})) == {}
    with pytest.raises(SettingsError, match=r"results\.json: publication: .*people = 'many'"):
        publication_files(results(people="many"))


@pytest.mark.browser
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (1280, "dark"), (320, "light")])
def test_in_a_browser(browser: Any, tmp_path: Path, width: int, scheme: str) -> None:
    published = publication_of(results(title="Selection rates"))
    assert published is not None
    path = tmp_path / "publication.html"
    path.write_text(publication_page(published))
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page, noise = context.new_page(), list[str]()
    hear: Callable[[Any], None] = lambda message: noise.append(message.text)  # noqa: E731
    page.on("console", hear)
    page.on("request", lambda request: noise.append(request.url) if request.url != path.as_uri() else None)
    page.goto(path.as_uri())
    assert [url for url in noise if not url.startswith("data:")] == []
    assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0
    assert page.locator("tbody tr").count() == 4
    assert page.locator("tbody tr >> nth=1").inner_text().split()[-1] == "0.80"
    context.close()
