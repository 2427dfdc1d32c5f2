"""The page and the summary against the data beside them: the data inside, and every byte by rendering again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rlhf_fair.artifacts import RESULTS_NAME, read_results
from rlhf_fair.attestation.renderer import renderer
from rlhf_fair.attestation.sealing import COMPARISON_NAME, DIFF_NAME, PAGES, data_name
from rlhf_fair.changes import AuditDiff
from rlhf_fair.errors import IntegrityError
from rlhf_fair.integrity.checks import Check, read_small
from rlhf_fair.report import rendered_files
from rlhf_fair.report.embed import embedded, unpack_results

DATA, RENDERED = "page, data inside", "page, rendered again"
OTHER_CODE = "the page was made by another version of the rendering code or of its libraries"


def check_pages(folder: Path, manifest: Mapping[str, Any]) -> tuple[Check, ...]:
    """The data inside the page are those of the file; and rendered again, page and summary are the same bytes."""
    name = data_name(folder)
    if name is None:
        return (Check(DATA, "not done", "the folder has no report"),)
    if not (folder / PAGES[name]).is_file():
        return (Check(DATA, "not done", f"{name} has no page beside it"),)
    try:
        _check_data(folder, name)
    except IntegrityError as error:
        return (Check(DATA, "disagrees", str(error)),)
    checks = (Check(DATA, "agrees", f"{PAGES[name]} holds exactly what stands in {name}"),)
    if manifest.get("renderer") != renderer():
        return (*checks, Check(RENDERED, "not done", f"{OTHER_CODE}; only the data inside were compared"))
    return (*checks, _check_bytes(folder, name))


def _check_data(folder: Path, name: str) -> None:
    written = read_small(folder, name)
    try:
        content = json.loads(written)
        expected = embedded(content)
    except (ValueError, RecursionError) as error:
        raise IntegrityError(f"{name} is not JSON") from error
    page = read_small(folder, PAGES[name]).decode("utf-8", errors="replace")
    # One byte more than expected is enough to notice a longer block, and bounds what a hostile one can unpack to.
    held = unpack_results(page, most_bytes=max(len(expected), len(written)) + 1)
    if held not in (expected, written.removesuffix(b"\n")):  # the second: of a folder from before RFC 8785
        raise IntegrityError(f"the data inside {PAGES[name]} differ from {name}")


def _check_bytes(folder: Path, name: str) -> Check:
    made = _rendered(folder, name)
    different = [page for page, data in made.items() if read_small(folder, page) != data]
    if different:
        return Check(RENDERED, "disagrees", f"rendered again from {name}, other bytes come out: {', '.join(different)}")
    return Check(RENDERED, "agrees", f"{', '.join(made)}: the same bytes come out of {name}" + _foreign_script(folder))


def _foreign_script(folder: Path) -> str:
    """Which Plotly draws the page where that is not the installed one: its text came with the page."""
    from rlhf_fair.report.rendering import read_rendering

    digest = read_rendering(folder).plotly_js
    return f"; its plots are drawn by a bundle that was handed in, SHA-256 {digest}" if digest else ""


def _rendered(folder: Path, name: str) -> dict[str, bytes]:
    """Page, summary and whatever else follows from the data, as this version makes them: file name -> bytes."""
    if name == RESULTS_NAME:
        from rlhf_fair.report.bundle import bundle_of
        from rlhf_fair.report.rendering import read_rendering

        rendering = read_rendering(folder)
        return rendered_files(read_results(folder), rendering, bundle_of(folder / PAGES[name], rendering.plotly_js))
    from rlhf_fair.report.html import render

    content = json.loads(read_small(folder, name))
    if name == DIFF_NAME:
        from rlhf_fair.report.diff import MARKDOWN_NAME, TEMPLATE, diff_markdown, diff_page

        diff = AuditDiff.model_validate(content)
        return {
            PAGES[name]: render(diff_page(diff), TEMPLATE).encode(),
            MARKDOWN_NAME: diff_markdown(diff).encode(),
        }
    assert name == COMPARISON_NAME
    from rlhf_fair.report.markdown import summarize
    from rlhf_fair.report.mitigations import TEMPLATE as MITIGATIONS
    from rlhf_fair.report.mitigations import mitigations_page

    page = mitigations_page(content)
    return {PAGES[name]: render(page, MITIGATIONS).encode(), "comparison.md": summarize(page).encode()}
