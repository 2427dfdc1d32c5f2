"""A results file rendered as one self-contained page and as Markdown.

`write_report` is the way in. Reading order of the code: `data` (results to plain display data, where all arithmetic and
wording happens), `figures`, then `html` and `markdown`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rlhf_fair.records import Results

HTML_NAME = "index.html"
SUMMARY_NAME = "summary.md"
DIFF_NAME = "diff.json"


def write_report(folder: Path, results: Results) -> Path:
    """Write ``index.html`` and ``summary.md`` into ``folder``; returns the path of the page."""
    from rlhf_fair.artifacts import make_folder, write_bytes
    from rlhf_fair.report.data import page
    from rlhf_fair.report.html import render
    from rlhf_fair.report.markdown import summarize

    make_folder(folder)
    content = page(results)
    write_bytes(folder / SUMMARY_NAME, summarize(content).encode())
    path = folder / HTML_NAME
    write_bytes(path, render(content).encode())
    return path
