"""The section on words that carry a gap: same numbers as the record, marks that lose no text, nothing hostile."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlhf_fair.records import Results
from rlhf_fair.report.data import page
from rlhf_fair.report.display import Example
from rlhf_fair.report.html import render
from rlhf_fair.report.markdown import summarize
from rlhf_fair.report.marked_texts import marked_examples
from rlhf_fair.report.word_attribution import words_section

NASTY = '</mark><script>pwned(1)</script><img src=x onerror=pwned(2)>"{{ pwned(3) }}'
ESTIMATE = {"ci_low": -0.6, "ci_high": -0.2, "p_value": 0.001, "n_clusters": 12, "reason": ""}


def word(name: str, contribution: float | None, **fields: Any) -> dict[str, Any]:
    row = {"kind": "man to woman", "method": "difference of attributions", "role": "exchanged", "side": "a"}
    row |= {"word": name, "contribution": contribution, "p_adjusted": 0.002, "share": 0.8, "occlusion": -0.35}
    return row | ESTIMATE | {"n_pairs": 40} | fields


def part(name: str, estimate: float, share: float | None) -> dict[str, Any]:
    row = {"kind": "man to woman", "method": "difference of attributions", "part": name}
    return row | ESTIMATE | {"estimate": estimate, "share": share, "n": 40}


def record(**fields: Any) -> dict[str, Any]:
    made: dict[str, Any] = {
        "reason": "",
        "scale": 0.5,
        "neutral": "[MASK]",
        "n_pairs": 40,
        "left_out": [{"reason": "a text is longer than the model reads", "n": 3}],
        "parts": [part("whole gap", -0.5, 1.0), part("exchanged", -0.4, 0.8), part("shared", -0.1, 0.2)],
        "words": [
            word("woman", -0.4),
            word("kind", -0.1, role="shared", side="both", ci_low=None, ci_high=None, share=None, reason="one cluster"),
        ],
        "n_words": 2,
        "completeness": {
            "tolerance": 0.02,
            "n": 80,
            "n_within": 79,
            "largest": 0.03,
            "median_steps": 16,
            "most_steps": 256,
        },
        "agreement": {"texts": {"estimate": 0.31, "ci_low": 0.2, "ci_high": 0.4}},
        "examples": [example("a kind woman", [(2, 6, -0.1), (7, 12, -0.4)])],
    }
    return made | fields


def example(text: str, places: list[tuple[int, int, float]]) -> dict[str, Any]:
    words = [dict(zip(("start", "end", "contribution"), place, strict=True)) for place in places]
    texts = [{"side": "a", "text": text, "words": words}, {"side": "b", "text": "a man", "words": []}]
    return {"id": "1", "kind": "man to woman", "why": "a typical gap", "gap": -0.5, "texts": texts}


def text_of(item: Example) -> list[str]:
    return ["".join(piece.text for piece in text.pieces) for text in item.texts]


def test_the_section_says_what_the_record_holds() -> None:
    section = words_section({"word_attributions": record()})
    assert section is not None
    said = " ".join((*section.answer, *section.bullets))
    assert "40 pairs of texts attributed; contributions in SD of reward (1 SD = 0.5)" in said
    assert "Left out: 3 (a text is longer than the model reads)" in said
    assert "79 of 80 sums of attributions are complete within 0.02" in said
    assert "rank correlation of 0.31 [0.20, 0.40]. That is weak" in said
    assert "gap −0.50 [−0.60, −0.20] SD of reward, of it exchanged −0.40 (80 %), shared −0.10 (20 %)." in said
    table = section.tables[1]
    labels = [column.label for column in table.columns]
    rows = [dict(zip(labels, (cell.text for cell in row), strict=True)) for row in table.rows]
    assert rows[0] | {"Mean": "−0.40", "Interval": "[−0.60, −0.20]", "Share": "80 %", "Pairs": "40"} == rows[0]
    assert rows[1] | {"Interval": "–", "Share": "–", "Role": "shared"} == rows[1]


def test_marks_on_the_plot_are_the_numbers_of_its_table() -> None:
    section = words_section({"word_attributions": record()})
    assert section is not None
    chart = section.charts[0]
    points = {p.at: p for series in chart.plots[0].series for p in series.points}
    assert [points[0.0].value, points[0.0].low, points[0.0].high] == [-0.4, -0.6, -0.2]
    assert (points[1.0].value, points[1.0].low) == (-0.1, None)
    assert [label for _, label in chart.plots[0].ticks] == [row[0].text for row in chart.table.rows]


def test_the_path_between_the_texts_is_drawn_where_there_is_one() -> None:
    words = [word("woman", -0.4), word("man → woman", -0.5, method="between the texts", side="both")]
    section = words_section({"word_attributions": record(words=words)})
    assert section is not None
    assert [row[0].text for row in section.charts[0].table.rows] == ["man → woman"]


def test_texts_are_folded_away_and_marked_by_more_than_colour() -> None:
    html = render(page(Results(audit={"title": "t", "word_attributions": record()})))
    details = re.search(r"<details class=\"examples\".*?</details>", html, re.S)
    assert details is not None
    assert " open" not in details.group(0).split(">")[0]
    assert '<mark class="down-3">woman <small>−0.40</small></mark>' in details.group(0)
    assert '<mark class="down-1">kind <small>−0.10</small></mark>' in details.group(0)
    assert "a kind woman" not in summarize(page(Results(audit={"title": "t", "word_attributions": record()})))
    without = render(page(Results(audit={"title": "t", "word_attributions": record(examples=[])})))
    assert '<details class="examples"' not in without


@given(st.text(max_size=40), st.lists(st.tuples(st.integers(-3, 45), st.integers(-3, 45), st.floats()), max_size=8))
def test_no_part_of_a_text_is_lost_or_doubled_whatever_the_places(text: str, places: list[Any]) -> None:
    found = marked_examples([example(text, places)])
    assert found is not None
    assert text_of(found.items[0]) == [text, "a man"]


def test_nothing_hostile_reaches_the_page() -> None:
    nasty = record(
        left_out=[{"reason": NASTY, "n": 1}],
        parts=[part(NASTY, -0.5, 1.0) | {"kind": NASTY, "method": NASTY, "reason": NASTY}],
        words=[word(NASTY, -0.4, kind=NASTY, method=NASTY, role="exchanged", reason=NASTY)],
        examples=[example(NASTY, [(0, 7, -1.0), (7, len(NASTY), 1.0)]) | {"kind": NASTY, "why": NASTY}],
    )
    html = render(page(Results(audit={"title": "t", "word_attributions": nasty})))
    assert "<script>pwned" not in html
    assert "<img src=x" not in html
    assert html.count("&lt;/mark&gt;") >= 1
    assert "<script>" not in summarize(page(Results(audit={"title": "t", "word_attributions": nasty})))


@pytest.mark.parametrize(
    "broken",
    [
        "text",
        [1],
        {},
        {"words": 3, "parts": {"a": 1}, "examples": "x"},
        {
            "words": [1, {}],
            "parts": [{}],
            "completeness": [],
            "agreement": {"texts": {"reason": NASTY}},
            "n_pairs": "x",
        },
        {"examples": [{}, {"texts": [1, {"text": 5}]}, {"texts": [{"text": "a", "words": [{"start": "x"}, 7]}]}]},
        {"left_out": [{"n": "x"}], "scale": None},
    ],
)
def test_a_record_of_another_shape_leaves_parts_out_and_breaks_nothing(broken: Any) -> None:
    assert "<script>pwned" not in render(page(Results(audit={"title": "t", "word_attributions": broken})))


def test_no_attributions_say_why() -> None:
    section = words_section({"word_attributions": {"reason": "no pairs were given"}})
    assert section is not None
    assert section.answer == ("Not measured: no pairs were given.",)
    assert words_section({}) is None
