"""A results file rendered as one self-contained page and as Markdown.

`write_report` is the way in. Reading order of the code: `data` (results to plain display data, where all arithmetic and
wording happens), `figures`, then `html` and `markdown`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rlhf_fair.records import Results
    from rlhf_fair.report.bundle import Bundle
    from rlhf_fair.report.rendering import Rendering

HTML_NAME = "index.html"
SUMMARY_NAME = "summary.md"
DIFF_NAME = "diff.json"
CLAUSES_NAME = "clauses.csv"


def rendered_files(
    results: Results, rendering: Rendering | None = None, bundle: Bundle | None = None
) -> dict[str, bytes]:
    """Name -> bytes of everything that follows from ``results`` and ``rendering``; the same arguments, the same bytes.

    What is shown is `rlhf_fair.disclosure.results.protected`, as it is in ``results.json``.

    ``bundle``: the Plotly that ``rendering.plotly_js`` names by its hash; None where that is the installed one.

    ``clauses.csv`` is among them where a framework was asked for, ``publication.html`` and ``publication.csv`` where an
    audit has something to publish.
    """
    from rlhf_fair.disclosure.results import protected
    from rlhf_fair.report.clauses import clauses_csv
    from rlhf_fair.report.data import page
    from rlhf_fair.report.html import render
    from rlhf_fair.report.markdown import summarize
    from rlhf_fair.report.publication import publication_files
    from rlhf_fair.report.rendering import Rendering

    asked, results = rendering or Rendering(), protected(results)
    if (bundle.sha256 if bundle else "") != asked.plotly_js:
        raise ValueError(f"the bundle that is given is not the one of SHA-256 {asked.plotly_js!r}")
    content = page(results, asked)
    files = {SUMMARY_NAME: summarize(content).encode(), HTML_NAME: render(content, bundle=bundle).encode()}
    files |= publication_files(results)
    return files | ({CLAUSES_NAME: clauses_csv(results, asked)} if asked.frameworks else {})


def write_report(
    folder: Path, results: Results, rendering: Rendering | None = None, bundle: Bundle | None = None
) -> Path:
    """Write ``index.html``, ``summary.md`` and what ``rendering`` asks for into ``folder``; returns the page's path.

    ``rendering.json`` keeps what was asked for, so that the page can be rendered again.
    """
    from rlhf_fair.artifacts import RESULTS_NAME, make_folder, write_bytes
    from rlhf_fair.errors import about_file
    from rlhf_fair.report.rendering import Rendering, write_rendering

    make_folder(folder)
    with about_file(folder / RESULTS_NAME):
        files = rendered_files(results, rendering, bundle)
    if CLAUSES_NAME not in files:
        (folder / CLAUSES_NAME).unlink(missing_ok=True)
    for name, data in files.items():
        write_bytes(folder / name, data)
    write_rendering(folder, rendering or Rendering())
    return folder / HTML_NAME
