"""The page and the summary against the data beside them: the data inside, and all of it by rendering again."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from rlhf_fair.artifacts import RESULTS_NAME, read_results
from rlhf_fair.attestation.renderer import renderer
from rlhf_fair.attestation.sealing import COMPARISON_NAME, DIFF_NAME, PAGES, data_name
from rlhf_fair.changes import AuditDiff
from rlhf_fair.errors import IntegrityError, SettingsError
from rlhf_fair.integrity.checks import Check, read_small
from rlhf_fair.integrity.likeness import likeness, line_of_difference
from rlhf_fair.report import CLAUSES_NAME, rendered_files
from rlhf_fair.report.bundle import Bundle, bundle_of, bundle_within, installed_bundle
from rlhf_fair.report.embed import embedded, unpack_results
from rlhf_fair.report.publication import PUBLICATION_CSV, PUBLICATION_HTML
from rlhf_fair.report.rendering import Rendering, read_rendering

DATA, RENDERED = "page, data inside", "page, rendered again"
OTHER_CODE = "the manifest says that another version of the rendering code or of its libraries made it"
SAME = ("same bytes", "same content")
DATA_ALONE = frozenset({PUBLICATION_CSV})
"""Files of values alone, which no version words otherwise."""
OPTIONAL = (CLAUSES_NAME, PUBLICATION_HTML, PUBLICATION_CSV)
"""Files of a rendering that not every audit has."""


def check_pages(folder: Path, manifest: Mapping[str, Any]) -> tuple[Check, ...]:
    """The data inside the page are those of the file; and rendered again, page and summary come out as they are.

    What the manifest says of its renderer is not believed: it only tells whether a page that comes out otherwise
    disagrees or is not proven.
    """
    name = data_name(folder)
    if name is None:
        return (Check(DATA, "not done", "the folder has no report"),)
    if (folder / PAGES[name]).is_file():
        try:
            _check_data(folder, name)
        except IntegrityError as error:
            return (Check(DATA, "disagrees", str(error)),)
        data = Check(DATA, "agrees", f"{PAGES[name]} holds exactly what stands in {name}")
    else:
        data = Check(DATA, "not done", f"{name} has no page beside it")
    return (data, *_check_rendered(folder, name, manifest))


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


def _check_rendered(folder: Path, name: str, manifest: Mapping[str, Any]) -> tuple[Check, ...]:
    same_code = manifest.get("renderer") == renderer()
    try:
        rendering = read_rendering(folder) if name == RESULTS_NAME else Rendering()
        named, within = _bundles(folder / PAGES[name], rendering)
        made = _rendered(folder, name, rendering, named or within)
    except (IntegrityError, MemoryError):
        raise
    except Exception as error:
        if same_code:
            raise
        said = f"{OTHER_CODE}, and this one cannot render {name}: {type(error).__name__}"
        return (Check(RENDERED, "not proven", said),)
    compared = _compared(folder, name, made)
    checks = (_judged(name, compared, manifest, same_code=same_code),) if compared else ()
    if within is not None:
        said = f"{PAGES[name]} is drawn by another Plotly than the installed one, SHA-256 {within.sha256}"
        return (*checks, Check(RENDERED, "disagrees" if same_code else "not proven", said))
    if named is not None:
        said = f"; its plots are drawn by a bundle that was handed in, SHA-256 {named.sha256}"
        return tuple(replace(check, detail=check.detail + said) for check in checks)
    return checks


def _bundles(page: Path, rendering: Rendering) -> tuple[Bundle | None, Bundle | None]:
    """The bundle that ``rendering`` names, and else the one within the page where that is not the installed one."""
    try:
        named = bundle_of(page, rendering.plotly_js)
    except SettingsError as error:
        raise IntegrityError(str(error)) from error
    within = None if named else bundle_within(page)
    return named, within if within and within.source != installed_bundle().source else None


def _compared(folder: Path, name: str, made: Mapping[str, bytes]) -> dict[str, str]:
    """File -> how like it is to what was made; of a folder without a page other files may be missing too."""
    found: dict[str, str] = {}
    whole = (folder / PAGES[name]).is_file()
    for file, data in made.items():
        if (folder / file).is_file():
            held = read_small(folder, file)
            found[file] = how = likeness(held, data)
            found[file] += f" from line {line_of_difference(held, data)} on" if how not in SAME else ""
        elif whole:
            found[file] = "missing"
    stray = [file for file in OPTIONAL if file not in made and (folder / file).is_file()]
    return found | dict.fromkeys(stray, "not to be there")


def _judged(name: str, found: Mapping[str, str], manifest: Mapping[str, Any], *, same_code: bool) -> Check:
    wrong = {file: how for file, how in found.items() if how not in SAME}
    if not wrong:
        repacked = [file for file, how in found.items() if how != "same bytes"]
        more = f"; {', '.join(repacked)}: the same content, packed otherwise" if repacked else ""
        same = ", ".join(file for file in found if file not in repacked)
        return Check(RENDERED, "agrees", (f"{same}: the same bytes come out of {name}" if same else "") + more)
    told = f"rendered again from {name}, other bytes come out: "
    told += ", ".join(f"{file} ({how})" for file, how in wrong.items())
    if same_code or any(file in DATA_ALONE or how.startswith("other numbers") for file, how in wrong.items()):
        return Check(RENDERED, "disagrees", told)
    return Check(RENDERED, "not proven", f"{told}; {OTHER_CODE}{_advice(manifest)}")


def _advice(manifest: Mapping[str, Any]) -> str:
    """What to install for a full comparison, as far as the manifest says it in plain words."""
    versions = manifest.get("environment", {})
    plain = {name: str(versions[name]) for name in ("python", "rlhf-fair", "plotly") if name in versions}
    said = [f"{name} {version}" for name, version in plain.items() if re.fullmatch(r"[\w.+-]{1,40}", version)]
    return f": verify it with {', '.join(said)}" if said else ""


def _rendered(folder: Path, name: str, rendering: Rendering, bundle: Bundle | None) -> dict[str, bytes]:
    """Page, summary and whatever else follows from the data, as this version makes them: file name -> bytes."""
    if name == RESULTS_NAME:
        drawn = rendering.model_copy(update={"plotly_js": bundle.sha256 if bundle else ""})
        return rendered_files(read_results(folder), drawn, bundle)
    from rlhf_fair.report.html import render

    content = json.loads(read_small(folder, name))
    if name == DIFF_NAME:
        from rlhf_fair.report.diff import MARKDOWN_NAME, TEMPLATE, diff_markdown, diff_page

        diff = AuditDiff.model_validate(content)
        return {
            PAGES[name]: render(diff_page(diff), TEMPLATE, bundle).encode(),
            MARKDOWN_NAME: diff_markdown(diff).encode(),
        }
    assert name == COMPARISON_NAME
    from rlhf_fair.report.markdown import summarize
    from rlhf_fair.report.mitigations import TEMPLATE as MITIGATIONS
    from rlhf_fair.report.mitigations import mitigations_page

    page = mitigations_page(content)
    return {PAGES[name]: render(page, MITIGATIONS, bundle).encode(), "comparison.md": summarize(page).encode()}
