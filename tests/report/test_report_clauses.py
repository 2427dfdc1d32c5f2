"""The page's sections on clauses and context: what is shown, what stays the same, what is kept, and what is escaped."""

from __future__ import annotations

import json
import re
from datetime import date

import pytest

from rlhf_fair.artifacts import write_results
from rlhf_fair.compliance.context import Context
from rlhf_fair.errors import SettingsError
from rlhf_fair.report import CLAUSES_NAME, HTML_NAME, rendered_files, write_report
from rlhf_fair.report.clauses import warnings
from rlhf_fair.report.data import page
from rlhf_fair.report.folder import render_again
from rlhf_fair.report.rendering import RENDERING_NAME, Rendering, read_rendering, with_options

DAY = date(2026, 7, 5)
ASKED = Rendering(frameworks=("eu-ai-act", "nyc-ll144", "colorado"), as_of=DAY)


def section(results, rendering, id):
    return next((s for s in page(results, rendering).sections if s.id == id), None)


def test_without_a_request_there_is_no_such_section(demo) -> None:
    assert not {"clauses", "context"} & {s.id for s in page(demo).sections}


def test_every_clause_has_a_row_with_state_day_and_source(demo) -> None:
    tables = section(demo, ASKED, "clauses").tables
    assert [t.id for t in tables] == ["clauses-eu-ai-act", "clauses-nyc-ll144", "clauses-colorado"]
    for row in (row for t in tables for row in t.rows):
        state, source, checked = row[3].text, row[5].text, row[5].detail
        assert state in ("evidence present", "evidence partial", "evidence absent", "–")
        assert date.fromisoformat(re.search(r"checked (\S{10})", checked)[1])
        assert source
        assert (state == "–") == row[2].text.startswith("replaced by")


def test_where_evidence_stands_is_a_section_of_the_page(demo) -> None:
    content = page(demo, ASKED)
    names = {s.short for s in content.sections}
    for t in section(demo, ASKED, "clauses").tables:
        for row in t.rows:
            assert set(row[4].text.split(", ")) - {"–"} <= names


@pytest.mark.parametrize("kind", ["demo", "feedback", "ratios", "stopped"])
def test_all_kinds_of_results_have_a_matrix(kind, request) -> None:
    everything = Rendering(frameworks=("eu-ai-act", "nist-ai-rmf", "iso-42001", "eeoc", "illinois", "uk-equality-act"))
    assert section(request.getfixturevalue(kind), everything, "clauses").tables


def test_missing_entries_are_listed_and_not_hidden(demo) -> None:
    some = ASKED.model_copy(update={"context": Context.model_validate({"system": {"name": "Writer"}})})
    entries = len(list(Context().entries()))
    shown = section(demo, some, "context")
    assert len(shown.tables[0].rows) == entries
    assert sum(row[1].missing for row in shown.tables[0].rows) == entries - 1
    assert "Sign off: name" in shown.bullets[0]
    assert "System: name" not in shown.bullets[0]
    assert "No context file was given" in section(demo, ASKED, "context").answer[0]


def test_old_entries_and_secondary_sources_warn(demo) -> None:
    later = ASKED.model_copy(update={"as_of": date(2027, 6, 1)})
    said = warnings(demo, later)
    assert [line for line in said if "New York City" in line and "4 entries of 4" in line and "2027-06-01" in line]
    assert not [line for line in warnings(demo, ASKED) if "New York City" in line]
    assert [line for line in warnings(demo, ASKED) if line.startswith("Colorado") and "not in the act itself" in line]


@pytest.mark.parametrize(("as_of", "warns"), [(date(2026, 7, 5), False), (date(2026, 7, 6), True), (None, False)])
def test_an_expired_policy_is_told_on_the_first_screen(demo, as_of, warns) -> None:
    plan = {"policy": {"threshold": 0.1, "margin": 0.1, "expires": "2026-07-05"}}
    results = demo.model_copy(update={"audit": demo.audit | {"plan": plan}})
    first = page(results, Rendering(as_of=as_of)).summary.not_shown[0]
    assert ("expired on 2026-07-05" in first) == warns


def test_hostile_text_in_a_context_stays_text(demo, payloads) -> None:
    everything = " ".join(payloads)
    context = Context.model_validate(
        {"system": {"name": everything}, "data": {"sources": payloads}, "sign_off": {"name": everything}}
    )
    rendering = ASKED.model_copy(update={"context": context})
    html = rendered_files(demo, rendering)[HTML_NAME].decode()
    plain = rendered_files(demo, ASKED)[HTML_NAME].decode()
    for mark in ("<script", "<img", "<svg onload", "<a href='javascript", "<b style"):
        assert html.count(mark) == plain.count(mark)
    assert "&lt;script&gt;pwned(1)" in html
    assert everything.encode() not in rendered_files(demo, rendering)[CLAUSES_NAME]


def test_the_same_request_gives_the_same_bytes(demo) -> None:
    assert rendered_files(demo, ASKED) == rendered_files(demo, ASKED)


def test_what_was_asked_for_is_kept_and_renders_again(tmp_path, demo) -> None:
    context = tmp_path / "context.toml"
    context.write_text('[system]\nname = "Writer"\n[sign_off]\ndate = 2026-07-01\n')
    folder = tmp_path / "audit"
    folder.mkdir()
    write_results(folder, demo)
    asked = with_options(Rendering(), frameworks="ll144, eu-ai-act", context_file=context, as_of=DAY)
    write_report(folder, demo, asked)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    context.write_text('[system]\nname = "Another"\n')  # the folder keeps its own copy
    render_again(folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert read_rendering(folder) == asked
    render_again(folder, Rendering())
    assert not (folder / RENDERING_NAME).exists()
    assert not (folder / CLAUSES_NAME).exists()


def test_options_replace_only_what_they_name(tmp_path) -> None:
    kept = Rendering(frameworks=("eeoc",), as_of=DAY)
    assert with_options(kept) == kept
    assert with_options(kept, frameworks="uk").as_of == DAY
    with pytest.raises(SettingsError, match="names none"):
        with_options(kept, frameworks=" , ")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[system]\nnmae = "x"\n', r"unknown key 'system\.nmae'; allowed here: name, version"),
        ("[sign_off]\ndate = 7.5\n", r"sign_off\.date"),
        ("[data]\nsources = 3\n", r"data\.sources = 3"),
        ("[system\n", "is not TOML"),
    ],
)
def test_a_faulty_context_names_the_fault(tmp_path, text, said) -> None:
    path = tmp_path / "context.toml"
    path.write_text(text)
    with pytest.raises(SettingsError, match=said):
        with_options(Rendering(), context_file=path)


@pytest.mark.parametrize("content", ["[]", '{"frameworks": 3}', '{"other": 1}', '{"as_of": "soon"}', "{"])
def test_a_damaged_record_of_the_rendering_is_one_clear_error(tmp_path, content) -> None:
    (tmp_path / RENDERING_NAME).write_text(content)
    with pytest.raises(SettingsError, match=RENDERING_NAME):
        read_rendering(tmp_path)


def test_a_record_of_an_unknown_framework_is_refused(tmp_path, demo) -> None:
    (tmp_path / RENDERING_NAME).write_text(json.dumps({"frameworks": ["gdpr"]}))
    with pytest.raises(SettingsError, match="'gdpr' is not known"):
        rendered_files(demo, read_rendering(tmp_path))
