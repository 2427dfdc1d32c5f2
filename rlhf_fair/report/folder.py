"""An audit's folder: rendered again without losing its manifest, and verified from outside the page."""

from __future__ import annotations

from pathlib import Path

from rlhf_fair.artifacts import (
    MANIFEST_NAME,
    RESULTS_NAME,
    canonical_json,
    read_json,
    read_results,
    sha256_file,
    verify_manifest,
    write_json,
)
from rlhf_fair.errors import IntegrityError, MissingFileError
from rlhf_fair.report import DIFF_NAME, HTML_NAME, SUMMARY_NAME, write_report
from rlhf_fair.report.embed import unpack_results


def render_again(folder: Path) -> Path:
    """Write the page and the summary anew from ``results.json``; returns the path of the page.

    A manifest, where there is one, keeps its word: results that no longer match it are refused and not given a new
    hash. Only the hashes of the two rendered files are replaced.
    """
    if not folder.is_dir():
        raise MissingFileError(folder, "audit folder")
    manifest = folder / MANIFEST_NAME
    recorded = read_json(manifest, "manifest") if manifest.is_file() else None
    files = _recorded_files(recorded, manifest)
    results = read_results(folder)
    if recorded is not None and files.get(RESULTS_NAME) != sha256_file(folder / RESULTS_NAME):
        raise IntegrityError(f"{folder / RESULTS_NAME} does not match its manifest; not rendered")
    page = write_report(folder, results)
    if recorded is not None:
        rendered = {name: sha256_file(folder / name) for name in (HTML_NAME, SUMMARY_NAME)}
        write_json(manifest, {**recorded, "files": {**files, **rendered}})
    return page


def verify_folder(folder: Path) -> int:
    """Check all hashes, then that the page holds exactly the data beside it; returns the number of files.

    Raises
    ------
    IntegrityError
        A file was changed, added or removed, or the page's data differ from ``results.json``.
    """
    if not folder.is_dir():
        raise MissingFileError(folder, "audit folder")
    _recorded_files(read_json(folder / MANIFEST_NAME, "manifest"), folder / MANIFEST_NAME)
    checked = verify_manifest(folder)
    compared = (folder / DIFF_NAME).is_file()  # a comparison of two audits has no results of its own
    data = DIFF_NAME if compared else RESULTS_NAME
    for name in (data, HTML_NAME):
        if not (folder / name).is_file():
            raise IntegrityError(f"{folder} has no {name}")
    content = read_json(folder / data, "comparison") if compared else read_results(folder).model_dump(mode="json")
    expected = canonical_json(content)
    page = (folder / HTML_NAME).read_text(encoding="utf-8", errors="replace")
    # One byte more than expected is enough to notice a longer block, and bounds what a hostile one can unpack to.
    if unpack_results(page, most_bytes=len(expected) + 1) != expected:
        raise IntegrityError(f"the data inside {folder / HTML_NAME} differ from {data}")
    return checked


def _recorded_files(recorded: object, manifest: Path) -> dict[str, str]:
    """The manifest's name -> hash, or an error where it has no such thing."""
    if recorded is None:
        return {}
    files = recorded.get("files") if isinstance(recorded, dict) else None
    if not isinstance(files, dict):
        raise IntegrityError(f"{manifest} lists no files")
    return files
