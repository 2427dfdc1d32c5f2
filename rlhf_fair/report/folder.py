"""An audit's folder, rendered again without losing its manifest, its log and its statement."""

from __future__ import annotations

from pathlib import Path

from rlhf_fair.artifacts import MANIFEST_NAME, RESULTS_NAME, read_json, read_results, sha256_file
from rlhf_fair.attestation.sealing import FORMAT, check_log, seal_again
from rlhf_fair.errors import IntegrityError, MissingFileError
from rlhf_fair.report import CLAUSES_NAME, HTML_NAME, SUMMARY_NAME, write_report
from rlhf_fair.report.bundle import Bundle, bundle_of
from rlhf_fair.report.publication import PUBLICATION_CSV, PUBLICATION_HTML
from rlhf_fair.report.rendering import RENDERING_NAME, Rendering, read_rendering

RENDERED = (HTML_NAME, SUMMARY_NAME, CLAUSES_NAME, RENDERING_NAME, PUBLICATION_HTML, PUBLICATION_CSV)
"""All files that a rendering may write."""


def render_again(folder: Path, rendering: Rendering | None = None, bundle: Bundle | None = None) -> Path:
    """Write the page and the summary anew from ``results.json``; returns the path of the page.

    ``rendering``: with which clauses and context; without one, as ``rendering.json`` says. ``bundle``:
    the Plotly that it names; without one, the page that is there has it. A manifest, where there is
    one, keeps its word: results that no longer match it are refused and not given a new hash. Only the hashes of the
    rendered files are replaced.
    """
    if not folder.is_dir():
        raise MissingFileError(folder, "audit folder")
    manifest = folder / MANIFEST_NAME
    recorded = read_json(manifest, "manifest") if manifest.is_file() else None
    files = _recorded_files(recorded, manifest)
    results = read_results(folder)
    if recorded is not None and files.get(RESULTS_NAME) != sha256_file(folder / RESULTS_NAME):
        raise IntegrityError(f"{folder / RESULTS_NAME} does not match its manifest; not rendered")
    if recorded is not None and recorded.get("schema_version") == FORMAT:
        check_log(folder, recorded)  # a manifest that is not the one of the log is not given a new statement
    rendering = rendering or read_rendering(folder)
    page = write_report(folder, results, rendering, bundle or bundle_of(folder / HTML_NAME, rendering.plotly_js))
    if recorded is not None:
        rendered = {name: sha256_file(folder / name) for name in RENDERED if (folder / name).is_file()}
        kept = {name: digest for name, digest in files.items() if name not in RENDERED}
        seal_again(folder, {**kept, **rendered})
    return page


def _recorded_files(recorded: object, manifest: Path) -> dict[str, str]:
    """The manifest's name -> hash, or an error where it has no such thing."""
    if recorded is None:
        return {}
    files = recorded.get("files") if isinstance(recorded, dict) else None
    if not isinstance(files, dict):
        raise IntegrityError(f"{manifest} lists no files")
    return files
