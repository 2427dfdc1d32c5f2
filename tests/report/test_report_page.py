"""The page as a file: same data in HTML and JSON, each chart equal to its table, nothing hostile, nothing random."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser

import pytest

from rlhf_fair.artifacts import canonical_json
from rlhf_fair.records import NAN, Estimate, LedgerRow, Results, Training, Verdict
from rlhf_fair.report import write_report
from rlhf_fair.report.data import page
from rlhf_fair.report.embed import FIGURES_ID, ROWS_SUFFIX, packed_json, unpack_block, unpack_results
from rlhf_fair.report.html import render
from rlhf_fair.report.markdown import escape, summarize

KINDS = ["demo", "reward_identity", "feedback", "ratios", "stopped"]


class Reader(HTMLParser):
    """Tables by id, scripts by id, and every tag with its attributes."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tables: dict[str, list[list[str]]] = {}
        self.scripts: dict[str, str] = {}
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self._rows: list[list[str]] = []
        self._cell = False
        self._script = ""
        self.feed(source)
        for id, rows in self.tables.items():
            if id + ROWS_SUFFIX in self.scripts:
                rows[1:] = packed_rows(source, id)

    def handle_starttag(self, tag, attrs):
        named = dict(attrs)
        self.tags.append((tag, named))
        if tag == "table":
            self._rows = self.tables.setdefault(named["id"], [])
        elif tag == "tr":
            self._rows.append([])
        elif tag in ("td", "th"):
            self._rows[-1].append("")
            self._cell = True
        elif tag == "script":
            self._script = named.get("id") or "code"

    def handle_endtag(self, tag):
        if tag == "table":
            self._cell = False
        elif tag == "script":
            self._script = ""

    def handle_data(self, data):
        if self._script:
            self.scripts[self._script] = self.scripts.get(self._script, "") + data
        elif self._cell:
            self._rows[-1][-1] += data.strip("\n")


def drawn_figures(source: str) -> dict:
    """What the page's script hands to Plotly, by plot."""
    block = unpack_block(source, FIGURES_ID, most_bytes=10**8)
    assert block is not None
    return json.loads(block)


def packed_rows(source: str, table: str) -> list[list[str]]:
    """All rows of a long table as its script lists them, a cell's detail behind its text as in HTML."""
    block = unpack_block(source, table + ROWS_SUFFIX, most_bytes=10**8)
    assert block is not None
    content = json.loads(block)
    details = [column or [""] * len(content["text"][0]) for column in content["detail"]]
    return [
        list(map("".join, zip(*row, strict=True)))
        for row in zip(zip(*content["text"], strict=True), zip(*details, strict=True), strict=True)
    ]


@pytest.fixture(params=KINDS)
def results(request) -> Results:
    return request.getfixturevalue(request.param)


def numbers_in(rows: list[list[str]]) -> list[float]:
    text = " ; ".join(cell for row in rows for cell in row).replace("−", "-").replace(",", " ")
    return [float(match) for match in re.findall(r"(?<![\w.])-?\d+(?:\.\d+)?", text)]


def test_data_in_the_page_equal_the_results(results):
    expected = canonical_json(results.model_dump(mode="json"))
    embedded = unpack_results(render(page(results)), most_bytes=10**8)
    assert embedded == expected
    assert Results.model_validate_json(embedded).findings[0].id == results.findings[0].id


def test_same_input_gives_same_bytes(results, tmp_path):
    again = Results.model_validate(json.loads(canonical_json(results.model_dump(mode="json"))))
    first, second = write_report(tmp_path / "a", results), write_report(tmp_path / "b", again)
    assert first.read_bytes() == second.read_bytes()
    assert (tmp_path / "a/summary.md").read_bytes() == (tmp_path / "b/summary.md").read_bytes()


def test_page_stays_small(results):
    assert len(render(page(results)).encode()) < 2_300_000


def test_every_chart_stands_beside_a_table_with_its_numbers(results):
    content = page(results)
    reader = Reader(render(content))
    figures = drawn_figures(render(content))
    charts = [chart for section in content.sections for chart in section.charts]
    assert charts
    assert sorted(figures) == sorted(plot.id for chart in charts for plot in chart.plots)
    for chart in charts:
        printed = set(numbers_in(reader.tables[chart.table.id][1:]))
        for plot in chart.plots:
            flat = plot.kind == "forest"
            for trace in figures[plot.id]["data"]:
                if trace.get("name") in ("threshold", "parity"):
                    continue
                drawn = {value for value in trace["x" if flat else "y"] if value is not None}
                assert drawn <= printed, (plot.id, trace.get("name"), drawn - printed)


def test_every_measured_finding_is_in_the_full_table(results):
    rows = Reader(render(page(results))).tables["all-table"]
    assert len(rows) == 1 + len(results.findings)
    column = rows[0].index("Comparison")
    note = next(t.note for s in page(results).sections if s.id == "all" for t in s.tables)
    for row, finding in zip(rows[1:], results.findings, strict=True):
        assert row[column].startswith(finding.group)
        assert finding.attribute in row[column] or f"attribute: {finding.attribute}" in note
    at = rows[0].index("Estimate")
    for row, finding in zip(rows[1:], results.findings, strict=True):
        if finding.verdict == Verdict.NOT_MEASURED:
            assert row[at] == f"not measured: {finding.reason}"
        else:
            places = len(row[at].partition(".")[2])
            assert abs(numbers_in([[row[at]]])[0] - finding.estimate) <= 0.5 * 10**-places + 1e-9


def test_every_plot_has_a_name_and_every_table_a_heading(results):
    tags = Reader(render(page(results))).tags
    plots = [named for tag, named in tags if tag == "div" and (named.get("class") or "").startswith("plot ")]
    assert plots
    assert all(named["role"] == "img" and named["aria-label"] for named in plots)
    headings = re.findall(r"<h2[^>]*>([^<]*)</h2>", render(page(results)))
    assert all(heading.endswith("?") for heading in headings)


def test_policy_allows_hashes_alone(results):
    tags = Reader(render(page(results))).tags
    policy = next(named["content"] for tag, named in tags if named.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy
    assert "http" not in policy
    assert not [named for _, named in tags if "style" in named or any(key.startswith("on") for key in named)]
    assert not [named for tag, named in tags if tag in ("script", "img", "iframe") and "src" in named]
    assert {named["href"] for _, named in tags if "href" in named and not named["href"].startswith("#")} == {"data:,"}


def test_hostile_strings_add_no_element(hostile, demo):
    reader = Reader(render(page(hostile)))
    assert {tag for tag, _ in reader.tags} <= {tag for tag, _ in Reader(render(page(demo))).tags}
    assert sum(tag == "script" for tag, _ in reader.tags) == 4
    assert not [named for _, named in reader.tags if any(key.startswith("on") for key in named)]
    packed = (reader.scripts[id] for id in reader.scripts if id != "code")
    assert all(re.fullmatch(r"\s*[A-Za-z0-9+/=]*\s*", block) for block in packed)


def test_hostile_strings_stay_text_in_markdown(hostile):
    text = re.sub(r"</?(details|summary)>", "", summarize(page(hostile)))  # of folded sections
    assert not re.search(r"<\w|<!|</", text)
    assert not re.search(r"(?<!\\)\]\(", text)


def test_figures_read_back_as_they_were(payloads):
    block = f'<script id="{FIGURES_ID}">{packed_json({"text": payloads})}</script>'
    assert drawn_figures(block) == {"text": payloads}


def test_reasons_are_shown_wherever_a_number_is_missing(finding):
    results = Results(
        audit={"tables": {"extra": [{"size": 1.0}, {"size": None, "reason": "r-table"}]}},
        findings=(finding(estimate=NAN, ci_low=NAN, ci_high=NAN, verdict=Verdict.NOT_MEASURED, reason="r-finding"),),
        ledger=(
            LedgerRow(
                stage="ppo",
                attribute="a",
                metric="m",
                reference="r",
                estimate=NAN,
                ci_low=NAN,
                ci_high=NAN,
                n=0,
                n_clusters=0,
                reason="r-ledger",
            ),
        ),
        training=Training(comparisons={"kept": Estimate.not_estimable("r-comparison")}),
    )
    text = render(page(results))
    for where in ("finding", "ledger", "comparison", "table"):
        assert f"not measured: r-{where}" in text
    assert "nan" not in {cell.lower() for rows in Reader(text).tables.values() for row in rows for cell in row}


def test_counts_that_do_not_add_up_are_called_out(demo):
    audit = {**demo.audit, "counts": {"input": 10, "reported": 6, "excluded": 2, "unknown": 1}}
    text = render(page(demo.model_copy(update={"audit": audit})))
    assert "leaves 1 unaccounted for" in text


def test_markdown_has_the_verdict_and_the_same_gaps(results):
    content = page(results)
    text = summarize(content)
    assert content.summary.verdict.split(",")[0] in text
    assert content.summary.gaps
    assert all(f"\n- {escape(gap.sentence)} *{escape(gap.word)}*" in text for gap in content.summary.gaps)
    for line in text.splitlines():
        if line.startswith("|"):
            assert line.endswith("|")


def test_report_needs_neither_torch_nor_pandas(tmp_path):
    import subprocess
    import sys

    code = (
        "import sys; from pathlib import Path; from rlhf_fair.records import Results;"
        "from rlhf_fair.report import write_report; write_report(Path(sys.argv[1]), Results(audit={}));"
        "assert not {'torch', 'pandas', 'transformers', 'scipy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)


def test_the_first_screen_says_settings_and_not_that_there_are_some(demo):
    settings = {"answers": "choices", "categories": ["Age", "Religion"], "draws": 0, "normalisation": "per token"}
    data = {"items": "4,229", "prompts sent": "in the model's chat template, as a user's message", "sha256": "ab" * 32}
    audit = demo.audit | {"data": data | {"settings": settings}}
    (said,) = (value for label, value in page(Results(audit=audit)).summary.scope if label == "Data")
    assert said == (
        "items: 4,229; prompts sent: in the model's chat template, as a user's message; answers: choices; "
        "categories: Age, Religion; draws: 0; normalisation: per token; SHA-256"
    )
    many = demo.audit | {"data": {"settings": {f"option {k}": k for k in range(20)}}}
    (said,) = (value for label, value in page(Results(audit=many)).summary.scope if label == "Data")
    assert said.startswith("option 0: 0; ")
    assert said.endswith("; 8 more")


def test_the_summary_fits_a_comment_however_much_was_found(finding):
    many = tuple(
        finding(id=f"f{i}", group=f"g{i}", metric=f"m{i % 40}", stage=f"s{i % 9}", reason="r" * 200, role=role)
        for i in range(1500)
        for role in ("claim", "exploratory")
    )
    tables = {f"Question {i}?": [{"text": "x" * 500}] * 50 for i in range(10)}
    text = summarize(page(Results(audit={"title": "Large", "tables": tables, "limits": ["Kept."]}, findings=many)))
    assert len(text) < 65_536  # of GitHub, for one comment
    assert "Too long for here" in text
    assert "Kept\\." in text or "Kept." in text
    for part in text.split("<details>")[1:]:
        assert part.count("</details>") == 1
        assert part.startswith("\n<summary>")


@pytest.mark.parametrize("text", ["@everyone", "a@example.org", "www.example.org", "https://a.example", "#12"])
def test_outside_text_links_and_mentions_nothing(text):
    assert not re.search(r"@\w|www\.|:/|(?<!&)#\d", escape(text))
